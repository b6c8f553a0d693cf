"""What a plan's version is made of, as an admin gives it, and the rules it must follow."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from tollhouse.billing.plans import INTERVALS, PlanVersion
from tollhouse.plugin.access import METRICS, WINDOWS
from tollhouse.plugin.errors import FieldError, InvalidInput
from tollhouse.plugin.money import EXPONENTS

MAX_AMOUNT = 10**18
MAX_PRICE = 10**12
MAX_LIMITS = 100
MAX_GRACE_DAYS = 90


@dataclass(frozen=True, slots=True)
class LimitTerms:
    """One limit as given. ``amount`` of the metric ``cost`` is in nano-units."""

    metric: str
    amount: int
    window: str
    agent_id: UUID | None = None
    channel: str | None = None
    hard: bool = True

    @property
    def key(self) -> tuple[str, str, UUID | None, str | None]:
        return (self.metric, self.window, self.agent_id, self.channel)


@dataclass(frozen=True, slots=True)
class Terms:
    """The versioned part of a plan. ``channels`` None: every channel."""

    price_minor: int = 0
    currency: str = "EUR"
    interval: str = "month"
    grace_days: int = 3
    all_agents: bool = False
    agents: frozenset[UUID] = frozenset()
    channels: frozenset[str] | None = None
    verified_email: bool = False
    limits: tuple[LimitTerms, ...] = ()

    @classmethod
    def of(cls, version: PlanVersion) -> Terms:
        """The terms that ``version`` was made of, to change some of them by ``dataclasses.replace``."""
        limits = tuple(
            LimitTerms(one.metric, one.amount, one.window, one.agent_id, one.channel, one.hard) for one in version.limits
        )
        own = {name: getattr(version, name) for name in cls.__slots__ if name != "limits"}
        return cls(**own, limits=limits)


def check_terms(terms: Terms, agents: Collection[UUID], channels: Collection[str] | None) -> None:
    """Refuse terms that cannot be sold. ``agents``: the tenant's; ``channels``: the known names, None to take any.

    Raises:
        InvalidInput: names every field.
    """
    errors = [*_money_errors(terms), *_reach_errors(terms, agents, channels)]
    errors += limit_errors(terms.limits, agents, channels, "#/limits")
    if errors:
        raise InvalidInput("This plan cannot be sold like that.", errors=errors)


def _money_errors(terms: Terms) -> Iterator[FieldError]:
    if not 0 <= terms.price_minor <= MAX_PRICE:
        yield FieldError("#/price_minor", f"A price between 0 and {MAX_PRICE:,} minor units, please.")
    if terms.currency not in EXPONENTS:
        yield FieldError("#/currency", "A currency is an ISO 4217 code, such as EUR.")
    if terms.interval not in INTERVALS:
        yield FieldError("#/interval", f"An interval is one of {', '.join(INTERVALS)}.")
    if not 0 <= terms.grace_days <= MAX_GRACE_DAYS:
        yield FieldError("#/grace_days", f"Between 0 and {MAX_GRACE_DAYS} days of grace, please.")


def _reach_errors(terms: Terms, agents: Collection[UUID], channels: Collection[str] | None) -> Iterator[FieldError]:
    if not terms.agents <= set(agents):
        yield FieldError("#/agents", "One of these agents does not exist.")
    if terms.channels is not None:
        if not terms.channels:
            yield FieldError("#/channels", "Choose at least one channel, or all of them.")
        for name in sorted(terms.channels):
            if not _known_channel(name, channels):
                yield FieldError("#/channels", f"There is no channel called {name!r} here.")


def limit_errors(
    limits: Sequence[LimitTerms], agents: Collection[UUID], channels: Collection[str] | None, pointer: str
) -> list[FieldError]:
    """What is wrong with a list of limits (of a plan, or of a subscriber's overrides)."""
    errors: list[FieldError] = []
    if len(limits) > MAX_LIMITS:
        errors.append(FieldError(pointer, f"At most {MAX_LIMITS} limits, please."))
    seen: set[tuple[str, str, UUID | None, str | None]] = set()
    for number, limit in enumerate(limits):
        here = f"{pointer}/{number}"
        errors += (FieldError(f"{here}/{name}", detail) for name, detail in _limit_errors(limit, agents, channels))
        if limit.key in seen:
            errors.append(FieldError(here, "There is a limit of the same metric, window, agent and channel already."))
        seen.add(limit.key)
    return errors


def _limit_errors(limit: LimitTerms, agents: Collection[UUID], channels: Collection[str] | None) -> Iterator[tuple[str, str]]:
    if limit.metric not in METRICS:
        yield "metric", f"A metric is one of {', '.join(METRICS)}."
    if limit.window not in WINDOWS:
        yield "window", f"A window is one of {', '.join(WINDOWS)}."
    if not 0 <= limit.amount <= MAX_AMOUNT:
        yield "amount", f"An amount between 0 and {MAX_AMOUNT:,}, please."
    if (limit.metric == "concurrent") != (limit.window == "now"):
        yield "window", "The metric 'concurrent' counts what runs 'now', and no other metric does."
    if limit.agent_id is not None and limit.agent_id not in agents:
        yield "agent_id", "This agent does not exist."
    if limit.channel is not None and not _known_channel(limit.channel, channels):
        yield "channel", f"There is no channel called {limit.channel!r} here."


def _known_channel(name: str, channels: Collection[str] | None) -> bool:
    return bool(name) and (channels is None or name in channels)
