"""`make bench-growth`: what reports, sums and checks cost while the ledger grows; see README.md of this folder."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import aiohttp
import asyncpg
from ledger import COUNTING, Load, Shop, furnish
from shop import LIMITS
from tools import free_port, running

from tollhouse.auth import repository as auth_rows
from tollhouse.billing.terms import Terms
from tollhouse.host.caller import Caller
from tollhouse.plugin.access import Principal
from tollhouse.reports.rollup import rebuild, roll
from tollhouse.reports.verify_sums import DailySums
from tollhouse.settings import load_settings
from tollhouse.store.audit import SYSTEM
from tollhouse.store.embedded_socket import reachable_address
from tollhouse.store.pieces import reading
from tollhouse.store.store import Store
from tollhouse.usage.verify import checks, run
from tollhouse.wiring.commands import initialise
from tollhouse.wiring.container import Container
from tollhouse.wiring.installation import open_container, open_database

DAYS, A_DAY, PEOPLE, ROUNDS, RATE = 20, 500_000, 2_000, 20, 6.0


@dataclass
class Bench:
    """Who asks, and for whom."""

    shops: list[Shop]
    key: str
    cookie: str
    users: list[str]


async def found(container: Container, api_key: str) -> Bench:
    """The tenant that is measured, with its owner's session, and two more; people with keys for the hot path."""
    tenant = await container.directory.by_slug(container.settings.default_tenant)
    others = [await container.tenants.create(f"other{number}", "Other", actor=SYSTEM) for number in (1, 2)]
    shops = []
    for one, share in ((tenant, 0.8), *((other, 0.1) for other in others)):
        caller = Caller(container.directory.info(one, container.settings.base_url), None)
        plan = await container.plans.create(caller, "bench", "Bench", Terms(all_agents=True, limits=LIMITS), default=True)
        shops.append(Shop(one.id, share, [], plan.version.id))
    keys = []
    for number in range(20):
        user = await container.accounts.register(tenant.id, f"caller{number}@bench.example", f"a long enough password {number}")
        keys.append((await container.keys.create(Principal(tenant.id, user.id, "password", "api"), "bench", actor=SYSTEM))[1])
    owner = await container.users.find(tenant.id, "owner@bench.example")
    async with container.store.transaction(tenant.id) as conn:
        row = await auth_rows.get_user(conn, tenant.id, owner.id)
        assert row is not None
        cookie = (await container.sessions.open(conn, row, "password", "cookie")).token
    return Bench(shops, api_key, f"__Host-th-{tenant.slug}={cookie}", keys)


def routes(bench: Bench, today: date) -> dict[str, str]:
    """What is measured, by path: the last 30 days, as people look at them."""
    span = f"first={today - timedelta(days=29)}&last={today}"
    person = bench.shops[0].users[0]
    admin = {
        f"usage by {by}": f"usage?by={by}&{span}" for by in ("day", "user", "agent", "version", "plan", "channel", "model")
    }
    admin |= {f"margin by {by}": f"reports/margin?by={by}&{span}" for by in ("day", "plan", "user")}
    admin |= {f"margin by {by}": f"reports/margin?by={by}&{span}" for by in ("agent", "version", "channel")}
    admin |= {"usage as CSV": f"usage?by=user&format=csv&{span}", "revenue by day": f"reports/revenue?by=day&{span}"}
    admin |= {"margin by tenant": f"reports/margin-by-tenant?{span}", "users": "users", "denials": "denials", "audit": "audit"}
    admin |= {"a person": f"users/{person}"}
    pages = {
        "overview": "",
        "usage": "/usage",
        "usage by user": "/usage?by=user",
        "people": "/users",
        "person": f"/users/{person}",
    }
    pages |= {"usage as CSV": "/usage.csv?by=model", "subscriptions": "/subscriptions", "orders": "/orders", "plans": "/plans"}
    pages |= {"audit": "/audit", "deliveries": "/deliveries", "agents": "/agents"}
    found = {f"API {name}": f"/api/v1/admin/{path}" for name, path in admin.items()}
    return found | {f"console {name}": f"/console{path}" for name, path in pages.items()}


