"""Shapes of the public API around a person: account, sessions, keys, plans, subscriptions, usage."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from tollhouse.routes.common import Input, View


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"example": values})


class Register(Input):
    model_config = _example(email="ada@example.com", password="a long enough secret", name="Ada")  # noqa: S106 - an example
    email: str = Field(max_length=320)
    password: str = Field(max_length=1024)
    name: str = Field("", max_length=200)
    language: str | None = Field(None, max_length=35)


class Login(Input):
    model_config = _example(email="ada@example.com", password="a long enough secret")  # noqa: S106 - an example
    email: str = Field(max_length=320)
    password: str = Field(max_length=1024)


class Me(View):
    """Who a credential belongs to."""

    user_id: str
    tenant_id: str
    auth_provider: str
    channel: str
    email: str | None
    name: str | None
    roles: list[str]


class Token(View):
    """A new session for a program. The token is shown this once."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - a kind, not a secret
    expires_at: datetime
    user: Me


class Agent(View):
    id: str
    slug: str
    name: str
    description: str
    welcome: str
    modalities: list[str]
    created_at: datetime
    allowed: bool
    reason: str


class Price(View):
    minor: int = Field(description="Minor units of the currency.")
    currency: str


class PlanLimit(View):
    metric: str
    window: str
    amount: int
    text: str
    agent: str | None
    channel: str | None
    hard: bool


class Plan(View):
    id: str
    slug: str
    name: str
    description: str
    price: Price
    interval: str
    agents: list[str]
    channels: list[str] | None = Field(description="None: every channel.")
    limits: list[PlanLimit]
    version: int
    current: bool


class Subscription(View):
    id: str
    plan: str
    plan_name: str
    status: str
    price: Price
    interval: str
    period_start: datetime
    period_end: datetime | None
    cancel_at_period_end: bool
    created_at: datetime


class Order(View):
    id: str
    plan: str
    plan_name: str
    amount: Price
    state: str
    provider: str
    created_at: datetime
    instructions: str | None


class NextStep(View):
    kind: str
    url: str | None
    text: str | None


class Subscribe(Input):
    model_config = _example(plan="free")
    plan: str = Field(min_length=1, max_length=100)
    provider: str | None = Field(None, max_length=100)
    return_url: str = Field("", max_length=2000, description="Where the payment page comes back to: a path of this service.")


class SubscribeResult(View):
    """A subscription at once, or an order and what to do next."""

    subscription: Subscription | None
    order: Order | None
    next_action: NextStep | None


class Key(View):
    id: str
    name: str
    prefix: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class CreateKey(Input):
    model_config = _example(name="laptop")
    name: str = Field(min_length=1, max_length=100)
    scopes: list[str] = Field(default_factory=list, max_length=20)
    expires_at: datetime | None = None


class NewKey(Key):
    """``key`` is the secret, shown this once."""

    key: str


class Session(View):
    id: str
    kind: str
    user_agent: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    current: bool


class LimitStatus(View):
    """One limit and what is left of it."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "example": {
                "metric": "calls",
                "window": "day",
                "scope": {},
                "amount": 20,
                "used": 3,
                "held": 0,
                "remaining": 17,
                "resets_at": "2026-01-16T00:00:00Z",
                "hard": True,
            }
        },
    )
    metric: str
    window: str
    scope: dict[str, str]
    amount: int
    used: int
    held: int
    remaining: int
    resets_at: datetime | None
    hard: bool


class CheckPolicy(Input):
    """``channel`` may be named here, and here only: nothing is done."""

    model_config = _example(agent="guide", channel="api")
    agent: str = Field(min_length=1, max_length=200)
    channel: str | None = Field(None, max_length=50)
    metadata: dict[str, Any] = Field(default_factory=dict, max_length=50)


class Decision(View):
    """What a turn would be told now."""

    allowed: bool
    reason: str
    message: str
    limits: list[LimitStatus]
    plan: str | None
    upgrade_url: str | None
    retryable: bool
    retry_after: int | None
    warnings: list[str] = Field(description="Soft limits that are used up: the turn runs, and somebody should know.")
