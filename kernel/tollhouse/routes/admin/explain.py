"""``/api/v1/admin/explain``: why somebody may, or may not."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field

from tollhouse.plugin.access import Principal
from tollhouse.policy.rules import AccessRequest
from tollhouse.routes import schemas as s
from tollhouse.routes import vocabulary as v
from tollhouse.routes.admin.access import staff
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Input, View
from tollhouse.routes.vocabulary import example


class Explain(Input):
    model_config = example(user_id=v.ADA, agent="guide", channel="api")
    user_id: UUID
    agent: str = Field(max_length=200)
    channel: str = Field(max_length=50)
    metadata: dict[str, Any] = Field(default_factory=dict, max_length=50)


class StepView(View):
    model_config = example(rule="subscription_is_current", passed=True, detail="")
    rule: str
    passed: bool
    reason: str
    detail: str


class Explanation(View):
    decision: s.Decision
    steps: list[StepView]


def routes(services: AdminServices) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["admin: explain"])

    @router.post("/explain", response_model=Explanation)
    async def explain(request: Request, body: Explain) -> Any:
        """What the policy engine would answer this user now, rule by rule."""
        caller = staff(request, "view")
        user = await services.users.get(caller.tenant.id, body.user_id)
        principal = Principal(
            tenant_id=caller.tenant.id,
            user_id=user.id,
            auth_provider="explain",
            credential_kind="identity",
            channel=body.channel,
            email=user.email,
            role=user.role,
            operator=user.operator,
        )
        decision, steps = await services.policy.explain(AccessRequest(principal, body.agent, body.channel, body.metadata))
        return {"decision": decision, "steps": steps}

    return router
