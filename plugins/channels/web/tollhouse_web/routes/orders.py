"""An order: how to pay it, how it stands, taking it back."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tollhouse.plugin import NotFound, OrderInfo, Subscriptions, context_of
from tollhouse_web import site, views, words

router = APIRouter(include_in_schema=False)


@router.get("/orders")
async def newest(request: Request) -> Response:
    """Where payment providers send people back to: the newest order. The return itself proves nothing."""
    orders = await context_of(request).port(Subscriptions).orders()
    return site.go(request, f"/orders/{orders[0].id}" if orders else "/usage")


@router.get("/orders/{order_id}")
async def show(request: Request, order_id: str) -> Response:
    """One order of the person."""
    order = await _find(request, order_id)
    return site.page(
        request,
        "order.html",
        order=order,
        state=views.order(order),
        provider=words.provider_name(order.provider),
    )


@router.post("/orders/{order_id}/withdraw")
async def withdraw(request: Request, order_id: str) -> Response:
    """Take an unpaid order back."""
    await context_of(request).port(Subscriptions).cancel_order(order_id)
    return site.go(request, "/usage?done=withdrawn")


async def _find(request: Request, order_id: str) -> OrderInfo:
    for order in await context_of(request).port(Subscriptions).orders():
        if order.id == order_id:
            return order
    raise NotFound()
