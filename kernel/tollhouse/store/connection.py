"""The driver's connection, which cannot begin a transaction without a scope."""

from __future__ import annotations

from typing import Any

import asyncpg

from tollhouse.store.errors import NoScope


class ScopedConnection(asyncpg.Connection):
    """Extends BEGIN with the role and the tenant, in the same round trip.

    ``scope_sql`` is the empty string on a fresh connection, for the driver's own first questions: the login role has no rights,
    so nothing of ours can be read like that. After its first use a connection without a scope refuses to begin.
    """

    __slots__ = ("scope_sql",)

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.scope_sql: str | None = ""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        if query.startswith("BEGIN"):
            if self.scope_sql is None:
                raise NoScope("a transaction was begun without a scope")
            if self.scope_sql:
                query = f"{query.rstrip('; ')};{self.scope_sql}"
        result: str = await super().execute(query, *args, timeout=timeout)
        return result

    def get_reset_query(self) -> str:
        """Nothing to reset: everything we set is LOCAL to its transaction. Saves a round trip for each use."""
        return ""
