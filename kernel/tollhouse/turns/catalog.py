"""The agents that a tenant offers, each with the engine's word on whether this person may use it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select

from tollhouse.agents.models import agents, prompt_versions
from tollhouse.host.caller import Caller
from tollhouse.plugin.content import Modality
from tollhouse.plugin.ports import AgentInfo
from tollhouse.policy.engine import PolicyEngine
from tollhouse.store.store import Store


class AgentCatalog:
    """Lists agents. Who may use which is asked of the policy engine, never decided by a join."""

    def __init__(self, store: Store, policy: PolicyEngine) -> None:
        self._store = store
        self._policy = policy

    async def offered(self, caller: Caller, channel: str | None = None) -> Sequence[AgentInfo]:
        """Published agents, marked with what the engine says; all allowed where nobody is signed in."""
        found = await self._published(caller.tenant.id)
        if caller.principal is None:
            return found
        decisions = await self._policy.check_many(caller.principal, channel or caller.principal.channel)
        by_id = {str(agent.id): decision for agent, decision in decisions}
        marked = []
        for info in found:
            decision = by_id.get(info.id)
            if decision is not None:
                marked.append(_marked(info, decision.allowed, decision.reason))
        return marked

    async def _published(self, tenant_id: UUID) -> list[AgentInfo]:
        modalities = (
            select(func.jsonb_agg(prompt_versions.c.spec["modalities"]))
            .where(
                prompt_versions.c.tenant_id == agents.c.tenant_id,
                prompt_versions.c.agent_id == agents.c.id,
                prompt_versions.c.status == "active",
            )
            .scalar_subquery()
        )
        statement = (
            select(agents, modalities.label("modalities"))
            .where(agents.c.tenant_id == tenant_id, agents.c.status == "published")
            .order_by(agents.c.position, agents.c.slug)
        )
        async with self._store.transaction(tenant_id) as conn:
            rows = (await conn.execute(statement)).mappings().all()
        return [
            AgentInfo(
                id=str(row["id"]),
                slug=row["slug"],
                name=row["name"],
                description=row["description"],
                welcome=row["welcome"],
                modalities=_union(row["modalities"]),
                created_at=row["created_at"],
            )
            for row in rows
        ]


def _union(lists: Sequence[Sequence[Modality] | None] | None) -> frozenset[Modality]:
    """What at least one active version takes; text where nothing is said."""
    return frozenset(kind for kinds in lists or () for kind in kinds or ("text",))


def _marked(info: AgentInfo, allowed: bool, reason: str) -> AgentInfo:
    return AgentInfo(
        info.id, info.slug, info.name, info.description, info.welcome, info.modalities, info.created_at, allowed, reason
    )
