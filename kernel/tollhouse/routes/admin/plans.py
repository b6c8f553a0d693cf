"""``/api/v1/admin/plans``."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field

from tollhouse.billing.terms import LimitTerms, Terms
from tollhouse.plugin.access import Metric, Window
from tollhouse.routes import vocabulary as v
from tollhouse.routes.admin.access import staff
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Input, Items, View, inside, items, known_id
from tollhouse.routes.vocabulary import example

MOST = 10**18


class LimitInput(Input):
    """One limit. Amounts are calls, tokens, turns at once, or nano-units of model cost."""

    model_config = example(metric="calls", amount=20, window="day")
    metric: Metric
    amount: int = Field(ge=0, le=MOST)
    window: Window
    agent_id: UUID | None = None
    channel: str | None = Field(None, max_length=50)
    hard: bool = True

    def terms(self) -> LimitTerms:
        """As billing takes it."""
        return LimitTerms(**self.model_dump())


class TermsInput(Input):
    """What is sold. A change makes a new version of the plan; subscribers keep what they bought."""

    model_config = example(
        price_minor=1999,
        agents=[v.AGENT],
        channels=["web", "api"],
        limits=[{"metric": "calls", "amount": 500, "window": "month"}],
    )
    price_minor: int = Field(0, ge=0, le=MOST)
    currency: str | None = Field(None, max_length=10, description="The tenant's own, if none is given.")
    interval: Literal["month", "year", "week", "once"] = "month"
    grace_days: int = Field(3, ge=0, le=365)
    all_agents: bool = False
    agents: list[UUID] = Field(default_factory=list, max_length=1000)
    channels: list[str] | None = Field(None, max_length=50)
    verified_email: bool = False
    limits: list[LimitInput] = Field(default_factory=list, max_length=100)

    def terms(self, currency: str, before: Terms | None = None) -> Terms:
        """As billing takes it, in ``currency`` if none was sent; what was not sent stays as it was ``before``."""
        given = {
            **self.model_dump(exclude={"agents", "channels", "limits"}),
            "agents": frozenset(self.agents),
            "channels": None if self.channels is None else frozenset(self.channels),
            "limits": tuple(limit.terms() for limit in self.limits),
        }
        if before is None:
            return Terms(**{**given, "currency": self.currency or currency})
        given["currency"] = self.currency or before.currency
        return replace(before, **{name: value for name, value in given.items() if name in self.model_fields_set})


class CreatePlan(Input):
    model_config = example(
        slug="pro",
        name="Pro",
        terms={
            "price_minor": 1999,
            "currency": "EUR",
            "interval": "month",
            "agents": [v.AGENT],
            "limits": [{"metric": "calls", "amount": 500, "window": "month"}],
        },
    )
    slug: str = Field(max_length=60)
    name: str = Field(max_length=200)
    terms: TermsInput
    description: str = Field("", max_length=5000)
    public: bool = True
    default: bool = False
    position: int = Field(0, ge=0, le=1_000_000)


class ChangePlan(Input):
    model_config = example(terms={"price_minor": 2499})
    name: str | None = Field(None, max_length=200)
    description: str | None = Field(None, max_length=5000)
    public: bool | None = None
    default: bool | None = None
    position: int | None = Field(None, ge=0, le=1_000_000)
    terms: TermsInput | None = None


class LimitView(View):
    model_config = example(id=v.LIMIT, agent_id=None, channel=None)
    id: UUID
    metric: str
    amount: int
    window: str
    agent_id: UUID | None
    channel: str | None
    hard: bool


class PlanVersionView(View):
    model_config = example(
        id=v.PLAN_VERSION,
        number=1,
        price_minor=0,
        grace_days=3,
        all_agents=False,
        agents=[v.AGENT],
        channels=None,
        verified_email=False,
    )
    id: UUID
    number: int
    price_minor: int
    currency: str
    interval: str
    grace_days: int
    all_agents: bool
    agents: list[UUID]
    channels: list[str] | None
    verified_email: bool
    limits: list[LimitView]


class PlanView(View):
    model_config = example(id=v.PLAN, slug="free", name="Free", description="To try it.", public=True, default=True)
    id: UUID
    slug: str
    name: str
    description: str
    status: str
    public: bool
    default: bool
    position: int
    created_at: datetime
    version: PlanVersionView


class SubscribersView(View):
    model_config = example(version_id=v.PLAN_VERSION, number=1, subscribers=12)
    version_id: UUID
    number: int
    created_at: datetime
    subscribers: int


def routes(services: AdminServices) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/plans", tags=["admin: plans"])
    plans, channels = services.plans, services.channels

    @router.get("", response_model=Items[PlanView])
    async def list_plans(request: Request, archived: bool = False) -> dict[str, Any]:
        """Every plan."""
        return items(await plans.list(staff(request, "view").tenant.id, archived=archived))

    @router.post("", status_code=201, response_model=PlanView)
    async def create_plan(request: Request, body: CreatePlan) -> Any:
        """A new plan, with its first version."""
        caller = staff(request, "manage")
        plain = body.model_dump(exclude={"slug", "name", "terms"})
        with inside("terms", TermsInput.model_fields.__contains__):
            return await plans.create(
                caller, body.slug, body.name, body.terms.terms(caller.tenant.currency), channels=channels, **plain
            )

    @router.get("/{plan}", response_model=PlanView)
    async def get_plan(request: Request, plan: str) -> Any:
        """One plan, by id or short name."""
        return await plans.get(staff(request, "view").tenant.id, plan)

    @router.patch("/{plan_id}", response_model=PlanView)
    async def change_plan(request: Request, plan_id: str, body: ChangePlan) -> Any:
        """Change it; other terms are a new version."""
        caller = staff(request, "manage")
        plain = body.model_dump(exclude={"terms"}, exclude_unset=True)
        terms = None
        if body.terms is not None:
            before = Terms.of((await plans.get(caller.tenant.id, known_id(plan_id))).version)
            terms = body.terms.terms(caller.tenant.currency, before)
        with inside("terms", TermsInput.model_fields.__contains__):
            return await plans.update(caller, known_id(plan_id), terms=terms, channels=channels, **plain)

    @router.post("/{plan_id}/archive", response_model=PlanView)
    async def archive_plan(request: Request, plan_id: str) -> Any:
        """Sell it no more."""
        return await plans.archive(staff(request, "manage"), known_id(plan_id))

    @router.post("/{plan_id}/restore", response_model=PlanView)
    async def restore_plan(request: Request, plan_id: str) -> Any:
        """Sell it again."""
        return await plans.archive(staff(request, "manage"), known_id(plan_id), archived=False)

    @router.get("/{plan_id}/subscribers", response_model=Items[SubscribersView])
    async def plan_subscribers(request: Request, plan_id: str) -> dict[str, Any]:
        """How many are on each version."""
        return items(await plans.subscribers(staff(request, "view").tenant.id, known_id(plan_id)))

    return router
