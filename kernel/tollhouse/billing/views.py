"""Rows as people see them, and the choices made before a provider is called. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tollhouse.billing.entitlements import Subscription, standing
from tollhouse.billing.errors import NoPaymentProvider
from tollhouse.billing.periods import period_at
from tollhouse.billing.subscription_repository import Row
from tollhouse.plugin.errors import InvalidInput
from tollhouse.plugin.money import Money
from tollhouse.plugin.paths import local_path
from tollhouse.plugin.payments import CheckoutOrder
from tollhouse.plugin.ports import OrderInfo, SubscriptionInfo

if TYPE_CHECKING:
    from tollhouse.host.caller import Caller
    from tollhouse.plugin.context import TenantInfo


def subscription_info(row: Row, now: datetime) -> SubscriptionInfo:
    """The status is the one in effect at ``now``, whether or not the periodic job has come by."""
    subscription = Subscription.of(row)
    status, _, _ = standing(subscription, row["grace_days"], now)
    start = row["period_start"]
    if status != "ended":
        start = max(start, period_at(row["anchor"], row["interval"], row["timezone"], now)[0])
    return SubscriptionInfo(
        id=str(row["id"]),
        plan=row["plan"],
        plan_name=row["plan_name"],
        status=status,
        price=Money(row["price_minor"], row["currency"]),
        interval=row["interval"],
        period_start=start,
        period_end=row["period_end"],
        cancel_at_period_end=row["cancel_at_period_end"],
        created_at=row["created_at"],
    )


def order_info(row: Row) -> OrderInfo:
    return OrderInfo(
        id=str(row["id"]),
        plan=row["plan"],
        plan_name=row["plan_name"],
        amount=Money(row["amount_minor"], row["currency"]),
        state=row["state"],
        provider=row["provider"],
        created_at=row["created_at"],
        instructions=row["instructions"],
    )


def checkout_order(caller: Caller, order: Row, return_url: str) -> CheckoutOrder:
    """What the provider is told. The reference is the order's id, so that asking twice is the same payment."""
    return CheckoutOrder(
        reference=str(order["id"]),
        amount=Money(order["amount_minor"], order["currency"]),
        description=f"{caller.tenant.name}: {order['plan_name']}",
        interval=order["interval"],
        return_url=return_url,
        customer_email=caller.user.email,
    )


def check_able(provider: Any, order: Row) -> None:
    """Refuse a provider that cannot take this currency or interval.

    Raises:
        InvalidInput
    """
    able = provider.capabilities
    if able.currencies is not None and order["currency"] not in able.currencies:
        raise InvalidInput(f"This way to pay does not take {order['currency']}.", field="provider")
    if able.intervals is not None and order["interval"] not in able.intervals:
        raise InvalidInput("This way to pay does not take a plan of this interval.", field="provider")


def choose(connections: Sequence[Row], provider: str | None) -> Row:
    """The connection to pay through: the only one, or the one of this provider, name or id.

    Raises:
        Conflict: ``no_payment_provider``.
        InvalidInput: it is not connected, or there is a choice to make.
    """
    if not connections:
        raise NoPaymentProvider()
    if provider is None:
        if len(connections) > 1:
            names = ", ".join(sorted({row["plugin"] for row in connections}))
            raise InvalidInput(f"Choose how to pay: {names}.", field="provider")
        return connections[0]
    for row in connections:
        if provider in (row["plugin"], row["name"], str(row["id"])):
            return row
    raise InvalidInput("There is no such way to pay here.", field="provider")


def safe_return(tenant: TenantInfo, return_url: str) -> str:
    """Where the provider sends the user back to: always a page of this tenant, or it would be an open redirect.

    Raises:
        InvalidInput: it leads somewhere else.
    """
    if not return_url:
        return tenant.base_url + "/"
    base = tenant.base_url
    here = return_url == base or return_url.startswith((f"{base}/", f"{base}?"))
    path = return_url[len(base) :] if here else return_url
    if (inside := local_path(path if path.startswith("/") or not here else f"/{path}")) is not None:
        return base + inside
    raise InvalidInput("The return address has to be a page of this site.", field="return_url")
