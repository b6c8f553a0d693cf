"""Bar charts and sparklines as numbers for an SVG: with zero in them, exact values in titles and in the table beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

WIDTH, HEIGHT, GAP = 700.0, 200.0, 0.25


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar in a view box of 700 by 200."""

    label: str
    value: int
    text: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart ready to be drawn. ``ticks`` from the top down; ``ends``: the first and the last label."""

    title: str
    note: str
    bars: Sequence[Bar]
    ticks: Sequence[int]
    ends: Sequence[str]

    @property
    def empty(self) -> bool:
        return not any(bar.value for bar in self.bars)


def bar_chart(title: str, note: str, values: Sequence[tuple[str, int]], unit: str) -> Chart:
    """A chart of (label, value) pairs."""
    top = _top(max((value for _, value in values), default=0))
    step = WIDTH / max(len(values), 1)
    bars = []
    for place, (label, value) in enumerate(values):
        height = round(HEIGHT * value / top, 2)
        text = f"{label}: {value:,} {unit}"
        bars.append(
            Bar(
                label, value, text, round(place * step + step * GAP / 2, 2), HEIGHT - height, round(step * (1 - GAP), 2), height
            )
        )
    ends = [values[0][0], values[-1][0]] if len(values) > 1 else [label for label, _ in values]
    return Chart(title, note, bars, (top, top // 2, 0), ends)


SPARK_WIDTH, SPARK_HEIGHT = 100.0, 32.0


def sparkline(values: Sequence[int]) -> str:
    """Points of a line in a view box of 100 by 32; it includes zero. Empty where there is nothing to see."""
    if len(values) < 2 or not any(values):
        return ""
    low, high = min(0, *values), max(0, *values)
    step, scale = SPARK_WIDTH / (len(values) - 1), SPARK_HEIGHT / (high - low)
    return " ".join(f"{place * step:.1f},{(high - value) * scale:.1f}" for place, value in enumerate(values))


def _top(most: int) -> int:
    """The next even round number: 0 is 2, 7 is 8, 13 is 20, 87 is 100."""
    size = 1
    while True:
        for step in (2, 4, 6, 8, 10):
            if most <= step * size:
                return step * size
        size *= 10


def days_between(first: date, last: date) -> list[date]:
    """Every day, both ends included."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
