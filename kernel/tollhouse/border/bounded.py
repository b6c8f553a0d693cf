"""Somebody else's code for a bounded time, even if it blocks the loop or does not let itself be cancelled.

It runs in the task that asks for it, step by step: so an exception that would end the loop (SystemExit) never reaches the task,
each step that holds the loop is seen, and one that swallows its cancellation is left behind.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

T = TypeVar("T")

CANCEL_SECONDS: Final = 1.0
BLOCKED_SECONDS: Final = 3.0
"""How much later than the loop's own clock the alarm rings: in a loop that is free, it must never ring."""
HELD_SECONDS: Final = 1.0
_left_behind: list[Any] = []
"""What did not let itself be cancelled. It is kept, because it would not let itself be thrown away either."""


class TookTooLong(BaseException):
    """The time is over; what ran was cancelled, and left behind if it did not care. No ``except Exception`` stops this."""


async def in_time(
    work: Callable[[], Coroutine[Any, Any, T]], seconds: float, held: Callable[[float], None] = lambda took: None
) -> T:
    """Run ``work`` to its end; what it gives or raises is given or raised here. ``held`` is told of steps that held the loop.

    Raises:
        TookTooLong: it did not end within ``seconds``.
    """
    steps = _Steps(work(), seconds, held)
    try:
        async with asyncio.timeout(seconds + CANCEL_SECONDS):  # a second time, for whoever swallowed the first
            async with asyncio.timeout(seconds) as limit:
                found: T = await steps
                return found
    except TimeoutError:
        if limit.expired():
            raise TookTooLong from None
        raise


class _Steps:
    def __init__(self, work: Coroutine[Any, Any, Any], seconds: float, held: Callable[[float], None]) -> None:
        self._work = work
        self._seconds = seconds
        self._held = held
        self._ends = time.monotonic() + seconds

    def __await__(self) -> Generator[Any, Any, Any]:
        thrown: BaseException | None = None
        while True:
            try:
                awaited = self._step(thrown)
            except StopIteration as end:
                return end.value
            try:
                yield awaited
                thrown = None
            except BaseException as error:
                if time.monotonic() > self._ends + CANCEL_SECONDS / 2:
                    _left_behind.append(self._work)
                    raise TookTooLong from error
                thrown = error

    def _step(self, thrown: BaseException | None) -> Any:
        began = time.monotonic()
        try:
            with alarm(max(self._ends - began, 0) + BLOCKED_SECONDS):
                return self._work.send(None) if thrown is None else self._work.throw(thrown)
        finally:
            if (took := time.monotonic() - began) > HELD_SECONDS:
                self._held(took)


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Break a call that blocks the loop for longer; only the main thread hears signals, so elsewhere there is no such help."""

    def ring(number: int, frame: object) -> None:
        raise TookTooLong

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
