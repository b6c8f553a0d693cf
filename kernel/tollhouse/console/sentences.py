"""What a validation library says about a value, as a person would say it beside the field."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

Say = str | Callable[[re.Match[str]], str]


def _least(match: re.Match[str]) -> str:
    return "Fill this in" if match[1] == "1" else f"At least {match[1]} characters"


def _one_of(match: re.Match[str]) -> str:
    return f"Choose one of these: {match[1].replace(chr(39), '')}"


_NUMBER: Final = r"(-?[\d.]+)"
# In this order: the first that fits counts.
_SENTENCES: Final[Sequence[tuple[re.Pattern[str], Say]]] = [
    (re.compile(pattern), say)
    for pattern, say in (
        (r"^(?:Value error|Assertion failed), (.*)", lambda match: match[1]),
        (r"^Field required", "Fill this in"),
        (r"^Extra inputs are not permitted", "This is not known here"),
        (r"^String should have at least (\d+) character", _least),
        (r"^String should have at most (\d+) character", lambda match: f"At most {int(match[1]):,} characters"),
        (r"^String should match", "This is not of the form that it needs"),
        (rf"^Input should be greater than or equal to {_NUMBER}", lambda match: f"At least {match[1]}"),
        (rf"^Input should be greater than {_NUMBER}", lambda match: f"More than {match[1]}"),
        (rf"^Input should be less than or equal to {_NUMBER}", lambda match: f"At most {match[1]}"),
        (rf"^Input should be less than {_NUMBER}", lambda match: f"Less than {match[1]}"),
        (rf"^Input should be a multiple of {_NUMBER}", lambda match: f"A multiple of {match[1]}"),
        (r"^Input should be a valid integer", "Write a whole number, as 200"),
        (r"^Input should be (?:a valid number|a finite number|a valid decimal)", "Write a number, as 19 or 19.50"),
        (r"^Input should be a valid boolean", "Choose yes or no"),
        (r"^Input should be a valid (?:string|text)", "Write a text"),
        (r"^Input should be a valid UUID", "Choose one of the list"),
        (r"^Input should be a valid (?:URL|uri)", "Write an address, as https://example.com"),
        (r"^URL scheme should be", "Begin the address with https:// or http://"),
        (r"^(?:List|Tuple|Set|Frozenset|Dictionary) should have at least (\d+)", lambda match: f"At least {match[1]} entries"),
        (r"^(?:List|Tuple|Set|Frozenset|Dictionary) should have at most (\d+)", lambda match: f"At most {match[1]} entries"),
        (r"^Input should be a valid (?:list|tuple|set|frozenset)", "Write a list, one on each line"),
        (r"^Input should be a valid dictionary", 'Write a JSON object, as {"name": "value"}'),
        (r"^Input should be (?:a valid )?(?:date|time|datetime)", "Write a date, as 2026-11-23"),
        (r"^Input should be ('.*)", _one_of),
        (r"^(?:Input|String|Value|Datetime|Decimal|Unable)\b.* (?:should|to parse)", "This value does not fit here"),
    )
]


def human(text: str) -> str:
    """``text`` as a sentence for people; what was one already stays."""
    for pattern, say in _SENTENCES:
        match = pattern.search(text)
        if match is not None:
            text = say if isinstance(say, str) else say(match)
            break
    return text[:1].upper() + text[1:]
