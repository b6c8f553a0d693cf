"""Somebody else's code for a bounded time, even if it blocks the loop or does not let itself be cancelled."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

CANCEL_SECONDS: Final = 1.0
BLOCKED_SECONDS: Final = 3.0
"""How much later than the loop's own clock the alarm rings: in a loop that is free, it must never ring."""


class TookTooLong(Exception):
    """The time is over; what ran was cancelled, and left behind if it did not care."""


async def bounded(work: Callable[[], Coroutine[Any, Any, Any]], seconds: float) -> None:
    """Run ``work`` to its end; what it raises is raised here.

    Raises:
        TookTooLong: it did not end within ``seconds``.
    """
    task = asyncio.create_task(_caught(work))
    try:
        with _alarm(seconds):
            await asyncio.wait({task}, timeout=seconds)
    finally:
        late = not task.done()
        if late:
            task.cancel()
            with _alarm(CANCEL_SECONDS):
                await asyncio.wait({task}, timeout=CANCEL_SECONDS)
    if late:
        raise TookTooLong
    if (error := task.result()) is not None:
        raise error


async def _caught(work: Callable[[], Coroutine[Any, Any, Any]]) -> BaseException | None:
    """What it raises, as a value: the SystemExit of a task would stop the loop."""
    try:
        await work()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return error  # of its own making
    except (Exception, SystemExit) as error:
        return error
    return None


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Break a call that blocks the loop for longer; only the main thread hears signals, so elsewhere there is no such help."""

    def ring(number: int, frame: object) -> None:
        raise TookTooLong

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds + BLOCKED_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
