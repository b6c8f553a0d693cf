"""What several packages do with subscriptions inside a transaction of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.billing import subscription_repository as rows
from tollhouse.billing.entitlements import Override, Subscription
from tollhouse.billing.orders import Emit, begin_default
from tollhouse.billing.plans import PlanLimit


def starts_default(emit: Emit) -> Callable[[AsyncConnection, UUID, UUID], Awaitable[UUID | None]]:
    """:func:`start_default`, of which plugins are told."""

    async def start(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> UUID | None:
        return (await begin_default(conn, tenant_id, [user_id], emit)).get(user_id)

    return start


async def start_default(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> UUID | None:
    """Subscribe a user without a current subscription to the tenant's default plan.

    Returns the new subscription; None if there is no default plan, or the user has a subscription already. Safe to repeat.
    """
    return (await rows.start_default(conn, tenant_id, [user_id])).get(user_id)


async def current(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> Subscription | None:
    """The user's current subscription as stored; what it gives is the answer of ``entitlements``."""
    row = await rows.current_subscription(conn, tenant_id, user_id)
    return None if row is None else Subscription.of(row)


async def overrides(conn: AsyncConnection, tenant_id: UUID, subscription_id: UUID) -> tuple[Override, ...]:
    """What an admin gave this subscriber."""
    found = await rows.overrides_of(conn, tenant_id, subscription_id)
    return tuple(Override(PlanLimit.of(row), row["reason"]) for row in found)
