"""Orders: what people want to pay, have paid, or did not."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from tollhouse.console.desk import Area, Desk
from tollhouse.console.users import people

area = Area()
STATES: Final = {"pending": "Waiting", "paid": "Paid", "canceled": "Canceled", "refunded": "Refunded"}


@area.get("/orders")
async def index(desk: Desk) -> Response:
    """Orders of one state, newest first; those that wait, unless asked otherwise."""
    state = desk.query("state")
    state = state if state in STATES else "pending"
    found = await desk.parts.subscription_admin.orders(desk.tenant.id, state=state, cursor=desk.query("cursor") or None)
    who = await people(desk, (one.user_id for one in found.items))
    more = desk.more("/orders", found.next_cursor, state=state)
    return desk.page("orders.html", section="orders", orders=found.items, who=who, state=state, states=STATES, more=more)


@area.post("/orders/{id}/confirm", "help")
async def confirm(desk: Desk) -> Response:
    """The money has arrived. Confirming twice changes nothing."""
    await desk.parts.subscription_admin.confirm_order(desk.caller, desk.id())
    return desk.done("/orders", "paid")


@area.post("/orders/{id}/cancel", "help")
async def cancel(desk: Desk) -> Response:
    """Withdraw it."""
    await desk.parts.subscription_admin.cancel_order(desk.caller, desk.id())
    return desk.done("/orders", "canceled")


@area.post("/orders/{id}/refund")
async def refund(desk: Desk) -> Response:
    """The money was given back outside; what it bought ends."""
    await desk.parts.subscription_admin.refund_order(desk.caller, desk.id())
    return desk.done("/orders", "refunded")
