"""The figures of the start: in which currency, against what, and with which line."""

from __future__ import annotations

from datetime import date

import pytest

from tollhouse.console.charts import sparkline
from tollhouse.console.figures import MIXED, NOT_KNOWN, NOT_PRICED, Figure, Spans, messages, money_figures
from tollhouse.reports.service import MarginRow, UsageRow

TODAY = date(2026, 3, 31)
SPANS = Spans.of(TODAY, 30)
EURO = 10**9


def row(day: str, revenue: int = 0, cost: int = 0, currency: str = "EUR", complete: bool = True) -> MarginRow:
    return MarginRow(day, day, currency, revenue * EURO, cost * EURO, (revenue - cost) * EURO, complete)


def figures(*rows: MarginRow, unpriced: bool = False) -> list[Figure]:
    return money_figures(rows, SPANS, "EUR", unpriced=unpriced)


def calls(day: str, count: int) -> UsageRow:
    return UsageRow(day, day, "EUR", count, 0, 0, 0, 0, 0, 0)


def test_a_month_is_compared_with_as_many_days_of_the_one_before() -> None:
    assert (SPANS.month, SPANS.before) == ((date(2026, 3, 1), TODAY), (date(2026, 2, 1), date(2026, 2, 28)))
    assert SPANS.before_text == "1 to 28 Feb"
    assert Spans.of(date(2026, 3, 1), 30).before_text == "1 Feb"
    revenue, cost, margin = figures(row("2026-02-03", 10, 8), row("2026-03-05", 15, 4))
    assert (revenue.value, revenue.change, revenue.tone) == ("€15.00", "+50 % against 1 to 28 Feb", "ok")
    assert (cost.value, cost.change, cost.tone) == ("€4.00", "−50 % against 1 to 28 Feb", "")
    assert (margin.value, margin.change, margin.tone) == ("€11.00", "+450 % against 1 to 28 Feb", "ok")
    early = Spans.of(date(2026, 3, 5), 30)
    assert money_figures([row("2026-02-20", 10), row("2026-03-01", 5)], early, "EUR", unpriced=False)[0].change == ""


def test_nothing_is_nothing_in_the_tenants_own_currency() -> None:
    assert [one.value for one in figures()] == ["€0.00", "€0.00", "€0.00"]
    nothing = row("2026-03-05", 0, 0, "USD")
    assert [one.value for one in figures(nothing)] == ["€0.00", "€0.00", "€0.00"]
    revenue, cost, margin = figures(row("2026-03-05", 0, 2, "USD"))
    assert (revenue.value, cost.value, margin.value) == ("€0.00", "$2.00", "−$2.00")


def test_several_currencies_are_never_added() -> None:
    revenue, cost, margin = figures(row("2026-03-05", 9), row("2026-03-05", 0, 2, "USD"))
    assert (revenue.value, cost.value, margin.value, margin.note) == ("€9.00", "$2.00", "Not known", MIXED)
    assert margin.mend == "/settings", "with the page that mends it"
    assert (revenue.spark, revenue.change) == ("", "")


def test_a_price_that_is_missing_and_a_cost_that_nobody_knows_are_two_things() -> None:
    unknown = row("2026-03-05", 5, 1, complete=False)
    assert [one.note for one in figures(unknown)] == ["", NOT_KNOWN, NOT_KNOWN]
    assert [one.note for one in figures(unknown, unpriced=True)] == ["", NOT_PRICED, NOT_PRICED]
    assert [one.note for one in figures(row("2026-02-05", 5, 1, complete=False), unpriced=True)] == ["", "", ""]


def test_a_day_that_is_not_over_stands_beside_yesterday() -> None:
    figure = messages([calls("2026-03-30", 40), calls("2026-03-31", 12)], SPANS)
    assert (figure.value, figure.change) == ("12", "40 yesterday")
    assert figure.spark.endswith("96.6,0.0 100.0,22.4")
    assert messages([calls("2026-03-31", 1)], SPANS).change == ""


@pytest.mark.parametrize(
    ("values", "points"),
    [
        ([0, 0, 0], ""),
        ([5], ""),
        ([0, 4], "0.0,32.0 100.0,0.0"),
        ([2, 4, 2], "0.0,16.0 50.0,0.0 100.0,16.0"),
        ([-4, 4], "0.0,32.0 100.0,0.0"),
        ([-4, -2], "0.0,32.0 100.0,16.0"),
    ],
)
def test_a_line_includes_zero(values: list[int], points: str) -> None:
    assert sparkline(values) == points
