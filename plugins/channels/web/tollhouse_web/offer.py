"""Every agent of a tenant, for somebody who may use only some of them."""

from __future__ import annotations

from collections.abc import Sequence

from tollhouse.plugin import AgentInfo, Catalog, NotFound, PlanInfo


async def all_agents(catalog: Catalog, plans: Sequence[PlanInfo]) -> list[AgentInfo]:
    """The allowed ones first, then those that the plans name: what one could have is worth showing, with its price."""
    found = {agent.id: agent for agent in await catalog.agents("web")}
    known = {key for agent in found.values() for key in (agent.id, agent.slug)}
    for name in dict.fromkeys(name for plan in plans for name in plan.agents if name not in known):
        try:
            agent = await catalog.agent(name)
        except NotFound:
            continue  # in a plan, but not published
        found.setdefault(agent.id, agent)
    return list(found.values())
