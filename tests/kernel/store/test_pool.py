"""The hot path's pool: first come, first served, and nobody waits for longer than they said."""

from __future__ import annotations

import asyncio

import pytest

from tollhouse.store.pool import HotPool


class Connection:
    def __init__(self) -> None:
        self.closed = self.dirty = False

    def is_closed(self) -> bool:
        return self.closed

    def is_in_transaction(self) -> bool:
        return self.dirty

    def terminate(self) -> None:
        self.closed = True

    async def close(self, timeout: float) -> None:
        self.closed = True


class Server:
    """Makes connections, and can be away."""

    def __init__(self) -> None:
        self.made: list[Connection] = []
        self.away = False

    async def connect(self) -> Connection:
        if self.away:
            raise ConnectionError("away")
        self.made.append(Connection())
        return self.made[-1]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def pool(server: Server) -> HotPool:
    return HotPool(server.connect, 1)


async def _waiting(pool: HotPool, timeout: float = 10) -> asyncio.Task[Connection]:
    task = asyncio.create_task(pool.acquire(timeout))
    await asyncio.sleep(0)
    return task


async def test_who_gives_back_and_asks_again_at_once_comes_after_those_who_wait(pool: HotPool) -> None:
    mine = await pool.acquire(1)
    waiting = await _waiting(pool)
    pool.release(mine)
    again = await _waiting(pool)
    assert await waiting is mine
    assert not again.done()
    pool.release(mine)
    assert await again is mine


async def test_nobody_waits_for_longer_than_they_said(pool: HotPool) -> None:
    mine = await pool.acquire(1)
    waiting = await _waiting(pool, timeout=0.01)
    with pytest.raises(TimeoutError):
        await waiting
    pool.release(mine)
    assert await pool.acquire(1) is mine


async def test_who_goes_away_with_a_connection_in_hand_passes_it_on(pool: HotPool) -> None:
    mine = await pool.acquire(1)
    first, second = await _waiting(pool), await _waiting(pool)
    pool.release(mine)
    first.cancel()
    assert await second is mine
    assert first.cancelled()


@pytest.mark.parametrize("fate", ["closed", "dirty"])
async def test_a_spoiled_connection_is_replaced_for_whoever_waits(pool: HotPool, server: Server, fate: str) -> None:
    mine = await pool.acquire(1)
    waiting = await _waiting(pool)
    setattr(mine, fate, True)
    pool.release(mine)
    assert await waiting is server.made[1]
    assert mine.closed


async def test_places_are_not_lost_while_the_server_is_away(pool: HotPool, server: Server) -> None:
    server.away = True
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await pool.acquire(1)
    server.away = False
    mine = await pool.acquire(1)
    waiting = await _waiting(pool)
    mine.closed, server.away = True, True
    pool.release(mine)
    with pytest.raises(ConnectionError):
        await waiting
    server.away = False
    assert await pool.acquire(1) is server.made[-1]
