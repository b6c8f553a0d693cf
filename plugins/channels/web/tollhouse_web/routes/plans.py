"""The plans on offer, and subscribing to one."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from tollhouse.plugin import (
    Catalog,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    PluginContext,
    Subscriptions,
    TollhouseError,
    context_of,
)
from tollhouse_web import forms, site, views, words
from tollhouse_web.forms import Form
from tollhouse_web.offer import all_agents

router = APIRouter(include_in_schema=False)


@router.get("/plans")
async def plans(request: Request) -> Response:
    """What can be bought; for who is signed in, what would change."""
    catalog = context_of(request).port(Catalog)
    offered = await catalog.plans()
    has = await _bought(context_of(request))
    cards = views.plan_cards(offered, views.agent_names(await all_agents(catalog, offered)), has)
    lead = views.plans_lead(cards, has, context_of(request).principal is not None)
    return site.page(request, "plans.html", plans=cards, waiting=has.waiting, lead=lead)


@router.get("/subscribe/{plan}")
async def confirm(request: Request, plan: str) -> Response:
    """What one is about to take."""
    return await _confirm(request, plan, Form({"provider": ""}))


@router.post("/subscribe/{plan}")
async def subscribe(request: Request, plan: str) -> Response:
    """Take it: at once if it is free, else on to the payment."""
    ctx = context_of(request)
    form = await forms.read(request, "provider")
    try:
        led_to = await ctx.port(Subscriptions).subscribe(plan, form["provider"] or None, f"{ctx.tenant.base_url}/orders")
    except InvalidInput as error:
        forms.refuse(form, error)
        return await _confirm(request, plan, form, 422, error)
    except (Conflict, Forbidden) as error:
        form.notice = words.ALREADY if error.http_code == "already_subscribed" else error.detail
        return await _confirm(request, plan, form, error.http_status)
    action = led_to.next_action
    if action is not None and action.kind == "redirect" and action.url and action.url.startswith(("https://", "http://")):
        return RedirectResponse(action.url, 303)
    return site.go(request, f"/orders/{led_to.order.id}" if led_to.order else "/usage?done=subscribed")


async def _bought(ctx: PluginContext[Any]) -> views.Bought:
    if ctx.principal is None:
        return views.NOTHING
    subscriptions = ctx.port(Subscriptions)
    return views.bought(await subscriptions.list(), await subscriptions.orders())


async def _confirm(request: Request, slug: str, form: Form, status: int = 200, error: TollhouseError | None = None) -> Response:
    catalog = context_of(request).port(Catalog)
    offered = await catalog.plans()
    if not any(plan.slug == slug for plan in offered):
        raise NotFound()
    has = await _bought(context_of(request))
    cards = views.plan_cards(offered, views.agent_names(await all_agents(catalog, offered)), has)
    card = next(card for card in cards if card.slug == slug)
    # Several payment providers: the kernel refuses to guess and names them with its error.
    choices = list(error.extra.get("providers", ())) if error else []
    providers = [(str(name), words.provider_name(str(name))) for name in choices]
    waiting = [order for order in has.waiting if order.id != card.order_id]
    return site.page(request, "subscribe.html", status, plan=card, form=form, providers=providers, waiting=waiting)
