"""Limits: whether a turn fits, how much is set aside, and how far the model's output is clamped. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from tollhouse.billing.plans import PlanLimit
from tollhouse.billing.windows import window_bounds
from tollhouse.plugin.access import LimitStatus
from tollhouse.policy import reasons
from tollhouse.policy.reasons import Reason
from tollhouse.policy.rules import Case
from tollhouse.records import record
from tollhouse.usage.counters import NOTHING, CounterKey, Line, Standing, counter_key

MILLION = 1_000_000
CAP_ID = UUID(int=0)


@record(frozen=True, slots=True)
class Needs:
    """The worst case of a turn: an upper bound of its prompt, the longest output, and the dearest price of its models.

    Prices in nano-units per million tokens; ``priced`` False means that one of them is not known.
    """

    input_tokens: int = 1
    max_output_tokens: int = 1
    input_price: int = 0
    output_price: int = 0
    priced: bool = True

    def cost(self, output_tokens: int) -> int:
        """The most that this turn costs with that much output, in nano-units, rounded up."""
        return -(-(self.input_tokens * self.input_price + output_tokens * self.output_price) // MILLION)

    def amount(self, metric: str, output_tokens: int) -> int:
        """Units of ``metric`` to set aside for that much output."""
        if metric == "input_tokens":
            return self.input_tokens
        if metric == "output_tokens":
            return output_tokens
        if metric == "total_tokens":
            return self.input_tokens + output_tokens
        if metric == "cost":
            return self.cost(output_tokens)
        return 1

    def longest(self, metric: str, room: int) -> int:
        """The most output tokens that ``room`` units of ``metric`` leave; below 1 when not even the prompt fits."""
        if metric == "output_tokens":
            return room
        if metric == "total_tokens":
            return room - self.input_tokens
        if metric == "cost":
            rest = room * MILLION - self.input_tokens * self.input_price
            if rest < 0:
                return 0
            return rest // self.output_price if self.output_price else self.max_output_tokens
        fits = room >= (self.input_tokens if metric == "input_tokens" else 1)
        return self.max_output_tokens if fits else 0


@record(frozen=True, slots=True)
class Applied:
    """A limit that applies to this case, the counter it reads, and how that counter stands."""

    limit: PlanLimit
    key: CounterKey
    standing: Standing

    @property
    def room(self) -> int:
        return self.limit.amount - self.standing.used - self.standing.held


@record(frozen=True, slots=True)
class Fit:
    """Whether it fits. ``max_output_tokens`` is what may be asked of the model; ``lines`` is what must be held for it."""

    max_output_tokens: int
    lines: tuple[Line, ...] = ()
    reason: Reason | None = None
    blocking: Applied | None = None
    soft: tuple[Applied, ...] = ()


def applied_limits(case: Case, standings: Mapping[UUID, Standing], *, every: bool = False) -> tuple[Applied, ...]:
    """The limits that count this turn; ``every``: those for other agents and channels too, for showing them."""
    found = []
    agent_id = case.facts.agent.id if case.facts.agent else None
    for limit in case.entitlement.limits:
        if every or (limit.agent_id in (None, agent_id) and limit.channel in (None, case.request.channel)):
            key = _key(case, limit, case.facts.user.id)
            found.append(Applied(limit, key, standings.get(key.id, NOTHING)))
    cap = case.facts.tenant.daily_cost_cap
    if cap is not None and not every:
        limit = PlanLimit(CAP_ID, "cost", cap, "day")
        key = _key(case, limit, None)
        found.append(Applied(limit, key, standings.get(key.id, NOTHING)))
    return tuple(found)


def _key(case: Case, limit: PlanLimit, user_id: UUID | None) -> CounterKey:
    rights = case.entitlement
    start, end = window_bounds(limit.window, case.facts.now, case.facts.tenant.timezone, rights.period, rights.anchor)
    return counter_key(user_id, limit.metric, limit.window, start, end, limit.agent_id, limit.channel)


def fit(limits: Sequence[Applied], needs: Needs) -> Fit:
    """Set aside the worst case, clamping the output to what is left; refuse when not even the prompt fits."""
    output = needs.max_output_tokens
    soft = []
    for applied in limits:
        if applied.limit.metric == "cost" and not needs.priced and applied.limit.hard:
            return Fit(0, reason=reasons.PRICE_UNKNOWN, blocking=applied)
        longest = needs.longest(applied.limit.metric, applied.room)
        if longest >= 1:
            output = min(output, longest) if applied.limit.hard else output
        elif applied.limit.hard:
            reason = reasons.TENANT_CAP if applied.limit.id == CAP_ID else reasons.LIMIT
            return Fit(0, reason=reason, blocking=applied)
        else:
            soft.append(applied)
    lines: dict[UUID, Line] = {}
    for applied in limits:
        lines.setdefault(applied.key.id, Line(applied.key, needs.amount(applied.limit.metric, output)))
    return Fit(output, tuple(lines.values()), soft=tuple(soft))


def status_of(applied: Applied, agents: Mapping[UUID, str], cost_currency: str = "USD") -> LimitStatus:
    """The limit as staff see it. ``agents`` names the agents that limits are for."""
    limit, standing = applied.limit, applied.standing
    scope = {}
    if limit.agent_id is not None:
        scope["agent"] = agents.get(limit.agent_id, str(limit.agent_id))
    if limit.channel is not None:
        scope["channel"] = limit.channel
    return LimitStatus(
        metric=limit.metric,
        window=limit.window,
        amount=limit.amount,
        used=standing.used,
        held=standing.held,
        remaining=max(0, applied.room),
        resets_at=None if limit.window in ("lifetime", "now") else applied.key.end,
        scope=scope,
        hard=limit.hard,
        unit=cost_currency if limit.metric == "cost" else "count",
    )
