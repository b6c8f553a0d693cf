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
        self._places = 0
        """Connections that are open, are being made, or were promised to somebody who waits."""
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._closing = False

    async def acquire(self, timeout: float) -> Any:
        """A connection; give it back with :meth:`release`, whatever happened to it.

        Raises:
            TimeoutError: none became free within ``timeout`` seconds.
        """
        if not self._waiting:
            while self._idle:
                conn = self._idle.pop()
                if not conn.is_closed():
                    return conn
                self._places -= 1
            if self._places < self._size:
                self._places += 1
                return await self._make()
        conn = await self._wait(timeout)
        return await self._make() if conn is None or conn.is_closed() else conn

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a connection: then nobody keeps one for longer than a transaction."""
        return bool(self._waiting)

    async def _make(self) -> Any:
        """A new connection for a place that is counted already."""
        try:
            return await self._connect()
        except BaseException:
            self._free_place()
            raise

    async def _wait(self, timeout: float) -> Any:
        """What somebody passes on to us: a connection, or None for a place to make one."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        timer = turn.get_loop().call_later(timeout, _expire, turn)
        try:
            return await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:  # given to us, and we are going away
                if turn.result() is None:
                    self._free_place()
                else:
                    self.release(turn.result())
            raise
        finally:
            timer.cancel()

    def release(self, conn: Any) -> None:
        """Give a connection back; a closed one, or one that is still inside a transaction, is dropped."""
        if self._closing or conn.is_closed() or conn.is_in_transaction():
            if not conn.is_closed():
                conn.terminate()
            self._free_place()
        elif not self._pass_on(conn):
            self._idle.append(conn)

    def _free_place(self) -> None:
        if not self._pass_on(None):
            self._places -= 1

    def _pass_on(self, conn: Any) -> bool:
        """Hand it to whoever has waited longest: nobody who comes now can take it first."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(conn)
                return True
        return False

    async def close(self) -> None:
        """Close what is idle now, and the rest as it comes back."""
        self._closing = True
        idle, self._idle = self._idle, []
        self._places -= len(idle)
        for conn in idle:
            await conn.close(timeout=5)


def _expire(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_exception(TimeoutError("no database connection became free"))
