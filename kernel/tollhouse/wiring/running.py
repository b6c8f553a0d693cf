"""Runs the work of a command, and ends it in order when the process is told to stop, at whatever moment that is.

The first SIGINT, SIGTERM or SIGHUP cancels the work, so that every ``finally`` runs: servers stop, the embedded database stops.
A loop that is blocked (a plugin that waits without ``await``) hears of that a second later, by an exception. Further signals
change nothing, for people press Ctrl-C twice; the third ends the process where it is.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn, TypeVar

T = TypeVar("T")

STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BLOCKED_SECONDS: Final = 1.0
LEAVE_SECONDS: Final = 2.0
ORDER: Final = 3
"""The signal that is obeyed at once."""


def run(work: Coroutine[Any, Any, T], *, service: bool = False) -> T:
    """Run a coroutine on the fast loop. ``service``: being told to stop is how it ends well, and no failure.

    Raises:
        SystemExit: the process was told to stop; everything was given back.
    """
    import uvloop

    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    task = loop.create_task(work)
    try:
        with _signals(loop, task) as told:
            try:
                return _to_the_end(loop, task)
            except BaseException:
                if not told:
                    raise
                raise SystemExit(0 if service else 128 + told[0]) from None
            finally:
                _leave(loop)
    finally:
        asyncio.set_event_loop(None)


def heard() -> list[signal.Signals]:
    """The signals that tell us to stop. Whoever started us with nohup wants that a closed terminal is not one of them."""
    return [number for number in STOPS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


def end(code: int) -> NoReturn:
    """Leave the process with this code; a thread that is stuck does not keep it."""
    last = threading.Timer(LEAVE_SECONDS, os._exit, (code,))
    last.daemon = True
    last.start()
    sys.exit(code)


def _to_the_end(loop: asyncio.AbstractEventLoop, task: asyncio.Task[T]) -> T:
    while True:
        try:
            return loop.run_until_complete(task)
        except KeyboardInterrupt:  # out of a blocked call, of this task or of another
            if task.done():
                raise
            task.cancel()


@contextmanager
def _signals(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> Iterator[list[int]]:
    """Hear the signals as long as the block runs; gives those that came."""
    told: list[int] = []

    def hear() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        task.cancel()

    def stop(number: int, frame: object) -> None:
        told.append(number)
        if len(told) == 1:
            loop.call_soon_threadsafe(hear)
            signal.setitimer(signal.ITIMER_REAL, BLOCKED_SECONDS)
        elif len(told) >= ORDER:
            os._exit(128 + number)

    before = {number: signal.signal(number, stop) for number in heard()}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        yield told
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(loop: asyncio.AbstractEventLoop) -> None:
    """Close the loop. What does not let itself be cancelled is left behind: it must not keep the process."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        _, stubborn = loop.run_until_complete(asyncio.wait(left, timeout=LEAVE_SECONDS))
        for task in stubborn:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # it was said already, or is wanted
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
