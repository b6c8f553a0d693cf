"""Ids: UUID version 7 (RFC 9562 section 5.7), made in Python, so that they sort by time and name their ledger partition."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Final
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as DriversUUID


def new_id() -> UUID:
    """A fresh UUIDv7: 48 bits of milliseconds, 12 of the fraction of a millisecond, 62 random."""
    return _uuid7(time.time_ns(), _noise())


NOISE: Final = 512
_stock: Iterator[int] = iter(())


def _noise() -> int:
    """64 random bits, of a stock: asking the system each time costs more than all the rest of an id."""
    global _stock
    noise = next(_stock, None)
    if noise is None:
        noise, *rest = memoryview(os.urandom(8 * NOISE)).cast("Q")
        _stock = iter(rest)
    return noise


def _forget_stock() -> None:
    global _stock
    _stock = iter(())


os.register_at_fork(after_in_child=_forget_stock)  # two processes must not draw from one stock


def id_floor(moment: datetime) -> UUID:
    """The smallest UUIDv7 of ``moment``: where a partition or a range of time begins."""
    return _uuid7(int(moment.timestamp() * 1000) * 1_000_000, 0)


def _uuid7(nanoseconds: int, noise: int) -> UUID:
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    fraction = rest * 4096 // 1_000_000
    number = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | noise & (1 << 62) - 1
    return id_of(number.to_bytes(16, "big"))


def id_of(sixteen: bytes) -> UUID:
    """The id of these bytes: a UUID of the driver's kind, which is quick to make, to hash and to write."""
    made: UUID = DriversUUID(sixteen)
    return made


SHORTEST: Final = 32
"""Characters of an id without its dashes; most texts that are none, such as an agent's short name, have fewer."""


def parse_id(text: str) -> UUID | None:
    """The id in ``text``, or None if it is not one; callers answer "not found", as for an id nobody has."""
    try:
        return UUID(text) if len(text) >= SHORTEST else None
    except (ValueError, AttributeError, TypeError):  # what a plugin gives may be no text at all
        return None
