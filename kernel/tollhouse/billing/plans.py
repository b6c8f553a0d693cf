"""Plan versions as the rest of the kernel sees them: immutable, so they are loaded once and cached by id for ever."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args
from uuid import UUID

from tollhouse.billing import repository
from tollhouse.plugin.access import Metric, Window
from tollhouse.plugin.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tollhouse.store.store import Store

INTERVALS = ("month", "year", "week", "once")
CACHED_VERSIONS = 4096


@dataclass(frozen=True, slots=True)
class PlanLimit:
    """One limit. Amounts are calls, tokens, turns at once, or nano-units of model cost."""

    id: UUID
    metric: Metric
    amount: int
    window: Window
    agent_id: UUID | None = None
    channel: str | None = None
    hard: bool = True

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> PlanLimit:
        """From a row of ``limits`` or ``subscription_overrides``, or from its JSON."""
        values = {name: row[name] for name in cls.__slots__}
        for name in ("id", "agent_id"):
            if isinstance(values[name], str):
                values[name] = UUID(values[name])
        return cls(**values)

    @property
    def key(self) -> tuple[str, str, UUID | None, str | None]:
        """What it limits, without how much: an override with the same key takes this limit's place."""
        return (self.metric, self.window, self.agent_id, self.channel)


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """What a subscriber bought. ``channels`` None means every channel; ``agents`` counts only without ``all_agents``."""

    tenant_id: UUID
    id: UUID
    plan_id: UUID
    slug: str
    name: str
    number: int
    price_minor: int
    currency: str
    interval: str
    grace_days: int
    all_agents: bool
    agents: frozenset[UUID]
    channels: frozenset[str] | None
    verified_email: bool
    limits: tuple[PlanLimit, ...]

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> PlanVersion:
        """From a row of ``repository.load_versions``."""
        limits = json.loads(row["limits"]) if isinstance(row["limits"], str) else row["limits"]
        own = {name: row[name] for name in cls.__slots__ if name not in ("agents", "channels", "limits")}
        return cls(
            **own,
            agents=frozenset(row["agents"]),
            channels=None if row["channels"] is None else frozenset(row["channels"]),
            limits=tuple(PlanLimit.of(limit) for limit in limits),
        )

    @property
    def free(self) -> bool:
        return self.price_minor == 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan and its newest version, the one on offer."""

    id: UUID
    slug: str
    name: str
    description: str
    status: str
    public: bool
    default: bool
    position: int
    created_at: datetime
    version: PlanVersion


class PlanCache:
    """Plan versions by id. They never change, so nothing is ever invalidated; only the number kept is bounded.

    ``slug`` and ``name`` are the plan's when the version was loaded: a renamed plan shows its new name after a restart.
    """

    def __init__(self, store: Store, size: int = CACHED_VERSIONS) -> None:
        self.store = store
        self._size = size
        self._versions: OrderedDict[tuple[UUID, UUID], PlanVersion] = OrderedDict()

    def peek(self, tenant_id: UUID, plan_version_id: UUID) -> PlanVersion | None:
        """The version if this process has it already."""
        found = self._versions.get((tenant_id, plan_version_id))
        if found is not None:
            self._versions.move_to_end((tenant_id, plan_version_id))
        return found

    async def get(self, tenant_id: UUID, plan_version_id: UUID) -> PlanVersion:
        """The version, loaded with one statement the first time.

        Raises:
            NotFound: this tenant has no such version.
        """
        found = self.peek(tenant_id, plan_version_id)
        if found is None:
            async with self.store.transaction(tenant_id) as conn:
                loaded = await repository.load_versions(conn, tenant_id, [plan_version_id])
            if not loaded:
                raise NotFound()
            found = self.put(PlanVersion.of(loaded[0]))
        return found

    def put(self, version: PlanVersion) -> PlanVersion:
        """Remember a version that was loaded in a transaction of the caller's."""
        self._versions[(version.tenant_id, version.id)] = version
        while len(self._versions) > self._size:
            self._versions.popitem(last=False)
        return version


_UNITS: Mapping[str, tuple[str, str]] = {
    "calls": ("message", "messages"),
    "input_tokens": ("input token", "input tokens"),
    "output_tokens": ("output token", "output tokens"),
    "total_tokens": ("token", "tokens"),
}
_WINDOWS: Mapping[str, str] = {
    "minute": "a minute",
    "hour": "an hour",
    "day": "a day",
    "month": "a month",
    "period": "in each billing period",
    "lifetime": "in total",
}
assert set(_WINDOWS) | {"now"} == set(get_args(Window))


def limit_text(limit: PlanLimit, cost_currency: str | None, agents: Mapping[UUID, str] | None = None) -> str:
    """A limit in the reader's words: "20 messages a day", "2 at the same time", "100,000 tokens a month with Guide".

    ``cost_currency`` is the tenant's, for a limit of model cost; None for customers, to whom no cost is shown.
    """
    if limit.metric == "concurrent":
        text = f"{limit.amount:,} at the same time"
    elif limit.metric == "cost" and cost_currency is None:
        text = f"model allowance {_WINDOWS[limit.window]}"
    elif limit.metric == "cost":
        text = f"{nano_text(limit.amount)} {cost_currency} of model cost {_WINDOWS[limit.window]}"
    else:
        one, many = _UNITS[limit.metric]
        text = f"{limit.amount:,} {one if limit.amount == 1 else many} {_WINDOWS[limit.window]}"
    if limit.agent_id is not None:
        text += f" with {(agents or {}).get(limit.agent_id, 'one agent')}"
    if limit.channel is not None:
        text += f" on {limit.channel}"
    return text


def nano_text(nano: int) -> str:
    """Nano-units as a decimal number with at least two places: 1_500_000_000 is "1.50"."""
    whole, rest = divmod(abs(nano), 1_000_000_000)
    places = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}{whole:,}.{places}"
