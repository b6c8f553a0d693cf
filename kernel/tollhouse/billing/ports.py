"""The port ``Subscriptions``: plans bought, as plugins see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from tollhouse.auth.roles import require_scope
from tollhouse.plugin.errors import NotFound
from tollhouse.plugin.ports import OrderInfo, Subscribed, SubscriptionInfo
from tollhouse.store.ids import parse_id

if TYPE_CHECKING:
    from tollhouse.billing.service import SubscriptionService
    from tollhouse.host.caller import Caller


class SubscriptionsPort:
    """Bound to one caller."""

    def __init__(self, service: SubscriptionService, caller: Caller) -> None:
        self.service = service
        self.caller = caller

    async def list(self) -> Sequence[SubscriptionInfo]:
        require_scope(self.caller.user, "read")
        return await self.service.list(self.caller)

    async def orders(self) -> Sequence[OrderInfo]:
        require_scope(self.caller.user, "read")
        return await self.service.orders(self.caller)

    async def subscribe(self, plan: str, provider: str | None = None, return_url: str = "") -> Subscribed:
        require_scope(self.caller.user, "write")
        return await self.service.subscribe(self.caller, plan, provider, return_url)

    async def cancel(self, subscription_id: str) -> SubscriptionInfo:
        require_scope(self.caller.user, "write")
        return await self.service.cancel(self.caller, _id(subscription_id))

    async def resume(self, subscription_id: str) -> SubscriptionInfo:
        require_scope(self.caller.user, "write")
        return await self.service.resume(self.caller, _id(subscription_id))

    async def cancel_order(self, order_id: str) -> OrderInfo:
        require_scope(self.caller.user, "write")
        return await self.service.cancel_order(self.caller, _id(order_id))


def _id(text: str) -> UUID:
    found = parse_id(text)
    if found is None:
        raise NotFound()
    return found
