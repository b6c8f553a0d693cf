"""Subscriptions and orders, as users use them. What money does is in ``orders.py``; what admins do is in ``admin.py``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.billing import orders
from tollhouse.billing import subscription_repository as rows
from tollhouse.billing.entitlements import Entitlement, Subscription, entitlements
from tollhouse.billing.errors import (
    AlreadySubscribed,
    EmailUnverified,
    NoEnd,
    NoPaymentProvider,
    NothingToResume,
    OrderClosed,
    RenewedElsewhere,
    SubscriptionOver,
    SubscriptionRunning,
    TooManyOrders,
)
from tollhouse.billing.orders import Emit, no_event
from tollhouse.billing.plans import Plan, PlanVersion
from tollhouse.billing.views import check_able, checkout_order, choose, order_info, safe_return, subscription_info
from tollhouse.border.calls import ask
from tollhouse.plugin.errors import NotFound, TollhouseError
from tollhouse.plugin.payments import NextAction
from tollhouse.plugin.ports import OrderInfo, Subscribed, SubscriptionInfo
from tollhouse.store.ids import new_id

log = logging.getLogger(__name__)
MAX_OPEN = 10
"""Orders of one person that may wait for their payment at once."""

if TYPE_CHECKING:
    from tollhouse.billing.plan_service import PlanService
    from tollhouse.host.caller import Caller
    from tollhouse.host.values import Bound
    from tollhouse.plugin.access import Principal
    from tollhouse.plugin.context import TenantInfo
    from tollhouse.store.store import Store


class Binds(Protocol):
    """The host's connections."""

    async def bound(
        self, tenant: TenantInfo, connection_id: UUID, revision: int | None = None, principal: Principal | None = None
    ) -> Bound:
        """The connection's object and a context for one call."""
        ...


@dataclass(frozen=True, slots=True)
class _Current:
    """A user's current subscription, and what it gives now."""

    row: rows.Row
    gives: Entitlement


