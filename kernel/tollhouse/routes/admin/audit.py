"""``/api/v1/admin/audit``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request

from tollhouse.routes import vocabulary as v
from tollhouse.routes.admin.access import staff
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Cursor, Items, Limit, View, items
from tollhouse.routes.vocabulary import example


class AuditEntryView(View):
    model_config = example(
        id=v.AUDIT,
        actor_kind="user",
        action="agent.published",
        target_kind="agent",
        target_id=v.AGENT,
        data={"slug": "guide"},
    )
    id: UUID
    at: datetime
    actor_kind: str
    actor_id: UUID | None
    action: str
    target_kind: str
    target_id: str
    data: dict[str, Any]
    address: str


def routes(services: AdminServices) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["admin: audit"])

    @router.get("/audit", response_model=Items[AuditEntryView])
    async def list_audit(
        request: Request,
        action: Annotated[str, Query(max_length=100, description="The beginning of its name, such as `plan.`.")] = "",
        actor_id: UUID | None = None,
        target_id: Annotated[str, Query(max_length=100)] = "",
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        """Who did what, newest first."""
        caller = staff(request, "manage")
        page = await services.audit.list(
            caller.tenant.id, action=action, actor_id=actor_id, target_id=target_id, cursor=cursor, limit=limit
        )
        return items([dict(row) for row in page.items], page.next_cursor)

    return router
