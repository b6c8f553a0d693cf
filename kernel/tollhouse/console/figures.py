"""The figures of the start: a value, how its last days went, and what it was in the period before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from tollhouse.console import format as formats
from tollhouse.console.charts import days_between, sparkline
from tollhouse.reports.service import MarginRow, UsageRow

NOT_PRICED = "Some models have no price yet"
NOT_KNOWN = "Some calls have no known cost"
MIXED = "Revenue and cost are in different currencies"
UNKNOWN = "Not known"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. ``full``: the exact value, where the shown one is shortened; ``note``: what must be known about it, and
    ``mend``: the page that mends it; ``spark``: the points of its line; ``change`` against the period before, in the tone
    ``tone``."""

    label: str
    value: str
    full: str = ""
    note: str = ""
    spark: str = ""
    change: str = ""
    tone: str = ""
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Spans:
    """The days that the figures are about: the last ones, this month until today, and as many days of the month before."""

    days: Sequence[date]
    month: tuple[date, date]
    before: tuple[date, date]

    @classmethod
    def of(cls, today: date, days: int) -> Spans:
        """As they are on this day."""
        begins = today.replace(day=1)
        last = begins - timedelta(days=1)
        before = last.replace(day=1)
        upto = min(before + timedelta(days=today.day - 1), last)
        return cls(days_between(today - timedelta(days=days - 1), today), (begins, today), (before, upto))

    @property
    def earliest(self) -> date:
        """The first day that anything is asked of."""
        return min(self.before[0], self.days[0])

    @property
    def before_text(self) -> str:
        """``1 to 25 Oct``."""
        first, last = self.before
        return formats.day(first) if first == last else f"{first.day} to {formats.day(last)}"


def messages(usage: Sequence[UsageRow], spans: Spans) -> Figure:
    """Messages of today, beside yesterday's whole day: a day that is not over is not compared with one that is."""
    calls: dict[str, int] = {}
    for row in usage:
        calls[row.key] = calls.get(row.key, 0) + row.calls
    line = [calls.get(day.isoformat(), 0) for day in spans.days]
    change = f"{formats.number(line[-2])} yesterday" if any(line[:-1]) else ""
    return Figure("Messages today", formats.short(line[-1]), formats.number(line[-1]), "", sparkline(line), change)


def money_figures(rows: Sequence[MarginRow], spans: Spans, currency: str, *, unpriced: bool) -> list[Figure]:
    """Revenue, cost and margin of the month. Different currencies stand beside each other and are never added; nothing is
    nothing in the tenant's own currency."""
    month = [row for row in rows if _within(row, spans.month)]
    earned, spent = _sums(month, lambda row: row.revenue), _sums(month, lambda row: row.cost)
    incomplete = "" if all(row.complete for row in month) else NOT_PRICED if unpriced else NOT_KNOWN
    own = _currency(rows, currency)
    figures = [
        _money("Revenue this month", earned or {currency: 0}, rows, spans, own, lambda row: row.revenue, better="up"),
        _money("Cost this month", spent or {currency: 0}, rows, spans, own, lambda row: row.cost, note=incomplete),
    ]
    if len(earned.keys() | spent.keys()) > 1:
        return [*figures, Figure("Margin this month", UNKNOWN, note=MIXED, mend="/settings")]
    code = next(iter(earned or spent), currency)
    amounts = {code: earned.get(code, 0) - spent.get(code, 0)}
    margin = _money("Margin this month", amounts, rows, spans, own, lambda row: row.margin, note=incomplete, better="up")
    if incomplete == NOT_PRICED:
        figures, margin = [figures[0], replace(figures[1], mend="/prices")], replace(margin, mend="/prices")
    return [*figures, margin]


def _money(
    label: str,
    amounts: Mapping[str, int],
    rows: Sequence[MarginRow],
    spans: Spans,
    own: str | None,
    of: Callable[[MarginRow], int],
    *,
    note: str = "",
    better: str = "",
) -> Figure:
    shown = " + ".join(formats.short_cost(nano, code) for code, nano in sorted(amounts.items()))
    full = " + ".join(formats.exact_cost(nano, code) for code, nano in sorted(amounts.items()))
    if own is None:  # a line of several currencies would add them
        return Figure(label, shown, full, note)
    days: dict[str, int] = {}
    for row in rows:
        days[row.key] = days.get(row.key, 0) + of(row)
    before = sum(of(row) for row in rows if _within(row, spans.before))
    change, tone = _change(sum(amounts.values()), before, spans, own, better)
    return Figure(label, shown, full, note, sparkline([days.get(day.isoformat(), 0) for day in spans.days]), change, tone)


def _change(now: int, before: int, spans: Spans, currency: str, better: str) -> tuple[str, str]:
    """How much more or less than in the same days of the month before; the tone is only where more is better."""
    if not before:
        return "", ""
    if before < 0 or now < 0:  # a share of a loss says nothing
        return f"{formats.short_cost(before, currency)} on {spans.before_text}", ""
    share = round((now - before) * 100 / before)
    tone = "" if not share or not better else "ok" if share > 0 else "bad"
    return f"{'+' if share > 0 else '−' if share < 0 else '±'}{abs(share):,} % against {spans.before_text}", tone


def _sums(rows: Sequence[MarginRow], of: Callable[[MarginRow], int]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for row in rows:
        sums[row.currency] = sums.get(row.currency, 0) + of(row)
    return {code: nano for code, nano in sums.items() if nano}


def _currency(rows: Sequence[MarginRow], otherwise: str) -> str | None:
    """The one currency of everything that is not nothing; None if there are several."""
    used = {row.currency for row in rows if row.revenue or row.cost}
    return None if len(used) > 1 else next(iter(used), otherwise)


def _within(row: MarginRow, span: tuple[date, date]) -> bool:
    return span[0].isoformat() <= row.key <= span[1].isoformat()
