"""``/api/v1/admin/alarms``: what needs somebody's attention."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request

from tollhouse.routes import vocabulary as v
from tollhouse.routes.admin.access import staff
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Items, View, items, known_id
from tollhouse.routes.vocabulary import example


class AlarmView(View):
    model_config = example(
        id=v.ALARM,
        code="unknown_price",
        subject="openai/gpt-4.1-mini",
        message="What this model costs is not known; its turns count as of unknown cost.",
    )
    id: UUID
    code: str
    subject: str
    message: str
    count: int
    first_at: datetime
    last_at: datetime


def routes(services: AdminServices) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/alarms", tags=["admin: alarms"])

    @router.get("", response_model=Items[AlarmView])
    async def list_alarms(request: Request) -> dict[str, Any]:
        """What nobody has seen to yet, newest first."""
        return items([dict(row) for row in await services.alarms.open(staff(request, "view").tenant.id)])

    @router.post("/{alarm_id}/resolve", status_code=204)
    async def resolve_alarm(request: Request, alarm_id: str) -> None:
        """It was seen to. Should it happen again, it is a new one."""
        caller = staff(request, "help")
        await services.alarms.resolve(caller.tenant.id, known_id(alarm_id), caller.actor)

    return router
