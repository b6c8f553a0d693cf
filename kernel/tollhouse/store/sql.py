"""Hand-written statements for the hot path: named parameters in the text, positions on the wire.

Only what a turn needs runs through these; everything else is SQLAlchemy Core. A statement is built once, at import. Those that
write take many rows at once (:class:`Rows`), because turns that come together are written together: see ``groups.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tollhouse.store.json_text import json_text

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

    async def row(self, conn: Any, **params: Any) -> Any:
        """The first row, or None."""
        return await conn.fetchrow(self.sql, *[params[name] for name in self.names])

    async def rows(self, conn: Any, **params: Any) -> list[Any]:
        """All rows."""
        result: list[Any] = await conn.fetch(self.sql, *[params[name] for name in self.names])
        return result

    async def value(self, conn: Any, **params: Any) -> Any:
        """The first column of the first row, or None."""
        return await conn.fetchval(self.sql, *[params[name] for name in self.names])


class Rows:
    """A table that travels as one parameter: ``cte`` is what to put after WITH, :meth:`params` what fills it.

    It goes as JSON, which both sides read and write in C: an array for each column would cost the driver a look at every
    value. A statement that joins the rows to a table also says ``id = ANY(ARRAY(SELECT …))`` of them: a condition on the table
    alone, which the planner turns into an index look-up whatever it believes of sizes.
    """

    def __init__(self, name: str, **columns: str) -> None:
        """``columns``: the SQL type of each, as in ``counters="uuid[]"``."""
        self.name = name
        self.columns = tuple(columns)
        self._ids = tuple(column for column, kind in columns.items() if kind == "uuid")
        self._id_arrays = tuple(column for column, kind in columns.items() if kind == "uuid[]")
        types = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        self.cte = f"{name} AS MATERIALIZED (SELECT * FROM json_to_recordset(:{name}::text::json) AS x({types}))"

    def params(self, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
        """The parameter for ``rows``, whose ids become text on the way: the writer of JSON does not know the driver's own kind
        of id by sight, and takes ten times as long for one."""
        for row in rows:
            for column in self._ids:
                if (value := row[column]) is not None:
                    row[column] = str(value)
            for column in self._id_arrays:
                row[column] = [str(value) for value in row[column]]
        return {self.name: json_text(rows)}
