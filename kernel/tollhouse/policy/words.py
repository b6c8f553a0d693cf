"""Denials in the reader's words."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from tollhouse.billing.plans import limit_text
from tollhouse.policy.limits import Applied

_BACK = {
    "minute": "More is possible in less than a minute.",
    "hour": "More is possible from {time} on.",
    "day": "The allowance comes back at {time} on {date}.",
    "month": "The allowance comes back on {date}.",
    "period": "The allowance comes back on {date}.",
    "lifetime": "This allowance does not come back by itself.",
}


def limit_sentence(applied: Applied, zone: str, cost_currency: str | None = None) -> str:
    """What ran out, and when it comes back: "You have used all of your 20 messages a day. …"."""
    limit = applied.limit
    if limit.amount == 0:
        return "Your plan does not include this."
    if limit.metric == "concurrent":
        return f"You already have {limit_text(limit, cost_currency)}; wait until one is finished."
    allowance = limit_text(limit, cost_currency)
    if applied.room <= 0:
        start = f"You have used all of your {allowance}." if limit.amount > 1 else f"You have used your {allowance}."
    else:
        start = f"What is left of your {allowance} is not enough for this."
    return f"{start} {_BACK[limit.window].format(**_moment(applied.key.end, zone))}"


def _moment(end: datetime, zone: str) -> dict[str, str]:
    local = end.astimezone(ZoneInfo(zone))
    # The reader may be elsewhere: the zone is named, by its letters or, where it has none of its own, by its name.
    short = f"{local:%Z}"
    return {"time": f"{local:%H:%M} {short if short.isalpha() else zone}", "date": f"{local.day} {local:%B}"}
