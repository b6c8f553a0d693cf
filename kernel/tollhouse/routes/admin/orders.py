"""``/api/v1/admin/orders``."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request

from tollhouse.billing.admin import AdminOrder
from tollhouse.routes import schemas as s
from tollhouse.routes.admin.access import staff
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Cursor, Items, Limit, items, known_id
from tollhouse.routes.vocabulary import example, example_of

State = Literal["pending", "paid", "canceled", "refunded"]


class OrderView(s.Order):
    model_config = example(**{**example_of(s.Order), "state": "paid"})
    user_id: UUID
    subscription_id: UUID | None
    paid_at: datetime | None
    confirmed_by: UUID | None

    @classmethod
    def of(cls, found: AdminOrder) -> OrderView:
        """From the service's."""
        own = ("user_id", "subscription_id", "paid_at", "confirmed_by")
        return cls(**s.Order.model_validate(found.order).model_dump(), **{name: getattr(found, name) for name in own})


def routes(services: AdminServices) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/orders", tags=["admin: orders"])
    orders = services.subscriptions

    @router.get("", response_model=Items[OrderView])
    async def list_orders(
        request: Request, state: State | None = None, user_id: str | None = None, cursor: Cursor = None, limit: Limit = 50
    ) -> dict[str, Any]:
        """Orders, newest first; ``state=pending`` are those to confirm."""
        tenant_id = staff(request, "view").tenant.id
        user = known_id(user_id) if user_id is not None else None
        page = await orders.orders(tenant_id, state=state, user_id=user, cursor=cursor, limit=limit)
        return items([OrderView.of(found) for found in page.items], page.next_cursor)

    @router.post("/{order_id}/confirm", response_model=s.Order)
    async def confirm_order(request: Request, order_id: str) -> Any:
        """It was paid: the subscription begins. Once, however often it is confirmed."""
        return await orders.confirm_order(staff(request, "help"), known_id(order_id))

    @router.post("/{order_id}/cancel", response_model=s.Order)
    async def cancel_order(request: Request, order_id: str) -> Any:
        """It will not be paid."""
        return await orders.cancel_order(staff(request, "help"), known_id(order_id))

    @router.post("/{order_id}/refund", response_model=s.Order)
    async def refund_order(request: Request, order_id: str) -> Any:
        """It was paid back."""
        return await orders.refund_order(staff(request, "manage"), known_id(order_id))

    return router
