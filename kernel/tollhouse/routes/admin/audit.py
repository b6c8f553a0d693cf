"""``/api/v1/admin/audit``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import Field

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


class SignInFailureView(View):
    """Repeats within an hour are one entry."""

    model_config = example(
        id=v.AUDIT, user_id=v.ADA, account="ada@example.com", network="203.0.113.9", reason="wrong_password", count=3
    )
    id: UUID
    user_id: UUID | None = Field(description="Who has this e-mail.")
    account: str = Field(description="The e-mail that was tried, if somebody has it.")
    network: str = Field(description="The address; of IPv6 its /64.")
    reason: str = Field(description="`wrong_password`, `unknown_email`, `blocked` (with the right password), or `link`.")
    count: int
    first_at: datetime
    last_at: datetime


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

    @router.get("/sign-in-failures", response_model=Items[SignInFailureView])
    async def list_sign_in_failures(
        request: Request, user_id: UUID | None = None, cursor: Cursor = None, limit: Limit = 50
    ) -> dict[str, Any]:
        """Tries to sign in that failed, newest first; kept for 90 days."""
        caller = staff(request, "manage")
        page = await services.sessions.failures.list(caller.tenant.id, user_id=user_id, cursor=cursor, limit=limit)
        return items([dict(row) for row in page.items], page.next_cursor)

    return router
