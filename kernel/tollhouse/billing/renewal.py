"""The periodic job that writes down what time has done to subscriptions, and asks for the next payment.

Rights never wait for it: ``entitlements`` computes them from the times. The job stores the same outcome, makes the orders that
renew, and lets the default plan begin where a paid one is over. It can run at any time, twice, and in several processes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.billing import subscription_repository as rows
from tollhouse.billing.orders import Emit, begin_default, changed, no_event
from tollhouse.store.ids import new_id

if TYPE_CHECKING:
    from tollhouse.store.store import Store

BATCH = 200

_TENANTS = text(
    """
    SELECT DISTINCT tenant_id FROM subscriptions
    WHERE (status IN ('active', 'canceled') AND period_end <= coalesce(CAST(:now AS timestamptz), app_now()))
       OR (status = 'past_due' AND grace_until <= coalesce(CAST(:now AS timestamptz), app_now()))
    """
)
_DUE = text(
    """
    SELECT DISTINCT user_id FROM subscriptions
    WHERE tenant_id = :tenant_id
      AND ((status IN ('active', 'canceled') AND period_end <= coalesce(CAST(:now AS timestamptz), app_now()))
           OR (status = 'past_due' AND grace_until <= coalesce(CAST(:now AS timestamptz), app_now())))
    ORDER BY user_id LIMIT :batch
    """
)
_END = text(
    """
    UPDATE subscriptions s SET status = 'ended', ended_at = CASE WHEN status = 'past_due' THEN grace_until ELSE period_end END
    WHERE tenant_id = :tenant_id AND user_id = ANY(CAST(:users AS uuid[]))
      AND ((period_end <= coalesce(CAST(:now AS timestamptz), app_now())
            AND (status = 'canceled' OR (status = 'active' AND cancel_at_period_end)))
           OR (status = 'past_due' AND grace_until <= coalesce(CAST(:now AS timestamptz), app_now())))
    RETURNING id, user_id
    """
)
_PAST_DUE = text(
    """
    UPDATE subscriptions s SET status = 'past_due', grace_until = s.period_end + make_interval(days => v.grace_days::int)
    FROM plan_versions v
    WHERE v.tenant_id = s.tenant_id AND v.id = s.plan_version_id AND s.tenant_id = :tenant_id
      AND s.user_id = ANY(CAST(:users AS uuid[])) AND s.status = 'active' AND NOT s.cancel_at_period_end
      AND s.period_end <= coalesce(CAST(:now AS timestamptz), app_now())
    RETURNING s.id, s.user_id, s.plan_version_id, s.connection_id, s.provider, v.price_minor, v.currency
    """
)
_ORDER = text(
    """
    INSERT INTO orders (tenant_id, id, user_id, plan_version_id, subscription_id, amount_minor, currency, provider,
                        connection_id)
    SELECT CAST(:tenant_id AS uuid), CAST(:id AS uuid), CAST(:user_id AS uuid), CAST(:plan_version_id AS uuid),
           CAST(:subscription_id AS uuid), CAST(:amount_minor AS bigint), CAST(:currency AS text), CAST(:provider AS text),
           CAST(:connection_id AS uuid)
    WHERE NOT EXISTS (SELECT 1 FROM orders WHERE tenant_id = :tenant_id AND user_id = :user_id AND state = 'pending'
                      AND plan_version_id = :plan_version_id)
    """
)


@dataclass(slots=True)
class Renewed:
    """What one run did."""

    past_due: int = 0
    ended: int = 0
    defaults: int = 0


async def renew_due(
    store: Store, now: datetime | None = None, *, self_renewing: Collection[str] = (), emit: Emit = no_event
) -> Renewed:
    """Bring every tenant's subscriptions up to ``now`` (the database's time if None).

    ``self_renewing``: names of providers that charge by themselves, so that nobody is asked to pay twice.
    """
    async with store.operator() as conn:
        tenants = (await conn.execute(_TENANTS, {"now": now})).scalars().all()
    done = Renewed()
    for tenant_id in tenants:
        one = await renew_tenant(store, tenant_id, now, self_renewing=self_renewing, emit=emit)
        done = Renewed(done.past_due + one.past_due, done.ended + one.ended, done.defaults + one.defaults)
    return done


async def renew_tenant(
    store: Store, tenant_id: UUID, now: datetime | None = None, *, self_renewing: Collection[str] = (), emit: Emit = no_event
) -> Renewed:
    """:func:`renew_due` for one tenant."""
    done = Renewed()
    while await _renew_batch(store, tenant_id, now, done, self_renewing, emit):
        pass
    return done


async def _renew_batch(
    store: Store, tenant_id: UUID, now: datetime | None, done: Renewed, self_renewing: Collection[str], emit: Emit
) -> bool:
    """A few hundred users in one transaction; whether there may be more."""
    async with store.transaction(tenant_id) as conn:
        found = await conn.execute(_DUE, {"tenant_id": tenant_id, "now": now, "batch": BATCH})
        users = list(found.scalars())
        if not users:
            return False
        await rows.lock_users(conn, tenant_id, users)
        values = {"tenant_id": tenant_id, "users": users, "now": now}
        late = (await conn.execute(_PAST_DUE, values)).mappings().all()
        done.past_due += len(late)
        for row in late:
            if row["provider"] not in self_renewing:
                await _ask_for_payment(conn, tenant_id, row)
            await changed(conn, tenant_id, row, "past_due", emit)
        # A grace that is over by now ends in the same run.
        over = (await conn.execute(_END, values)).mappings().all()
        done.ended += len(over)
        for row in over:
            await changed(conn, tenant_id, row, "ended", emit)
        done.defaults += len(await begin_default(conn, tenant_id, [row["user_id"] for row in over], emit))
    return len(users) == BATCH


async def _ask_for_payment(conn: AsyncConnection, tenant_id: UUID, row: rows.Row) -> None:
    """A new order, if the last payment came through a provider; nobody is asked who got the plan as a present."""
    if row["provider"] is None or row["price_minor"] == 0:
        return
    values: dict[str, Any] = {
        "tenant_id": tenant_id,
        "id": new_id(),
        "user_id": row["user_id"],
        "plan_version_id": row["plan_version_id"],
        "subscription_id": row["id"],
        "amount_minor": row["price_minor"],
        "currency": row["currency"],
        "provider": row["provider"],
        "connection_id": row["connection_id"],
    }
    await conn.execute(_ORDER, values)
