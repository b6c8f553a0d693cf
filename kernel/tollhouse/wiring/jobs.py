"""What runs beside requests in a process: the tasks of the queue, the periodic ones, and the relay."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import procrastinate
from sqlalchemy import text

from tollhouse.delivery.relay import Relay
from tollhouse.store import jobs as queue
from tollhouse.store.inbox import QUEUE, TASK
from tollhouse.store.store import Store
from tollhouse.wiring.database import MONTHS_AHEAD

log = logging.getLogger(__name__)

MAINTENANCE = "maintenance"
MONTHS_ALARM = 2

Chore = Callable[[], Awaitable[Any]]
Alarm = Callable[[str, str], Awaitable[None]]
"""``(code, message)``: something the operator must see."""


@dataclass(frozen=True, slots=True)
class JobHandlers:
    """What the jobs do; each chore may run in several processes at once and must be safe so."""

    inbox: Callable[[UUID, UUID, str], Awaitable[None]]
    sweep_holds: Chore
    roll_up: Chore
    renew_due: Chore
    prune: Chore
    verify_ledger: Chore
    seal_ledger: Chore
    alarm: Alarm


class Jobs:
    """This process's worker and relay. ``run`` ends when it is told to stop, and not before."""

    def __init__(self, store: Store, handlers: JobHandlers, relay: Relay, *, concurrency: int = 50) -> None:
        self.store = store
        self.handlers = handlers
        self.relay = relay
        self.concurrency = concurrency
        self.app = queue.job_app(store.dsn)
        self._register()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; running jobs then get a moment, and what is left goes back to the queue."""
        async with asyncio.TaskGroup() as group:
            group.create_task(queue.run_worker(self.app, stop, concurrency=self.concurrency))
            group.create_task(self.relay.run(stop))

    def _register(self) -> None:
        @self.app.task(name=TASK, queue=QUEUE, retry=queue.Retry())
        async def handle(tenant_id: str, connection_id: str, key: str) -> None:
            _call_task(TASK)
            await self.handlers.inbox(UUID(tenant_id), UUID(connection_id), key)

        self._every("* * * * * */10", "jobs.rescue", lambda: queue.rescue(self.app), period=10)
        self._every("* * * * * */15", "usage.sweep", self.handlers.sweep_holds, period=15)
        self._every("* * * * *", "reports.rollup", self.handlers.roll_up, period=60)
        self._every("*/5 * * * *", "ledger.seal", self.handlers.seal_ledger, period=300)
        self._every("*/5 * * * *", "billing.renew", self.handlers.renew_due, period=300)
        self._every("23 * * * *", "store.prune", self.handlers.prune, period=3600)
        self._every("41 3 * * *", "usage.verify", self.handlers.verify_ledger, period=86_400)
        self._every("17 3 * * *", "usage.partitions", self.ensure_partitions, period=86_400)
        self._every("53 3 * * *", "jobs.forget", lambda: queue.forget_finished(self.app), period=86_400)

    def _every(self, cron: str, name: str, chore: Chore, *, period: int) -> None:
        """A periodic task. One at a time by its lock; those that piled up behind a slow one end at once, because they are late.

        The rescue has no lock: it would wait behind the very job that it has to rescue.
        """
        lock = None if name == "jobs.rescue" else name

        @self.app.periodic(cron=cron)
        @self.app.task(name=name, queue=MAINTENANCE, lock=lock, retry=queue.Retry(3))
        async def run(timestamp: int) -> None:
            _call_task(name)
            if time.time() - timestamp < max(2 * period, 60):
                await chore()

    async def ensure_partitions(self) -> None:
        """Make the ledger's partitions a year ahead; cry out long before one is missing."""
        try:
            async with self.store.operator() as conn:
                await conn.execute(text("SELECT ensure_entry_partitions(:ahead)"), {"ahead": MONTHS_AHEAD})
        finally:
            ahead = await self.partitions_ahead()
            if ahead < MONTHS_ALARM:
                message = f"the ledger has partitions for {ahead} more months; see why ensure_entry_partitions fails"
                await self.handlers.alarm("partitions_missing", message)

    async def partitions_ahead(self) -> int:
        """For how many months after this one the ledger has a partition, without a gap."""
        months = text("""
            SELECT to_regclass('public.entries_' || to_char(month, 'YYYY_MM')) IS NOT NULL
            FROM generate_series(1, :ahead) AS step,
                 LATERAL (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => step)) AS later (month)
            ORDER BY month
        """)
        async with self.store.operator() as conn:
            there = (await conn.execute(months, {"ahead": MONTHS_AHEAD})).scalars().all()
        return there.index(False) if False in there else len(there)


def _call_task(name: str) -> None:
    """Let the watchdog find the job by its name."""
    task = asyncio.current_task()
    assert task is not None
    task.set_name(f"job {name}")


def task_names(app: procrastinate.App) -> set[str]:
    """Every task of ours; a test holds that each has a retry policy."""
    return {name for name in app.tasks if not name.startswith(("builtin", "procrastinate."))}
