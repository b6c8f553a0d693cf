"""The facts a decision rests on, read in one statement together with the lock on the caller's counters.

This is the single stated exception to "SQL of its owner": one read-only statement over tenants, users, credentials,
subscriptions, agents and connections. It locks the caller's running counters in their order, so that the numbers and the facts
are of one moment and stay true until the commit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from tollhouse.billing.entitlements import Override, Subscription
from tollhouse.billing.plans import PlanLimit
from tollhouse.plugin.access import Principal
from tollhouse.plugin.errors import Unauthenticated
from tollhouse.store.ids import parse_id
from tollhouse.store.sql import Statement
from tollhouse.usage.counters import Standing


@dataclass(frozen=True, slots=True)
class TenantFacts:
    """The tenant now. ``timezone`` is the one in force; ``daily_cost_cap`` in nano-units of model cost."""

    id: UUID
    slug: str
    name: str
    status: str
    timezone: str
    language: str
    currency: str
    daily_cost_cap: int | None


@dataclass(frozen=True, slots=True)
class UserFacts:
    """The person now."""

    id: UUID
    status: str
    verified: bool
    role: str | None
    name: str
    language: str | None


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """The agent now, with its active versions and their weights in version order."""

    id: UUID
    slug: str
    name: str
    status: str
    versions: tuple[tuple[UUID, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a decision rests on. ``connections`` maps the tenant's active model connections to their revisions."""

    now: datetime
    tenant: TenantFacts
    user: UserFacts
    agent: AgentFacts | None = None
    subscription: Subscription | None = None
    overrides: tuple[Override, ...] = ()
    connections: Mapping[UUID, int] = field(default_factory=dict)
    standings: Mapping[UUID, Standing] = field(default_factory=dict)
    live_runner: bool = True


_FACTS = """
WITH live AS MATERIALIZED (
    SELECT id, used, held FROM counters
    WHERE tenant_id = :tenant AND (user_id = :user_id {own}) AND window_end > app_now()
    ORDER BY user_id IS NULL, id {lock}
)
SELECT app_now() AS now,
    t.slug AS tenant_slug, t.name AS tenant_name, t.status AS tenant_status, t.timezone, t.next_timezone, t.next_timezone_from,
    t.language AS tenant_language, t.currency AS tenant_currency, t.daily_cost_cap,
    u.status AS user_status, u.email_verified_at IS NOT NULL AS verified, u.role, u.name AS user_name,
    u.language AS user_language,
    CASE :credential_kind::text
        WHEN 'api_key' THEN EXISTS (SELECT 1 FROM api_keys k WHERE k.tenant_id = :tenant AND k.id = :credential
            AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > app_now()))
        WHEN 'session' THEN EXISTS (SELECT 1 FROM sessions k WHERE k.tenant_id = :tenant AND k.id = :credential
            AND k.revoked_at IS NULL AND k.expires_at > app_now())
        ELSE true END AS credential_live,
    a.id AS agent_id, a.slug AS agent_slug, a.name AS agent_name, a.status AS agent_status, v.ids AS version_ids,
    v.weights AS version_weights,
    s.id AS subscription_id, s.plan_version_id, s.status AS subscription_status, s.period_start, s.period_end, s.anchor,
    s.timezone AS subscription_timezone, s.grace_until, s.cancel_at_period_end,
    (SELECT jsonb_agg(to_jsonb(o)) FROM subscription_overrides o WHERE o.tenant_id = :tenant AND o.subscription_id = s.id)
        AS overrides,
    l.ids AS connection_ids, l.revisions AS connection_revisions, c.ids AS counter_ids, c.used AS counter_used,
    c.held AS counter_held
FROM tenants t
JOIN users u ON u.tenant_id = t.id AND u.id = :user_id
LEFT JOIN agents a ON a.tenant_id = t.id AND (a.slug = :agent OR a.id = :agent_id)
LEFT JOIN LATERAL (SELECT array_agg(p.id ORDER BY p.number) AS ids, array_agg(p.weight ORDER BY p.number) AS weights
    FROM prompt_versions p WHERE p.tenant_id = t.id AND p.agent_id = a.id AND p.status = 'active') v ON true
LEFT JOIN subscriptions s ON s.tenant_id = t.id AND s.user_id = u.id AND s.status IN ('active', 'past_due', 'canceled')
CROSS JOIN LATERAL (SELECT array_agg(n.id) AS ids, array_agg(n.revision) AS revisions FROM connections n
    WHERE n.tenant_id = t.id AND n.kind = 'llm' AND n.status = 'active') l
CROSS JOIN (SELECT array_agg(id) AS ids, array_agg(used) AS used, array_agg(held) AS held FROM live) c
WHERE t.id = :tenant
"""

