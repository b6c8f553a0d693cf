"""``/api/v1/admin/denials``: who was told no, and why."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator, AwareDatetime, Field

from tollhouse.policy.reasons import BY_CODE
from tollhouse.routes import vocabulary as v
from tollhouse.routes.admin.access import staff
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Cursor, Items, Limit, Moment, View, items
from tollhouse.routes.vocabulary import example


def _known(reason: str) -> str:
    if reason not in BY_CODE:
        raise ValueError(f"a reason is one of {', '.join(sorted(BY_CODE))}")
    return reason


Reason = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": sorted(BY_CODE)})]


class DenialView(View):
    """Repeats within a minute share a row. ``decision`` has the numbers as they stood at the last of them."""

    model_config = example(
        id=v.DENIAL,
        reason="limit_reached",
        decision={
            "retryable": False,
            "plan": "free",
            "upgrade_url": "https://example.com/plans",
            "limit": 20,
            "used": 20,
            "held": 0,
            "remaining": 0,
            "metric": "calls",
            "window": "day",
            "resets_at": v.MIDNIGHT,
        },
        count=2,
    )
    id: UUID
    user_id: UUID
    email: str | None
    agent: str = Field(description="As it was asked for: short name or id.")
    channel: str
    reason: str
    decision: dict[str, Any]
    count: int
    first_at: AwareDatetime
    last_at: AwareDatetime


def routes(services: AdminServices) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["admin: denials"])

    @router.get("/denials", response_model=Items[DenialView])
    async def list_denials(
        request: Request,
        user_id: UUID | None = None,
        agent: Annotated[str | None, Query(max_length=200, description="Short name or id.")] = None,
        reason: Reason | None = None,
        since: Annotated[Moment | None, Query(alias="from", description="Included.")] = None,
        until: Annotated[Moment | None, Query(alias="to", description="Not included.")] = None,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        """Turns that were refused, with the numbers of the limit that said no; newest first."""
        tenant_id = staff(request, "view").tenant.id
        page = await services.denials.list(
            tenant_id, user_id=user_id, agent=agent, reason=reason, since=since, until=until, cursor=cursor, limit=limit
        )
        return items(page.items, page.next_cursor)

    return router
