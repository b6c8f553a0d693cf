"""``ctx.state``: what a plugin remembers, of one connection or of itself in one tenant. Each call is one statement."""

from __future__ import annotations

import json
from typing import Any, Final
from uuid import UUID

from sqlalchemy import JSON, func, select, update
from sqlalchemy.dialects.postgresql import insert

from tollhouse.host.forms import json_fault
from tollhouse.host.models import plugin_state as table
from tollhouse.plugin import InvalidInput
from tollhouse.store.ids import new_id
from tollhouse.store.store import Store

MAX_KEY: Final = 200
MAX_BYTES: Final = 64 * 1024


class StoredState:
    """Satisfies ``State``. Two writers with the same revision: one is told True, the other False."""

    __slots__ = ("_connection_id", "_plugin", "_store", "_tenant_id")

    def __init__(self, store: Store, tenant_id: UUID, plugin: str, connection_id: UUID | None) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._plugin = plugin
        self._connection_id = connection_id

    async def get(self, key: str) -> tuple[Any, int]:
        """The value and its revision; ``(None, 0)`` if there is none."""
        async with self._store.transaction(self._tenant_id) as conn:
            row = (await conn.execute(select(table.c.value, table.c.revision).where(*self._is(key)))).first()
        return (row.value, row.revision) if row else (None, 0)

    async def put(self, key: str, value: Any, *, revision: int) -> bool:
        """Store ``value`` if the stored revision is still ``revision`` (0: nothing is stored); False if somebody was faster.

        Raises:
            InvalidInput: the key is too long, or the value is not JSON or over 64 KiB.
        """
        stored = _checked(key, value)
        statement: Any
        if revision == 0:
            row = {"tenant_id": self._tenant_id, "id": new_id(), "plugin": self._plugin, "connection_id": self._connection_id}
            statement = insert(table).values(**row, key=key, value=stored).on_conflict_do_nothing().returning(table.c.id)
        else:
            statement = (
                update(table)
                .where(*self._is(key), table.c.revision == revision)
                .values(value=stored, revision=table.c.revision + 1, updated_at=func.app_now())
                .returning(table.c.id)
            )
        async with self._store.transaction(self._tenant_id) as conn:
            return (await conn.execute(statement)).first() is not None

    def _is(self, key: str) -> tuple[Any, ...]:
        return (
            table.c.tenant_id == self._tenant_id,
            table.c.plugin == self._plugin,
            table.c.connection_id.is_not_distinct_from(self._connection_id),
            table.c.key == key,
        )


def _checked(key: str, value: Any) -> Any:
    if not 0 < len(key) <= MAX_KEY or json_fault(key):
        raise InvalidInput(f"A key has 1 to {MAX_KEY} characters.", field="key")
    if fault := json_fault(value):
        raise InvalidInput(f"The value {fault}.", field="value")
    if len(json.dumps(value)) > MAX_BYTES:
        raise InvalidInput(f"The value is over {MAX_BYTES // 1024} KiB.", field="value")
    return JSON.NULL if value is None else value