_OWN = "OR user_id IS NULL"
STATEMENTS = {
    (locked, capped): Statement(_FACTS.format(lock="FOR UPDATE" if locked else "", own=_OWN if capped else ""))
    for locked in (True, False)
    for capped in (True, False)
}

PUBLISHED = Statement(
    """
    SELECT id, slug, name, status FROM agents WHERE tenant_id = :tenant AND status = 'published' ORDER BY position, slug
    """
)


async def read_facts(conn: Any, principal: Principal, agent: str, *, lock: bool) -> Facts:
    """The facts for ``principal`` asking for ``agent`` (slug or id). ``lock``: hold the counters until commit.

    Raises:
        Unauthenticated: the person or the credential is gone since it was checked.
    """
    params = {
        "tenant": principal.tenant_id,
        "user_id": principal.user_id,
        "credential_kind": principal.credential_kind,
        "credential": principal.credential_id,
        "agent": agent,
        "agent_id": parse_id(agent),
    }
    row = await STATEMENTS[lock, False].row(conn, **params)
    if row is not None and row["daily_cost_cap"] is not None:
        # The tenant's own counter is a row that all its users share: it is locked only where a cap makes that necessary.
        # It comes after the person's own in everybody's order, so locking it second is in order.
        row = await STATEMENTS[lock, True].row(conn, **params)
    if row is None or not row["credential_live"]:
        raise Unauthenticated()
    return _facts(row, principal)


def _facts(row: Any, principal: Principal) -> Facts:
    moved = row["next_timezone_from"] is not None and row["next_timezone_from"] <= row["now"]
    return Facts(
        now=row["now"],
        tenant=TenantFacts(
            principal.tenant_id,
            row["tenant_slug"],
            row["tenant_name"],
            row["tenant_status"],
            row["next_timezone"] if moved else row["timezone"],
            row["tenant_language"],
            row["tenant_currency"],
            row["daily_cost_cap"],
        ),
        user=UserFacts(
            principal.user_id, row["user_status"], row["verified"], row["role"], row["user_name"], row["user_language"]
        ),
        agent=_agent(row),
        subscription=_subscription(row, principal),
        overrides=tuple(_override(raw) for raw in json.loads(row["overrides"])) if row["overrides"] else (),
        connections=dict(zip(row["connection_ids"] or (), row["connection_revisions"] or (), strict=True)),
        standings={
            key: Standing(used, held)
            for key, used, held in zip(
                row["counter_ids"] or (), row["counter_used"] or (), row["counter_held"] or (), strict=True
            )
        },
    )


def _agent(row: Any) -> AgentFacts | None:
    if row["agent_id"] is None:
        return None
    versions = tuple(zip(row["version_ids"] or (), row["version_weights"] or (), strict=True))
    return AgentFacts(row["agent_id"], row["agent_slug"], row["agent_name"], row["agent_status"], versions)


def _subscription(row: Any, principal: Principal) -> Subscription | None:
    if row["subscription_id"] is None:
        return None
    return Subscription(
        tenant_id=principal.tenant_id,
        id=row["subscription_id"],
        user_id=principal.user_id,
        plan_version_id=row["plan_version_id"],
        status=row["subscription_status"],
        period_start=row["period_start"],
        period_end=row["period_end"],
        anchor=row["anchor"],
        timezone=row["subscription_timezone"],
        grace_until=row["grace_until"],
        cancel_at_period_end=row["cancel_at_period_end"],
    )


def _override(raw: Mapping[str, Any]) -> Override:
    return Override(
        PlanLimit(
            UUID(raw["id"]),
            raw["metric"],
            raw["amount"],
            raw["window"],
            UUID(raw["agent_id"]) if raw["agent_id"] else None,
            raw["channel"],
            raw["hard"],
        ),
        raw["reason"],
    )