@asynccontextmanager
async def hot_path(http: aiohttp.ClientSession, base: str, bench: Bench) -> AsyncIterator[list[float]]:
    """About 500,000 turns a day, for as long as the block lasts; how long each took."""
    took: list[float] = []
    stop = asyncio.Event()

    async def ask(key: str) -> None:
        body = {"model": "guide", "messages": [{"role": "user", "content": "Hello"}]}
        began = time.perf_counter()
        async with http.post(f"{base}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}) as answer:
            await answer.read()
            if answer.status == 200:
                took.append(time.perf_counter() - began)

    async def drive() -> None:
        async with asyncio.TaskGroup() as group:
            number = 0
            while not stop.is_set():
                group.create_task(ask(bench.users[number % len(bench.users)]))
                number += 1
                await asyncio.sleep(1 / RATE)

    driving = asyncio.create_task(drive())
    try:
        yield took
    finally:
        stop.set()
        await driving


async def measure(http: aiohttp.ClientSession, base: str, path: str, bench: Bench) -> tuple[list[float], str]:
    """How long each of some requests took, and what they answered if it was no 200."""
    headers = {"authorization": f"Bearer {bench.key}"} if path.startswith("/api/") else {"cookie": bench.cookie}
    took, status = [], ""
    for _ in range(ROUNDS):
        began = time.perf_counter()
        async with http.get(base + path, headers=headers, allow_redirects=False) as answer:
            await answer.read()
            took.append((time.perf_counter() - began) * 1000)
            status = "" if answer.status == 200 else f" ({answer.status})"
    return took, status


async def timed(work: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    """Seconds, and what it gave."""
    began = time.perf_counter()
    result = await work()
    return time.perf_counter() - began, result


async def costs(store: Store, admin: asyncpg.Connection[Any], bench: Bench, rows: int) -> list[str]:
    """What bringing the sums forward, making them anew, and checking cost; and sizes."""
    lines = []
    again, _ = await timed(lambda: rebuild(store))
    lines.append(f"sums anew: {again:.1f} s")
    for new in (350, 3_500, 35_000):
        now = datetime.now(UTC)
        fresh = Load(bench.shops, now - timedelta(seconds=1), now, new)
        await fresh.copy(admin)
        took, rolled = await timed(lambda: roll(store))
        lines.append(f"sums forward by {new:,} entries: {took * 1000:.0f} ms ({rolled.sums:,} sums)")
    shop = bench.shops[0]
    async with reading(store, shop.tenant_id) as ledger:
        took, differences = await timed(lambda: run(ledger, [*checks(), DailySums()]))
    lines.append(
        f"ledger verify of {sum(piece.rows for piece in ledger.pieces):,} entries: {took:.1f} s, {len(differences)} differences"
    )
    lines += [f"  {one.check}: {one.detail}" for one in differences[:5]]
    since = date.today() - timedelta(days=1)  # noqa: DTZ011 - about a day
    async with reading(store, shop.tenant_id, since=since) as ledger:
        took, _ = await timed(lambda: run(ledger, [*checks(), DailySums()]))
    read = sum(piece.rows for piece in ledger.pieces)
    lines.append(f"ledger verify --since yesterday, {read:,} entries: {took:.1f} s")
    sizes = "SELECT pg_size_pretty(sum(pg_total_relation_size(relid))) FROM pg_partition_tree('entries') WHERE isleaf"
    sums = await admin.fetchval(
        "SELECT pg_size_pretty(pg_total_relation_size('usage_sums') + pg_total_relation_size('usage_totals'))"
    )
    ledger_size, number = await admin.fetchval(sizes), await admin.fetchval("SELECT count(*) FROM usage_sums")
    lines.append(f"ledger {ledger_size}, sums {sums}, {number:,} rows")
    return lines


async def step(folder: Path, bench: Bench, rows: int, env: dict[str, str], only: str) -> None:
    """Measure once with what is loaded: with the sums brought forward, a server, and turns."""
    address = reachable_address(folder / "data" / "pg" / "socket")
    store = Store(address.dsn("tollhouse", "tollhouse"), pool_size=2, hot_pool_size=1)
    admin = await asyncpg.connect(address.dsn("postgres", "tollhouse"))
    base = f"http://127.0.0.1:{env['PORT']}"
    print(f"\n## {rows:,} entries\n", flush=True)
    for line in await costs(store, admin, bench, rows):
        print(line, flush=True)
    print("\n| route | p50 ms | p95 ms |\n|---|---|---|", flush=True)
    command = [str(Path(sys.executable).parent / "tollhouse"), "serve"]
    with running(command, f"{base}/healthz", **env):
        async with aiohttp.ClientSession() as http, hot_path(http, base, bench) as turns:
            for name, path in routes(bench, datetime.now(UTC).date()).items():
                if only in name:
                    took, status = await measure(http, base, path, bench)
                    print(f"| {name}{status} | {median(took):.0f} | {quantiles(took, n=20)[-1]:.0f} |", flush=True)
        typical, slow = median(turns) * 1000, quantiles(turns, n=20)[-1] * 1000
        print(f"| a turn, {len(turns):,} of them | {typical:.0f} | {slow:.0f} |", flush=True)
    await store.close()
    await admin.close()


async def bench(folder: Path, sizes: list[int], only: str) -> None:
    """Load and measure step by step; each step adds to the one before, and is days of 500,000 at most."""
    env = {
        "DATA_DIR": str(folder / "data"),
        "PORT": str(free_port()),
        "TOLLHOUSE_CONFIG": str(folder / "plugins.toml"),
        "TOLLHOUSE_RATE_LIMIT_PRINCIPAL": "0",
        "TOLLHOUSE_RATE_LIMIT_ANONYMOUS": "0",
        "TOLLHOUSE_LOG_LEVEL": "warning",
    }
    (folder / "plugins.toml").write_text('enabled = ["api", "web", "demo", "manual"]\n')
    os.environ.update(env)
    settings = load_settings()
    made = await initialise(settings, "owner@bench.example", "a long enough password")
    async with open_database(settings) as dsn:
        async with open_container(settings, dsn) as container:
            shape = await found(container, made["api_key"])
        admin = await asyncpg.connect(reachable_address(folder / "data" / "pg" / "socket").dsn("postgres", "tollhouse"))
        await admin.execute(COUNTING)
        for shop, people in zip(shape.shops, (PEOPLE, PEOPLE // 10, PEOPLE // 10), strict=True):
            await furnish(admin, shop, people)
        now, loaded = datetime.now(UTC), 0
        for rows in sizes:
            before = timedelta(days=loaded / A_DAY)
            print(f"loading up to {rows:,} entries", flush=True)
            last = now - before
            await Load(shape.shops, last - timedelta(days=(rows - loaded) / A_DAY), last, rows - loaded).copy(admin)
            loaded = rows
            await step(folder, shape, rows, env, only)
        await admin.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, DAYS * A_DAY])
    parser.add_argument("--only", default="", help="only routes with this in their name")
    parser.add_argument("--folder", type=Path, help="an empty folder that stays; a temporary one if not given")
    options = parser.parse_args()
    if options.folder is not None:
        options.folder.mkdir(parents=True)
        asyncio.run(bench(options.folder, sorted(options.rows), options.only))
        return
    with tempfile.TemporaryDirectory(prefix="tollhouse-growth-") as name:
        asyncio.run(bench(Path(name), sorted(options.rows), options.only))


if __name__ == "__main__":
    main()
