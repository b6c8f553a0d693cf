"""SQL of subscriptions, their overrides, and orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.auth.models import users
from tollhouse.billing.models import orders, plan_versions, plans, subscription_overrides, subscriptions
from tollhouse.billing.repository import CURRENT
from tollhouse.host.models import connections
from tollhouse.store.ids import new_id

Row = Mapping[Any, Any]

# One user's subscriptions and orders are changed by one transaction at a time.
_LOCK_USERS = text(
    """
    SELECT pg_advisory_xact_lock(hashtextextended(:tenant_id || ':' || u.id, 7404))
    FROM (SELECT unnest(CAST(:users AS text[])) AS id ORDER BY 1) u
    """
)
_ZONE = text("SELECT zone_at(t, app_now()) AS timezone, app_now() AS now FROM tenants t WHERE id = :tenant_id")
# Somebody who leaves a free plan and comes back (or takes another free one) continues where they were: no allowance is renewed.
_START_DEFAULT = text(
    """
    INSERT INTO subscriptions (tenant_id, id, user_id, plan_version_id, status, period_start, anchor, timezone)
    SELECT :tenant_id, n.id, n.user_id, v.id, 'active', app_now(), coalesce(f.anchor, app_now()), z.timezone
    FROM unnest(CAST(:ids AS uuid[]), CAST(:users AS uuid[])) AS n(id, user_id)
    CROSS JOIN (SELECT v.id FROM plan_versions v JOIN plans p ON p.tenant_id = v.tenant_id AND p.id = v.plan_id
                WHERE p.tenant_id = :tenant_id AND p."default" AND p.status = 'active'
                ORDER BY v.number DESC LIMIT 1) v
    CROSS JOIN (SELECT zone_at(t, app_now()) AS timezone FROM tenants t WHERE id = :tenant_id) z
    LEFT JOIN LATERAL (SELECT min(s.anchor) AS anchor
                       FROM subscriptions s JOIN plan_versions w ON w.tenant_id = s.tenant_id AND w.id = s.plan_version_id
                       WHERE s.tenant_id = :tenant_id AND s.user_id = n.user_id AND w.price_minor = 0) f ON true
    ON CONFLICT (tenant_id, user_id) WHERE status IN ('active', 'past_due', 'canceled') DO NOTHING
    RETURNING id, user_id
    """
)


async def lock_users(conn: AsyncConnection, tenant_id: UUID, users: Sequence[UUID]) -> None:
    """Wait until nobody else changes what these users bought, always in the same order. Held until the transaction ends."""
    await conn.execute(_LOCK_USERS, {"tenant_id": str(tenant_id), "users": [str(user) for user in users]})


async def zone_and_now(conn: AsyncConnection, tenant_id: UUID) -> tuple[str, datetime]:
    """The tenant's time zone in force, and the database's time."""
    row = (await conn.execute(_ZONE, {"tenant_id": tenant_id})).one()
    return row.timezone, row.now


async def start_default(conn: AsyncConnection, tenant_id: UUID, users: Sequence[UUID]) -> dict[UUID, UUID]:
    """Subscribe those of ``users`` who have no current subscription to the default plan: user -> subscription."""
    values = {"tenant_id": tenant_id, "ids": [new_id() for _ in users], "users": list(users)}
    return {row.user_id: row.id for row in await conn.execute(_START_DEFAULT, values)}


async def insert_subscription(conn: AsyncConnection, tenant_id: UUID, values: Mapping[str, Any]) -> None:
    await conn.execute(insert(subscriptions).values(tenant_id=tenant_id, **values))


async def update_subscription(conn: AsyncConnection, tenant_id: UUID, subscription_id: UUID, values: Mapping[str, Any]) -> None:
    statement = update(subscriptions).where(subscriptions.c.tenant_id == tenant_id, subscriptions.c.id == subscription_id)
    await conn.execute(statement.values(**values))


async def get_subscription(
    conn: AsyncConnection, tenant_id: UUID, subscription_id: UUID, user_id: UUID | None = None
) -> Row | None:
    """One subscription; with ``user_id`` only if it is this user's."""
    statement = _subscriptions(tenant_id).where(subscriptions.c.id == subscription_id)
    if user_id is not None:
        statement = statement.where(subscriptions.c.user_id == user_id)
    row: Row | None = (await conn.execute(statement)).mappings().one_or_none()
    return row


