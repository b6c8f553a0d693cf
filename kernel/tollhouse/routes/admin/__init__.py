"""``/api/v1/admin``: what staff and operators do, over the services. Thin: a permission, a call, a shape."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from tollhouse.plugin.mounts import Mount
from tollhouse.routes.admin import (
    agents,
    alarms,
    audit,
    connections,
    denials,
    explain,
    orders,
    plans,
    prices,
    reports,
    subscriptions,
    tenants,
    user_data,
    users,
    versions,
)
from tollhouse.routes.admin.access import team_only
from tollhouse.routes.admin.services import AdminServices

FILES = (
    tenants,
    agents,
    versions,
    plans,
    users,
    user_data,
    subscriptions,
    orders,
    connections,
    prices,
    reports,
    explain,
    denials,
    audit,
    alarms,
)


def admin_mount(services: AdminServices) -> Mount:
    """The routes. Nothing here is public."""
    router = APIRouter(dependencies=[Depends(team_only)])
    for module in FILES:
        router.include_router(module.routes(services))
    return Mount("/api/v1/admin", router)
