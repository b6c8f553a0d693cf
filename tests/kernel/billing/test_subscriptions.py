"""Subscribing, paying, leaving: stories on the real database, with the clock in our hands."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from tollhouse.billing import subscriptions
from tollhouse.billing.errors import AlreadySubscribed, NoPaymentProvider, OrderClosed, SubscriptionOver, SubscriptionRunning
from tollhouse.billing.orders import handle_payment_event
from tollhouse.billing.ports import SubscriptionsPort
from tollhouse.billing.renewal import renew_due, renew_tenant
from tollhouse.billing.subscription_repository import pending_orders
from tollhouse.billing.terms import LimitTerms
from tollhouse.host.caller import Caller
from tollhouse.plugin import InvalidInput, NotFound, PaymentEvent, Unavailable
from tollhouse.plugin.payments import PaymentCapabilities
from tollhouse.plugin.ports import SubscriptionInfo
from tollhouse.store.ids import new_id

from .conftest import PRO, START, Shop

DAY = timedelta(days=1)
END = datetime(2026, 2, 28, 12, tzinfo=START.tzinfo)
SECOND_END = datetime(2026, 3, 31, 12, tzinfo=START.tzinfo)


async def current(shop: Shop, caller: Caller) -> SubscriptionInfo | None:
    alive = [one for one in await shop.service.list(caller) if one.status not in ("ended", "pending")]
    assert len(alive) <= 1
    return alive[0] if alive else None


async def buy(shop: Shop, caller: Caller, plan: str = "pro") -> UUID:
    order = (await shop.service.subscribe(caller, plan)).order
    assert order is not None
    return UUID(order.id)


async def subscriber(shop: Shop, tenant_id: UUID) -> tuple[Caller, Caller]:
    """The admin, and a user who has paid for one period of pro."""
    admin, user = await shop.open(tenant_id), await shop.user(tenant_id)
    await shop.admin.confirm_order(admin, await buy(shop, user))
    return admin, user


async def test_registering_starts_the_default_plan_once(shop: Shop, tenant_id: UUID, other_tenant_id: UUID) -> None:
    await shop.open(tenant_id)
    user, stranger = await shop.user(tenant_id), await shop.user(other_tenant_id)
    async with shop.store.transaction(tenant_id) as conn:
        first = await subscriptions.start_default(conn, tenant_id, user.user.user_id)
        again = await subscriptions.start_default(conn, tenant_id, user.user.user_id)
        found = await subscriptions.current(conn, tenant_id, user.user.user_id)
    assert first is not None
    assert again is None
    assert found is not None
    assert (found.id, found.status, found.period_end, found.anchor) == (first, "active", None, START)
    async with shop.store.transaction(other_tenant_id) as conn:
        assert await subscriptions.start_default(conn, other_tenant_id, stranger.user.user_id) is None


async def test_a_paid_plan_begins_when_the_order_is_confirmed_and_not_before(shop: Shop, tenant_id: UUID) -> None:
    admin, user = await shop.open(tenant_id), await shop.user(tenant_id)
    await shop.service.subscribe(user, "free")
    subscribed = await shop.service.subscribe(user, "pro", return_url="/account")
    assert subscribed.order is not None
    assert subscribed.order.instructions == f"Pay 1900 for {subscribed.order.id}"
    assert shop.provider.orders[0].return_url == "https://acme.example/account"
    assert (await current(shop, user)).plan == "free"  # type: ignore[union-attr]
    assert (await shop.service.subscribe(user, "pro")).order == subscribed.order  # the same open order again
    shop.store.at(START + timedelta(hours=1))
    assert (await shop.admin.confirm_order(admin, UUID(subscribed.order.id))).state == "paid"
    now = await current(shop, user)
    assert now is not None
    assert (now.plan, now.status, now.period_end) == ("pro", "active", END + timedelta(hours=1))
    assert [(one.plan, one.status) for one in await shop.service.list(user)] == [("pro", "active"), ("free", "ended")]
    assert ("order.paid", "") in shop.events
    with pytest.raises(AlreadySubscribed):
        await shop.service.subscribe(user, "pro")
    with pytest.raises(SubscriptionRunning):
        await shop.service.subscribe(user, "free")


async def test_confirming_twice_at_once_gives_one_period(shop: Shop, tenant_id: UUID) -> None:
    admin, user = await shop.open(tenant_id), await shop.user(tenant_id)
    order_id = await buy(shop, user)
    done = await asyncio.gather(*(shop.admin.confirm_order(admin, order_id) for _ in range(8)))
    assert {order.state for order in done} == {"paid"}
    assert (await current(shop, user)).period_end == END  # type: ignore[union-attr]
    assert await shop.audited(tenant_id, "order.confirmed") == 1
    assert len(await shop.service.list(user)) == 1


async def test_two_orders_paid_at_once_give_two_periods_of_one_subscription(shop: Shop, tenant_id: UUID) -> None:
    admin, user = await shop.open(tenant_id), await shop.user(tenant_id)
    first = await buy(shop, user)
    await shop.service.cancel_order(user, first)
    second = await buy(shop, user)
    assert first != second
    await asyncio.gather(shop.admin.confirm_order(admin, first), shop.admin.confirm_order(admin, second))
    found = await current(shop, user)
    assert found is not None
    assert found.period_end == SECOND_END
    assert len(await shop.service.list(user)) == 1


async def test_a_provider_that_is_down_leaves_an_open_order_that_the_next_try_uses(shop: Shop, tenant_id: UUID) -> None:
    await shop.open(tenant_id)
    user = await shop.user(tenant_id)
    shop.provider.down = True
    with pytest.raises(Unavailable):
        await shop.service.subscribe(user, "pro")
    [order] = await shop.service.orders(user)
    assert (order.state, order.instructions) == ("pending", None)
    assert await current(shop, user) is None
    shop.provider.down = False
    assert await buy(shop, user) == UUID(order.id)
    assert len(await shop.service.orders(user)) == 1


async def test_what_cannot_be_ordered_is_refused(shop: Shop, tenant_id: UUID, other_tenant_id: UUID) -> None:
    admin, user = await shop.open(tenant_id), await shop.user(tenant_id)
    with pytest.raises(InvalidInput) as refused:
        await shop.service.subscribe(user, "pro", provider="stripe")
    assert refused.value.errors[0].pointer == "#/provider"
    for address in ("https://evil.example/", "//evil.example", "https://acme.example.evil.example/", "/\\evil.example"):
        with pytest.raises(InvalidInput):
            await shop.service.subscribe(user, "pro", return_url=address)
    shop.provider.capabilities = PaymentCapabilities(currencies=frozenset({"USD"}))
    with pytest.raises(InvalidInput):
        await shop.service.subscribe(user, "pro")
    await shop.plans.archive(admin, (await shop.plans.get(tenant_id, "pro")).id)
    for plan in ("pro", "nothing", str(new_id())):
        with pytest.raises(NotFound):
            await shop.service.subscribe(user, plan)
    stranger = await shop.user(other_tenant_id)
    await shop.plans.create(stranger, "pro", "Pro", PRO)
    with pytest.raises(NoPaymentProvider):
        await shop.service.subscribe(stranger, "pro")


async def test_canceling_keeps_what_is_paid_and_then_the_default_plan_begins(shop: Shop, tenant_id: UUID) -> None:
    _, user = await subscriber(shop, tenant_id)
    paid = await current(shop, user)
    assert paid is not None
    left = await shop.service.cancel(user, UUID(paid.id))
    assert (left.status, left.cancel_at_period_end, left.period_end) == ("canceled", True, END)
    assert (await shop.service.resume(user, UUID(paid.id))).status == "active"
    await shop.service.cancel(user, UUID(paid.id))
    shop.store.at(END - timedelta(microseconds=1))
    assert (await renew_tenant(shop.store, tenant_id)).ended == 0
    assert (await current(shop, user)).plan == "pro"  # type: ignore[union-attr]
    shop.store.at(END)
    assert await current(shop, user) is None  # right even before the job has come by
    with pytest.raises(SubscriptionOver):
        await shop.service.resume(user, UUID(paid.id))
    assert (await renew_due(shop.store)).ended >= 1  # tenants of other tests are in the same database
    assert (await current(shop, user)).plan == "free"  # type: ignore[union-attr]


async def test_a_renewal_is_asked_for_and_paying_in_the_grace_goes_on_from_the_old_end(shop: Shop, tenant_id: UUID) -> None:
    admin, user = await subscriber(shop, tenant_id)
    shop.store.at(END + DAY)
    assert (await current(shop, user)).status == "past_due"  # type: ignore[union-attr]
    runs = await asyncio.gather(*(renew_tenant(shop.store, tenant_id) for _ in range(4)))
    assert sum(run.past_due for run in runs) == 1
    open_orders = [order for order in await shop.service.orders(user) if order.state == "pending"]
    assert len(open_orders) == 1
    assert await buy(shop, user) == UUID(open_orders[0].id)  # subscribing again leads to the same order, now with instructions
    await shop.admin.confirm_order(admin, UUID(open_orders[0].id))
    found = await current(shop, user)
    assert found is not None
    assert (found.status, found.period_start, found.period_end) == ("active", END, SECOND_END)


async def test_after_the_grace_the_rights_are_gone_and_paying_late_begins_anew(shop: Shop, tenant_id: UUID) -> None:
    admin, user = await subscriber(shop, tenant_id)
    shop.store.at(END + 4 * DAY)
    assert await current(shop, user) is None
    done = await renew_tenant(shop.store, tenant_id)
    assert (done.past_due, done.ended, done.defaults) == (1, 1, 1)
    assert (await renew_tenant(shop.store, tenant_id)).ended == 0
    [order] = [order for order in await shop.service.orders(user) if order.state == "pending"]
    await shop.admin.confirm_order(admin, UUID(order.id))
    found = await current(shop, user)
    assert found is not None
    assert (found.plan, found.period_start) == ("pro", END + 4 * DAY)


async def test_leaving_a_free_plan_and_coming_back_renews_nothing(shop: Shop, tenant_id: UUID) -> None:
    await shop.open(tenant_id)
    user = await shop.user(tenant_id)
    first = (await shop.service.subscribe(user, "free")).subscription
    assert first is not None
    shop.store.at(START + 9 * DAY)
    assert (await shop.service.cancel(user, UUID(first.id))).status == "ended"
    with pytest.raises(SubscriptionOver):
        await shop.service.cancel(user, UUID(first.id))
    again = (await shop.service.subscribe(user, "free")).subscription
    assert again is not None
    async with shop.store.transaction(tenant_id) as conn:
        found = await subscriptions.current(conn, tenant_id, user.user.user_id)
    assert found is not None
    assert found.anchor == START


async def test_a_refund_takes_away_what_the_order_gave(shop: Shop, tenant_id: UUID) -> None:
    admin, user = await subscriber(shop, tenant_id)
    paid = await current(shop, user)
    assert paid is not None
    await shop.admin.extend(admin, UUID(paid.id))
    [order] = await shop.service.orders(user)
    assert (await shop.admin.refund_order(admin, UUID(order.id))).state == "refunded"
    assert (await current(shop, user)).period_end == END  # type: ignore[union-attr]
    with pytest.raises(OrderClosed):
        await shop.admin.confirm_order(admin, UUID(order.id))
    await shop.admin.end(admin, UUID(paid.id))
    assert (await current(shop, user)).plan == "free"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("states", "final", "plan"),
    [
        (("paid", "paid", "paid"), "paid", "pro"),
        (("canceled", "paid"), "paid", "pro"),
        (("paid", "canceled", "failed"), "paid", "pro"),
        (("failed", "paid"), "paid", "pro"),
        (("refunded", "paid"), "refunded", None),
        (("paid", "refunded", "refunded"), "refunded", "free"),
        (("failed", "canceled"), "canceled", None),
    ],
)
async def test_the_order_and_number_of_a_providers_events_make_no_difference(
    shop: Shop, tenant_id: UUID, other_tenant_id: UUID, states: tuple[str, ...], final: str, plan: str | None
) -> None:
    await shop.open(tenant_id)
    user = await shop.user(tenant_id)
    order_id = await buy(shop, user)
    async with shop.store.transaction(tenant_id) as conn:
        [row] = await pending_orders(conn, tenant_id, user.user.user_id)
    for number, state in enumerate(states):
        event = PaymentEvent(str(number), str(order_id), state, "k", provider_reference="ref")  # type: ignore[arg-type]
        async with shop.store.transaction(tenant_id) as conn:
            assert await handle_payment_event(conn, tenant_id, new_id(), event) == "ignored"
            await handle_payment_event(conn, tenant_id, row["connection_id"], event)
        async with shop.store.transaction(other_tenant_id) as conn:
            assert await handle_payment_event(conn, other_tenant_id, row["connection_id"], event) == "ignored"
    [order] = await shop.service.orders(user)
    assert order.state == final
    found = await current(shop, user)
    assert (found.plan if found else None) == plan


async def test_overrides_replace_the_plans_limit_or_stand_beside_it(shop: Shop, tenant_id: UUID) -> None:
    admin, user = await subscriber(shop, tenant_id)
    paid = await current(shop, user)
    assert paid is not None
    given = [LimitTerms("calls", 9_000, "day"), LimitTerms("calls", 3, "hour", None, "api")]
    await shop.admin.set_overrides(admin, UUID(paid.id), given, "a good customer")
    detail = await shop.admin.detail(tenant_id, UUID(paid.id))
    limits = {(one.metric, one.window, one.channel): one.amount for one in detail.entitlement.limits}
    assert limits == {("calls", "day", None): 9_000, ("concurrent", "now", None): 2, ("calls", "hour", "api"): 3}
    with pytest.raises(InvalidInput) as refused:
        await shop.admin.set_overrides(admin, UUID(paid.id), [replace(given[0], amount=-1)], "typo")
    assert refused.value.errors[0].pointer == "#/overrides/0/amount"
    await shop.admin.set_overrides(admin, UUID(paid.id), [], "back to normal")
    assert (await shop.admin.detail(tenant_id, UUID(paid.id))).overrides == ()
    assert await shop.audited(tenant_id, "subscription.overridden") == 2


async def test_an_admin_gives_a_plan_for_some_periods(shop: Shop, tenant_id: UUID) -> None:
    admin, user = await shop.open(tenant_id), await shop.user(tenant_id)
    given = await shop.admin.assign(admin, user.user.user_id, "pro", periods=2)
    assert (given.status, given.period_end) == ("canceled", SECOND_END)
    assert (await shop.admin.assign(admin, user.user.user_id, "pro")).period_end is None
    assert list(await shop.service.orders(user)) == []
    shop.store.at(START + 4000 * DAY)
    assert (await current(shop, user)).status == "active"  # type: ignore[union-attr]
    with pytest.raises(NotFound):
        await shop.admin.assign(admin, new_id(), "pro")


async def test_nothing_of_another_tenant_or_user_can_be_touched(shop: Shop, tenant_id: UUID, other_tenant_id: UUID) -> None:
    _, user = await subscriber(shop, tenant_id)
    stranger_admin, neighbour = await shop.open(other_tenant_id), await shop.user(tenant_id)
    stranger = await shop.user(other_tenant_id)
    paid = await current(shop, user)
    assert paid is not None
    [order] = await shop.service.orders(user)
    sub, order_id = UUID(paid.id), UUID(order.id)
    for other in (neighbour, stranger):
        port = SubscriptionsPort(shop.service, other)
        for call in (port.cancel(paid.id), port.resume(paid.id), port.cancel_order(order.id), port.cancel("nonsense")):
            with pytest.raises(NotFound):
                await call
        with pytest.raises(NotFound):
            await shop.service.pay(other, order_id)
        assert list(await port.list()) == []
        assert list(await port.orders()) == []
    for call in (
        shop.admin.confirm_order(stranger_admin, order_id),
        shop.admin.cancel_order(stranger_admin, order_id),
        shop.admin.refund_order(stranger_admin, order_id),
        shop.admin.detail(other_tenant_id, sub),
        shop.admin.extend(stranger_admin, sub),
        shop.admin.end(stranger_admin, sub),
        shop.admin.set_overrides(stranger_admin, sub, [], "why not"),
        shop.admin.assign(stranger_admin, user.user.user_id, "pro"),
    ):
        with pytest.raises(NotFound):
            await call
    assert (await shop.admin.orders(other_tenant_id)).items == []
    assert (await shop.admin.subscriptions(other_tenant_id)).items == []
    assert len((await shop.admin.orders(tenant_id, state="paid")).items) == 1
    assert (await current(shop, user)) == paid
