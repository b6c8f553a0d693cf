"""Hand-written statements for the hot path: named parameters in the text, positions on the wire.

Only what a turn needs runs through these; everything else is SQLAlchemy Core. A statement is built once, at import.
"""

from __future__ import annotations

import re
from typing import Any

_NAME = re.compile(r"(?<![:\w]):([a-z_]+)")


class Statement:
    """One SQL text with ``:named`` parameters, run on the driver of a hot-path transaction."""

    __slots__ = ("names", "sql")

    def __init__(self, text: str) -> None:
        self.names: list[str] = []
        self.sql = _NAME.sub(self._position, text)

    def _position(self, match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in self.names:
            self.names.append(name)
        return f"${self.names.index(name) + 1}"

    def _values(self, params: dict[str, Any]) -> list[Any]:
        return [params[name] for name in self.names]

    async def row(self, conn: Any, **params: Any) -> Any:
        """The first row, or None."""
        return await conn.fetchrow(self.sql, *self._values(params))

    async def rows(self, conn: Any, **params: Any) -> list[Any]:
        """All rows."""
        result: list[Any] = await conn.fetch(self.sql, *self._values(params))
        return result

    async def value(self, conn: Any, **params: Any) -> Any:
        """The first column of the first row, or None."""
        return await conn.fetchval(self.sql, *self._values(params))
