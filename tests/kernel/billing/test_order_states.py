"""What may be done with an order in which state; that a new one withdraws none; and who comes first when two act at once."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tollhouse.billing import subscription_repository as rows
from tollhouse.billing.admin import SubscriptionAdmin
from tollhouse.billing.errors import OrderClosed, TooManyOrders
from tollhouse.billing.orders import handle_payment_event
from tollhouse.billing.service import MAX_OPEN
from tollhouse.billing.terms import Terms
from tollhouse.plugin.events import PaymentEvent
from tollhouse.reports.service import ReportService

# Read it as a person: (the state an order is in, what is done, the state after it). Everything that is not here is refused.
ALLOWED = {
    ("pending", "confirm", "paid"),
    ("pending", "cancel", "canceled"),
    ("pending", "withdraw", "canceled"),
    ("canceled", "confirm", "paid"),  # its money came after all
    ("paid", "refund", "refunded"),
    # Doing again what was done changes nothing.
    ("paid", "confirm", "paid"),
    ("canceled", "cancel", "canceled"),
    ("refunded", "refund", "refunded"),
}
STATES = ("pending", "canceled", "paid", "refunded")
ACTIONS = ("confirm", "cancel", "withdraw", "refund")
TO_REACH = {"pending": (), "canceled": ("cancel",), "paid": ("confirm",), "refunded": ("confirm", "refund")}


async def act(shop: Any, admin: Any, user: Any, order_id: UUID, action: str) -> Any:
    staff: SubscriptionAdmin = shop.admin
    if action == "withdraw":
        return await shop.service.cancel_order(user, order_id)
    work = {"confirm": staff.confirm_order, "cancel": staff.cancel_order, "refund": staff.refund_order}
    return await work[action](admin, order_id)


async def state_of(shop: Any, user: Any, order_id: UUID) -> str:
    [found] = [one.state for one in await shop.service.orders(user) if one.id == str(order_id)]
    return str(found)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("state", STATES)
async def test_every_state_and_everything_that_may_be_done(shop: Any, tenant_id: UUID, state: str, action: str) -> None:
    admin = await shop.open(tenant_id)
    user = await shop.user(tenant_id)
    order_id = UUID((await shop.service.subscribe(user, "pro")).order.id)
    for step in TO_REACH[state]:
        await act(shop, admin, user, order_id, step)
    assert await state_of(shop, user, order_id) == state
    after = next((to for before, what, to in ALLOWED if (before, what) == (state, action)), None)
    if after is None:
        with pytest.raises(OrderClosed) as refused:
            await act(shop, admin, user, order_id, action)
        assert (refused.value.status, refused.value.extra["state"]) == (409, state)
        assert refused.value.detail != OrderClosed.title, "it says in which state it is, and what would be needed"
    else:
        await act(shop, admin, user, order_id, action)
    assert await state_of(shop, user, order_id) == (after or state)


@pytest.mark.parametrize(
    ("first", "second"), [("confirm", "cancel"), ("confirm", "refund"), ("cancel", "refund"), ("confirm", "confirm")]
)
async def test_of_two_who_act_at_once_each_finds_what_the_other_did(
    shop: Any, tenant_id: UUID, first: str, second: str
) -> None:
    admin = await shop.open(tenant_id)
    for _ in range(8):
        user = await shop.user(tenant_id)
        order_id = UUID((await shop.service.subscribe(user, "pro")).order.id)
        done = await asyncio.gather(
            act(shop, admin, user, order_id, first), act(shop, admin, user, order_id, second), return_exceptions=True
        )
        assert all(isinstance(one, OrderClosed) or not isinstance(one, BaseException) for one in done)
        state = await state_of(shop, user, order_id)
        paid = sum(1 for one in await shop.service.list(user) if one.plan == "pro")
        if "refund" in (first, second) and "confirm" not in (first, second):
            assert (state, paid) == ("canceled", 0), "nothing that was never paid is refunded"
        elif "refund" in (first, second):
            assert state in ("paid", "refunded")
        else:
            assert (state, paid) == ("paid", 1), "money that arrives counts, once"


async def test_a_provider_may_tell_of_a_refund_before_the_payment(shop: Any, tenant_id: UUID) -> None:
    await shop.open(tenant_id)
    user = await shop.user(tenant_id)
    order = (await shop.service.subscribe(user, "pro")).order
    async with shop.store.transaction(tenant_id) as conn:
        [way] = await rows.payment_connections(conn, tenant_id)
        for number, state in enumerate(("refunded", "paid")):
            event = PaymentEvent(f"e{number}", order.id, state, order.id)  # type: ignore[arg-type]
            await handle_payment_event(conn, tenant_id, way["id"], event)
    assert await state_of(shop, user, UUID(order.id)) == "refunded"


async def test_a_new_order_withdraws_none_and_says_what_waits(shop: Any, tenant_id: UUID) -> None:
    admin = await shop.open(tenant_id)
    await shop.plans.create(admin, "max", "Max", Terms(price_minor=4900, all_agents=True), position=2)
    user = await shop.user(tenant_id)
    pro = await shop.service.subscribe(user, "pro")
    assert pro.waiting == ()
    more = await shop.service.subscribe(user, "max")
    assert [order.id for order in more.waiting] == [pro.order.id]
    assert {order.state for order in await shop.service.orders(user)} == {"pending"}
    again = await shop.service.subscribe(user, "pro")
    assert again.order.id == pro.order.id, "asking again is the same order"
    await shop.admin.confirm_order(admin, UUID(pro.order.id))
    assert await state_of(shop, user, UUID(more.order.id)) == "pending", "the money of the other may be on its way"
    await shop.admin.confirm_order(admin, UUID(more.order.id))
    assert {one.plan: one.status for one in await shop.service.list(user)} == {"pro": "ended", "max": "active"}


async def test_late_money_for_a_withdrawn_order_counts_and_is_revenue(shop: Any, tenant_id: UUID) -> None:
    admin = await shop.open(tenant_id)
    user = await shop.user(tenant_id)
    order_id = UUID((await shop.service.subscribe(user, "pro")).order.id)
    await shop.service.cancel_order(user, order_id)
    await shop.admin.confirm_order(admin, order_id)
    today = await shop_today(shop)
    [row] = await ReportService(shop.store).revenue(tenant_id, "plan", today, today)
    assert (row.orders, row.revenue) == (1, 1900)


async def shop_today(shop: Any) -> Any:
    async with shop.store.operator() as conn:
        return (await conn.exec_driver_sql("SELECT (app_now() AT TIME ZONE 'UTC')::date")).scalar_one()


async def test_who_orders_and_orders_is_stopped_and_told(shop: Any, tenant_id: UUID) -> None:
    admin = await shop.open(tenant_id)
    for number in range(MAX_OPEN + 1):
        await shop.plans.create(admin, f"p{number}", f"Plan {number}", Terms(price_minor=100 + number, all_agents=True))
    user = await shop.user(tenant_id)
    for number in range(MAX_OPEN):
        await shop.service.subscribe(user, f"p{number}")
    with pytest.raises(TooManyOrders):
        await shop.service.subscribe(user, f"p{MAX_OPEN}")
