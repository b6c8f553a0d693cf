"""What delivery needs to know of a connection and of people; `wiring` puts in how it is found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tollhouse.plugin.access import Principal
from tollhouse.plugin.context import PluginContext, TenantInfo
from tollhouse.plugin.errors import TollhouseError
from tollhouse.plugin.events import Sender
from tollhouse.plugin.ports import TurnRequest, TurnResult


@dataclass(frozen=True, slots=True)
class Connected:
    """One connection that is ready for use: the object that its plugin registered, and the context to call it with."""

    connection_id: UUID
    plugin: str
    subject: Any
    ctx: PluginContext[Any]


FindTenant = Callable[[str], Awaitable[TenantInfo]]
"""By slug or id. Raises NotFound."""

Connect = Callable[[UUID, UUID], Awaitable[Connected]]
"""``(tenant_id, connection_id)``. Raises NotFound for an unknown, disabled or foreign connection."""

FindGuest = Callable[[UUID, Sender, str], Awaitable[Principal]]
"""``(tenant_id, sender, channel)``: the user with this identity; a new guest if there is none, made once however many ask."""

RunTurn = Callable[[Principal, TurnRequest], Awaitable[TurnResult]]
"""Runs a turn as ``Turns.run`` does."""

DefaultAgent = Callable[[Principal, Connected], Awaitable[str]]
"""The agent of somebody who names none and has no conversation. Raises NotFound or AccessDenied."""


def reason_of(error: BaseException) -> str:
    """What is recorded of a failure: our own errors in words, others only by type, for their text may be private."""
    return f"{error.http_code}: {error.detail}" if isinstance(error, TollhouseError) else type(error).__name__
