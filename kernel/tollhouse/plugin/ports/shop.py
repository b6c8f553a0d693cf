"""What is sold, what somebody has bought, and what is left of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tollhouse.plugin.access import LimitStatus, Metric, Window
from tollhouse.plugin.content import Modality
from tollhouse.plugin.money import Money
from tollhouse.plugin.payments import NextAction, short_reference


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """An agent as users see it."""

    id: str
    slug: str
    name: str
    description: str
    welcome: str
    modalities: frozenset[Modality]
    created_at: datetime
    allowed: bool = True
    reason: str = "ok"


@dataclass(frozen=True, slots=True)
class LimitInfo:
    """One limit of a plan, and ``text``: the same in the reader's words. A limit of model cost has 100 percent."""

    metric: Metric
    window: Window
    amount: int
    text: str
    agent: str | None = None
    channel: str | None = None
    hard: bool = True


@dataclass(frozen=True, slots=True)
class PlanInfo:
    """A plan on offer, in its current version. ``channels`` None means every channel. ``verified_email``: only for people whose
    e-mail address is confirmed."""

    id: str
    slug: str
    name: str
    description: str
    price: Money
    interval: str
    agents: Sequence[str]
    channels: Sequence[str] | None
    limits: Sequence[LimitInfo]
    version: int
    current: bool = False
    verified_email: bool = False


class Catalog(Protocol):
    """What this tenant offers to this principal. Usable without a principal."""

    async def agents(self, channel: str | None = None) -> Sequence[AgentInfo]:
        """Published agents that the policy engine lets this principal use; all of them, marked, for nobody in particular."""
        ...

    async def agent(self, name: str) -> AgentInfo:
        """One published agent by slug or id."""
        ...

    async def plans(self) -> Sequence[PlanInfo]:
        """Public plans in the tenant's order."""
        ...


@dataclass(frozen=True, slots=True)
class SubscriptionInfo:
    """A subscription of the principal. ``status``: pending, active, past_due, canceled, ended."""

    id: str
    plan: str
    plan_name: str
    status: str
    price: Money
    interval: str
    period_start: datetime
    period_end: datetime | None
    cancel_at_period_end: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OrderInfo:
    """An order: what is to be paid before a subscription begins. ``state``: pending, paid, canceled, refunded."""

    id: str
    plan: str
    plan_name: str
    amount: Money
    state: str
    provider: str
    created_at: datetime
    instructions: str | None = None

    @property
    def reference(self) -> str:
        """A short name for people; see :func:`~tollhouse.plugin.short_reference`."""
        return short_reference(self.id)


@dataclass(frozen=True, slots=True)
class Subscribed:
    """What subscribing led to: a subscription at once, or an order and what the user does next. ``waiting``: other orders of
    theirs that wait for their payment; nothing was done to them."""

    subscription: SubscriptionInfo | None = None
    order: OrderInfo | None = None
    next_action: NextAction | None = None
    waiting: tuple[OrderInfo, ...] = ()


class Subscriptions(Protocol):
    """Plans bought."""

    async def list(self) -> Sequence[SubscriptionInfo]:
        """Newest first, ended ones too."""
        ...

    async def orders(self) -> Sequence[OrderInfo]:
        """The principal's orders, newest first."""
        ...

    async def subscribe(self, plan: str, provider: str | None = None, return_url: str = "") -> Subscribed:
        """Subscribe to a plan: at once if it is free, else through a payment provider.

        Raises:
            Conflict: ``already_subscribed``.
            InvalidInput: the provider is not one the tenant has connected.
        """
        ...

    async def cancel(self, subscription_id: str) -> SubscriptionInfo:
        """Do not renew: it runs to the end of its period. A free plan ends at once."""
        ...

    async def resume(self, subscription_id: str) -> SubscriptionInfo:
        """Take a cancellation back before the period ends."""
        ...

    async def cancel_order(self, order_id: str) -> OrderInfo:
        """Withdraw an order that is not paid yet."""
        ...


class Usage(Protocol):
    """What the principal used and has left."""

    async def limits(self) -> Sequence[LimitStatus]:
        """Every limit that applies now."""
        ...
