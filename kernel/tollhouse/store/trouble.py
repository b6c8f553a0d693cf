"""What is wrong with a database that does not do what it is told, as a code for programs and a sentence for people."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Final

import asyncpg

from tollhouse.records import record

QUIET_SECONDS: Final = 60.0


@record(frozen=True, slots=True)
class Trouble:
    """Why nothing can be written, or nothing at all be done."""

    code: str
    text: str


FULL = Trouble("database_full", "the database has no room left on its disk")
READ_ONLY = Trouble("database_read_only", "the database takes no writes: it is read-only, or a standby")
NO_RIGHTS = Trouble("database_no_rights", "the database refuses our roles what they need; see: tollhouse db upgrade")
LOCKED = Trouble("database_locked", "the database does not finish a write: something holds it up")
SILENT = Trouble("database_silent", "the database gives no answer")
BUSY = Trouble("database_busy", "the database has no connection or memory left for us")
AWAY = Trouble("database_unreachable", "the database cannot be reached")
NO_PARTITION = Trouble("partition_missing", "the ledger has no partition for this month; see: tollhouse db upgrade")

KINDS: Final[tuple[tuple[tuple[type[BaseException], ...], Trouble], ...]] = (
    ((asyncpg.DiskFullError,), FULL),
    ((asyncpg.ReadOnlySQLTransactionError,), READ_ONLY),
    ((asyncpg.InsufficientPrivilegeError,), NO_RIGHTS),
    ((asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError), LOCKED),
    ((asyncpg.InsufficientResourcesError,), BUSY),
    ((TimeoutError,), SILENT),
)
LASTING: Final = (FULL, READ_ONLY)
"""What one failed write proves, whatever a smaller one may still be able to do."""


def trouble_of(error: BaseException) -> Trouble:
    """What is behind an error of the store."""
    chain = list(_chain(error))
    for kinds, trouble in KINDS:
        if any(isinstance(one, kinds) for one in chain):
            return trouble
    return AWAY


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = getattr(error, "orig", None) or error.__cause__


class Seldom:
    """Says the same thing once a minute at most, however often it happens: what lasts must not fill the disk with its log."""

    def __init__(self, log: logging.Logger, *, every: float = QUIET_SECONDS) -> None:
        self._log = log
        self._every = every
        self._said: dict[str, float] = {}

    def say(self, level: int, text: str, *args: object) -> None:
        """``text`` tells things apart, not what is put into it."""
        now = time.monotonic()
        if now - self._said.get(text, -self._every) >= self._every:
            self._said[text] = now
            self._log.log(level, text, *args)

    def over(self) -> None:
        """It is well again: the next time is new."""
        self._said.clear()
