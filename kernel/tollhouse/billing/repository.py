"""SQL of plans and their versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, false, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.agents.models import agents
from tollhouse.billing.models import limits, plan_agents, plan_versions, plans, subscriptions

Row = Mapping[Any, Any]
CURRENT = ("active", "past_due", "canceled")

_LOAD = text(
    """
    SELECT v.tenant_id, v.id, v.plan_id, p.slug, p.name, v.number, v.price_minor, v.currency, v.interval, v.grace_days,
           v.all_agents, v.verified_email, v.channels,
           ARRAY(SELECT a.agent_id FROM plan_agents a
                 WHERE a.tenant_id = v.tenant_id AND a.plan_version_id = v.id) AS agents,
           (SELECT coalesce(json_agg(json_build_object(
                       'id', l.id, 'metric', l.metric, 'amount', l.amount, 'window', l."window",
                       'agent_id', l.agent_id, 'channel', l.channel, 'hard', l.hard) ORDER BY l.id), '[]')
            FROM limits l WHERE l.tenant_id = v.tenant_id AND l.plan_version_id = v.id) AS limits
    FROM plan_versions v JOIN plans p ON p.tenant_id = v.tenant_id AND p.id = v.plan_id
    WHERE v.tenant_id = :tenant_id AND v.id = ANY(CAST(:ids AS uuid[]))
    """
)


_COST_LIMIT = text(
    """
    WITH current AS (SELECT id, plan_version_id FROM subscriptions
        WHERE tenant_id = :tenant_id AND status IN ('pending', 'active', 'past_due', 'canceled')),
    newest AS (SELECT DISTINCT ON (v.plan_id) v.id
        FROM plan_versions v JOIN plans p ON p.tenant_id = v.tenant_id AND p.id = v.plan_id
        WHERE v.tenant_id = :tenant_id AND p.status = 'active' ORDER BY v.plan_id, v.number DESC)
    SELECT p.name FROM limits l
    JOIN plan_versions v ON v.tenant_id = l.tenant_id AND v.id = l.plan_version_id
    JOIN plans p ON p.tenant_id = l.tenant_id AND p.id = v.plan_id
    WHERE l.tenant_id = :tenant_id AND l.metric = 'cost'
      AND l.plan_version_id IN (SELECT id FROM newest UNION ALL SELECT plan_version_id FROM current)
    UNION ALL
    SELECT NULL FROM subscription_overrides o
    WHERE o.tenant_id = :tenant_id AND o.metric = 'cost' AND o.subscription_id IN (SELECT id FROM current)
    LIMIT 1
    """
)


async def cost_limit_in_use(conn: AsyncConnection, tenant_id: UUID) -> str | None:
    """A limit of model cost that is on offer or that somebody has, in words; None if there is none."""
    found = (await conn.execute(_COST_LIMIT, {"tenant_id": tenant_id})).first()
    if found is None:
        return None
    return f"a limit of the plan {found.name}" if found.name is not None else "a subscriber's own limit"


async def load_versions(conn: AsyncConnection, tenant_id: UUID, ids: Sequence[UUID]) -> Sequence[Row]:
    """Whole versions, with their agents and limits, in one statement."""
    return (await conn.execute(_LOAD, {"tenant_id": tenant_id, "ids": list(ids)})).mappings().all()


async def list_plans(
    conn: AsyncConnection, tenant_id: UUID, *, on_offer: bool = False, archived: bool = False
) -> Sequence[Row]:
    """Plans in the tenant's order, each with the id of its newest version; ``on_offer``: public and active only."""
    statement = _with_newest(tenant_id)
    if on_offer:
        statement = statement.where(plans.c.public, plans.c.status == "active")
    elif not archived:
        statement = statement.where(plans.c.status == "active")
    return (await conn.execute(statement.order_by(plans.c.position, plans.c.id))).mappings().all()