async def current_subscription(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> Row | None:
    """The user's one subscription that is not over (its time may be up all the same: see entitlements)."""
    statement = _subscriptions(tenant_id).where(subscriptions.c.user_id == user_id, subscriptions.c.status.in_(CURRENT))
    row: Row | None = (await conn.execute(statement)).mappings().one_or_none()
    return row


async def end_of_user(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> UUID | None:
    """End what a user is subscribed to, and say which; an order that waits for payment can be confirmed no more."""
    own = and_(subscriptions.c.tenant_id == tenant_id, subscriptions.c.user_id == user_id, subscriptions.c.status.in_(CURRENT))
    ended = update(subscriptions).where(own).values(status="ended", ended_at=func.app_now()).returning(subscriptions.c.id)
    subscription_id: UUID | None = (await conn.execute(ended)).scalar_one_or_none()
    waiting = and_(orders.c.tenant_id == tenant_id, orders.c.user_id == user_id, orders.c.state == "pending")
    await conn.execute(update(orders).where(waiting).values(state="canceled"))
    return subscription_id


_SUBSCRIBED = (
    "id",
    "plan",
    "plan_number",
    "price_minor",
    "currency",
    "interval",
    "status",
    "period_start",
    "period_end",
    "cancel_at_period_end",
    "provider",
    "provider_reference",
    "created_at",
    "ended_at",
)
_ORDERED = (
    "id",
    "plan",
    "amount_minor",
    "currency",
    "provider",
    "provider_reference",
    "state",
    "created_at",
    "paid_at",
    "closed_at",
)


async def everything_of(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> dict[str, Any]:
    """What a user bought and ordered, for an export."""
    bought = (await conn.execute(list_subscriptions(tenant_id, user_id).order_by(subscriptions.c.id))).mappings()
    ordered = (await conn.execute(list_orders(tenant_id, user_id).order_by(orders.c.id))).mappings()
    return {
        "subscriptions": [{name: row[name] for name in _SUBSCRIBED} for row in bought],
        "orders": [{name: row[name] for name in _ORDERED} for row in ordered],
    }


def list_subscriptions(tenant_id: UUID, user_id: UUID | None = None, status: str | None = None) -> Select[Any]:
    """Subscriptions with their plan's slug and name; not ordered."""
    statement = _subscriptions(tenant_id)
    if user_id is not None:
        statement = statement.where(subscriptions.c.user_id == user_id)
    return statement if status is None else statement.where(subscriptions.c.status == status)


def _subscriptions(tenant_id: UUID) -> Select[Any]:
    return (
        select(
            subscriptions,
            plans.c.id.label("plan_id"),
            plans.c.slug.label("plan"),
            plans.c.name.label("plan_name"),
            plan_versions.c.number.label("plan_number"),
            plan_versions.c.price_minor,
            plan_versions.c.currency,
            plan_versions.c.interval,
            plan_versions.c.grace_days,
        )
        .select_from(_with_plan(subscriptions))
        .where(subscriptions.c.tenant_id == tenant_id)
    )


def _with_plan(table: Any) -> Any:
    return table.join(
        plan_versions,
        (plan_versions.c.tenant_id == table.c.tenant_id) & (plan_versions.c.id == table.c.plan_version_id),
    ).join(plans, (plans.c.tenant_id == plan_versions.c.tenant_id) & (plans.c.id == plan_versions.c.plan_id))


async def has_verified_email(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> bool:
    """Whether a user's e-mail was confirmed."""
    statement = select(users.c.email_verified_at).where(users.c.tenant_id == tenant_id, users.c.id == user_id)
    return (await conn.execute(statement)).scalar() is not None


async def earliest_free_anchor(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> datetime | None:
    """When the user's free time began: see ``_START_DEFAULT``."""
    statement = (
        select(func.min(subscriptions.c.anchor))
        .select_from(_with_plan(subscriptions))
        .where(subscriptions.c.tenant_id == tenant_id, subscriptions.c.user_id == user_id, plan_versions.c.price_minor == 0)
    )
    found: datetime | None = (await conn.execute(statement)).scalar()
    return found


# -- overrides ----------------------------------------------------------------------------------------------------------


async def overrides_of(conn: AsyncConnection, tenant_id: UUID, subscription_id: UUID) -> Sequence[Row]:
    own = subscription_overrides.c
    statement = select(subscription_overrides).where(own.tenant_id == tenant_id, own.subscription_id == subscription_id)
    return (await conn.execute(statement.order_by(own.id))).mappings().all()


async def replace_overrides(conn: AsyncConnection, tenant_id: UUID, subscription_id: UUID, rows: Sequence[Row]) -> None:
    """These instead of all there were."""
    own = subscription_overrides.c
    await conn.execute(delete(subscription_overrides).where(own.tenant_id == tenant_id, own.subscription_id == subscription_id))
    if rows:
        keyed = {"tenant_id": tenant_id, "subscription_id": subscription_id}
        await conn.execute(insert(subscription_overrides), [{**keyed, **row} for row in rows])


# -- orders -------------------------------------------------------------------------------------------------------------


async def insert_order(conn: AsyncConnection, tenant_id: UUID, values: Mapping[str, Any]) -> None:
    await conn.execute(insert(orders).values(tenant_id=tenant_id, **values))


async def update_order(conn: AsyncConnection, tenant_id: UUID, order_id: UUID, values: Mapping[str, Any]) -> None:
    await conn.execute(update(orders).where(orders.c.tenant_id == tenant_id, orders.c.id == order_id).values(**values))


async def get_order(conn: AsyncConnection, tenant_id: UUID, order_id: UUID, user_id: UUID | None = None) -> Row | None:
    statement = list_orders(tenant_id, user_id).where(orders.c.id == order_id)
    row: Row | None = (await conn.execute(statement)).mappings().one_or_none()
    return row


def list_orders(tenant_id: UUID, user_id: UUID | None = None, state: str | None = None) -> Select[Any]:
    """Orders with their plan's slug and name; not ordered."""
    statement = (
        select(
            orders,
            plans.c.id.label("plan_id"),
            plans.c.slug.label("plan"),
            plans.c.name.label("plan_name"),
            plan_versions.c.interval,
        )
        .select_from(_with_plan(orders))
        .where(orders.c.tenant_id == tenant_id)
    )
    if user_id is not None:
        statement = statement.where(orders.c.user_id == user_id)
    return statement if state is None else statement.where(orders.c.state == state)


async def pending_orders(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> Sequence[Row]:
    statement = list_orders(tenant_id, user_id, "pending").order_by(orders.c.id.desc())
    found: Sequence[Row] = (await conn.execute(statement)).mappings().all()
    return found


async def payment_connections(conn: AsyncConnection, tenant_id: UUID) -> Sequence[Row]:
    """The tenant's usable payment connections."""
    statement = select(connections.c.id, connections.c.plugin, connections.c.name).where(
        connections.c.tenant_id == tenant_id, connections.c.kind == "payment", connections.c.status == "active"
    )
    return (await conn.execute(statement.order_by(connections.c.id))).mappings().all()
