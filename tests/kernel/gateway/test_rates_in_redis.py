"""Several processes count together in Redis, on a real server."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tollhouse.auth.errors import TooManyTries
from tollhouse.auth.throttle import LoginThrottle
from tollhouse.gateway.rate_limits import RateLimits
from tollhouse.plugin import RateLimited, Unavailable
from tollhouse.settings import Settings
from tollhouse.store.rates import Rates

TENANT = UUID(int=7)
SETTINGS = Settings(rate_limit_anonymous=10, rate_limit_login=3)

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server of our own on a socket in a temporary folder."""
    command = ["redis-server", "--port", "0", "--unixsocket", "r.sock", "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        for line in server.stdout:
            if b"ready to accept connections" in line.lower():
                break
        yield server
        server.kill()


@pytest.fixture
async def processes(redis: subprocess.Popen[bytes], tmp_path: Path) -> AsyncIterator[list[Rates]]:
    """The counters of four processes."""
    rates = [Rates(f"redis+unix://{tmp_path}/r.sock") for _ in range(4)]
    yield rates
    for one in rates:
        await one.close()


async def test_processes_share_one_count(processes: list[Rates]) -> None:
    limits = [RateLimits(SETTINGS, rates) for rates in processes]
    hits = [one.hit(one.anonymous, "acme", "1.2.3.4") for one in limits for _ in range(5)]
    outcomes = await asyncio.gather(*hits, return_exceptions=True)
    assert sum(isinstance(outcome, tuple) for outcome in outcomes) == 10
    assert sum(isinstance(outcome, RateLimited) for outcome in outcomes) == 10
    assert await limits[0].hit(limits[0].anonymous, "other", "1.2.3.4"), "another tenant has a count of its own"


async def test_tries_to_sign_in_are_counted_together(processes: list[Rates]) -> None:
    here, there, *_ = (LoginThrottle(SETTINGS, rates) for rates in processes)
    await here.take(TENANT, "ada@example.com", "1.1.1.1")
    await here.succeeded(TENANT, "ada@example.com", "1.1.1.1")
    for throttle in (here, there, here):
        await throttle.take(TENANT, "ada@example.com", "1.1.1.1")
    with pytest.raises(TooManyTries) as refused:
        await there.take(TENANT, "ada@example.com", "2.2.2.2")
    await here.take(TENANT, "ada@example.com", "2.2.2.2", device="a known browser")
    assert refused.value.retry_after == 2
    await asyncio.sleep(2.1)  # the server's clock is nobody's to move
    comes = [throttle.take(TENANT, "ada@example.com", "2.2.2.2") for throttle in (here, there) * 3]
    outcomes = await asyncio.gather(*comes, return_exceptions=True)
    assert sum(outcome is None for outcome in outcomes) == 1, "the place that one process gave, another one takes, once"


async def test_a_server_that_dies_lets_requests_through_and_nobody_guess(
    processes: list[Rates], redis: subprocess.Popen[bytes]
) -> None:
    failures: list[int] = []
    limits = RateLimits(SETTINGS, processes[0], lambda: failures.append(1))
    assert await limits.hit(limits.anonymous, "acme", "1.2.3.4")
    redis.kill()
    redis.wait()
    for _ in range(2):
        assert await limits.hit(limits.anonymous, "acme", "1.2.3.4") == ()
    assert len(failures) == 2
    with pytest.raises(Unavailable):
        await LoginThrottle(SETTINGS, processes[0]).take(TENANT, "ada@example.com", "1.1.1.1")
