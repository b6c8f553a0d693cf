"""Groups: what comes together is done together, and nobody suffers for another's fault."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from uuid import UUID

import pytest

from tollhouse.store.errors import DatabaseDown, LockedTooLong
from tollhouse.store.groups import CROWD, LANES, MOST, Groups
from tollhouse.store.lane import Lane
from tollhouse.store.pool import HotPool

TENANT, OTHER = UUID(int=1), UUID(int=2)


class Work:
    """Doubles numbers, each group only when it is let through; remembers what came together."""

    def __init__(self) -> None:
        self.groups: list[tuple[UUID, list[int]]] = []
        self.gate = asyncio.Event()
        self.fails: dict[int, Exception] = {}
        self.abandoned: list[int] = []

    async def __call__(self, lane: Lane, tenant_id: UUID, items: Sequence[int]) -> list[int | Exception]:
        self.groups.append((tenant_id, list(items)))
        await self.gate.wait()
        for item in items:
            if item in self.fails:
                raise self.fails[item]
        return [ValueError(f"{item} is negative") if item < 0 else 2 * item for item in items]

    async def give_up(self, result: int) -> None:
        self.abandoned.append(result)


def _lane(tenant_id: UUID, follows: Callable[[], bool]) -> Lane:
    """No database is asked here."""
    return Lane(HotPool(_nowhere, 0), str, follows)


async def _nowhere() -> None:
    raise AssertionError


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def groups(work: Work) -> Groups[int, int]:
    return Groups(_lane, work, abandoned=work.give_up)


async def _later(groups: Groups[int, int], *items: int, tenant: UUID = TENANT) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(groups.add(tenant, item)) for item in items]
    await _settled()
    return tasks


async def _settled() -> None:
    """Until everybody who can go on has."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_comes_alone_goes_at_once_and_who_comes_meanwhile_shares_the_next(
    groups: Groups[int, int], work: Work
) -> None:
    first = await _later(groups, 1)
    rest = await _later(groups, 2, 3, 4)
    assert work.groups == [(TENANT, [1])]
    work.gate.set()
    assert await asyncio.gather(*first, *rest) == [2, 4, 6, 8]
    assert work.groups == [(TENANT, [1]), (TENANT, [2, 3, 4])]


async def test_tenants_share_nothing_and_do_not_wait_for_each_other(groups: Groups[int, int], work: Work) -> None:
    tasks = [*await _later(groups, 1), *await _later(groups, 2, tenant=OTHER)]
    assert work.groups == [(TENANT, [1]), (OTHER, [2])]
    work.gate.set()
    assert await asyncio.gather(*tasks) == [2, 4]


async def test_a_crowd_that_waits_opens_another_lane_up_to_a_bound(groups: Groups[int, int], work: Work) -> None:
    await _later(groups, 0)
    await _later(groups, *range(1, CROWD))
    assert [len(items) for _, items in work.groups] == [1], "so few wait for the one before them"
    await _later(groups, *range(CROWD, 3 * CROWD))
    assert [len(items) for _, items in work.groups] == [1] + [MOST] * (LANES - 1)
    work.gate.set()
    await _settled()
    assert sum(len(items) for _, items in work.groups) == 3 * CROWD


async def test_one_refusal_is_its_own_callers(groups: Groups[int, int], work: Work) -> None:
    await _later(groups, 0)
    tasks = await _later(groups, 1, -2, 3)
    work.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(result) for result in results] == ["2", "-2 is negative", "6"]


@pytest.mark.parametrize("fault", [KeyError("a bug"), LockedTooLong()])
async def test_what_fails_as_a_whole_is_tried_one_by_one(groups: Groups[int, int], work: Work, fault: Exception) -> None:
    await _later(groups, 0)
    work.fails[2] = fault
    tasks = await _later(groups, 1, 2, 3)
    work.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results == [2, fault, 6]
    assert sorted(work.groups[2:]) == [(TENANT, [1]), (TENANT, [2]), (TENANT, [3])]


async def test_a_database_that_is_away_is_not_asked_again_for_each(groups: Groups[int, int], work: Work) -> None:
    await _later(groups, 0)
    work.fails[2] = DatabaseDown()
    tasks = await _later(groups, 1, 2, 3)
    work.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseDown] * 3
    assert len({id(result) for result in results}) == 3, "each caller raises an error of its own"
    assert len(work.groups) == 2


async def test_who_is_cancelled_while_waiting_takes_no_part(groups: Groups[int, int], work: Work) -> None:
    await _later(groups, 0)
    kept, gone = await _later(groups, 1, 2)
    gone.cancel()
    await _settled()
    work.gate.set()
    assert await kept == 2
    assert work.groups[1] == (TENANT, [1])
    assert work.abandoned == []


async def test_what_was_done_for_somebody_who_is_gone_is_given_back(groups: Groups[int, int], work: Work) -> None:
    (gone,) = await _later(groups, 7)
    gone.cancel()
    await _settled()
    work.gate.set()
    await _settled()
    assert work.abandoned == [14]


async def test_who_is_cancelled_in_the_moment_in_which_it_is_done_gives_it_back(work: Work) -> None:
    async def done_and_cancelled(lane: Lane, tenant_id: UUID, items: Sequence[int]) -> list[int | Exception]:
        asyncio.get_running_loop().call_soon(gone.cancel)  # runs after the result is set, before its caller wakes up
        return [2 * item for item in items]

    groups = Groups(_lane, done_and_cancelled, abandoned=work.give_up)
    gone = asyncio.create_task(groups.add(TENANT, 7))
    with pytest.raises(asyncio.CancelledError):
        await gone
    await _settled()
    assert work.abandoned == [14]


async def test_giving_back_holds_nobody_up(work: Work) -> None:
    async def stuck(result: int) -> None:
        await asyncio.Event().wait()

    groups = Groups(_lane, work, abandoned=stuck)
    await _later(groups, 0)
    gone, kept = await _later(groups, 1, 2)
    work.gate.set()
    await asyncio.sleep(0)
    gone.cancel()
    async with asyncio.timeout(5):
        assert await kept == 4


async def test_nothing_is_remembered_of_a_tenant_that_is_calm(groups: Groups[int, int], work: Work) -> None:
    work.gate.set()
    assert await groups.add(TENANT, 1) == 2
    await _settled()
    assert not groups._queues
    assert not groups._tasks
