"""Subscriptions and orders, as staff works with them. Every write is an audit entry in its own transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.billing import orders, repository
from tollhouse.billing import subscription_repository as rows
from tollhouse.billing.entitlements import Entitlement, Override, Subscription, entitlements
from tollhouse.billing.errors import NoEnd, OrderClosed, PlanArchived, SubscriptionOver
from tollhouse.billing.orders import Emit, no_event
from tollhouse.billing.subscriptions import overrides
from tollhouse.billing.terms import LimitTerms, limit_errors
from tollhouse.billing.views import order_info, subscription_info
from tollhouse.plugin.errors import InvalidInput, NotFound
from tollhouse.plugin.ports import OrderInfo, Page, SubscriptionInfo
from tollhouse.store import audit
from tollhouse.store.ids import new_id
from tollhouse.store.pages import page_by_id
from tollhouse.store.text import lines

if TYPE_CHECKING:
    from tollhouse.billing.plan_service import PlanService
    from tollhouse.host.caller import Caller
    from tollhouse.store.store import Store

MAX_PERIODS = 120


@dataclass(frozen=True, slots=True)
class AdminOrder:
    """An order, and whose it is."""

    order: OrderInfo
    user_id: UUID
    subscription_id: UUID | None
    paid_at: datetime | None
    confirmed_by: UUID | None


@dataclass(frozen=True, slots=True)
class AdminSubscription:
    """A subscription, whose it is, and which version of the plan it has."""

    subscription: SubscriptionInfo
    user_id: UUID
    plan_number: int


@dataclass(frozen=True, slots=True)
class SubscriptionDetail:
    """One subscription with everything that makes up its rights."""

    summary: AdminSubscription
    entitlement: Entitlement
    overrides: Sequence[Override]


class SubscriptionAdmin:
    """Use cases of staff. Who may call them is the policy engine's decision, not this class's."""

    def __init__(self, store: Store, plans: PlanService, emit: Emit = no_event) -> None:
        self.store = store
        self.plans = plans
        self.emit = emit

    # -- reading ------------------------------------------------------------------------------------------------------------

    async def orders(
        self,
        tenant_id: UUID,
        *,
        state: str | None = None,
        user_id: UUID | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[AdminOrder]:
        """Orders, newest first."""
        statement = rows.list_orders(tenant_id, user_id, state)
        async with self.store.transaction(tenant_id) as conn:
            found, following = await page_by_id(conn, statement, statement.selected_columns.id, cursor=cursor, limit=limit)
        return Page([_admin_order(row) for row in found], following)

    async def subscriptions(
        self,
        tenant_id: UUID,
        *,
        status: str | None = None,
        user_id: UUID | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[AdminSubscription]:
        """Subscriptions, newest first. ``status`` filters by the stored one, which follows the effective one by minutes."""
        statement = rows.list_subscriptions(tenant_id, user_id, status)
        async with self.store.transaction(tenant_id) as conn:
            found, following = await page_by_id(conn, statement, statement.selected_columns.id, cursor=cursor, limit=limit)
            _, now = await rows.zone_and_now(conn, tenant_id)
        return Page([_admin_subscription(row, now) for row in found], following)

    async def detail(self, tenant_id: UUID, subscription_id: UUID) -> SubscriptionDetail:
        """One subscription, its overrides and what it gives now.

        Raises:
            NotFound: the tenant has no such subscription.
        """
        async with self.store.transaction(tenant_id) as conn:
            row = await rows.get_subscription(conn, tenant_id, subscription_id)
            if row is None:
                raise NotFound()
            version = await orders.load_version(conn, tenant_id, row["plan_version_id"])
            given = await overrides(conn, tenant_id, subscription_id)
            _, now = await rows.zone_and_now(conn, tenant_id)
        gives = entitlements(Subscription.of(row), version, given, now)
        return SubscriptionDetail(_admin_subscription(row, now), gives, given)

    # -- orders -------------------------------------------------------------------------------------------------------------

    async def confirm_order(self, caller: Caller, order_id: UUID) -> OrderInfo:
        """The money has arrived. Confirming again changes nothing; two orders for the same plan give two periods.

        Raises:
            NotFound: the tenant has no such order.
            Conflict: ``order_closed``: it was refunded; names the state.
        """
        tenant_id = caller.tenant.id
        async with self.store.transaction(tenant_id) as conn:
            changed = await orders.order_paid(conn, tenant_id, order_id, confirmed_by=_user(caller), emit=self.emit)
            return await self._order_done(conn, caller, order_id, "order.confirmed", changed, "paid")

    async def cancel_order(self, caller: Caller, order_id: UUID) -> OrderInfo:
        """Withdraw an open order for its user.

        Raises:
            NotFound: the tenant has no such order.
            Conflict: ``order_closed``: it is paid or refunded.
        """
        tenant_id = caller.tenant.id
        async with self.store.transaction(tenant_id) as conn:
            changed = await orders.order_canceled(conn, tenant_id, order_id)
            return await self._order_done(conn, caller, order_id, "order.canceled", changed, "canceled")

    async def refund_order(self, caller: Caller, order_id: UUID) -> OrderInfo:
        """The money was given back (outside): what it bought is taken away again.

        Raises:
            NotFound: the tenant has no such order.
            Conflict: ``order_closed``: it was never paid; names the state.
        """
        tenant_id = caller.tenant.id
        async with self.store.transaction(tenant_id) as conn:
            changed = await orders.order_refunded(conn, tenant_id, order_id, emit=self.emit)
            return await self._order_done(conn, caller, order_id, "order.refunded", changed, "refunded")

    async def _order_done(
        self, conn: AsyncConnection, caller: Caller, order_id: UUID, action: str, changed: bool, state: str
    ) -> OrderInfo:
        order = await rows.get_order(conn, caller.tenant.id, order_id)
        assert order is not None
        if order["state"] != state:
            raise OrderClosed.of(order["state"], state)
        if changed:
            data = {"user_id": order["user_id"], "amount_minor": order["amount_minor"], "currency": order["currency"]}
            await audit.record(conn, caller.tenant.id, caller.actor, action, target=("order", order_id), data=data)
        return order_info(order)

    # -- subscriptions ------------------------------------------------------------------------------------------------------

    async def assign(self, caller: Caller, user_id: UUID, plan: UUID | str, *, periods: int | None = None) -> SubscriptionInfo:
        """Put a user on a plan without payment, in place of what they have: for ``periods``, or without an end.

        Raises:
            NotFound: the tenant has no such plan or user.
            Conflict: ``plan_archived``.
        """
        _check_periods(periods)
        tenant_id = caller.tenant.id
        try:
            async with self.store.transaction(tenant_id) as conn:
                offer = await self.plans.find(conn, tenant_id, plan)
                if offer.status != "active":
                    raise PlanArchived()
                await rows.lock_users(conn, tenant_id, [user_id])
                subscription_id = await orders.begin(
                    conn, tenant_id, user_id, offer.version, periods=periods, leaving=True, emit=self.emit
                )
                data = {"user_id": user_id, "plan": offer.slug, "periods": periods}
                return await self._done(conn, caller, subscription_id, "subscription.assigned", data)
        except IntegrityError as error:
            if "fk_subscriptions_tenant_id_user_id" in str(error.orig) or "users" in str(error.orig):
                raise NotFound() from None
            raise

    async def set_overrides(
        self,
        caller: Caller,
        subscription_id: UUID,
        given: Sequence[LimitTerms],
        reason: str,
        *,
        channels: Collection[str] | None = None,
    ) -> SubscriptionInfo:
        """Give this one subscriber these limits, in place of all overrides there were. They last as long as the subscription.

        Raises:
            NotFound: the tenant has no such subscription.
            InvalidInput: names each field.
            Conflict: ``subscription_over``.
        """
        reason = lines(reason, field="reason", longest=500, required=True)
        tenant_id = caller.tenant.id
        async with self.store.transaction(tenant_id) as conn:
            row = await self._locked(conn, tenant_id, subscription_id)
            named = [limit.agent_id for limit in given if limit.agent_id is not None]
            agents = await repository.agent_names(conn, tenant_id, named) if named else {}
            if errors := limit_errors(given, agents, channels, "#/overrides"):
                raise InvalidInput("These limits cannot be given.", errors=errors)
            written = [
                {"id": new_id(), "reason": reason, "created_by": _user(caller)}
                | {name: getattr(limit, name) for name in type(limit).__slots__}
                for limit in given
            ]
            await rows.replace_overrides(conn, tenant_id, subscription_id, written)
            await orders.changed(conn, tenant_id, row, row["status"], self.emit)
            data = {"reason": reason, "limits": [f"{one.metric} {one.amount}/{one.window}" for one in given]}
            return await self._done(conn, caller, subscription_id, "subscription.overridden", data)

    async def extend(self, caller: Caller, subscription_id: UUID, periods: int = 1) -> SubscriptionInfo:
        """Give more periods for nothing. An end that was canceled stays an end, only later.

        Raises:
            NotFound: the tenant has no such subscription.
            Conflict: ``subscription_over``, ``no_period_end``.
        """
        _check_periods(periods)
        tenant_id = caller.tenant.id
        async with self.store.transaction(tenant_id) as conn:
            row = await self._locked(conn, tenant_id, subscription_id)
            if row["period_end"] is None:
                raise NoEnd()
            _, now = await rows.zone_and_now(conn, tenant_id)
            leaving = row["status"] == "canceled"
            for _ in range(periods):
                await orders.extend(conn, tenant_id, row, now)
                row = await self._locked(conn, tenant_id, subscription_id)
            if leaving:
                values = {"status": "canceled", "cancel_at_period_end": True}
                await rows.update_subscription(conn, tenant_id, subscription_id, values)
            await orders.changed(conn, tenant_id, row, "canceled" if leaving else "active", self.emit)
            return await self._done(conn, caller, subscription_id, "subscription.extended", {"periods": periods})

    async def end(self, caller: Caller, subscription_id: UUID, reason: str = "") -> SubscriptionInfo:
        """End a subscription now; the default plan begins again.

        Raises:
            NotFound: the tenant has no such subscription.
            Conflict: ``subscription_over``.
        """
        tenant_id, reason = caller.tenant.id, lines(reason, field="reason", longest=500)
        async with self.store.transaction(tenant_id) as conn:
            row = await self._locked(conn, tenant_id, subscription_id)
            _, now = await rows.zone_and_now(conn, tenant_id)
            await orders.end_and_fall_back(conn, tenant_id, row, now, self.emit)
            return await self._done(conn, caller, subscription_id, "subscription.ended", {"reason": reason})

    async def _locked(self, conn: AsyncConnection, tenant_id: UUID, subscription_id: UUID) -> rows.Row:
        row = await rows.get_subscription(conn, tenant_id, subscription_id)
        if row is None:
            raise NotFound()
        await rows.lock_users(conn, tenant_id, [row["user_id"]])
        row = await rows.get_subscription(conn, tenant_id, subscription_id)
        assert row is not None
        if row["status"] == "ended":
            raise SubscriptionOver()
        return row

    async def _done(
        self, conn: AsyncConnection, caller: Caller, subscription_id: UUID, action: str, data: Mapping[str, Any]
    ) -> SubscriptionInfo:
        target = ("subscription", subscription_id)
        await audit.record(conn, caller.tenant.id, caller.actor, action, target=target, data=data)
        row = await rows.get_subscription(conn, caller.tenant.id, subscription_id)
        assert row is not None
        return subscription_info(row, (await rows.zone_and_now(conn, caller.tenant.id))[1])


def _user(caller: Caller) -> UUID | None:
    """The tenant's own person who acts; an operator is none of its users."""
    return caller.principal.user_id if caller.principal is not None and not caller.principal.operator else None


def _check_periods(periods: int | None) -> None:
    if periods is not None and not 1 <= periods <= MAX_PERIODS:
        raise InvalidInput(f"Between 1 and {MAX_PERIODS} periods, please.", field="periods")


def _admin_order(row: rows.Row) -> AdminOrder:
    return AdminOrder(order_info(row), row["user_id"], row["subscription_id"], row["paid_at"], row["confirmed_by"])


def _admin_subscription(row: rows.Row, now: datetime) -> AdminSubscription:
    return AdminSubscription(subscription_info(row, now), row["user_id"], row["plan_number"])
