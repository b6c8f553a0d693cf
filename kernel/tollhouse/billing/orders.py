"""What money does, inside one transaction: the only code that begins, extends, and takes back what was bought.

The caller of each function holds the user's lock (``subscription_repository.lock_users``) or lets the function take it, so one
user's purchases are changed by one transaction at a time. States of an order only go up: pending, canceled, paid, refunded. So
the order in which a provider's events come, and how often, makes no difference.

- What may be done with an order stands in ``MAY``: everything else is refused, and says in which state the order is. One may
  wait beside others: nothing withdraws an order but its user, the tenant's staff, or its provider.
- A paid order adds one interval to a current subscription of the very same plan version, else it begins a new subscription that
  replaces the current one at once. Money that arrives always counts, even for an order that was withdrawn.
- A refund takes that interval away again; if nothing is left, the subscription ends and the default plan begins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.billing import repository
from tollhouse.billing import subscription_repository as rows
from tollhouse.billing.periods import next_end, period_at, previous_end
from tollhouse.billing.plans import PlanVersion
from tollhouse.plugin.errors import NotFound
from tollhouse.plugin.events import EventName, PaymentEvent
from tollhouse.store.ids import new_id, parse_id

MAY: Mapping[str, frozenset[str]] = {
    # what happens: the states in which it may
    "paid": frozenset({"pending", "canceled"}),  # money that arrives late counts all the same
    "canceled": frozenset({"pending"}),
    "refunded": frozenset({"paid"}),  # nothing that was never paid is given back
}
REFUND_TOLD: frozenset[str] = frozenset({"pending", "canceled", "paid"})
"""In which a provider may say that it gave money back: its events come in any order, and a refund tells of a payment too."""

Emit = Callable[[AsyncConnection, UUID, EventName, Mapping[str, Any]], Awaitable[None]]
"""Tells plugins of an event, in the transaction that makes it true (an outbox row for each subscriber)."""


async def no_event(conn: AsyncConnection, tenant_id: UUID, name: EventName, data: Mapping[str, Any]) -> None:
    """Nobody is told."""


@dataclass(frozen=True, slots=True)
class Payer:
    """Through what a subscription is paid."""

    connection_id: UUID | None = None
    provider: str | None = None
    provider_reference: str | None = None


NOBODY = Payer()


async def load_version(conn: AsyncConnection, tenant_id: UUID, version_id: UUID) -> PlanVersion:
    """A plan version in the caller's transaction."""
    return PlanVersion.of((await repository.load_versions(conn, tenant_id, [version_id]))[0])


async def begin(
    conn: AsyncConnection,
    tenant_id: UUID,
    user_id: UUID,
    version: PlanVersion,
    *,
    payer: Payer = NOBODY,
    periods: int | None = 1,
    leaving: bool = False,
    emit: Emit = no_event,
) -> UUID:
    """Begin a subscription now; the current one, if any, is replaced.

    ``periods``: how many are given; None for no end, which is also what a free plan and ``once`` have. ``leaving``: it is not
    renewed at the end. Counters belong to the user, so no day's or month's allowance is renewed by changing plans; and free
    time is anchored where the user's first free plan began, so leaving and coming back renews nothing either.
    """
    zone, now = await rows.zone_and_now(conn, tenant_id)
    current = await rows.current_subscription(conn, tenant_id, user_id)
    if current is not None:
        await end(conn, tenant_id, current, now, emit)
    anchor = (await rows.earliest_free_anchor(conn, tenant_id, user_id) or now) if version.free else now
    until = None
    if periods is not None and not version.free and version.interval != "once":
        until = anchor
        for _ in range(periods):
            until = next_end(anchor, version.interval, zone, until)
    subscription_id = new_id()
    values = {
        "id": subscription_id,
        "user_id": user_id,
        "plan_version_id": version.id,
        "status": "canceled" if leaving and until else "active",
        "cancel_at_period_end": leaving and until is not None,
        "period_start": now,
        "period_end": until,
        "anchor": anchor,
        "timezone": zone,
        "connection_id": payer.connection_id,
        "provider": payer.provider,
        "provider_reference": payer.provider_reference,
    }
    await rows.insert_subscription(conn, tenant_id, values)
    await changed(conn, tenant_id, values, str(values["status"]), emit)
    return subscription_id


