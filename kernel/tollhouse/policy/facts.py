"""The facts that decisions rest on, read in one transaction together with the lock on the callers' counters.

This is the single stated exception to "SQL of its owner": three read-only statements over tenants, agents and connections;
users, credentials and subscriptions; and, last, counters. The running counters are locked in their order, so that the numbers
stay true until the commit. Several people of one tenant may ask at once: their turns are admitted together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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


TENANT = Statement(
    """
    SELECT app_now() AS now,
        t.slug AS tenant_slug, t.name AS tenant_name, t.status AS tenant_status, t.timezone, t.next_timezone,
        t.next_timezone_from, t.language AS tenant_language, t.currency AS tenant_currency, t.daily_cost_cap,
        l.ids AS connection_ids, l.revisions AS connection_revisions,
        a.id AS agent_id, a.slug AS agent_slug, a.name AS agent_name, a.status AS agent_status, v.ids AS version_ids,
        v.weights AS version_weights
    FROM tenants t
    CROSS JOIN LATERAL (SELECT array_agg(n.id) AS ids, array_agg(n.revision) AS revisions FROM connections n
        WHERE n.tenant_id = t.id AND n.kind = 'llm' AND n.status = 'active') l
    LEFT JOIN agents a ON a.tenant_id = t.id AND (a.slug = ANY(:agents::text[]) OR a.id = ANY(:agent_ids::uuid[]))
    LEFT JOIN LATERAL (SELECT array_agg(p.id ORDER BY p.number) AS ids, array_agg(p.weight ORDER BY p.number) AS weights
        FROM prompt_versions p WHERE p.tenant_id = t.id AND p.agent_id = a.id AND p.status = 'active') v ON true
    WHERE t.id = :tenant
    """
)
"""The tenant with each agent that is asked for: a row for each, and one without an agent if none of them exists."""

PEOPLE = Statement(
    """
    SELECT x.place, u.status AS user_status, u.email_verified_at IS NOT NULL AS verified, u.role, u.name AS user_name,
        u.language AS user_language,
        CASE x.kind
            WHEN 'api_key' THEN EXISTS (SELECT 1 FROM api_keys k WHERE k.tenant_id = :tenant AND k.id = x.credential
                AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > app_now()))
            WHEN 'session' THEN EXISTS (SELECT 1 FROM sessions k WHERE k.tenant_id = :tenant AND k.id = x.credential
                AND k.revoked_at IS NULL AND k.expires_at > app_now())
            ELSE true END AS credential_live,
        s.id AS subscription_id, s.plan_version_id, s.status AS subscription_status, s.period_start, s.period_end, s.anchor,
        s.timezone AS subscription_timezone, s.grace_until, s.cancel_at_period_end,
        (SELECT jsonb_agg(to_jsonb(o)) FROM subscription_overrides o WHERE o.tenant_id = :tenant AND o.subscription_id = s.id)
            AS overrides
    FROM unnest(:users::uuid[], :kinds::text[], :credentials::uuid[]) WITH ORDINALITY AS x(user_id, kind, credential, place)
    JOIN users u ON u.id = x.user_id
    LEFT JOIN subscriptions s ON s.tenant_id = :tenant AND s.user_id = ANY(:users::uuid[]) AND s.user_id = u.id
        AND s.status IN ('active', 'past_due', 'canceled')
    WHERE u.tenant_id = :tenant AND u.id = ANY(:users::uuid[])
    """
)
"""One row for each person that is still there; ``place`` counts from 1."""

_COUNTERS = """
    SELECT id, used, held FROM counters
    WHERE tenant_id = :tenant AND (user_id = ANY(:users::uuid[]) {own}) AND window_end > app_now()
    ORDER BY user_id IS NULL, id {lock}
"""
_OWN = "OR user_id IS NULL"
COUNTERS = {
    (locked, capped): Statement(_COUNTERS.format(lock="FOR UPDATE" if locked else "", own=_OWN if capped else ""))
    for locked in (True, False)
    for capped in (True, False)
}
"""By (locked, with the tenant's own). The tenant's own counter is a row that all its users share: it is locked only where a cap
makes that necessary."""

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
    names = {agent for _, agent in asked}
    rows = await TENANT.rows(
        conn, tenant=tenant_id, agents=list(names), agent_ids=[key for name in names if (key := parse_id(name)) is not None]
    )
    if not rows:
        return [None] * len(asked)
    users = [principal.user_id for principal, _ in asked]
    capped = rows[0]["daily_cost_cap"] is not None
    people = await PEOPLE.rows(
        conn,
        tenant=tenant_id,
        users=users,
        kinds=[principal.credential_kind for principal, _ in asked],
        credentials=[principal.credential_id for principal, _ in asked],
    )
    counters = await COUNTERS[lock, capped].rows(conn, tenant=tenant_id, users=list(set(users)))
    standings = {row["id"]: Standing(row["used"], row["held"]) for row in counters}
    shared = _Shared.of(tenant_id, rows, standings)
    found: list[Facts | None] = [None] * len(asked)
    for row in people:
        if row["credential_live"]:
            place = row["place"] - 1
            principal, agent = asked[place]
            found[place] = shared.facts(row, principal, agent)
    return found


@dataclass(frozen=True, slots=True)
class _Shared:
    """What is the same for everybody who asks at one moment."""

    now: datetime
    tenant: TenantFacts
    agents: Mapping[str | UUID | None, AgentFacts]
    connections: Mapping[UUID, int]
    standings: dict[UUID, Standing]

    @classmethod
    def of(cls, tenant_id: UUID, rows: Sequence[Any], standings: dict[UUID, Standing]) -> _Shared:
        row = rows[0]
        found = [agent for agent in map(_agent, rows) if agent is not None]
        agents: dict[str | UUID | None, AgentFacts] = {agent.id: agent for agent in found}
        agents |= {agent.slug: agent for agent in found}
        connections = dict(zip(row["connection_ids"] or (), row["connection_revisions"] or (), strict=True))
        return cls(row["now"], _tenant(tenant_id, row), agents, connections, standings)

    def facts(self, row: Any, principal: Principal, agent: str) -> Facts:
        """The facts of one person; ``row`` is theirs."""
        return Facts(
            now=self.now,
            tenant=self.tenant,
            user=UserFacts(
                principal.user_id, row["user_status"], row["verified"], row["role"], row["user_name"], row["user_language"]
            ),
            agent=self.agents.get(agent) or self.agents.get(parse_id(agent)),
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
