"""`make bench`: the performance table. Ratios within one run; see README.md of this folder."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import asyncpg
from tools import Load, free_port, resident_mb, running, upstream, wrk

from tollhouse.store.embedded_socket import reachable_address

HERE = Path(__file__).parent
SCRIPT = """
local keys = {{{keys}}}
local n = 0
wrk.method = "POST"
wrk.body = '{{"model":"{model}","messages":[{{"role":"user","content":"Say hello to everybody in the room, please."}}]}}'
request = function()
  n = n + 1
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = "Bearer " .. keys[(n % #keys) + 1]
  return wrk.format()
end
"""
PATH = "/v1/chat/completions"


def script(folder: Path, model: str, keys: list[str]) -> Path:
    """A wrk script that asks ``model`` with all keys in turn."""
    path = folder / f"{model}.lua"
    path.write_text(SCRIPT.format(model=model, keys=",".join(f'"{key}"' for key in keys)))
    return path


async def commits(data: Path) -> int:
    """Transactions that PostgreSQL has committed in the benchmark's database."""
    address = reachable_address(data / "pg" / "socket")
    conn = await asyncpg.connect(address.dsn("postgres", "postgres"))
    try:
        await conn.execute("SELECT pg_stat_force_next_flush()")
        return int(await conn.fetchval("SELECT xact_commit FROM pg_stat_database WHERE datname = 'tollhouse'"))
    finally:
        await conn.close()


def line(name: str, loads: Sequence[Load], bases: Sequence[Load] | None, note: str = "") -> str:
    """One line of the table: medians over the rounds; the ratio is of each round with the BASE of the same round."""

    def middle(field: str) -> float:
        return median(getattr(load, field) for load in loads)

    ratio = f"{median(load.rps / base.rps for load, base in zip(loads, bases, strict=True)):.2f}" if bases else "1"
    errors = sum(load.errors for load in loads)
    return (
        f"| {name} | {middle('rps'):,.0f} | {ratio} | {middle('p50'):.1f} | {middle('p99'):.1f} | {middle('cpu_us'):,.0f} "
        f"| {middle('rss_mb'):.0f} | {errors} | {note} |"
    )


@dataclass(frozen=True)
class Case:
    """What is measured: an agent's model at the upstream, and how many connections ask for it."""

    name: str
    model: str
    connections: int


CASES = (Case("0 ms", "fast", 32), Case("200 ms", "slow", 128))


def measure(folder: Path, seconds: int, users: int, rounds: int) -> list[str]:
    """Run everything and give the table's lines."""
    with upstream(folder) as address:
        port = free_port()
        env, keys = furnish(folder, address, port, users)
        with running(
            [str(Path(sys.executable).parent / "tollhouse"), "serve"], f"http://127.0.0.1:{port}/healthz", **env
        ) as ours:
            at_rest = resident_mb(ours.pid)
            rows = []
            for case in CASES:
                rows += compare(
                    folder, case, f"{address}/{case.model}", f"http://127.0.0.1:{port}{PATH}", ours.pid, keys, seconds, rounds
                )
    return [*rows, f"\n{at_rest:.0f} MB at rest"]


def furnish(folder: Path, address: str, port: int, users: int) -> tuple[dict[str, str], list[str]]:
    """A tenant to measure; the server's environment, and the API keys of its users."""
    config, keys = folder / "plugins.toml", folder / "keys.json"
    config.write_text('enabled = ["api", "openai"]\n')
    env = {
        "DATA_DIR": str(folder / "data"),
        "PORT": str(port),
        "TOLLHOUSE_CONFIG": str(config),
        "TOLLHOUSE_RATE_LIMIT_PRINCIPAL": "0",
        "TOLLHOUSE_RATE_LIMIT_ANONYMOUS": "0",
        "TOLLHOUSE_LOG_LEVEL": "warning",
    }
    command = [sys.executable, str(HERE / "shop.py"), "--upstream", address, "--users", str(users), "--keys", str(keys)]
    subprocess.run(command, check=True, env={**os.environ, **env})
    return env, json.loads(keys.read_text())


def compare(
    folder: Path, case: Case, upstream_url: str, url: str, pid: int, keys: list[str], seconds: int, rounds: int
) -> list[str]:
    """BASE and ours in turn, round after round, so that whatever else the machine does meets both."""
    lua = script(folder, case.model, keys)
    base_port = free_port()
    base_url = f"http://127.0.0.1:{base_port}{PATH}"
    base_env = {"UPSTREAM": upstream_url, "PORT": str(base_port)}
    bases, metered, commits_before, calls = [], [], 0, 0
    with running([sys.executable, str(HERE / "base.py")], f"http://127.0.0.1:{base_port}/", **base_env) as base:
        wrk(base_url, lua, case.connections, 2, base.pid)
        wrk(url, lua, case.connections, 5, pid)
        commits_before = asyncio.run(commits(folder / "data"))
        for _ in range(rounds):
            bases.append(wrk(base_url, lua, case.connections, seconds, base.pid))
            metered.append(wrk(url, lua, case.connections, seconds, pid))
    calls = sum(load.requests for load in metered)
    each = (asyncio.run(commits(folder / "data")) - commits_before) / max(calls, 1)
    what = f"{case.name}, {case.connections} connections"
    return [line(f"BASE, {what}", bases, None), line(f"metered, {what}", metered, bases, f"{each:.2f} commits a call")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--users", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tollhouse-bench-") as name:
        rows = measure(Path(name), options.seconds, options.users, options.rounds)
    print("| server | requests/s | of BASE | p50 ms | p99 ms | CPU us | RSS MB | errors | |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
