"""Several server processes on one database, each with pools, caches and a lease of its own."""

from __future__ import annotations

import asyncio
import multiprocessing as mp
import random
import tempfile
import traceback
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import UUID

from tests.world import World, open_world, say
from tollhouse import plugin as th


async def _storm(world: World, tenant_id: UUID, users: list[UUID], requests: int, barrier: Any, reply: str) -> dict[str, int]:
    """Send ``requests`` turns at once, after every process is ready; what came of them, by code."""
    outcomes: Counter[str] = Counter()
    rng = random.Random(requests)

    def answer(request: th.CompletionRequest) -> th.Completion:
        used = request.max_output_tokens if reply == "greedy" else 5
        return th.Completion((th.Text("Hello."),), th.TokenUsage(10, used))

    world.model.answer = answer
    world.model.delay = lambda: rng.random() * 0.05
    callers = [await world.caller(tenant_id, user) for user in users]

    async def one(number: int) -> None:
        try:
            await world.container.turns.run(callers[number % len(callers)], say())
        except th.AccessDenied as denied:
            outcomes[denied.decision.reason] += 1
        else:
            outcomes["ok"] += 1

    await asyncio.to_thread(barrier.wait)
    await asyncio.gather(*(one(number) for number in range(requests)))
    return dict(outcomes)


async def _serve(dsn: str, pipe: Connection, barrier: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = await open_world(dsn, Path(folder), hot_pool_size=10)
        try:
            while (order := await asyncio.to_thread(pipe.recv)) is not None:
                try:
                    pipe.send(await _storm(world, *order[:3], barrier, order[3]))
                except Exception:
                    pipe.send(traceback.format_exc())
        finally:
            await world.container.close()


def _child(dsn: str, pipe: Connection, barrier: Any) -> None:
    asyncio.run(_serve(dsn, pipe, barrier))


class Fleet:
    """So many processes; ``storm`` lets all of them loose at the same moment."""

    def __init__(self, dsn: str, size: int = 4) -> None:
        context = mp.get_context("spawn")
        self._barrier = barrier = context.Barrier(size)  # kept: a barrier that nobody holds is gone before the children come
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(size):
            mine, theirs = context.Pipe()
            process = context.Process(target=_child, args=(dsn, theirs, barrier), daemon=True)
            process.start()
            self._pipes.append(mine)
            self._processes.append(process)

    async def storm(self, tenant_id: UUID, users: list[UUID], requests: int, reply: str = "short") -> Counter[str]:
        """``requests`` turns in all, spread over the processes and the users; the outcomes by code."""
        share = requests // len(self._pipes)
        for pipe in self._pipes:
            pipe.send((tenant_id, users, share, reply))
        total: Counter[str] = Counter()
        for pipe in self._pipes:
            found = await asyncio.to_thread(pipe.recv)
            assert isinstance(found, dict), found
            total.update(found)
        return total

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join(20)
            if process.is_alive():
                process.kill()
