"""Counters: what one person used and holds in one window.

A counter is named by (user, metric, agent?, channel?, window, start), never by the plan or the limit that reads it: changing
plans does not renew an allowance. Its id is a digest of that name, so every process computes the same id, and the order of
ids is the one order in which everybody locks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from uuid import UUID

from tollhouse.plugin.access import Metric, Window
from tollhouse.records import record
from tollhouse.store.ids import id_of


@dataclass(frozen=True, slots=True)
class CounterKey:
    """The name of a counter. ``user_id`` None is the tenant's own counter. ``end`` is not part of the name."""

    id: UUID
    user_id: UUID | None
    metric: Metric
    window: Window
    start: datetime
    end: datetime
    agent_id: UUID | None = None
    channel: str | None = None


@lru_cache(maxsize=16_384)
def counter_key(
    user_id: UUID | None,
    metric: Metric,
    window: Window,
    start: datetime,
    end: datetime,
    agent_id: UUID | None = None,
    channel: str | None = None,
) -> CounterKey:
    """The key with its id; remembered, because a window's name is asked for at every turn. ``start`` and ``end`` are aware."""
    name = f"{user_id}|{metric}|{agent_id}|{channel}|{window}|{start.timestamp():.0f}"
    digest = blake2b(name.encode(), digest_size=16).digest()
    return CounterKey(id_of(digest), user_id, metric, window, start, end, agent_id, channel)


@record(frozen=True, slots=True)
class Standing:
    """The two numbers of a counter."""

    used: int = 0
    held: int = 0

    def holding(self, amount: int) -> Standing:
        """The same with ``amount`` more set aside."""
        return Standing(self.used, self.held + amount)


NOTHING = Standing()


@record(frozen=True, slots=True)
class Line:
    """Units to hold on one counter."""

    counter: CounterKey
    amount: int
