"""Whether this process can do its work: it proves so by writing, a little, and not more often than every few seconds.

The proof is the renewal of the process's own lease. A disk may be too full for a new page and have room for that, so a write
that failed for want of room counts too, until a larger one succeeds. What is wrong is logged when it begins, once a minute
while it lasts, and when it is over; the console and ``/metrics`` show it meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from sqlalchemy import text

from tollhouse.store.blobs import BlobStore
from tollhouse.store.errors import SchemaMismatch
from tollhouse.store.store import Store
from tollhouse.store.trouble import LASTING, NO_PARTITION, SILENT, Seldom, Trouble, trouble_of
from tollhouse.usage.runners import Runner
from tollhouse.wiring.database import MONTHS_AHEAD, check_schema

log = logging.getLogger(__name__)

PROBE_SECONDS: Final = 2.5
FRESH_SECONDS: Final = 3.0
AGAIN_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 10.0

# The month of entries that are made now, and a moment later: a month must not begin without its partition.
_PARTITIONED = text("""
    SELECT bool_and(to_regclass('public.entries_' || to_char((now() + later) AT TIME ZONE 'UTC', 'YYYY_MM')) IS NOT NULL)
    FROM unnest(ARRAY[interval '0', interval '1 hour']) AS later
""")
# Text that does not shrink, in the one table that is ours to write; taken back at once.
_ROOM = text("""
    INSERT INTO runners (id, host, pid, lease_until)
    SELECT gen_random_uuid(), string_agg(md5(random()::text), ''), 0, now() FROM generate_series(1, 8000)
""")


class Readiness:
    """Asked by probes, by the console, and by itself."""

    def __init__(self, store: Store, runner: Runner, blobs: BlobStore) -> None:
        self._store = store
        self._runner = runner
        self._blobs = blobs
        self._seldom = Seldom(log)
        self._lock = asyncio.Lock()
        self._looked = -FRESH_SECONDS
        self._proved: Trouble | None = None
        """What a write that failed has proved, until a larger one succeeds."""
        self._since = 0.0
        self.trouble: Trouble | None = None
        store.refused = self._refused

    @property
    def troubles(self) -> list[Trouble]:
        """All that is wrong now. Without room for uploads everything else goes on."""
        return [one for one in (self.trouble, self._blobs.trouble) if one is not None]

    async def check(self) -> Trouble | None:
        """Why this process cannot serve now; None if it can. An answer holds for a moment, whoever asks."""
        async with self._lock:
            if time.monotonic() - self._looked >= (FRESH_SECONDS if self.trouble is None else AGAIN_SECONDS):
                self._tell(await self._look())
                self._looked = time.monotonic()
        return self.trouble

    async def watch(self) -> None:
        """Look by itself, so that what is wrong is told although nobody asks."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)  # the rhythm itself
            await self.check()

    async def _look(self) -> Trouble | None:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await self._probe()
        except TimeoutError:
            return SILENT
        except SchemaMismatch as error:
            return Trouble(error.code, error.detail)
        except Exception as error:  # every reason is one not to serve
            return trouble_of(error)

    async def _probe(self) -> Trouble | None:
        await check_schema(self._store)
        await self._runner.renew()
        if self._proved is not None:
            await self._prove_room()
            self._proved = None
        async with self._store.operator() as conn:
            if not (await conn.execute(_PARTITIONED)).scalar_one():
                await conn.execute(text("SELECT ensure_entry_partitions(:ahead)"), {"ahead": MONTHS_AHEAD})
                return None if (await conn.execute(_PARTITIONED)).scalar_one() else NO_PARTITION
        return None

    async def _prove_room(self) -> None:
        async with self._store.operator() as conn:
            await conn.execute(_ROOM)
            await conn.rollback()

    def _refused(self, error: BaseException) -> None:
        """A write was refused in somebody's transaction."""
        found = trouble_of(error)
        if found in LASTING:
            self._proved = found
            self._tell(found)
            self._looked = time.monotonic()  # the next look proves that it is over, and not this very moment

    def _tell(self, found: Trouble | None) -> None:
        before, self.trouble = self.trouble, found
        if found is None:
            if before is not None:
                self._seldom.over()
                log.warning(
                    "ready again: %s (%s) is over after %.0f seconds", before.text, before.code, time.monotonic() - self._since
                )
            return
        if before is None:
            self._since = time.monotonic()
        self._seldom.say(logging.ERROR, f"not ready: {found.text} ({found.code})")