async def begin_default(conn: AsyncConnection, tenant_id: UUID, users: Sequence[UUID], emit: Emit) -> dict[UUID, UUID]:
    """The default plan begins for those of these users who have no current subscription: user -> subscription."""
    begun = await rows.start_default(conn, tenant_id, users)
    for user_id, subscription_id in begun.items():
        await changed(conn, tenant_id, {"id": subscription_id, "user_id": user_id}, "active", emit)
    return begun


async def changed(conn: AsyncConnection, tenant_id: UUID, subscription: rows.Row, status: str, emit: Emit) -> None:
    """Tell of what became of a subscription."""
    data = {"user_id": subscription["user_id"], "subscription_id": subscription["id"], "status": status}
    await emit(conn, tenant_id, "subscription.changed", data)


async def end(conn: AsyncConnection, tenant_id: UUID, subscription: rows.Row, now: datetime, emit: Emit) -> None:
    """End a subscription at once. Its history stays."""
    values = {"status": "ended", "ended_at": now, "grace_until": None}
    await rows.update_subscription(conn, tenant_id, subscription["id"], values)
    await changed(conn, tenant_id, subscription, "ended", emit)


async def end_and_fall_back(
    conn: AsyncConnection, tenant_id: UUID, subscription: rows.Row, now: datetime, emit: Emit = no_event
) -> None:
    """End it, and let the default plan begin again."""
    await end(conn, tenant_id, subscription, now, emit)
    await begin_default(conn, tenant_id, [subscription["user_id"]], emit)


async def locked_order(conn: AsyncConnection, tenant_id: UUID, order_id: UUID, user_id: UUID | None = None) -> rows.Row:
    """The order, read after its user's lock was taken.

    Raises:
        NotFound: the tenant (or the user) has no such order.
    """
    order = await rows.get_order(conn, tenant_id, order_id, user_id)
    if order is None:
        raise NotFound()
    await rows.lock_users(conn, tenant_id, [order["user_id"]])
    order = await rows.get_order(conn, tenant_id, order_id)
    assert order is not None
    return order


async def order_paid(
    conn: AsyncConnection,
    tenant_id: UUID,
    order_id: UUID,
    *,
    confirmed_by: UUID | None = None,
    provider_reference: str | None = None,
    emit: Emit = no_event,
) -> bool:
    """The money of an order has arrived. False if that may not be (any more), or was known: nothing happens twice.

    Raises:
        NotFound: the tenant has no such order.
    """
    order = await locked_order(conn, tenant_id, order_id)
    if order["state"] not in MAY["paid"]:
        return False
    _, now = await rows.zone_and_now(conn, tenant_id)
    payer = Payer(order["connection_id"], order["provider"], provider_reference or order["provider_reference"])
    current = await rows.current_subscription(conn, tenant_id, order["user_id"])
    if current is not None and current["plan_version_id"] == order["plan_version_id"] and _can_extend(current, now):
        await extend(conn, tenant_id, current, now, payer=payer, emit=emit)
        subscription_id = current["id"]
    else:
        version = await load_version(conn, tenant_id, order["plan_version_id"])
        subscription_id = await begin(conn, tenant_id, order["user_id"], version, payer=payer, emit=emit)
    values = {
        "state": "paid",
        "paid_at": now,
        "closed_at": None,
        "subscription_id": subscription_id,
        "confirmed_by": confirmed_by,
        "provider_reference": payer.provider_reference,
    }
    await rows.update_order(conn, tenant_id, order_id, values)
    facts = {"order_id": order_id, "user_id": order["user_id"], "subscription_id": subscription_id}
    await emit(conn, tenant_id, "order.paid", {**facts, "amount_minor": order["amount_minor"], "currency": order["currency"]})
    return True


