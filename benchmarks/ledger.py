"""A ledger of many days for `make bench-growth`: entries by COPY, and the holds, turns, counters and orders that fit them."""

from __future__ import annotations

import json
import random
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from tollhouse.store.ids import id_floor, new_id
from tollhouse.usage.counters import counter_key

CHANNELS, MODELS, AGENTS = ("api", "web", "telegram"), ("demo-small", "demo-large"), 6
INPUT, OUTPUT = 150, 600  # nano-units of a token
PRICE = json.dumps({"input_per_million": INPUT * 10**6, "output_per_million": OUTPUT * 10**6, "currency": "USD"})
BATCH = 25_000
COLUMNS = (
    *("tenant_id", "id", "kind", "turn_id", "user_id", "agent_id", "version_id", "plan_version_id", "connection_id", "channel"),
    *("backend", "model", "outcome", "calls", "input_tokens", "output_tokens", "certainty", "cost", "price", "latency_ms"),
    *("counter_ids", "amounts", "occurred_at"),
)


@dataclass
class Shop:
    """A tenant as the load sees it: people, and (agent, version) pairs."""

    tenant_id: UUID
    share: float
    users: list[UUID]
    plan_version_id: UUID
    connection_id: UUID = field(default_factory=new_id)
    versions: list[tuple[UUID, UUID]] = field(default_factory=list)


async def furnish(conn: asyncpg.Connection[Any], shop: Shop, people: int) -> None:
    """Agents of two versions each, people, and an order a month of each tenth person."""
    for number in range(AGENTS):
        agent_id = new_id()
        await conn.execute(
            "INSERT INTO agents (tenant_id, id, slug, name) VALUES ($1, $2, $3, $3)", shop.tenant_id, agent_id, f"agent{number}"
        )
        for version in (1, 2):
            shop.versions.append((agent_id, new_id()))
            await conn.execute(
                "INSERT INTO prompt_versions (tenant_id, id, agent_id, number, spec) VALUES ($1, $2, $3, $4, '{}')",
                *(shop.tenant_id, shop.versions[-1][1], agent_id, version),
            )
    made = [(shop.tenant_id, new_id(), f"person{number}@bench.example") for number in range(people)]
    await conn.copy_records_to_table("users", records=made, columns=("tenant_id", "id", "email"))
    shop.users += [user_id for _, user_id, _ in made]
    now = datetime.now(UTC)
    orders = [
        (shop.tenant_id, new_id(), user, shop.plan_version_id, 1900, "USD", "manual", "paid", now - timedelta(days=day % 60))
        for day, user in enumerate(shop.users[::10] * 3)
    ]
    columns = ("tenant_id", "id", "user_id", "plan_version_id", "amount_minor", "currency", "provider", "state", "paid_at")
    await conn.copy_records_to_table("orders", records=orders, columns=columns)


