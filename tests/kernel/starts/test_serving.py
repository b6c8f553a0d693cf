"""A start that fails, or is cut short, says so in one line and leaves nothing behind; a running one can be told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from pathlib import Path

import pytest

from tests.kernel.starts.conftest import SECONDS, Databases, Program, address, ended, get, said
from tollhouse.store import embedded_process
from tollhouse.store.embedded import embedded_available

needs_embedded = pytest.mark.skipif(embedded_available() is not None, reason=str(embedded_available()))
SEVERAL = {"TOLLHOUSE_WORKERS": "2"} | dict.fromkeys(
    ("TOLLHOUSE_RATE_LIMIT_ANONYMOUS", "TOLLHOUSE_RATE_LIMIT_PRINCIPAL", "TOLLHOUSE_RATE_LIMIT_LOGIN"), "0"
)
WORKERS = pytest.mark.parametrize("workers", [{}, SEVERAL], ids=["one process", "several"])
FAILS = """
    @th.impl
    async def on_startup(self, settings):
        raise RuntimeError("no luck today")
"""
WAITS = """
    @th.impl
    async def on_startup(self, settings):
        print("waiting", file=sys.stderr, flush=True)
        await asyncio.sleep(3600)
"""
REFUSES = """
    @th.impl
    async def on_startup(self, settings):
        print("waiting", file=sys.stderr, flush=True)
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass
"""
BLOCKS = """
    @th.impl
    async def on_startup(self, settings):
        print("waiting", file=sys.stderr, flush=True)
        time.sleep(3600)
"""
REGISTERS = """
    @th.impl
    def register_channels(self, settings):
        print("waiting", file=sys.stderr, flush=True)
        time.sleep(3600)
"""
THREAD = """
    @th.impl
    async def on_startup(self, settings):
        print("waiting", file=sys.stderr, flush=True)
        await asyncio.to_thread(time.sleep, 3600)
