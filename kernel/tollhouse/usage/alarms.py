"""Alarms: what an admin must see. One open row for each (code, subject); repeats only count."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from tollhouse.store.ids import new_id
from tollhouse.store.sql import Statement

RAISE = Statement(
    """
    INSERT INTO alarms (tenant_id, id, code, subject, message, data)
    VALUES (:tenant, :id, :code, :subject, :message, :data::jsonb)
    ON CONFLICT (tenant_id, code, subject) WHERE NOT resolved
    DO UPDATE SET count = alarms.count + 1, last_at = app_now(), message = excluded.message, data = excluded.data
    """
)


async def raise_alarm(
    conn: Any, tenant_id: UUID, code: str, subject: str, message: str, data: Mapping[str, Any] | None = None
) -> None:
    """Open the alarm or count it up, on the driver of a hot-path transaction.

    Codes: ``unknown_price``, ``usage_beyond_hold``, ``usage_missing``, ``connection_failed``, ``late_usage``.
    """
    await RAISE.rows(
        conn, tenant=tenant_id, id=new_id(), code=code, subject=subject, message=message, data=json.dumps(dict(data or {}))
    )
