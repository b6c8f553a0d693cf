"""Pages of lists: opaque cursors over keyset pagination. Every list answers ``{items, next_cursor}``."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from tollhouse.plugin.errors import InvalidInput

MAX_LIMIT = 200


def encode_cursor(last: UUID) -> str:
    """An opaque cursor that continues after the row with this id."""
    return base64.urlsafe_b64encode(last.bytes).rstrip(b"=").decode()


def decode_cursor(cursor: str | None) -> UUID | None:
    """The id in a cursor that we gave out.

    Raises:
        InvalidInput: it is not one of ours.
    """
    if not cursor:
        return None
    try:
        return UUID(bytes=base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        raise InvalidInput("The cursor is not one that this list gave out.", field="cursor") from None


async def page_by_id(
    conn: AsyncConnection,
    statement: Select[Any],
    key: ColumnElement[UUID],
    *,
    cursor: str | None,
    limit: int,
    newest_first: bool = True,
) -> tuple[Sequence[Any], str | None]:
    """One page of ``statement`` ordered by the UUIDv7 ``key``: the rows (as mappings) and the cursor of the next page."""
    limit = max(1, min(limit, MAX_LIMIT))
    after = decode_cursor(cursor)
    if after is not None:
        statement = statement.where(key < after if newest_first else key > after)
    statement = statement.order_by(key.desc() if newest_first else key).limit(limit + 1)
    rows = (await conn.execute(statement)).mappings().all()
    more = len(rows) > limit
    rows = rows[:limit]
    return rows, encode_cursor(rows[-1][key.key or "id"]) if more else None
