"""Where money becomes rights: the one place. Pure, and right at any moment even if no periodic job has run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from tollhouse.billing.periods import Bounds, period_at
from tollhouse.records import record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tollhouse.billing.plans import PlanLimit, PlanVersion

Status = Literal["pending", "active", "past_due", "canceled", "ended"]
Reason = Literal["ok", "no_subscription", "subscription_pending", "subscription_ended", "payment_overdue"]


@record(frozen=True, slots=True)
class Subscription:
    """A user on a plan version. ``timezone`` is the zone that its periods are counted in, fixed when it began."""

    tenant_id: UUID
    id: UUID
    user_id: UUID
    plan_version_id: UUID
    status: Status
    period_start: datetime
    period_end: datetime | None
    anchor: datetime
    timezone: str = "UTC"
    grace_until: datetime | None = None
    cancel_at_period_end: bool = False
    connection_id: UUID | None = None
    provider: str | None = None
    provider_reference: str | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> Subscription:
        """From a row of the table ``subscriptions``."""
        return cls(**{name: row[name] for name in cls.__slots__})


@record(frozen=True, slots=True)
class Override:
    """What an admin gave one subscriber in place of (or beside) a limit of the plan."""

    limit: PlanLimit
    reason: str = ""


@record(frozen=True, slots=True)
class Entitlement:
    """What a subscription gives at one moment.

    ``status`` is the effective one, whether or not the stored one has caught up. ``limits`` are the plan's with the overrides
    applied. ``period`` bounds the window of the same name, ``anchor`` the one called lifetime. ``until``: when the rights end
    if nothing more is paid; None if they do not.
    """

    usable: bool
    reason: Reason
    status: Status
    limits: tuple[PlanLimit, ...] = ()
    period: Bounds | None = None
    anchor: datetime | None = None
    until: datetime | None = None


NOTHING = Entitlement(False, "no_subscription", "ended")


def entitlements(
    subscription: Subscription | None, plan_version: PlanVersion | None, overrides: Sequence[Override], at: datetime
) -> Entitlement:
    """The rights of ``subscription`` on ``plan_version`` at ``at``."""
    if subscription is None or plan_version is None:
        return NOTHING
    status, reason, until = standing(subscription, plan_version.grace_days, at)
    return Entitlement(
        reason == "ok",
        reason,
        status,
        effective_limits(plan_version.limits, overrides) if overrides else plan_version.limits,
        period_at(subscription.anchor, plan_version.interval, subscription.timezone, at),
        subscription.anchor,
        until,
    )


def effective_limits(limits: Sequence[PlanLimit], overrides: Sequence[Override]) -> tuple[PlanLimit, ...]:
    """The plan's limits, those with an override replaced by it, and the overrides that the plan has no limit for."""
    given = {override.limit.key: override.limit for override in overrides}
    own = {limit.key for limit in limits}
    kept = [given.get(limit.key, limit) for limit in limits]
    return (*kept, *(limit for key, limit in given.items() if key not in own))


def standing(subscription: Subscription, grace_days: int, at: datetime) -> tuple[Status, Reason, datetime | None]:
    """The effective status, whether it gives anything, and until when."""
    status, end = subscription.status, subscription.period_end
    if status == "pending":
        return "pending", "subscription_pending", None
    if status == "ended":
        return "ended", "subscription_ended", subscription.ended_at
    leaving = status == "canceled" or subscription.cancel_at_period_end
    if end is None:
        return ("canceled" if leaving else "active"), "ok", None
    if leaving:
        return ("canceled", "ok", end) if at < end else ("ended", "subscription_ended", end)
    grace = grace_end(subscription, grace_days)
    assert grace is not None
    if at < end:
        return "active", "ok", grace
    return ("past_due", "ok", grace) if at < grace else ("ended", "payment_overdue", grace)


def grace_end(subscription: Subscription, grace_days: int) -> datetime | None:
    """Until when an unpaid subscription still works; None for one without an end."""
    if subscription.grace_until is not None or subscription.period_end is None:
        return subscription.grace_until
    return subscription.period_end + timedelta(days=grace_days)
