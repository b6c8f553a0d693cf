"""``/api/v1``: what is offered, bought and used."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from tollhouse.gateway.exchange import caller_of, port
from tollhouse.plugin.ports import Catalog, Subscriptions, Turns, Usage
from tollhouse.routes import schemas as s
from tollhouse.routes.common import Items, items

router = APIRouter(tags=["plans and usage"])
PUBLIC = frozenset({"GET /plans"})


@router.get("/agents", response_model=Items[s.Agent])
async def list_agents(request: Request) -> dict[str, Any]:
    """The agents that you may use on this channel."""
    return items(await port(request, Catalog).agents(caller_of(request).user.channel))


@router.get("/plans", response_model=Items[s.Plan])
async def list_plans(request: Request) -> dict[str, Any]:
    """The plans on offer."""
    return items(await port(request, Catalog).plans())


@router.get("/subscriptions", response_model=Items[s.Subscription])
async def list_subscriptions(request: Request) -> dict[str, Any]:
    """Your subscriptions, ended ones too."""
    return items(await port(request, Subscriptions).list())


@router.post("/subscriptions", status_code=201, response_model=s.SubscribeResult)
async def subscribe(request: Request, body: s.Subscribe) -> Any:
    """Subscribe: at once if the plan is free, else an order and what to do next."""
    return await port(request, Subscriptions).subscribe(body.plan, body.provider, body.return_url)


@router.post("/subscriptions/{subscription_id}/cancel", response_model=s.Subscription)
async def cancel_subscription(request: Request, subscription_id: str) -> Any:
    """Do not renew."""
    return await port(request, Subscriptions).cancel(subscription_id)


@router.post("/subscriptions/{subscription_id}/resume", response_model=s.Subscription)
async def resume_subscription(request: Request, subscription_id: str) -> Any:
    """Take a cancellation back."""
    return await port(request, Subscriptions).resume(subscription_id)


@router.get("/orders", response_model=Items[s.Order])
async def list_orders(request: Request) -> dict[str, Any]:
    """Your orders."""
    return items(await port(request, Subscriptions).orders())


@router.post("/orders/{order_id}/cancel", response_model=s.Order)
async def cancel_order(request: Request, order_id: str) -> Any:
    """Withdraw an order that is not paid yet."""
    return await port(request, Subscriptions).cancel_order(order_id)


@router.get("/usage", response_model=Items[s.LimitStatus])
async def usage(request: Request) -> dict[str, Any]:
    """Every limit that applies now, and what is left of it."""
    return items(await port(request, Usage).limits())


@router.post("/policy/check", response_model=s.Decision)
async def check_policy(request: Request, body: s.CheckPolicy) -> Any:
    """What a turn would be told now; nothing is set aside."""
    return await port(request, Turns).check(body.agent, body.channel, body.metadata)
