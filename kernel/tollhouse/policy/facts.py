"""The facts that decisions rest on, read in one transaction together with the lock on the callers' counters.

This is the single stated exception to "SQL of its owner": one read-only statement over tenants, users, credentials,
subscriptions, agents and connections. It locks the callers' running counters in their order, so that the numbers and the facts
are of one moment and stay true until the commit. Several people of one tenant may ask at once: their turns are admitted
together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any
from uuid import UUID

from tollhouse.billing.entitlements import Override, Subscription
from tollhouse.billing.plans import PlanLimit
from tollhouse.plugin.access import Principal
from tollhouse.plugin.errors import Unauthenticated
from tollhouse.records import record
from tollhouse.store.ids import parse_id
from tollhouse.store.sql import Rows, Statement
from tollhouse.usage.counters import Standing


@record(frozen=True, slots=True)
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
    cost_currency: str = "USD"
    price_revision: int = 0


@record(frozen=True, slots=True)
class UserFacts:
    """The person now. ``scopes``: what their credential is meant for, ``*`` for everything."""

    id: UUID
    status: str
    verified: bool
    role: str | None
    name: str
    language: str | None
    scopes: tuple[str, ...] = ("*",)


@record(frozen=True, slots=True)
class AgentFacts:
    """The agent now, with its active versions and their weights in version order."""

    id: UUID
    slug: str
    name: str
    status: str
    versions: tuple[tuple[UUID, int], ...] = ()


@record(frozen=True, slots=True)
class Facts:
    """Everything a decision rests on. ``connections`` maps the tenant's active model connections to their revisions.

    ``standings`` holds the running counters by id; those of others who ask at the same time may be among them.
    """

    now: datetime
    tenant: TenantFacts
    user: UserFacts
    agent: AgentFacts | None = None
    subscription: Subscription | None = None
    overrides: tuple[Override, ...] = ()
    connections: Mapping[UUID, int] = field(default_factory=dict)
    standings: dict[UUID, Standing] = field(default_factory=dict)


CREDENTIAL = """
    CASE x.kind
        WHEN 'api_key' THEN (SELECT coalesce(k.scopes, ARRAY['*']) FROM api_keys k WHERE k.tenant_id = :tenant
            AND k.id = x.credential AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > app_now()))
        WHEN 'session' THEN (SELECT ARRAY['*'] FROM sessions k WHERE k.tenant_id = :tenant AND k.id = x.credential
            AND k.revoked_at IS NULL AND k.expires_at > app_now())
        ELSE ARRAY['*'] END"""
"""What the credential of ``x`` is meant for at this moment, ``*`` for everything; null if it has ended."""

ASKED = Rows("asked", place="bigint", user_id="uuid", kind="text", credential="uuid", agent="text", agent_id="uuid")
_FACTS = f"""
WITH {ASKED.cte},
live AS MATERIALIZED (
    SELECT id, user_id, used, held FROM counters
    WHERE tenant_id = :tenant AND user_id = ANY(ARRAY(SELECT user_id FROM asked)) AND window_end > app_now()
    ORDER BY id {{lock}}
),
offered AS MATERIALIZED (
    SELECT a.id, a.slug, a.name, a.status, v.ids, v.weights
    FROM agents a
    CROSS JOIN LATERAL (SELECT array_agg(p.id ORDER BY p.number) AS ids, array_agg(p.weight ORDER BY p.number) AS weights
        FROM prompt_versions p WHERE p.tenant_id = a.tenant_id AND p.agent_id = a.id AND p.status = 'active') v
    WHERE a.tenant_id = :tenant
      AND (a.slug = ANY(ARRAY(SELECT agent FROM asked)) OR a.id = ANY(ARRAY(SELECT agent_id FROM asked)))
)
SELECT x.place, app_now() AS now,
    t.slug AS tenant_slug, t.name AS tenant_name, t.status AS tenant_status, t.timezone, t.next_timezone, t.next_timezone_from,
    t.language AS tenant_language, t.currency AS tenant_currency, t.cost_currency, t.price_revision,
    t.daily_cost_cap,
    u.status AS user_status, u.email_verified_at IS NOT NULL AS verified, u.role, u.name AS user_name,
    u.language AS user_language,
    {CREDENTIAL} AS scopes,
    a.id AS agent_id, a.slug AS agent_slug, a.name AS agent_name, a.status AS agent_status, a.ids AS version_ids,
    a.weights AS version_weights,
    s.id AS subscription_id, s.plan_version_id, s.status AS subscription_status, s.period_start, s.period_end, s.anchor,
    s.timezone AS subscription_timezone, s.grace_until, s.cancel_at_period_end,
    (SELECT jsonb_agg(to_jsonb(o)) FROM subscription_overrides o WHERE o.tenant_id = :tenant AND o.subscription_id = s.id)
        AS overrides,
    n.ids AS connection_ids, n.revisions AS connection_revisions,
    c.ids AS counter_ids, c.used AS counter_used, c.held AS counter_held
FROM asked x
JOIN tenants t ON t.id = :tenant
JOIN users u ON u.tenant_id = :tenant AND u.id = ANY(ARRAY(SELECT user_id FROM asked)) AND u.id = x.user_id
CROSS JOIN (SELECT array_agg(id) AS ids, array_agg(revision) AS revisions FROM connections
    WHERE tenant_id = :tenant AND kind = 'llm' AND status = 'active') n
