"""``/api/v1/admin/alarms``: what needs somebody's attention."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request

from tollhouse.routes.admin.access import staff
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Cursor, Items, Limit, View, items, known_id


class AlarmView(View):
    id: UUID
    code: str
    subject: str
    message: str
    data: dict[str, Any]
    count: int
    first_at: datetime
    last_at: datetime
    resolved: bool


def routes(services: AdminServices) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/alarms", tags=["admin: alarms"])

    @router.get("", response_model=Items[AlarmView])
    async def list_alarms(request: Request, resolved: bool = False, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
        """Alarms, newest first."""
        page = await services.alarms.list(staff(request, "view").tenant.id, resolved=resolved, cursor=cursor, limit=limit)
        return items(page.items, page.next_cursor)

    @router.post("/{alarm_id}/resolve", response_model=AlarmView)
    async def resolve_alarm(request: Request, alarm_id: str) -> Any:
        """It was seen to."""
        caller = staff(request, "help")
        return await services.alarms.resolve(caller.tenant.id, known_id(alarm_id), actor=caller.actor)

    return router