class SubscriptionService:
    """Use cases of a user. A provider is never called inside a transaction."""

    def __init__(self, store: Store, plans: PlanService, connections: Binds, emit: Emit = no_event) -> None:
        self.store = store
        self.plans = plans
        self.connections = connections
        self.emit = emit

    # -- reading ------------------------------------------------------------------------------------------------------------

    async def list(self, caller: Caller) -> Sequence[SubscriptionInfo]:
        """The user's subscriptions, newest first, ended ones too; the status is the effective one."""
        async with self.store.transaction(caller.tenant.id) as conn:
            _, now = await rows.zone_and_now(conn, caller.tenant.id)
            statement = rows.list_subscriptions(caller.tenant.id, caller.user.user_id)
            found = (await conn.execute(statement.order_by(statement.selected_columns.id.desc()))).mappings().all()
        return [subscription_info(row, now) for row in found]

    async def orders(self, caller: Caller) -> Sequence[OrderInfo]:
        """The user's orders, newest first."""
        async with self.store.transaction(caller.tenant.id) as conn:
            statement = rows.list_orders(caller.tenant.id, caller.user.user_id)
            found = (await conn.execute(statement.order_by(statement.selected_columns.id.desc()))).mappings().all()
        return [order_info(row) for row in found]

    # -- subscribing --------------------------------------------------------------------------------------------------------

    async def subscribe(self, caller: Caller, plan: str, provider: str | None = None, return_url: str = "") -> Subscribed:
        """Subscribe to a plan: at once if it is free, else by an order. Asking again gives the same open order again.

        Raises:
            NotFound: no such plan is on offer.
            EmailUnverified: the plan wants a confirmed e-mail, and the user has none.
            Conflict: ``already_subscribed``, ``subscription_running``, ``no_payment_provider``.
            InvalidInput: the provider is not one the tenant has connected, or cannot take this price.
        """
        return_url = safe_return(caller.tenant, return_url)
        tenant_id, user_id = caller.tenant.id, caller.user.user_id
        ways = await self._ways(caller)
        async with self.store.transaction(tenant_id) as conn:
            offer = await self.plans.find(conn, tenant_id, plan)
            if offer.status != "active" or not offer.public:
                raise NotFound()
            if offer.version.verified_email and not await rows.has_verified_email(conn, tenant_id, user_id):
                raise EmailUnverified()
            await rows.lock_users(conn, tenant_id, [user_id])
            current = await self._current(conn, tenant_id, user_id)
            if offer.version.free:
                return await self._subscribe_free(conn, tenant_id, user_id, offer, current)
            version = await self._to_buy(conn, tenant_id, offer, current)
            connection = choose(ways, provider)
            order_id = await self._order(conn, tenant_id, user_id, version, connection)
        return await self._checkout(caller, order_id, return_url)

    async def _current(self, conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> _Current | None:
        row = await rows.current_subscription(conn, tenant_id, user_id)
        if row is None:
            return None
        _, now = await rows.zone_and_now(conn, tenant_id)
        version = await orders.load_version(conn, tenant_id, row["plan_version_id"])
        gives = entitlements(Subscription.of(row), version, (), now)
        return _Current(row, gives) if gives.usable else None

    async def _subscribe_free(
        self, conn: AsyncConnection, tenant_id: UUID, user_id: UUID, offer: Plan, current: _Current | None
    ) -> Subscribed:
        if current is not None and current.row["plan_id"] == offer.id:
            raise AlreadySubscribed()
        if current is not None and current.row["price_minor"]:
            raise SubscriptionRunning()
        subscription_id = await orders.begin(conn, tenant_id, user_id, offer.version, emit=self.emit)
        return Subscribed(subscription=await self._info(conn, tenant_id, subscription_id))

    async def _to_buy(self, conn: AsyncConnection, tenant_id: UUID, offer: Plan, current: _Current | None) -> PlanVersion:
        """The newest version; for a subscriber whose payment is due, the one they have: subscribers keep what they bought."""
        if current is None or current.row["plan_id"] != offer.id:
            return offer.version
        if current.gives.status != "past_due":
            raise AlreadySubscribed()
        return await orders.load_version(conn, tenant_id, current.row["plan_version_id"])

    async def _order(
        self, conn: AsyncConnection, tenant_id: UUID, user_id: UUID, version: PlanVersion, connection: rows.Row
    ) -> UUID:
        """The user's open order for this version through this connection. Others stay: their money may be on its way.

        Raises:
            Conflict: ``too_many_orders``.
        """
        pending = await rows.pending_orders(conn, tenant_id, user_id)
        wanted = (version.id, connection["id"])
        found = next((row["id"] for row in pending if (row["plan_version_id"], row["connection_id"]) == wanted), None)
        if found is not None:
            return UUID(str(found))
        if len(pending) >= MAX_OPEN:
            raise TooManyOrders()
        order_id = new_id()
        values = {"id": order_id, "user_id": user_id, "plan_version_id": version.id, "amount_minor": version.price_minor}
        values |= {"currency": version.currency, "provider": connection["plugin"], "connection_id": connection["id"]}
        await rows.insert_order(conn, tenant_id, values)
        return order_id

    async def pay(self, caller: Caller, order_id: UUID, return_url: str = "") -> Subscribed:
        """What the user does next to pay an open order: for one that the renewal made, or to come back to it.

        Raises:
            NotFound: the user has no such order.
            Conflict: ``order_closed``.
        """
        return await self._checkout(caller, order_id, safe_return(caller.tenant, return_url))

    async def _checkout(self, caller: Caller, order_id: UUID, return_url: str) -> Subscribed:
        """Call the provider, and keep its answer. If it fails the order stays open: the same request tries again."""
        tenant_id, user_id = caller.tenant.id, caller.user.user_id
        async with self.store.transaction(tenant_id) as conn:
            order = await rows.get_order(conn, tenant_id, order_id, user_id)
        if order is None:
            raise NotFound()
        if order["state"] != "pending":
            raise OrderClosed()
        if order["connection_id"] is None:
            raise NoPaymentProvider()
        bound = await self._bound(caller, order["connection_id"])
        check_able(bound.obj, order)
        asked = checkout_order(caller, order, return_url)
        action: NextAction = await ask(bound.plugin_name, "checkout", bound.obj, bound.ctx, asked)
        values = {
            "instructions": action.text,
            "redirect_url": action.url,
            "provider_reference": action.provider_reference or order["provider_reference"],
        }
        async with self.store.transaction(tenant_id) as conn:
            await rows.update_order(conn, tenant_id, order_id, values)
            order = await rows.get_order(conn, tenant_id, order_id)
            others = [row for row in await rows.pending_orders(conn, tenant_id, user_id) if row["id"] != order_id]
        assert order is not None
        return Subscribed(order=order_info(order), next_action=action, waiting=tuple(map(order_info, others)))

    async def _ways(self, caller: Caller) -> Sequence[rows.Row]:
        """The ways to pay that are set up: an example text, say, is shown to nobody."""
        async with self.store.transaction(caller.tenant.id) as conn:
            found = await rows.payment_connections(conn, caller.tenant.id)
        usable = []
        for row in found:
            with suppress(NoPaymentProvider):
                await self._bound(caller, row["id"])
                usable.append(row)
        return usable

    async def _bound(self, caller: Caller, connection_id: UUID) -> Bound:
        """The way to pay. One that is not set up (any more) is none; what is wrong with it is for staff, in the log.

        Raises:
            Conflict: ``no_payment_provider``.
        """
        try:
            return await self.connections.bound(caller.tenant, connection_id, principal=caller.principal)
        except TollhouseError as error:
            log.error("connection %s of tenant %s cannot be paid through: %s", connection_id, caller.tenant.id, error.http_code)
            raise NoPaymentProvider() from error

    # -- leaving ------------------------------------------------------------------------------------------------------------

    async def cancel(self, caller: Caller, subscription_id: UUID) -> SubscriptionInfo:
        """Do not renew: it runs to the end of its period. A free plan, and one whose payment is overdue, ends at once.

        Raises:
            NotFound: the user has no such subscription.
            Conflict: ``subscription_over``; ``no_period_end`` for something bought once, which nothing renews.
        """
        tenant_id, user_id = caller.tenant.id, caller.user.user_id
        async with self.store.transaction(tenant_id) as conn:
            row = await self._own(conn, tenant_id, subscription_id, user_id)
        if row["connection_id"] is not None and row["provider_reference"] is not None:
            bound = await self.connections.bound(caller.tenant, row["connection_id"], principal=caller.principal)
            await ask(bound.plugin_name, "cancel", bound.obj, bound.ctx, row["provider_reference"])
        async with self.store.transaction(tenant_id) as conn:
            await rows.lock_users(conn, tenant_id, [user_id])
            row = await self._own(conn, tenant_id, subscription_id, user_id)
            _, now = await rows.zone_and_now(conn, tenant_id)
            if row["price_minor"] == 0:
                await orders.end(conn, tenant_id, row, now, self.emit)
            elif row["period_end"] is None:
                raise NoEnd()
            elif row["period_end"] <= now:
                await orders.end_and_fall_back(conn, tenant_id, row, now, self.emit)
            else:
                values = {"status": "canceled", "cancel_at_period_end": True}
                await rows.update_subscription(conn, tenant_id, subscription_id, values)
                await orders.changed(conn, tenant_id, row, "canceled", self.emit)
            for order in await rows.pending_orders(conn, tenant_id, user_id):
                if order["subscription_id"] == subscription_id:
                    await orders.order_canceled(conn, tenant_id, order["id"])
            return await self._info(conn, tenant_id, subscription_id)

    async def resume(self, caller: Caller, subscription_id: UUID) -> SubscriptionInfo:
        """Take a cancellation back before the period ends.

        Raises:
            NotFound: the user has no such subscription.
            Conflict: ``not_canceled``, ``subscription_over``, ``renewed_by_provider``.
        """
        tenant_id, user_id = caller.tenant.id, caller.user.user_id
        async with self.store.transaction(tenant_id) as conn:
            row = await self._own(conn, tenant_id, subscription_id, user_id)
        if row["connection_id"] is not None:
            bound = await self.connections.bound(caller.tenant, row["connection_id"], principal=caller.principal)
            if bound.obj.capabilities.renews == "provider":
                raise RenewedElsewhere()
        async with self.store.transaction(tenant_id) as conn:
            await rows.lock_users(conn, tenant_id, [user_id])
            row = await self._own(conn, tenant_id, subscription_id, user_id)
            _, now = await rows.zone_and_now(conn, tenant_id)
            if row["status"] != "canceled":
                raise NothingToResume()
            if row["period_end"] is not None and row["period_end"] <= now:
                raise SubscriptionOver()
            values = {"status": "active", "cancel_at_period_end": False}
            await rows.update_subscription(conn, tenant_id, subscription_id, values)
            await orders.changed(conn, tenant_id, row, "active", self.emit)
            return await self._info(conn, tenant_id, subscription_id)

    async def cancel_order(self, caller: Caller, order_id: UUID) -> OrderInfo:
        """Withdraw an order that is not paid yet. If its money arrives all the same, it counts.

        Raises:
            NotFound: the user has no such order.
            Conflict: ``order_closed``.
        """
        tenant_id = caller.tenant.id
        async with self.store.transaction(tenant_id) as conn:
            changed = await orders.order_canceled(conn, tenant_id, order_id, caller.user.user_id)
            order = await rows.get_order(conn, tenant_id, order_id)
        assert order is not None
        if not changed:
            raise OrderClosed.of(order["state"], "canceled")
        return order_info(order)

    async def _own(self, conn: AsyncConnection, tenant_id: UUID, subscription_id: UUID, user_id: UUID) -> rows.Row:
        row = await rows.get_subscription(conn, tenant_id, subscription_id, user_id)
        if row is None:
            raise NotFound()
        if row["status"] == "ended":
            raise SubscriptionOver()
        return row

    async def _info(self, conn: AsyncConnection, tenant_id: UUID, subscription_id: UUID) -> SubscriptionInfo:
        row = await rows.get_subscription(conn, tenant_id, subscription_id)
        assert row is not None
        return subscription_info(row, (await rows.zone_and_now(conn, tenant_id))[1])
