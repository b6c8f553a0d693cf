"""`make bench`: the performance table. Ratios within one run; see README.md of this folder."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

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


def line(name: str, load: Load, base: Load | None, note: str = "") -> str:
    """One line of the table."""
    ratio = f"{load.rps / base.rps:.2f}" if base else "1"
    return (
        f"| {name} | {load.rps:,.0f} | {ratio} | {load.p50:.1f} | {load.p99:.1f} | {load.cpu_us:,.0f} | {load.rss_mb:.0f} "
        f"| {load.errors} | {note} |"
    )


def measure(folder: Path, seconds: int, users: int) -> list[str]:
    """Run everything and give the table's lines."""
    python = sys.executable
    data = folder / "data"
    rows = []
    with upstream(folder) as address:
        config = folder / "plugins.toml"
        config.write_text('enabled = ["api", "openai"]\n')
        port, base_port = free_port(), free_port()
        env = {
            "DATA_DIR": str(data),
            "PORT": str(port),
            "TOLLHOUSE_CONFIG": str(config),
            "TOLLHOUSE_RATE_LIMIT_PRINCIPAL": "0",
            "TOLLHOUSE_RATE_LIMIT_ANONYMOUS": "0",
            "TOLLHOUSE_LOG_LEVEL": "warning",
        }
        keys_file = folder / "keys.json"
        command = [python, str(HERE / "shop.py"), "--upstream", address, "--users", str(users), "--keys", str(keys_file)]
        subprocess.run(command, check=True, env={**os.environ, **env})
        keys = json.loads(keys_file.read_text())
        fast, slow = script(folder, "fast", keys), script(folder, "slow", keys)
        serve = [str(Path(python).parent / "tollhouse"), "serve"]
        with running(serve, f"http://127.0.0.1:{port}/healthz", **env) as ours:
            idle = resident_mb(ours.pid)
            url = f"http://127.0.0.1:{port}{PATH}"
            base_env = {"UPSTREAM": f"{address}/fast", "PORT": str(base_port)}
            base_url = f"http://127.0.0.1:{base_port}{PATH}"
            with running([python, str(HERE / "base.py")], f"http://127.0.0.1:{base_port}/", **base_env) as base:
                wrk(base_url, fast, 32, 3, base.pid)
                reference = wrk(base_url, fast, 32, seconds, base.pid)
            wrk(url, fast, 32, 5, ours.pid)
            before = asyncio.run(commits(data))
            metered = wrk(url, fast, 32, seconds, ours.pid)
            each = (asyncio.run(commits(data)) - before) / max(metered.requests, 1)
            rows += [line("BASE, 0 ms, 32 connections", reference, None)]
            rows += [line("metered, 0 ms, 32 connections", metered, reference, f"{each:.2f} commits a call")]
            base_env["UPSTREAM"] = f"{address}/slow"
            with running([python, str(HERE / "base.py")], f"http://127.0.0.1:{base_port}/", **base_env) as base:
                reference = wrk(base_url, slow, 128, seconds, base.pid)
            metered = wrk(url, slow, 128, seconds, ours.pid)
            rows += [line("BASE, 200 ms, 128 connections", reference, None)]
            rows += [line("metered, 200 ms, 128 connections", metered, reference, f"{idle:.0f} MB at rest")]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--users", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tollhouse-bench-") as name:
        rows = measure(Path(name), options.seconds, options.users)
    print("| server | requests/s | of BASE | p50 ms | p99 ms | CPU us | RSS MB | errors | |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
