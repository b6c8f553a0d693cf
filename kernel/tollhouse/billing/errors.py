"""Errors of billing."""

from __future__ import annotations

from tollhouse.plugin.errors import Conflict, Forbidden


class EmailUnverified(Forbidden):
    """Nobody orders what they could not use."""

    code = "email_unverified"
    title = "This plan is for people with a confirmed e-mail address; ask us to confirm yours"


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
    """The order is paid, refunded or withdrawn already."""

    code = "order_closed"
    title = "This order is not open any more"


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