class Load:
    """Entries between two moments, in the order in which they occurred."""

    def __init__(self, shops: list[Shop], first: datetime, last: datetime, rows: int) -> None:
        self.shops, self.first, self.last, self.rows = shops, first, last, rows
        self.used: dict[tuple[UUID, UUID], list[Any]] = {}
        self._chance = random.Random(rows)

    async def copy(self, conn: asyncpg.Connection[Any]) -> None:
        """COPY them, a transaction for each batch; then holds and turns from them, and counters."""
        began, done = time.monotonic(), 0
        lines = self._lines()
        while done < self.rows:
            await conn.copy_to_table("entries", source=_taken(lines, BATCH), columns=COLUMNS, format="text")
            done += BATCH
            if done % (20 * BATCH) == 0:
                print(f"  {done:,} of {self.rows:,} entries, {time.monotonic() - began:.0f} s", flush=True)
        bound = (id_floor(self.first), id_floor(self.last + timedelta(seconds=1)))
        await conn.execute(HOLDS, *bound)
        await conn.execute(TURNS, *bound)
        await self._count(conn)
        await conn.execute("ANALYZE entries, holds, turns, counters, users")

    def _lines(self) -> Iterator[bytes]:
        step = (self.last - self.first) / self.rows
        weights = [shop.share for shop in self.shops]
        pick, bits, rand = self._chance.choice, self._chance.getrandbits, self._chance.random
        for shop, number in zip(self._chance.choices(self.shops, weights, k=self.rows), range(self.rows), strict=True):
            moment = self.first + step * number
            milliseconds = int(moment.timestamp() * 1000)
            turn, entry = (UUID(int=ms << 80 | 0x7 << 76 | 0b10 << 62 | bits(62)) for ms in (milliseconds - 1, milliseconds))
            user, (agent, version) = pick(shop.users), pick(shop.versions)
            fails = rand() < 0.02
            tokens = (0, 0) if fails else (200 + bits(8), 50 + bits(7))
            amounts = (0, 0) if fails else (1, sum(tokens))
            counters = self._charge(shop.tenant_id, user, moment, amounts)
            yield (
                f"{shop.tenant_id}\t{entry}\tturn\t{turn}\t{user}\t{agent}\t{version}\t{shop.plan_version_id}\t"
                f"{shop.connection_id}\t{pick(CHANNELS)}\tdemo\t{pick(MODELS)}\t{'model_timeout' if fails else 'ok'}\t"
                f"{0 if fails else 1}\t{tokens[0]}\t{tokens[1]}\texact\t{tokens[0] * INPUT + tokens[1] * OUTPUT}\t{PRICE}\t"
                f"{300 + bits(10)}\t{{{counters[0]},{counters[1]}}}\t{{{amounts[0]},{amounts[1]}}}\t{moment.isoformat()}\n"
            ).encode()

    def _charge(self, tenant_id: UUID, user: UUID, moment: datetime, amounts: tuple[int, int]) -> list[UUID]:
        day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        month = day.replace(day=1)
        spans = (("calls", "day", day, day + timedelta(days=1)), ("total_tokens", "month", month, month + timedelta(days=32)))
        ids = []
        for (metric, window, start, end), amount in zip(spans, amounts, strict=True):
            key = counter_key(user, metric, window, start, end)  # type: ignore[arg-type]
            found = self.used.setdefault((tenant_id, key.id), [user, metric, window, start, end, 0])
            found[-1] += amount
            ids.append(key.id)
        return ids

    async def _count(self, conn: asyncpg.Connection[Any]) -> None:
        rows = [(*key, *values) for key, values in self.used.items()]
        columns = ("tenant_id", "id", "user_id", "metric", "window", "window_start", "window_end", "used")
        await conn.copy_records_to_table("counting", records=rows, columns=columns)
        await conn.execute(COUNTED)
        self.used.clear()


async def _taken(lines: Iterator[bytes], most: int) -> AsyncIterator[bytes]:
    some: list[bytes] = []
    for _, line in zip(range(most), lines, strict=False):
        some.append(line)
        if len(some) == 500:
            yield b"".join(some)
            some.clear()
    yield b"".join(some)


COUNTING = """
    CREATE TABLE counting (tenant_id uuid, id uuid, user_id uuid, metric text, "window" text, window_start timestamptz,
                           window_end timestamptz, used bigint)
"""
COUNTED = """
    WITH gone AS (DELETE FROM counting RETURNING *)
    INSERT INTO counters (tenant_id, id, user_id, metric, "window", window_start, window_end, used) SELECT * FROM gone
    ON CONFLICT (tenant_id, id) DO UPDATE SET used = counters.used + excluded.used
"""
_LOADED = "FROM entries WHERE id >= $1 AND id < $2 AND backend = 'demo' AND model LIKE 'demo-%' ON CONFLICT DO NOTHING"
HOLDS = f"""
    INSERT INTO holds (tenant_id, id, turn_id, attempt, user_id, runner_id, state, counter_ids, amounts, facts,
                       created_at, resolved_at)
    SELECT tenant_id, id, turn_id, 1, user_id, connection_id, CASE outcome WHEN 'ok' THEN 'settled' ELSE 'released' END,
           counter_ids, ARRAY[1, 1000], jsonb_build_object('agent', agent_id, 'version', version_id, 'test', false,
           'plan_version', plan_version_id, 'connection', connection_id, 'backend', backend, 'model', model,
           'channel', channel, 'price', price), occurred_at, occurred_at
    {_LOADED}
"""
TURNS = f"""
    INSERT INTO turns (tenant_id, id, source_id, body_hash, user_id, agent_id, version_id, channel, state, runner_id, usage,
                       model, created_at, finished_at)
    SELECT tenant_id, turn_id, user_id, '', user_id, agent_id, version_id, channel,
           CASE outcome WHEN 'ok' THEN 'done' ELSE 'failed' END, connection_id,
           jsonb_build_object('input', input_tokens, 'output', output_tokens), model, occurred_at, occurred_at
    {_LOADED}
"""
