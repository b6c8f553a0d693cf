"""Whether the daily sums are those of the ledger: every day and measure, divided among the right people, agents, models."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Final

from sqlalchemy import text

from tollhouse.reports.sums import IN, KEYS, MEASURES, SUMS, ZONES, Mark, read_mark, rows_of
from tollhouse.store.pieces import Piece, Reading
from tollhouse.usage.verify import Difference

# How a day is divided, as one number: it adds up over pieces as the measures do.
_DIVIDED: Final = "shares"
_HASHES = " # ".join(
    f"coalesce({'uuid_hash_extended' if key.endswith('_id') else 'hashtextextended'}(x.{key}, {seed}), 0)"
    for seed, key in enumerate(KEYS, start=1)
)
_SHARES = f"coalesce(sum((({_HASHES}) & 1048575) * (x.calls + x.input_tokens + x.output_tokens)), 0) AS {_DIVIDED}"
_NAMES: Final = (*MEASURES, _DIVIDED)
_PIECE = rows_of(f"e.tenant_id = :tenant AND e.id >= :low AND e.id < :high AND {IN}")
_OF_PIECE = text(
    f"""
    WITH zones AS MATERIALIZED ({ZONES} WHERE t.id = :tenant) SELECT day, {SUMS}, {_SHARES} FROM ({_PIECE}) x GROUP BY 1
    """
)
_OF_DAYS = text(
    f"""
    SELECT day, {SUMS}, {_SHARES} FROM usage_sums x
    WHERE tenant_id = :tenant AND generation = :generation AND grain = 'full' GROUP BY 1
    """
)
_OF_GRAIN = "WHERE tenant_id = :tenant AND generation = :generation AND grain ="


def _unlike(grain: str, keys: str) -> str:
    ours, full = (
        f"SELECT day, {keys}, {SUMS} FROM {table} {_OF_GRAIN} '{name}' GROUP BY day, {keys}"
        for table, name in (("usage_totals", grain), ("usage_sums", "full"))
    )
    return f"SELECT day, '{grain}' AS grain FROM (({ours} EXCEPT {full}) UNION ALL ({full} EXCEPT {ours})) x"


_COARSER = text(
    f"""
    SELECT DISTINCT day, grain FROM ({_unlike("user", "user_id, cost_currency")} UNION ALL
                                     {_unlike("offer", ", ".join(KEYS[1:]))}) x ORDER BY 1, 2
    """
)


class DailySums:
    """A :class:`~tollhouse.usage.verify.Check`. What is newer than the watermark is not in the sums, and not asked of them."""

    def __init__(self) -> None:
        self.mark: Mark | None = None
        self.should: Counter[tuple[date, str]] = Counter()

    async def look(self, ledger: Reading, piece: Piece) -> list[Difference]:
        """Nothing yet: a day of the tenant's may lie in two pieces."""
        self.mark = self.mark or await read_mark(ledger.conn)
        if self.mark is not None and self.mark.here:
            values = {"tenant": ledger.tenant_id, **self.mark.values(), **piece.bounds()}
            for row in (await ledger.conn.execute(_OF_PIECE, values)).mappings():
                for name in _NAMES:
                    self.should[row["day"], name] += int(row[name])
        return []

    async def end(self, ledger: Reading) -> list[Difference]:
        """Each day that differs."""
        mark = self.mark or await read_mark(ledger.conn)
        if mark is None or not mark.here:
            ledger.tell("left out: the daily sums, which the worker makes anew on this server")
            return []
        values = {"tenant": ledger.tenant_id, "generation": mark.generation}
        found: Counter[tuple[date, str]] = Counter()
        for row in (await ledger.conn.execute(_OF_DAYS, values)).mappings():
            for name in _NAMES:
                found[row["day"], name] = int(row[name])
        details = [
            self._compare(day, found) for day in sorted({day for day, _ in {*found, *self.should}}) if _asked(ledger, day)
        ]
        for row in (await ledger.conn.execute(_COARSER, values)).mappings():
            if _asked(ledger, row["day"]):
                details.append(f"{row['day']}: the sums by {row['grain']} are not those that all is divided into")
        return [Difference("daily_sums", ledger.tenant_id, ledger.tenant_id, detail) for detail in details if detail]

    def _compare(self, day: date, found: Counter[tuple[date, str]]) -> str:
        wrong = [name for name in MEASURES if found[day, name] != self.should[day, name]]
        if wrong:
            says = ", ".join(f"{name} {found[day, name]}" for name in wrong)
            return f"{day}: the sums say {says}; the ledger {', '.join(str(self.should[day, name]) for name in wrong)}"
        if found[day, _DIVIDED] != self.should[day, _DIVIDED]:
            return f"{day}: the sums are right as a whole, and wrongly divided among people, agents, plans, channels or models"
        return ""


def _asked(ledger: Reading, day: date) -> bool:
    return ledger.since is None or day >= ledger.since