async def get_plan(
    conn: AsyncConnection, tenant_id: UUID, *, plan_id: UUID | None = None, slug: str | None = None, lock: bool = False
) -> Row | None:
    """One plan by id or slug; ``lock``: nobody else changes it before this transaction ends."""
    match = plans.c.id == plan_id if plan_id is not None else plans.c.slug == slug
    if lock:
        await conn.execute(select(plans.c.id).where(plans.c.tenant_id == tenant_id, match).with_for_update())
    return (await conn.execute(_with_newest(tenant_id).where(match))).mappings().one_or_none()


def _with_newest(tenant_id: UUID) -> Any:
    newest = (
        select(plan_versions.c.id)
        .where(plan_versions.c.tenant_id == plans.c.tenant_id, plan_versions.c.plan_id == plans.c.id)
        .order_by(plan_versions.c.number.desc())
        .limit(1)
        .scalar_subquery()
    )
    return select(plans, newest.label("version_id")).where(plans.c.tenant_id == tenant_id)


async def insert_plan(conn: AsyncConnection, tenant_id: UUID, values: Mapping[str, Any]) -> None:
    await conn.execute(insert(plans).values(tenant_id=tenant_id, **values))


async def update_plan(conn: AsyncConnection, tenant_id: UUID, plan_id: UUID, values: Mapping[str, Any]) -> None:
    await conn.execute(update(plans).where(plans.c.tenant_id == tenant_id, plans.c.id == plan_id).values(**values))


async def clear_default(conn: AsyncConnection, tenant_id: UUID) -> None:
    """There is one default plan: another one is about to become it."""
    await conn.execute(update(plans).where(plans.c.tenant_id == tenant_id, plans.c.default).values(default=false()))


async def insert_version(
    conn: AsyncConnection, tenant_id: UUID, values: Mapping[str, Any], agent_rows: Sequence[Row], limit_rows: Sequence[Row]
) -> None:
    """Write a whole version; its number follows the plan's last (the caller holds the plan's lock)."""
    last = select(func.coalesce(func.max(plan_versions.c.number), 0) + 1).where(
        plan_versions.c.tenant_id == tenant_id, plan_versions.c.plan_id == values["plan_id"]
    )
    await conn.execute(insert(plan_versions).values(tenant_id=tenant_id, number=last.scalar_subquery(), **values))
    own = {"tenant_id": tenant_id, "plan_version_id": values["id"]}
    if agent_rows:
        await conn.execute(insert(plan_agents), [{**own, **row} for row in agent_rows])
    if limit_rows:
        await conn.execute(insert(limits), [{**own, **row} for row in limit_rows])


async def subscribers_by_version(conn: AsyncConnection, tenant_id: UUID, plan_id: UUID) -> Sequence[Row]:
    """Every version of a plan, newest first, and how many current subscriptions it has."""
    statement = (
        select(
            plan_versions.c.id,
            plan_versions.c.number,
            plan_versions.c.created_at,
            func.count(subscriptions.c.id).label("subscribers"),
        )
        .select_from(
            plan_versions.outerjoin(
                subscriptions,
                (subscriptions.c.tenant_id == plan_versions.c.tenant_id)
                & (subscriptions.c.plan_version_id == plan_versions.c.id)
                & subscriptions.c.status.in_(CURRENT),
            )
        )
        .where(plan_versions.c.tenant_id == tenant_id, plan_versions.c.plan_id == plan_id)
        .group_by(plan_versions.c.tenant_id, plan_versions.c.id)
        .order_by(plan_versions.c.number.desc())
    )
    return (await conn.execute(statement)).mappings().all()


async def agent_names(conn: AsyncConnection, tenant_id: UUID, ids: Sequence[UUID] | None = None) -> dict[UUID, Row]:
    """Slug, name and status of the tenant's agents (those in ``ids``, or all), by id."""
    statement = select(agents.c.id, agents.c.slug, agents.c.name, agents.c.status).where(agents.c.tenant_id == tenant_id)
    if ids is not None:
        statement = statement.where(agents.c.id.in_(bindparam("ids", list(ids), expanding=True)))
    return {row["id"]: row for row in (await conn.execute(statement.order_by(agents.c.position, agents.c.id))).mappings()}