"""


@pytest.fixture
async def current(program: Program, databases: Databases) -> Program:
    """A program on a database of its schema, which serves without being prepared."""
    program.env["DATABASE_URL"] = databases.address(await databases.current())
    return program


def children(process: Process) -> set[int]:
    """The server processes that it started."""
    return {int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()}


def lives(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


async def until(condition: object) -> None:
    """Wait for a condition; a test has nothing better to wait for when processes come and go."""
    assert callable(condition)
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(("host", "begins"), [("::1", "http://[::1]:"), ("127.0.0.1", "http://127.0.0.1:")])
async def test_the_greeting_names_the_real_address(current: Program, host: str, begins: str) -> None:
    current.env["HOST"] = host
    process = await current.begin("serve")
    url = await address(process)
    assert url.startswith(begins)
    assert not url.endswith(":0")
    assert (await get(f"{url}/readyz"))[0] == 200
    process.send_signal(signal.SIGINT)
    assert (await ended(process)).code == 0


@WORKERS
async def test_a_plugin_that_fails_at_its_start(current: Program, workers: dict[str, str]) -> None:
    current.add("unlucky", FAILS)
    outcome = await current.run("serve", **workers)
    assert outcome.line() == "plugin 'unlucky' failed in on_startup: RuntimeError: no luck today"
    assert outcome.out == "", "nobody was greeted"


async def test_a_plugin_that_fails_stops_a_worker_too(current: Program) -> None:
    current.add("unlucky", FAILS)
    assert "plugin 'unlucky' failed in on_startup" in (await current.run("worker")).line()


@needs_embedded
async def test_a_failed_start_stops_the_embedded_database(program: Program) -> None:
    program.add("unlucky", FAILS)
    outcome = await program.run("serve", "--prepare")
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == "tollhouse: plugin 'unlucky' failed in on_startup: RuntimeError: no luck today"
    assert "Traceback" not in outcome.err
    assert (program.folder / "data" / "pg").exists()
    assert not embedded_process.is_locked(program.folder / "data" / "pg.alive")


@pytest.mark.parametrize(
    ("plugin", "number", "workers"),
    [
        pytest.param(WAITS, signal.SIGINT, {}, id="waits"),
        pytest.param(REFUSES, signal.SIGTERM, {}, id="does not let itself be cancelled"),
        pytest.param(BLOCKS, signal.SIGINT, {}, id="blocks the loop"),
        pytest.param(THREAD, signal.SIGTERM, {}, id="waits for a thread"),
        pytest.param(REGISTERS, signal.SIGTERM, {}, id="blocks while it is asked what it offers"),
        pytest.param(WAITS, signal.SIGTERM, SEVERAL, id="waits in several processes"),
        pytest.param(BLOCKS, signal.SIGINT, SEVERAL, id="blocks several processes"),
    ],
)
async def test_a_plugin_that_hangs_does_not_keep_the_process(
    current: Program, plugin: str, number: signal.Signals, workers: dict[str, str]
) -> None:
    current.add("slow", plugin)
    current.env.update(workers)
    process = await current.begin("serve")
    await said(process.stderr, "waiting")
    begun = children(process)
    process.send_signal(number)
    outcome = await ended(process)
    assert (outcome.code, outcome.out) == (0, "")
    assert set(outcome.err.split()) <= {"waiting"}, outcome.err
    assert not any(map(lives, begun))


async def test_a_worker_stops_while_a_plugin_hangs(current: Program) -> None:
    current.add("slow", BLOCKS)
    process = await current.begin("worker")
    await said(process.stderr, "waiting")
    process.send_signal(signal.SIGTERM)
    outcome = await ended(process)
    assert (outcome.code, outcome.err) == (0, "")


async def test_ctrl_c_while_modules_are_imported_is_quiet(program: Program, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "uvicorn.py").write_text("import sys, time\nprint('waiting', file=sys.stderr, flush=True)\ntime.sleep(3600)\n")
    program.env["PYTHONPATH"] = str(site)
    process = await program.begin("serve")
    await said(process.stderr, "waiting")
    process.send_signal(signal.SIGINT)
    assert (await ended(process)).err == ""


@needs_embedded
@pytest.mark.parametrize(("moment", "number"), [("initdb", signal.SIGINT), ("migration", signal.SIGTERM)])
async def test_a_start_that_is_cut_short_leaves_nothing_running(program: Program, moment: str, number: signal.Signals) -> None:
    process = await program.begin("serve", "--prepare")
    if moment == "initdb":
        await until((program.folder / "data" / "pg.new").exists)
    else:
        await said(process.stderr, "preparing the database")
        await until(lambda: children(process))
    process.send_signal(number)
    process.send_signal(number)  # as people do
    outcome = await ended(process)
    assert (outcome.code, outcome.out) == (0, "")
    assert "Traceback" not in outcome.err
    assert not embedded_process.is_locked(program.folder / "data" / "pg.alive")
    again = await program.begin("serve", "--prepare")
    assert (await get(f"{await address(again)}/readyz"))[0] == 200
    again.send_signal(number)
    assert (await ended(again)).code == 0
    assert not embedded_process.is_locked(program.folder / "data" / "pg.alive")


async def test_server_processes_are_replaced_and_counted_together_and_outlive_nobody(current: Program) -> None:
    current.env.update(SEVERAL)
    process = await current.begin("serve")
    url = await address(process)
    first = children(process)
    assert len(first) == 2

    for _ in range(30):
        assert (await get(f"{url}/healthz"))[0] == 200
    for _ in range(5):  # whichever process answers
        page = (await get(f"{url}/metrics"))[1]
        assert 'tollhouse_http_requests_total{method="GET",route="/healthz",status="200"} 30.0' in page

    victim = min(first)
    os.kill(victim, signal.SIGKILL)
    await until(lambda: len(children(process)) == 2 and victim not in children(process))
    assert "ended (signal 9)" in await said(process.stderr, "another takes its place")
    assert (await get(f"{url}/readyz"))[0] == 200

    left = children(process)
    process.kill()
    await process.wait()
    await until(lambda: not any(map(lives, left)))


@WORKERS
async def test_an_address_that_is_taken(current: Program, workers: dict[str, str]) -> None:
    first = await current.begin("serve")
    port = (await address(first)).rpartition(":")[2]
    line = (await current.run("serve", **workers, PORT=port)).line()
    assert line == f"cannot listen at 127.0.0.1, port {port}: Address already in use; see HOST and PORT"
    first.send_signal(signal.SIGTERM)
    assert (await ended(first)).code == 0
