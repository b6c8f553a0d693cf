"""Work that comes together is done together.

Two transactions for each turn would be mostly overhead: messages back and forth, the start and end of statements, a flush of
the log. So a tenant's turns that are ready while one transaction is under way go into the next one, together. Nothing waits
for company: whoever comes to an idle tenant goes at once, alone; groups grow by themselves as the load does.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar
from uuid import UUID

from tollhouse.store.errors import DatabaseDown
from tollhouse.store.lane import Lane, nothing

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")

Lanes = Callable[[UUID, Callable[[], bool]], Lane]
"""How a lane is opened, for a tenant: told whether another transaction follows the one that ends now."""

MOST = 16
"""The largest group. What is done together is answered together and comes back together: larger groups save little, and turn
an even load into waves of which each turn waits for the last."""
LANES = 4
"""Transactions of one tenant and kind at once."""
CROWD = 4 * MOST
"""How many must be waiting before another lane is opened: one is fast enough unless it is held up."""


class _Queue(Generic[T, R]):
    __slots__ = ("lanes", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self.lanes = 0


class Groups(Generic[T, R]):
    """One kind of work, grouped by tenant."""

    def __init__(
        self,
        lanes: Lanes,
        work: Callable[[Lane, UUID, Sequence[T]], Awaitable[Sequence[R | Exception]]],
        *,
        abandoned: Callable[[R], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """``lanes`` opens a lane for a tenant. ``work(lane, tenant, items)`` does one transaction there and gives, in the order
        of the items, what each came to: a result, or the error that its own caller gets. What it raises has undone the whole
        group: then each is tried alone, so that one bad item spoils nothing for the others. ``abandoned`` is told of results
        whose caller was cancelled meanwhile.
        """
        self._lanes = lanes
        self._work = work
        self._abandoned = abandoned
        self._queues: dict[UUID, _Queue[T, R]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, tenant_id: UUID, item: T) -> R:
        """What ``item`` came to. Whoever is cancelled while waiting takes no part.

        Raises:
            DatabaseDown: the database cannot be reached, or was lost; and whatever the work says of this item.
        """
        result = self.begin(tenant_id, item)
        try:
            return await result
        except asyncio.CancelledError:
            if result.done() and not result.cancelled() and result.exception() is None:
                self._abandon(result.result())  # it was cancelled in the moment in which it was done
            raise

    def begin(self, tenant_id: UUID, item: T) -> asyncio.Future[R]:
        """The same, for callers who wait in their own way: unless it is cancelled in time, the work is done."""
        queue = self._queues.get(tenant_id)
        if queue is None:
            queue = self._queues[tenant_id] = _Queue()
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        queue.waiting.append((item, result))
        if queue.lanes == 0 or (queue.lanes < LANES and len(queue.waiting) >= CROWD):
            queue.lanes += 1
            self._start(self._drain(tenant_id, queue))
        return result

    def _abandon(self, outcome: R) -> None:
        if self._abandoned is not None:
            self._start(self._abandoned(outcome))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("what was done for somebody who is gone could not be given back", exc_info=error)

    async def _drain(self, tenant_id: UUID, queue: _Queue[T, R]) -> None:
        lane = self._lanes(tenant_id, lambda: bool(queue.waiting))
        try:
            while queue.waiting:
                group = [queue.waiting.popleft() for _ in range(min(MOST, len(queue.waiting)))]
                group = [(item, result) for item, result in group if not result.done()]
                if group:
                    await self._do(lane, tenant_id, group)
        finally:
            queue.lanes -= 1
            if not queue.lanes and not queue.waiting:
                self._queues.pop(tenant_id, None)
            await lane.close()

    async def _do(self, lane: Lane, tenant_id: UUID, group: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            outcomes = await self._work(lane, tenant_id, [item for item, _ in group])
        except Exception as error:
            if len(group) > 1 and error.__class__ is not DatabaseDown:
                await asyncio.gather(*(self._do(self._lanes(tenant_id, nothing), tenant_id, [one]) for one in group))
                return
            outcomes = [error if len(group) == 1 else _copy(error) for _ in group]
        except BaseException:  # this task is being cancelled: the process is ending
            for _, result in group:
                result.cancel()
            raise
        for (_, result), outcome in zip(group, outcomes, strict=True):
            if result.cancelled():
                if not isinstance(outcome, Exception):
                    self._abandon(outcome)
            elif isinstance(outcome, Exception):
                result.set_exception(outcome)
            else:
                result.set_result(outcome)


def _copy(error: Exception) -> DatabaseDown:
    """The same for one of several callers: an error that is raised twice would collect the traces of both."""
    copy = DatabaseDown()
    copy.__cause__ = error.__cause__
    return copy
