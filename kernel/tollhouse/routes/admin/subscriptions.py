"""``/api/v1/admin/subscriptions``."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field

from tollhouse.billing.admin import AdminSubscription, SubscriptionDetail
from tollhouse.billing.entitlements import Status
from tollhouse.routes import schemas as s
from tollhouse.routes.admin.access import staff
from tollhouse.routes.admin.plans import LimitInput, LimitView
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Cursor, Input, Items, Limit, View, items, known_id
from tollhouse.routes.vocabulary import example


class SubscriptionView(s.Subscription):
    user_id: UUID
    plan_number: int = Field(examples=[1], description="The version of the plan that was bought.")

    @classmethod
    def of(cls, found: AdminSubscription) -> SubscriptionView:
        """From the service's."""
        plain = s.Subscription.model_validate(found.subscription).model_dump()
        return cls(**plain, user_id=found.user_id, plan_number=found.plan_number)


class OverrideView(View):
    model_config = example(reason="Helped us to test")
    limit: LimitView
    reason: str


class DetailView(SubscriptionView):
    """With what it gives now: the plan's limits with this subscriber's overrides applied."""

    usable: bool = Field(examples=[True])
    reason: str
    until: datetime | None
    limits: list[LimitView]
    overrides: list[OverrideView]

    @classmethod
    def detail(cls, found: SubscriptionDetail) -> DetailView:
        """From the service's."""
        gives = found.entitlement
        return cls(
            **SubscriptionView.of(found.summary).model_dump(),
            usable=gives.usable,
            reason=gives.reason,
            until=gives.until,
            limits=[LimitView.model_validate(limit) for limit in gives.limits],
            overrides=[OverrideView.model_validate(override) for override in found.overrides],
        )


class SetOverrides(Input):
    """All of them at once; an empty list takes them back."""

    model_config = example(overrides=[{"metric": "calls", "amount": 100, "window": "day"}], reason="Helped us to test")
    overrides: list[LimitInput] = Field(max_length=50)
    reason: str = Field("", max_length=500)


class Extend(Input):
    model_config = example(periods=1)
    periods: int = Field(1, ge=1, le=120)


class End(Input):
    model_config = example(reason="Asked by mail")
    reason: str = Field("", max_length=500)


def routes(services: AdminServices) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/subscriptions", tags=["admin: subscriptions"])
    subscriptions = services.subscriptions

    @router.get("", response_model=Items[SubscriptionView])
    async def list_subscriptions(
        request: Request, status: Status | None = None, user_id: str | None = None, cursor: Cursor = None, limit: Limit = 50
    ) -> dict[str, Any]:
        """Subscriptions, newest first."""
        tenant_id = staff(request, "view").tenant.id
        user = known_id(user_id) if user_id is not None else None
        page = await subscriptions.subscriptions(tenant_id, status=status, user_id=user, cursor=cursor, limit=limit)
        return items([SubscriptionView.of(found) for found in page.items], page.next_cursor)

    @router.get("/{subscription_id}", response_model=DetailView)
    async def get_subscription(request: Request, subscription_id: str) -> DetailView:
        """One, with what it gives."""
        tenant_id = staff(request, "view").tenant.id
        return DetailView.detail(await subscriptions.detail(tenant_id, known_id(subscription_id)))

    @router.put("/{subscription_id}/overrides", response_model=s.Subscription)
    async def set_overrides(request: Request, subscription_id: str, body: SetOverrides) -> Any:
        """Give this one subscriber other limits."""
        caller = staff(request, "manage")
        given = [limit.terms() for limit in body.overrides]
        return await subscriptions.set_overrides(
            caller, known_id(subscription_id), given, body.reason, channels=services.channels or None
        )

    @router.post("/{subscription_id}/extend", response_model=s.Subscription)
    async def extend_subscription(request: Request, subscription_id: str, body: Extend) -> Any:
        """Give periods."""
        return await subscriptions.extend(staff(request, "manage"), known_id(subscription_id), body.periods)

    @router.post("/{subscription_id}/end", response_model=s.Subscription)
    async def end_subscription(request: Request, subscription_id: str, body: End) -> Any:
        """End it now."""
        return await subscriptions.end(staff(request, "manage"), known_id(subscription_id), body.reason)

    return router
