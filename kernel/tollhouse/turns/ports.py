"""The ports Turns, Usage and Catalog, as plugins see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from tollhouse.auth.roles import require_scope
from tollhouse.host.caller import Caller
from tollhouse.plugin.access import Decision, LimitStatus, Principal
from tollhouse.plugin.errors import ConfigError, NotFound
from tollhouse.plugin.ports import AgentInfo, PlanInfo, TurnRequest, TurnResult
from tollhouse.policy import reasons
from tollhouse.policy.engine import PolicyEngine
from tollhouse.turns.catalog import AgentCatalog
from tollhouse.turns.service import TurnService
from tollhouse.turns.shares import limits_for, shown_to

LIMITED = reasons.LIMIT.code
"""What one may use, only not now: such agents stay in the list, with this reason."""


class TurnsPort:
    """Talking to agents (``tollhouse.plugin.ports.Turns``)."""

    def __init__(self, service: TurnService, caller: Caller) -> None:
        self._service = service
        self._caller = caller

    async def run(self, request: TurnRequest) -> TurnResult:
        return await self._service.run(self._caller, request)

    async def get(self, turn_id: str) -> TurnResult:
        require_scope(self._known(), "turns", "read")
        return await self._service.get(self._caller, turn_id)

    async def check(self, agent: str, channel: str | None = None, metadata: Mapping[str, Any] | None = None) -> Decision:
        self._known()
        decision = await self._service.check(self._caller, agent, channel, metadata)
        return shown_to(self._caller.user, decision)

    def _known(self) -> Principal:
        if self._caller.remembered:
            raise ConfigError("a route that its mount names as `rechecked` can only run turns")
        return self._caller.user


class UsagePort:
    """What the caller used and has left (``tollhouse.plugin.ports.Usage``)."""

    def __init__(self, policy: PolicyEngine, caller: Caller) -> None:
        self._policy = policy
        self._caller = caller

    async def limits(self) -> Sequence[LimitStatus]:
        require_scope(self._caller.user, "read", "turns")
        return limits_for(self._caller.user, await self._policy.limits(self._caller.user))


Plans = Callable[[Caller], Awaitable[Sequence[PlanInfo]]]


class CatalogPort:
    """What this tenant offers to the caller (``tollhouse.plugin.ports.Catalog``)."""

    def __init__(self, agents: AgentCatalog, plans: Plans, caller: Caller) -> None:
        self._agents = agents
        self._plans = plans
        self._caller = caller

    async def agents(self, channel: str | None = None) -> Sequence[AgentInfo]:
        if self._caller.principal is not None:
            require_scope(self._caller.principal, "read", "turns")
        return [
            agent for agent in await self._agents.offered(self._caller, channel) if agent.allowed or agent.reason == LIMITED
        ]

    async def agent(self, name: str) -> AgentInfo:
        for agent in await self._agents.offered(self._caller):
            if name in (agent.slug, agent.id):
                return agent
        raise NotFound()

    async def plans(self) -> Sequence[PlanInfo]:
        return await self._plans(self._caller)