LEFT JOIN LATERAL (SELECT * FROM offered o WHERE o.slug = x.agent OR o.id = x.agent_id ORDER BY o.slug = x.agent DESC LIMIT 1) a
    ON true
LEFT JOIN subscriptions s ON s.tenant_id = :tenant AND s.user_id = ANY(ARRAY(SELECT user_id FROM asked)) AND s.user_id = u.id
    AND s.status IN ('active', 'past_due', 'canceled')
CROSS JOIN LATERAL (SELECT array_agg(id) AS ids, array_agg(used) AS used, array_agg(held) AS held FROM live
    WHERE live.user_id = u.id) c
"""
FACTS = {locked: Statement(_FACTS.format(lock="FOR UPDATE" if locked else "")) for locked in (True, False)}
"""One row for each who asks and is still there. By whether their counters are locked."""

_OWN = """
    SELECT id, used, held FROM counters
    WHERE tenant_id = :tenant AND user_id IS NULL AND window_end > app_now() ORDER BY id {lock}
"""
OWN = {locked: Statement(_OWN.format(lock="FOR UPDATE" if locked else "")) for locked in (True, False)}
"""The tenant's own counter is a row that all its users share: it is read only where a cap makes that necessary. It comes after
the people's own in everybody's order of locking."""

PUBLISHED = Statement(
    """
    SELECT id, slug, name, status FROM agents WHERE tenant_id = :tenant AND status = 'published' ORDER BY position, slug
    """
)


async def read_facts(conn: Any, principal: Principal, agent: str) -> Facts:
    """The facts for ``principal`` asking for ``agent`` (slug or id), with nothing locked.

    Raises:
        Unauthenticated: the person or the credential is gone since it was checked.
    """
    (found,) = await read_all_facts(conn, principal.tenant_id, [(principal, agent)], lock=False)
    if found is None:
        raise Unauthenticated()
    return found


async def read_all_facts(
    conn: Any, tenant_id: UUID, asked: Sequence[tuple[Principal, str]], *, lock: bool
) -> list[Facts | None]:
    """The facts for each who asks for an agent; None where the person or the credential is gone since it was checked.

    ``lock``: hold all their counters until the commit. All facts share one dictionary of standings, so that who writes down
    what the first of them sets aside changes what the next one sees.
    """
    rows = await FACTS[lock].rows(
        conn, tenant=tenant_id, **ASKED.params([_asked(place, *one) for place, one in enumerate(asked)])
    )
    found: list[Facts | None] = [None] * len(asked)
    if not rows:
        return found
    shared = _Shared(tenant_id, rows[0])
    if shared.tenant.daily_cost_cap is not None:
        for row in await OWN[lock].rows(conn, tenant=tenant_id):
            shared.standings[row["id"]] = Standing(row["used"], row["held"])
    for row in rows:
        if row["scopes"] is not None:
            found[row["place"]] = shared.facts(row, asked[row["place"]][0])
    return found


def _asked(place: int, principal: Principal, agent: str) -> dict[str, Any]:
    return {
        "place": place,
        "user_id": principal.user_id,
        "kind": principal.credential_kind,
        "credential": principal.credential_id,
        "agent": agent,
        "agent_id": parse_id(agent),
    }


class _Shared:
    """What is the same for everybody who asks at one moment, read off the first row."""

    def __init__(self, tenant_id: UUID, row: Any) -> None:
        self.now: datetime = row["now"]
        self.tenant = _tenant(tenant_id, row)
        self.connections = dict(zip(row["connection_ids"] or (), row["connection_revisions"] or (), strict=True))
        self.standings: dict[UUID, Standing] = {}
        self._agents: dict[UUID | None, AgentFacts | None] = {}

    def facts(self, row: Any, principal: Principal) -> Facts:
        """The facts of one person; ``row`` is theirs."""
        agent_id = row["agent_id"]
        if agent_id not in self._agents:
            self._agents[agent_id] = _agent(row)
        for key, used, held in zip(row["counter_ids"] or (), row["counter_used"] or (), row["counter_held"] or (), strict=True):
            self.standings[key] = Standing(used, held)
        return Facts(
            now=self.now,
            tenant=self.tenant,
            user=UserFacts(
                principal.user_id,
                row["user_status"],
                row["verified"],
                row["role"],
                row["user_name"],
                row["user_language"],
                tuple(row["scopes"]),
            ),
            agent=self._agents[agent_id],
            subscription=_subscription(row, principal),
            overrides=tuple(_override(raw) for raw in json.loads(row["overrides"])) if row["overrides"] else (),
            connections=self.connections,
            standings=self.standings,
        )


def _tenant(tenant_id: UUID, row: Any) -> TenantFacts:
    moved = row["next_timezone_from"] is not None and row["next_timezone_from"] <= row["now"]
    return TenantFacts(
        tenant_id,
        row["tenant_slug"],
        row["tenant_name"],
        row["tenant_status"],
        row["next_timezone"] if moved else row["timezone"],
        row["tenant_language"],
        row["tenant_currency"],
        row["daily_cost_cap"],
        row["cost_currency"],
        row["price_revision"],
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
