"""The tenant's face to strangers."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tollhouse.plugin import Catalog, context_of
from tollhouse_web import site, views, words

router = APIRouter(include_in_schema=False)


@router.get("/")
async def landing(request: Request) -> Response:
    """What is offered, and the way in. Who is signed in goes on to the chats."""
    ctx = context_of(request)
    if ctx.principal is not None:
        return site.go(request, "/chat")
    catalog = ctx.port(Catalog)
    agents, plans = await catalog.agents(), await catalog.plans()
    here = site.site_of(request)
    tagline = here.brand.tagline or here.settings.tagline or words.tagline([agent.name for agent in agents])
    cards = views.plan_cards(plans, views.agent_names(agents))
    return site.page(request, "landing.html", agents=agents, plans=cards, tagline=tagline)
