"""Numbers, money, sizes and times as people read them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from tollhouse.plugin import Money

# ISO 4217 minor units that are not two digits; XTR are Telegram's stars.
_EXPONENTS = {
    **dict.fromkeys(
        ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF", "XTR"),
        0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
_SYMBOLS = {
    "EUR": "€",
    "USD": "$",
    "GBP": "£",
    "JPY": "¥",
    "INR": "₹",
    "KRW": "₩",
    "BRL": "R$",
    "ILS": "₪",
    "TRY": "₺",
    "UAH": "₴",
}


def exponent(currency: str) -> int:
    """How many digits the minor unit of ``currency`` has."""
    return _EXPONENTS.get(currency.upper(), 2)


def money(amount: Money) -> str:
    """``€19``, ``€19.99``, ``¥1,200``, ``49 Stars``, ``CHF 12.50``."""
    digits = exponent(amount.currency)
    sign = "−" if amount.minor < 0 else ""
    whole, rest = divmod(abs(amount.minor), 10**digits)
    return sign + _with_currency(f"{whole:,}" + (f".{rest:0{digits}d}" if rest else ""), amount.currency.upper())


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
    return f"{max(1, -(-value // 1000))} kB" if value < 1_000_000 else f"{value / 1_000_000:.1f} MB"


def moment(at: datetime, zone: str) -> str:
    """``15 Jan 2026, 13:00 CET``: what stands in the page when no script runs."""
    local = at.astimezone(ZoneInfo(zone))
    return f"{local.day} {local:%b %Y, %H:%M %Z}"


def time(at: datetime, zone: str, kind: str = "relative") -> Markup:
    """A ``<time>`` that the script turns into the reader's zone: ``relative`` ("in 9 hours") or ``local`` (exact)."""
    stamp = at.isoformat().replace("+00:00", "Z")
    shown = escape(moment(at, zone))
    return Markup('<time datetime="{}" data-{}>{}</time>').format(
        stamp, Markup("relative" if kind == "relative" else "local"), shown
    )


def initials(name: str) -> str:
    """One or two letters for an avatar."""
    words = [word for word in name.replace("@", " ").split() if word[0].isalnum()]
    return "".join(word[0] for word in words[:2]).upper() or "?"
