"""The pool of the hot path: raw driver connections, handed over directly.

asyncpg's own pool wraps each connection in a proxy, resets it after each use and bounds the wait with a task of its own. We set
nothing that outlives a transaction, so none of that is needed for a turn's two transactions; what is left costs a few
microseconds. A connection that was lost is dropped, and made anew when one is asked for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

Connect = Callable[[], Awaitable[Any]]


class HotPool:
    """At most ``size`` connections. First come, first served."""

    def __init__(self, connect: Connect, size: int) -> None:
        self._connect = connect
        self._size = size
        self._idle: list[Any] = []
        self._open = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closing = False

    async def acquire(self, timeout: float) -> Any:
        """A connection; give it back with :meth:`release`, whatever happened to it.

        Raises:
            TimeoutError: none became free within ``timeout`` seconds.
        """
        while True:
            while self._idle:
                conn = self._idle.pop()
                if not conn.is_closed():
                    return conn
                self._open -= 1
            if self._open < self._size:
                return await self._make()
            await self._wait(timeout)

    async def _make(self) -> Any:
        self._open += 1
        try:
            return await self._connect()
        except BaseException:
            self._open -= 1
            self._wake()
            raise

    async def _wait(self, timeout: float) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        timer = turn.get_loop().call_later(timeout, _expire, turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._wake()  # it was given to us, and we are going away: somebody else can have it
            raise
        finally:
            timer.cancel()

    def release(self, conn: Any) -> None:
        """Give a connection back; a closed one, or one that is still inside a transaction, is dropped."""
        if self._closing or conn.is_closed() or conn.is_in_transaction():
            if not conn.is_closed():
                conn.terminate()
            self._open -= 1
        else:
            self._idle.append(conn)
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def close(self) -> None:
        """Close what is idle now, and the rest as it comes back."""
        self._closing = True
        idle, self._idle = self._idle, []
        self._open -= len(idle)
        for conn in idle:
            await conn.close(timeout=5)


def _expire(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_exception(TimeoutError("no database connection became free"))
