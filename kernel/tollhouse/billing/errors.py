"""Errors of billing."""

from __future__ import annotations

from tollhouse.plugin.errors import Conflict, Forbidden


class EmailUnverified(Forbidden):
    """Nobody orders what they could not use."""

    code = "email_unverified"
    title = "This plan is for people whose e-mail address is confirmed. Ask us to confirm yours, then order it again"


class AlreadySubscribed(Conflict):
    code = "already_subscribed"
    title = "There is a subscription to this plan already"


class SubscriptionRunning(Conflict):
    """A paid subscription is not given away for a free one by accident."""

    code = "subscription_running"
    title = "A paid subscription is running; cancel it first, it then runs to the end of its period"


class SubscriptionOver(Conflict):
    code = "subscription_over"
    title = "This subscription is over; subscribe again instead"


class NothingToResume(Conflict):
    code = "not_canceled"
    title = "This subscription is not canceled"


class RenewedElsewhere(Conflict):
    """The provider charges by itself, so what it stopped only a new order starts again."""

    code = "renewed_by_provider"
    title = "The payment provider has stopped the payments; subscribe again instead"


class NoEnd(Conflict):
    code = "no_period_end"
    title = "This subscription has no end that could be moved"


class OrderClosed(Conflict):
    """What is asked may not be done with an order in this ``state``."""

    code = "order_closed"
    title = "This order is not open any more"

    @classmethod
    def of(cls, state: str, wanted: str) -> OrderClosed:
        """For an order that cannot become ``wanted``."""
        return cls(f"This order {_STATES[state]}; {_NEEDS[wanted]}.", state=state)


_STATES = {
    "pending": "is waiting for its payment",
    "canceled": "was withdrawn and never paid",
    "paid": "is paid",
    "refunded": "was paid and given back",
}
_NEEDS = {
    "paid": "only one that waits, or was withdrawn, can be confirmed as paid",
    "canceled": "only one that waits for its payment can be withdrawn",
    "refunded": "only one that is paid can be refunded",
}


class TooManyOrders(Conflict):
    """Somebody orders and orders, and pays nothing."""

    code = "too_many_orders"
    title = "Too many of your orders wait for their payment; withdraw one of them first"


class PlanExists(Conflict):
    code = "plan_exists"
    title = "There is a plan of this name already"


class PlanIsDefault(Conflict):
    code = "plan_is_default"
    title = "New users begin on this plan; make another one the default first"


class PlanArchived(Conflict):
    code = "plan_archived"
    title = "This plan is archived; nobody can be subscribed to it"


class NoPaymentProvider(Conflict):
    code = "no_payment_provider"
    title = "No way to pay for this plan is connected yet"
