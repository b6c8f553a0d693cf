"""Says what holds the loop: while one thing computes or blocks, nobody else is answered.

A thread looks whether the loop still comes round. When it is late, the task that runs is named, and where it is. Requests call
their task by their route (``gateway.edge``), jobs by their name, and tasks that they start are called the same.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from pathlib import Path
from types import FrameType
from typing import Any, Final

log = logging.getLogger(__name__)
LIMIT_SECONDS: Final = 0.1
LONG_SECONDS: Final = 2.0
"""After this it is said while it lasts: it may never end."""
BEAT_SECONDS: Final = 0.04
QUIET_SECONDS: Final = 10.0
"""The same thing is said no more often."""
FRAMES: Final = 8
UNNAMED: Final = "Task-"


@contextmanager
def watched(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Watch this loop, which this thread runs, for as long as the block lasts."""
    before = loop.get_task_factory()
    loop.set_task_factory(_called_as_its_parent)  # type: ignore[arg-type]  # it may take a context as well
    watchdog = Watchdog(loop)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.stop()
        loop.set_task_factory(before)


class Watchdog(threading.Thread):
    """Watches one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._stopped = threading.Event()
        self._due = time.monotonic()
        self._beaten = 0.0
        self._said: dict[str, float] = {}
        self._timer: asyncio.Handle = loop.call_soon(self._beat)

    def stop(self) -> None:
        """End; called by the loop's thread."""
        self._timer.cancel()
        self._stopped.set()
        self.join(1.0)

    def _beat(self) -> None:
        self._beaten = time.monotonic()
        self._due = self._beaten + BEAT_SECONDS
        self._timer = self._loop.call_later(BEAT_SECONDS, self._beat)

    def run(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            due, computed = self._due, time.process_time()
            if self._loop.is_running() and time.monotonic() - due > LIMIT_SECONDS - BEAT_SECONDS:
                self._held(due, computed)

    def _held(self, due: float, computed: float) -> None:
        """The loop should have come round at ``due``: find out who has it, and wait until they let go."""
        who, where = self._who(), self._where()
        said = False
        while self._due == due and self._loop.is_running() and not self._stopped.wait(0.01):
            if not said and time.monotonic() - due > LONG_SECONDS:
                said = True
                self._say(f"the loop is held since {LONG_SECONDS:g} s", who, self._where() or where)
        seconds = (self._beaten if self._due != due else time.monotonic()) - due
        if not where and time.process_time() - computed < seconds / 2:
            return  # nobody had it, and nobody computed: the machine was elsewhere
        if said:
            log.warning("the loop was held for %.0f ms by %s, and goes on", seconds * 1000, who)
        elif seconds >= LIMIT_SECONDS - BEAT_SECONDS:
            self._say(f"the loop was held for {seconds * 1000:.0f} ms", who, where or self._threads())

    def _say(self, what: str, who: str, where: str) -> None:
        now = time.monotonic()
        if now - self._said.get(who, -QUIET_SECONDS) >= QUIET_SECONDS:
            self._said[who] = now
            log.warning("%s by %s: %s", what, who, where)

    def _who(self) -> str:
        try:
            task = asyncio.current_task(self._loop)
        except RuntimeError:
            task = None
        name = task.get_name() if task is not None else UNNAMED
        return "something that is no request" if name.startswith(UNNAMED) else name

    def _where(self) -> str:
        """The innermost calls of the loop's thread, or nothing if it only waits."""
        frame = sys._current_frames().get(self._loop_thread)
        if frame is None or Path(frame.f_code.co_filename).name in WAITING:
            return ""
        return " > ".join(reversed([_place(one) for one in _outwards(frame)][:FRAMES]))

    def _threads(self) -> str:
        """Where the other threads are: one of them may have kept the interpreter."""
        ours = {self._loop_thread, threading.get_ident()}
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        frames = sys._current_frames().items()
        return "; ".join(f"thread {names.get(ident, ident)} at {_place(frame)}" for ident, frame in frames if ident not in ours)


WAITING: Final = frozenset({"running.py", "runners.py", "selectors.py"})
"""The files in which a loop waits for something to do: ours, asyncio's."""


def _called_as_its_parent(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], context: Context | None = None
) -> asyncio.Task[Any]:
    task = asyncio.Task(coro, loop=loop, context=context)
    parent = asyncio.current_task(loop)
    if parent is not None:
        task.set_name(parent.get_name())
    return task


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _place(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name}:{frame.f_lineno} {frame.f_code.co_name}"
