"""SQL of model prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.auth.models import users
from tollhouse.usage.models import alarms, prices

Row = Mapping[Any, Any]

_REVISION = text("SELECT price_revision, cost_currency FROM tenants WHERE id = :tenant_id")
_COUNTED = text(
    """
    SELECT EXISTS (SELECT 1 FROM counters
        WHERE tenant_id = :tenant_id AND metric = 'cost' AND window_end > app_now() AND (used > 0 OR held > 0))
    """
)


async def revision(conn: AsyncConnection, tenant_id: UUID) -> tuple[int, str]:
    """Changes whenever a price is set (the database sees to that); and the currency in which the tenant counts costs."""
    number, currency = (await conn.execute(_REVISION, {"tenant_id": tenant_id})).one()
    return number, currency


async def cost_is_counted(conn: AsyncConnection, tenant_id: UUID) -> str | None:
    """What counts costs in a window that still runs, in words; None if nothing does."""
    counted = (await conn.execute(_COUNTED, {"tenant_id": tenant_id})).scalar_one()
    return "what a running cost limit has counted" if counted else None


async def all_prices(conn: AsyncConnection, tenant_id: UUID) -> Sequence[Row]:
    """Every price of the tenant, oldest first."""
    statement = select(prices).where(prices.c.tenant_id == tenant_id).order_by(prices.c.valid_from, prices.c.id)
    return (await conn.execute(statement)).mappings().all()


async def history(conn: AsyncConnection, tenant_id: UUID, backend: str, model: str) -> Sequence[Row]:
    """Every price that was ever set for a model, newest first, and by whom."""
    statement = (
        select(prices, users.c.email.label("created_by_email"))
        .select_from(prices.outerjoin(users, (users.c.tenant_id == prices.c.tenant_id) & (users.c.id == prices.c.created_by)))
        .where(prices.c.tenant_id == tenant_id, prices.c.backend == backend, prices.c.model == model)
    )
    return (await conn.execute(statement.order_by(prices.c.valid_from.desc()))).mappings().all()


async def insert_price(conn: AsyncConnection, tenant_id: UUID, values: Row) -> None:
    await conn.execute(insert(prices).values(tenant_id=tenant_id, **values))


async def now(conn: AsyncConnection) -> datetime:
    moment: datetime = (await conn.execute(select(func.app_now()))).scalar_one()
    return moment


async def settle_alarm(conn: AsyncConnection, tenant_id: UUID, subject: str) -> None:
    """A model that has a price now needs no alarm about it."""
    mine = (alarms.c.tenant_id == tenant_id) & (alarms.c.code == "unknown_price") & (alarms.c.subject == subject)
    await conn.execute(update(alarms).where(mine, ~alarms.c.resolved).values(resolved=True))
