"""Hand-written statements for the hot path: named parameters in the text, positions on the wire.

Only what a turn needs runs through these; everything else is SQLAlchemy Core. A statement is built once, at import. Those that
write take many rows at once (:class:`Rows`), because turns that come together are written together: see ``groups.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
    """A table that travels as parameters: ``cte`` is what to put after WITH, :meth:`params` what fills it.

    There is one array for each column, ``:name_column``. A statement that joins them to a table also says ``id =
    ANY(:name_column)``: a condition on the table alone, which the planner turns into an index look-up whatever it believes of
    sizes. A column that is itself an array, or JSON, travels as text: arrays of arrays would have to be of one length.
    """

    def __init__(self, name: str, **columns: str) -> None:
        """``columns``: the SQL type of each, as in ``counters="uuid[]"``."""
        self.names = tuple(columns)
        wires = {column: "text" if kind.endswith("]") or kind == "jsonb" else kind for column, kind in columns.items()}
        arrays = ", ".join(f":{name}_{column}::{wire}[]" for column, wire in wires.items())
        casts = ", ".join(f"x.{column}::{kind}" if wires[column] != kind else f"x.{column}" for column, kind in columns.items())
        self.cte = f"{name} AS MATERIALIZED (SELECT {casts} FROM unnest({arrays}) AS x({', '.join(columns)}))"
        self._params = tuple((f"{name}_{column}", column) for column in columns)

    def params(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        """The arrays for ``rows``; what else a row holds is left out."""
        return {param: [row[column] for row in rows] for param, column in self._params}


def array_text(values: Sequence[Any]) -> str:
    """An SQL array as text, of values that need no quoting: ids and whole numbers."""
    return "{" + ",".join(map(str, values)) + "}"