def _can_extend(current: rows.Row, now: datetime) -> bool:
    """One more interval has to reach beyond now: who pays very late begins anew and loses no day."""
    return current["period_end"] is not None and _one_more(current) > now


def _one_more(current: rows.Row) -> datetime:
    return next_end(current["anchor"], current["interval"], current["timezone"], current["period_end"])


async def extend(
    conn: AsyncConnection,
    tenant_id: UUID,
    current: rows.Row,
    now: datetime,
    *,
    payer: Payer | None = None,
    emit: Emit = no_event,
) -> None:
    """One more interval after the end of what is paid; a cancellation or a missed payment is forgotten."""
    values: dict[str, Any] = {
        "status": "active",
        "cancel_at_period_end": False,
        "grace_until": None,
        "period_start": period_at(current["anchor"], current["interval"], current["timezone"], now)[0],
        "period_end": _one_more(current),
    }
    if payer is not None:
        values |= {"connection_id": payer.connection_id, "provider": payer.provider}
        values["provider_reference"] = payer.provider_reference
    await rows.update_subscription(conn, tenant_id, current["id"], values)
    await changed(conn, tenant_id, current, "active", emit)


async def order_refunded(
    conn: AsyncConnection,
    tenant_id: UUID,
    order_id: UUID,
    *,
    may: frozenset[str] = MAY["refunded"],
    emit: Emit = no_event,
) -> bool:
    """The money of an order was given back. False if that may not be, or was known. ``may``: the states in which it may.

    Raises:
        NotFound: the tenant has no such order.
    """
    order = await locked_order(conn, tenant_id, order_id)
    if order["state"] not in may:
        return False
    _, now = await rows.zone_and_now(conn, tenant_id)
    await rows.update_order(conn, tenant_id, order_id, {"state": "refunded", "closed_at": now})
    current = await rows.current_subscription(conn, tenant_id, order["user_id"])
    if order["state"] != "paid" or current is None or current["id"] != order["subscription_id"]:
        return True  # never counted, or what it bought is over
    until = None
    if current["period_end"] is not None:
        until = previous_end(current["anchor"], current["interval"], current["timezone"], current["period_end"])
    if until is None or until <= now:
        await end_and_fall_back(conn, tenant_id, current, now, emit)
    else:
        await rows.update_subscription(conn, tenant_id, current["id"], {"period_end": until, "grace_until": None})
        await changed(conn, tenant_id, current, current["status"], emit)
    return True


async def order_canceled(conn: AsyncConnection, tenant_id: UUID, order_id: UUID, user_id: UUID | None = None) -> bool:
    """An open order is withdrawn. False if it is not open (any more).

    Raises:
        NotFound: the tenant (or the user) has no such order.
    """
    order = await locked_order(conn, tenant_id, order_id, user_id)
    if order["state"] not in MAY["canceled"]:
        return False
    _, now = await rows.zone_and_now(conn, tenant_id)
    await rows.update_order(conn, tenant_id, order_id, {"state": "canceled", "closed_at": now})
    return True


async def handle_payment_event(
    conn: AsyncConnection, tenant_id: UUID, connection_id: UUID, event: PaymentEvent, *, emit: Emit = no_event
) -> Literal["applied", "unchanged", "ignored"]:
    """What a provider tells of an order, once in effect however often and in whatever order it is told.

    ``ignored``: the order is not one that was placed through this connection. A failed payment changes nothing: the order stays
    open, and an unpaid subscription runs out by itself.
    """
    order_id = parse_id(event.reference)
    order = await rows.get_order(conn, tenant_id, order_id) if order_id is not None else None
    if order_id is None or order is None or order["connection_id"] != connection_id:
        return "ignored"
    changed = False
    if event.state == "paid":
        changed = await order_paid(conn, tenant_id, order_id, provider_reference=event.provider_reference, emit=emit)
    elif event.state == "refunded":
        changed = await order_refunded(conn, tenant_id, order_id, may=REFUND_TOLD, emit=emit)
    elif event.state == "canceled":
        changed = await order_canceled(conn, tenant_id, order_id)
    return "applied" if changed else "unchanged"
