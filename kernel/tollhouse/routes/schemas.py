"""Shapes of the public API around a person: account, sessions, keys, plans, subscriptions, usage."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from tollhouse.routes import vocabulary as v
from tollhouse.routes.common import Input, View
from tollhouse.routes.vocabulary import example, example_of


class Register(Input):
    model_config = example(email="ada@example.com", password="a long enough secret", name="Ada")  # noqa: S106 - an example
    email: str = Field(max_length=320)
    password: str = Field(max_length=1024)
    name: str = Field("", max_length=200)
    language: str | None = Field(None, max_length=35)


class Login(Input):
    model_config = example(email="ada@example.com", password="a long enough secret")  # noqa: S106 - an example
    email: str = Field(max_length=320)
    password: str = Field(max_length=1024)


class Me(View):
    """Who a credential belongs to."""

    model_config = example(auth_provider="password", name="Ada", roles=[])
    user_id: str
    tenant_id: str
    auth_provider: str
    channel: str
    email: str | None
    name: str | None
    roles: list[str]


class Token(View):
    """A new session for a program. The token is shown this once."""

    model_config = example(access_token="ths_4VqL…")  # noqa: S106 - an example
    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - a kind, not a secret
    expires_at: datetime
    user: Me


class Agent(View):
    model_config = example(id=v.AGENT, slug="guide", name="Guide", modalities=["text", "image"], allowed=True)
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
    model_config = example(minor=0)
    minor: int = Field(description="Minor units of the currency.")
    currency: str


class PlanLimit(View):
    model_config = example(text="20 messages a day", agent=None, channel=None)
    metric: str
    window: str
    amount: int
    text: str
    agent: str | None
    channel: str | None
    hard: bool


class Plan(View):
    model_config = example(
        id=v.PLAN, slug="free", name="Free", description="To try it.", agents=["guide"], channels=None, version=1, current=True
    )
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
    verified_email: bool = Field(False, description="Only for people whose e-mail address is confirmed.")


class Subscription(View):
    model_config = example(id=v.SUBSCRIPTION, cancel_at_period_end=False)
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
    model_config = example(
        id=v.ORDER,
        plan="pro",
        plan_name="Pro",
        amount={"minor": 1999, "currency": "EUR"},
        state="pending",
        provider="manual",
        instructions="Transfer 19.99 EUR to Acme, and say 7F3K.",
    )
    id: str
    plan: str
    plan_name: str
    amount: Price
    state: str
    provider: str
    created_at: datetime
    instructions: str | None


class NextStep(View):
    model_config = example(kind="instructions", url=None, text="Transfer 19.99 EUR to Acme, and say 7F3K.")
    kind: str
    url: str | None
    text: str | None


class Subscribe(Input):
    model_config = example(plan="free")
    plan: str = Field(min_length=1, max_length=100)
    provider: str | None = Field(None, max_length=100)
    return_url: str = Field("", max_length=2000, description="Where the payment page comes back to: a path of this service.")


class SubscribeResult(View):
    """A subscription at once, or an order and what to do next."""

    model_config = example(order=None, next_action=None)
    subscription: Subscription | None
    order: Order | None
    next_action: NextStep | None
    waiting: list[Order] = Field(
        default_factory=list,
        description="Other orders that wait for their payment. Nothing was done to them: withdraw what you do not want.",
    )


class Key(View):
    model_config = example(id=v.KEY, name="laptop", prefix="th_4VqL", scopes=["turns", "read"])
    id: str
    name: str
    prefix: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class CreateKey(Input):
    model_config = example(name="laptop")
    name: str = Field(min_length=1, max_length=100)
    scopes: list[str] = Field(default_factory=list, max_length=20)
    expires_at: datetime | None = None


class NewKey(Key):
    """``key`` is the secret, shown this once."""

    model_config = example(**{**example_of(Key), "key": "th_4VqL…", "last_used_at": None})
    key: str


class Session(View):
    model_config = example(id=v.SESSION, kind="bearer", user_agent="acme-app/2.1", current=True)
    id: str
    kind: str
    user_agent: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    current: bool


class LimitStatus(View):
    """One limit and what is left of it."""

    model_config = example(scope={}, amount=20, used=3, held=0, remaining=17)
    metric: str
    window: str
    scope: dict[str, str]
    amount: int
    used: int
    held: int
    remaining: int
    resets_at: datetime | None
    hard: bool
    unit: str = Field("count", description="`count`; of a limit of model cost, `percent` of it, or for staff the currency.")


class CheckPolicy(Input):
    """``channel`` may be named here, and here only: nothing is done."""

    model_config = example(agent="guide", channel="api")
    agent: str = Field(min_length=1, max_length=200)
    channel: str | None = Field(None, max_length=50)
    metadata: dict[str, Any] = Field(default_factory=dict, max_length=50)


class Decision(View):
    """What a turn would be told now."""

    model_config = example(allowed=True, message="", retryable=False)
    allowed: bool
    reason: str
    message: str
    limits: list[LimitStatus]
    plan: str | None
    upgrade_url: str | None
    retryable: bool
    retry_after: int | None
    warnings: list[str] = Field(description="Soft limits that are used up: the turn runs, and somebody should know.")
