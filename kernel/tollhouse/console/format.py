"""How the console writes money, numbers and times: the one place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from markupsafe import Markup

from tollhouse.gateway.trouble import zone_name
from tollhouse.plugin.money import SIGNS, Money, exponent

NANO: Final = 9
INTERVALS: Final = {"month": "a month", "year": "a year", "week": "a week", "once": "once"}
TONES: Final = {
    **dict.fromkeys(("active", "published", "paid", "done", "ok"), "ok"),
    **dict.fromkeys(("past_due", "pending", "new", "running", "invited"), "warn"),
    **dict.fromkeys(("quarantined", "blocked", "suspended", "failed", "refunded"), "bad"),
    **dict.fromkeys(("draft", "canceled"), "info"),
}
WORDS: Final = {
    "calls": "messages",
    "concurrent": "at the same time",
    "past_due": "past due",
    "llm": "models",
    "auth": "sign-in",
    "period": "billing period",
    "api_key": "API key",
}


def decimal(units: int | None, places: int) -> str:
    """Smallest units as a plain number for a field: 1950 with 2 places is ``19.50``; trailing zeros beyond it go."""
    if units is None:
        return ""
    text = f"{Decimal(units).scaleb(-places):f}"
    if places <= 3 or "." not in text:
        return text
    whole, _, rest = text.partition(".")
    return f"{whole}.{rest.rstrip('0').ljust(2, '0')}"


def money(amount: Money | int, currency: str = "") -> str:
    """``€9.99``, ``¥500``, ``12.345 KWD``."""
    minor, code = (amount.minor, amount.currency) if isinstance(amount, Money) else (amount, currency)
    return _signed(Decimal(minor).scaleb(-exponent(code)), code, exponent(code))


def price(amount: Money | int, interval: str, currency: str = "") -> str:
    """``€19.00 a month``, ``free``."""
    minor = amount.minor if isinstance(amount, Money) else amount
    return "Free" if not minor else f"{money(amount, currency)} {INTERVALS.get(interval, interval)}"


def cost(nano: int | None, currency: str) -> str:
    """Nano-units: two digits after the point; below a hundredth, four that say something: ``$0.001235``."""
    if nano is None:
        return "unknown"
    value = Decimal(nano).scaleb(-NANO)
    places = 2 if not value or abs(value) >= Decimal("0.01") else min(3 - value.adjusted(), NANO)
    return _signed(value, currency, places)


def exact_cost(nano: int, currency: str) -> str:
    """Nano-units with every digit that counts, two at least: a price for a million tokens is not rounded."""
    value = Decimal(nano).scaleb(-NANO)
    digits = decimal(abs(nano), NANO).partition(".")[2]
    return _signed(value, currency, len(digits))


def short_cost(nano: int, currency: str) -> str:
    """As :func:`cost`, for a figure: ``$12.4k`` from ten thousand on."""
    value = Decimal(nano).scaleb(-NANO)
    if abs(value) < 10_000:
        return cost(nano, currency)
    return _with_sign(short(int(value)), currency)


def _signed(value: Decimal, currency: str, places: int) -> str:
    text = _with_sign(f"{abs(value):,.{places}f}", currency)
    return f"−{text}" if value < 0 else text


def _with_sign(text: str, currency: str) -> str:
    sign = SIGNS.get(currency)
    return f"{sign}{text}" if sign else f"{text} {currency}"


def number(value: int | None) -> str:
    """``1,204``; a dash for what is not known."""
    return "–" if value is None else f"{value:,}"


def short(value: int) -> str:
    """``1,204`` up to 9,999, then ``12.4k``, ``3.1M``."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if abs(value) >= size and abs(value) >= 10_000:
            return f"{value / size:.1f}".removesuffix(".0") + letter
    return f"{value:,}"


def seconds(milliseconds: int) -> str:
    """``840 ms``, ``12.3 s``."""
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:,.1f} s"


def share(basis_points: int) -> str:
    """Basis points as per cent: ``100 %``, ``12.5 %``."""
    return f"{basis_points / 100:g} %"


def moment(value: datetime | str | None, zone: str = "UTC", mode: str = "relative") -> Markup | str:
    """A ``<time>``: exact in the tenant's zone as it stands, relative or in the reader's zone once the script has run."""
    if not value:
        return "–"
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    local = at.astimezone(ZoneInfo(zone))
    data = Markup("data-relative") if mode == "relative" else Markup("data-local")
    text = f"{local.day} {local:%b %Y, %H:%M} {zone_name(local, zone)}"
    return Markup('<time datetime="{}" {}>{}</time>').format(at.isoformat(), data, text)


def day(value: date | str) -> str:
    """``23 Nov``."""
    found = date.fromisoformat(value) if isinstance(value, str) else value
    return f"{found.day} {found:%b}"


def tone(status: str) -> str:
    """The tone of a status's badge."""
    return TONES.get(status, "")


def word(name: Any) -> str:
    """A name of the schema in words: ``past_due`` is past due."""
    return WORDS.get(str(name), str(name).replace("_", " "))


def titled(name: Any) -> str:
    """The same as the beginning of a sentence."""
    text = word(name)
    return text[:1].upper() + text[1:]


METERS: Final = {
    "calls": "Messages",
    "concurrent": "At the same time",
    "cost": "Model cost",
    "input_tokens": "Input tokens",
    "output_tokens": "Output tokens",
    "total_tokens": "Tokens",
}
_SPANS: Final = {"now": "", "day": " today", "lifetime": " in total", "period": " in this billing period"}


def meter(metric: str, window: str) -> str:
    """What a limit counts, and since when: ``Messages this month``."""
    return METERS.get(metric, titled(metric)) + _SPANS.get(window, f" this {word(window)}")


def used(amount: int, of: int, metric: str, cost_currency: str) -> str:
    """``5 of 2,000``; cost as money."""
    if metric == "cost":
        return f"{cost(amount, cost_currency)} of {cost(of, cost_currency)}"
    return f"{number(amount)} of {number(of)}"


_BROWSERS: Final = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"))
_SYSTEMS: Final = (
    *(("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"), ("Mac OS X", "macOS")),
    *(("CrOS", "ChromeOS"), ("Linux", "Linux")),
)


def browser(user_agent: str, kind: str = "cookie") -> str:
    """``Chrome on Linux``; what it says of itself if that is nothing we know. A help to recognise it, not a fact."""
    program = next((name for mark, name in _BROWSERS if re.search(rf"\b{mark}\w*/", user_agent)), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    if not program:
        return user_agent[:60] or ("A browser" if kind == "cookie" else "A program")
    return f"{program} on {system}" if system else program


def zip_same(values: Iterable[str]) -> list[tuple[str, str]]:
    """Options of a select whose labels are their values."""
    return [(value, value) for value in values]


FILTERS: Final = {
    "money": money,
    "price": price,
    "cost": cost,
    "exact_cost": exact_cost,
    "short_cost": short_cost,
    "number": number,
    "short": short,
    "share": share,
    "seconds": seconds,
    "day": day,
    "tone": tone,
    "word": word,
    "titled": titled,
    "zip_same": zip_same,
    "meter": meter,
    "used": used,
    "browser": browser,
}
