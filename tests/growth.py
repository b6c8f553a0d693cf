"""How time, memory and the hold of the loop grow with what a function is given.

Nothing here asserts seconds on the clock: time is the processor's, and what counts is how it grows, so that a busy machine
changes nothing. Functions may refuse what they are given; a refusal must be as cheap.

    assert_linear(check_json, lambda n: b'"' + b'\\\\"' * (n // 2))
    assert await longest_hold(lambda: answer(body)) < HOLD_SECONDS
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Sized
from typing import Final, TypeVar

from tollhouse.plugin.errors import TollhouseError

InputT = TypeVar("InputT", bound=Sized)
Function = Callable[[InputT], object]

HOLD_SECONDS: Final = 0.05
"""For so long at most may the loop be held."""
FLOOR_SECONDS: Final = 0.005
"""What takes less is too short to be compared."""
FLOOR_BYTES: Final = 4 * 1024 * 1024
STEP: Final = 4
GROWTH: Final = 10.0
"""Four times the input may take so many times as long: linear is 4, quadratic is 16."""


def assert_linear(
    function: Function[InputT],
    make_input: Callable[[int], InputT],
    *,
    start: int = 4 * 1024,
    end: int = 1024 * 1024,
    memory: float | None = 4.0,
    refusal: type[BaseException] = TollhouseError,
) -> None:
    """Fail if the time of ``function(make_input(n))`` grows faster than ``n`` anywhere between ``start`` and ``end``, or if it
    takes more than ``memory`` bytes for each byte or character of its input, and four megabytes. The input does not count.

    It goes up in steps and fails at the first that is too long: what is quadratic never gets to run for minutes.
    """

    def run(given: InputT) -> None:
        with contextlib.suppress(refusal):
            function(given)

    before, size = None, start
    while size <= end:
        given = make_input(size)
        took = min(_seconds(run, given) for _ in range(3))
        if before is not None:
            limit = GROWTH * max(before, FLOOR_SECONDS)
            assert took <= limit, f"{size} bytes took {took:.4f} s of computing, a quarter of it {before:.4f} s"
        if memory is not None:
            peak = _peak(run, given)
            assert peak <= memory * len(given) + FLOOR_BYTES, f"{peak} bytes of memory for {len(given)}"
        before, size = took, size * STEP


async def longest_hold(work: Callable[[], Awaitable[object]], *, refusal: type[BaseException] = TollhouseError) -> float:
    """For how many seconds at a time nothing else could run while ``await work()`` did; the least of three runs.

    Counted is computing of this process, in whichever thread: one that computes without letting go holds the loop as well.
    That the machine gave its processors to others does not count.
    """
    return min([await _one_hold(work, refusal) for _ in range(3)])


async def _one_hold(work: Callable[[], Awaitable[object]], refusal: type[BaseException]) -> float:
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            clock, computing = time.perf_counter(), time.process_time()
            await asyncio.sleep(0.001)
            longest = max(longest, min(time.perf_counter() - clock, time.process_time() - computing))

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.005)
    longest = 0.0
    try:
        with contextlib.suppress(refusal):
            await work()
    finally:
        await asyncio.sleep(0.002)  # the tick that waited sees how long it was
        ticking.cancel()
    return longest


def _seconds(run: Callable[[InputT], None], given: InputT) -> float:
    started = time.thread_time()
    run(given)
    return time.thread_time() - started


def _peak(run: Callable[[InputT], None], given: InputT) -> int:
    tracemalloc.start()
    try:
        run(given)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
