"""What one has, what one used, what one ordered."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tollhouse.plugin import Catalog, Subscriptions, Usage, context_of
from tollhouse_web import site, views, words
from tollhouse_web.offer import all_agents

router = APIRouter(include_in_schema=False)


@router.get("/usage")
async def usage(request: Request) -> Response:
    """Every limit with its meter, the subscription, the orders."""
    ctx = context_of(request)
    catalog, subscriptions = ctx.port(Catalog), ctx.port(Subscriptions)
    plans = await catalog.plans()
    names = views.agent_names(await all_agents(catalog, plans))
    bought, orders = await subscriptions.list(), await subscriptions.orders()
    return site.page(
        request,
        "usage.html",
        done=words.DONE.get(request.query_params.get("done", "")),
        can_change=views.can_change(views.plan_cards(plans, names, views.bought(bought, orders))),
        meters=[views.meter(limit, names) for limit in await ctx.port(Usage).limits()],
        current=[views.subscription(info) for info in bought if info.status != "ended"],
        earlier=[views.subscription(info) for info in bought if info.status == "ended"],
        orders=[views.order(info) for info in orders],
    )


@router.post("/subscriptions/{subscription_id}/cancel")
async def cancel(request: Request, subscription_id: str) -> Response:
    """Do not renew; a free plan ends at once."""
    after = await context_of(request).port(Subscriptions).cancel(subscription_id)
    return site.go(request, "/usage?done=" + ("ended" if after.status == "ended" else "canceled"))


@router.post("/subscriptions/{subscription_id}/resume")
async def resume(request: Request, subscription_id: str) -> Response:
    """Take the cancellation back."""
    await context_of(request).port(Subscriptions).resume(subscription_id)
    return site.go(request, "/usage?done=resumed")
