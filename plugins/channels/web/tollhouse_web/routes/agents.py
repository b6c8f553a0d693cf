"""Whom one can talk to, and what it takes to talk to the others."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tollhouse.plugin import Catalog, Turns, context_of
from tollhouse_web import site, views
from tollhouse_web.offer import all_agents

router = APIRouter(include_in_schema=False)


@router.get("/agents")
async def agents(request: Request) -> Response:
    """Allowed agents, then the others with the policy engine's reason."""
    ctx = context_of(request)
    catalog = ctx.port(Catalog)
    plans = await catalog.plans()
    found = await all_agents(catalog, plans)
    names = views.agent_names(found)
    locked = []
    for agent in found:
        if not agent.allowed:
            decision = await ctx.port(Turns).check(agent.slug)
            locked.append((agent, views.denial(decision, agent, plans, names)))
    return site.page(request, "agents.html", allowed=[agent for agent in found if agent.allowed], locked=locked)
