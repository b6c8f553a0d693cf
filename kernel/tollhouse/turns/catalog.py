"""The agents that a tenant offers, each with the engine's word on whether this person may use it."""

from __future__ import annotations

from collections.abc import Sequence

from tollhouse.agents.service import AgentService
from tollhouse.host.caller import Caller
from tollhouse.plugin.ports import AgentInfo
from tollhouse.policy.engine import PolicyEngine


class AgentCatalog:
    """Lists agents. Who may use which is asked of the policy engine, never decided by a join."""

    def __init__(self, agents: AgentService, policy: PolicyEngine) -> None:
        self._agents = agents
        self._policy = policy

    async def offered(self, caller: Caller, channel: str | None = None) -> Sequence[AgentInfo]:
        """Published agents, marked with what the engine says; all allowed where nobody is signed in."""
        published = await self._agents.published(caller.tenant.id)
        verdicts = {}
        if caller.principal is not None:
            decisions = await self._policy.check_many(caller.principal, channel or caller.principal.channel)
            verdicts = {agent.id: decision for agent, decision in decisions}
        found = []
        for agent, modalities in published:
            verdict = verdicts.get(agent.id)
            found.append(
                AgentInfo(
                    id=str(agent.id),
                    slug=agent.slug,
                    name=agent.name,
                    description=agent.description,
                    welcome=agent.welcome,
                    modalities=modalities,
                    created_at=agent.created_at,
                    allowed=verdict.allowed if verdict else True,
                    reason=verdict.reason if verdict else "ok",
                )
            )
        return found
