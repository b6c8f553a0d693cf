"""Every mount of the kernel's own interface for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tollhouse.plugin.mounts import Mount
from tollhouse.routes.admin import admin_mount
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.api import api_mount
from tollhouse.routes.hooks import Accepts, hooks_mount


@dataclass(frozen=True)
class RouteServices:
    """What the routes call, beside the ports."""

    admin: AdminServices
    intake: Accepts


def kernel_mounts(services: RouteServices) -> Sequence[Mount]:
    """``/api/v1``, ``/api/v1/admin`` and ``/hooks``."""
    return [api_mount(), admin_mount(services.admin), hooks_mount(services.intake)]
