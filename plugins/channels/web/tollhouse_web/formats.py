"""Numbers, money, sizes and times as people read them."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from markupsafe import Markup

from tollhouse.plugin import Money

_SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "INR": "₹", "KRW": "₩", "BRL": "R$", "ILS": "₪", "TRY": "₺"}


def money(amount: Money, exact: bool = False) -> str:
    """``€19``, ``€19.99``, ``¥1,200``, ``49 Stars``, ``CHF 12.50``; ``exact`` writes out zeros: ``€19.00``."""
    whole, _, rest = amount.figure().lstrip("-").partition(".")
    figure = f"{whole}.{rest}" if rest and (exact or rest.strip("0")) else whole
    return ("−" if amount.minor < 0 else "") + _with_currency(figure, amount.currency)


def _with_currency(figure: str, currency: str) -> str:
    if currency == "XTR":
        return f"{figure} Stars"
    symbol = _SYMBOLS.get(currency)
    return f"{symbol}{figure}" if symbol else f"{currency} {figure}"


def number(value: int) -> str:
    """``1,204``."""
    return f"{value:,}"


def size(value: int) -> str:
    """``82 kB``, ``1.2 MB``: as the composer's chips say it."""
    return f"{max(1, (value + 500) // 1000)} kB" if value < 999_500 else f"{value / 1_000_000:.1f} MB"


def beginning(text: str) -> str:
    """The first words of a text, on one line and without the marks of Markdown."""
    line = " ".join(_MARKS.sub(" ", text.lstrip()[:400]).split())
    return line if len(line) <= 40 else line[:40].rsplit(" ", 1)[0] + "…"


def moment(at: datetime, zone: str) -> str:
    """``15 Jan 2026, 13:00 CET``: what stands in the page when no script runs."""
    local = at.astimezone(ZoneInfo(zone))
    short = f"{local:%Z}"  # "+03" says little: then the zone by its name
    return f"{local.day} {local:%b %Y, %H:%M} {short if short.isalpha() else zone}"


def time(at: datetime, zone: str, kind: str = "relative") -> Markup:
    """A ``<time>`` that the script turns into the reader's zone: ``relative`` ("in 9 hours") or ``local`` (exact)."""
    stamp, shown = at.isoformat().replace("+00:00", "Z"), moment(at, zone)
    if kind == "local":
        return Markup('<time datetime="{}" data-local>{}</time>').format(stamp, shown)
    return Markup('<time datetime="{}" data-relative>{}</time>').format(stamp, shown)


_MARKS = re.compile(r"[*_`~#>|\[\]]+")
_BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"))
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def browser(user_agent: str) -> str:
    """``Firefox on Linux``; what it says of itself if that is nothing we know. A help to recognise it, not a fact."""
    program = next((name for mark, name in _BROWSERS if f"{mark}/" in user_agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return " on ".join(part for part in (program, system) if part) if program else user_agent[:60] or "Unknown"


def initials(name: str) -> str:
    """One or two letters for an avatar."""
    words = [word for word in name.replace("@", " ").split() if word[0].isalnum()]
    return "".join(word[0] for word in words[:2]).upper() or "?"
