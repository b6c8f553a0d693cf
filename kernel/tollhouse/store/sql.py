"""Hand-written statements for the hot path: named parameters in the text, positions on the wire.

Only what a turn needs runs through these; everything else is SQLAlchemy Core. A statement is built once, at import.

A statement that ends a transaction can travel together with the COMMIT (and with the BEGIN, if it is the only one): it is
prepared on the server, and called by EXECUTE with literals in one message of the simple protocol. Fewer messages are what makes
a turn cheap: see ``docs/decisions/0003-two-pools.md``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as DriverUUID

_NAME = re.compile(r"(?<![:\w]):([a-z_]+)")


class Statement:
    """One SQL text with ``:named`` parameters, run on the driver of a hot-path transaction."""

    __slots__ = ("name", "names", "sql")

    def __init__(self, text: str) -> None:
        self.names: list[str] = []
        self.sql = _NAME.sub(self._position, text)
        self.name = "th_" + blake2b(self.sql.encode(), digest_size=8).hexdigest()

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

    async def call(self, conn: Any, **params: Any) -> str:
        """``EXECUTE`` of this statement with its values written out, after preparing it on ``conn`` if it is not yet."""
        if self.name not in conn.prepared:
            await conn.execute(f"PREPARE {self.name} AS {self.sql}")
            conn.prepared.add(self.name)
        return f"EXECUTE {self.name}({','.join(map(literal, self._values(params)))})"

    async def last(self, conn: Any, **params: Any) -> None:
        """Make this the last statement of the transaction: it is sent together with the COMMIT, and its rows are not read."""
        conn.final = await self.call(conn, **params)


def literal(value: Any) -> str:
    """A value as an SQL literal. Complete under ``standard_conforming_strings``, which our connections set: the only special
    character inside quotes is the quote itself, and it is doubled.

    Raises:
        ValueError: a text holds NUL, which PostgreSQL cannot store.
        TypeError: a type that the hot path does not use.
    """
    write = _WRITERS.get(value.__class__)
    if write is None:
        raise TypeError(f"no literal for {type(value).__name__}")
    return write(value)


def _text(value: str) -> str:
    if "\0" in value:
        raise ValueError("a text with NUL cannot be written into the database")
    return "'" + value.replace("'", "''") + "'"


def _array(values: Sequence[Any]) -> str:
    """An array of ids, whole numbers or plain words; anything that would need quoting inside an array is refused."""
    items = []
    for value in values:
        kind = value.__class__
        if kind is int or isinstance(value, UUID):
            items.append(str(value))
        elif value is None:
            items.append("NULL")
        elif kind is str and value.replace("_", "").replace("-", "").isalnum():
            items.append(value)
        else:
            raise TypeError("only ids, whole numbers and plain words can stand in an array here")
    return "'{" + ",".join(items) + "}'"


_WRITERS: dict[type, Callable[[Any], str]] = {
    type(None): lambda value: "NULL",
    str: _text,
    # Quoted, like the ids: the type is the parameter's, not the literal's own.
    int: lambda value: f"'{value}'",
    UUID: lambda value: f"'{value}'",
    DriverUUID: lambda value: f"'{value}'",  # what the driver gives out: a subclass
    bool: lambda value: "true" if value else "false",
    bytes: lambda value: f"'\\x{value.hex()}'",
    list: _array,
    tuple: _array,
}
