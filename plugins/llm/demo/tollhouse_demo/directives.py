"""Switches inside a message: ``/slow 3 /usage missing Hello`` asks for a late answer without usage.

They are read from the beginning of the newest message, as many as there are; what follows is the message itself. A word that
is no directive, or one whose argument makes no sense, is simply text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

Fail = Literal["none", "timeout", "rate_limit", "unavailable", "rejected", "auth", "filtered", "garbage"]
UsageKind = Literal["exact", "missing", "zero", "huge", "negative"]

MAX_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Switches:
    """How the demo behaves this time. ``delay`` in seconds; ``length`` in tokens."""

    delay: float = 0.0
    fail: Fail = "none"
    usage: UsageKind = "exact"
    length: int | None = None
    echo: str | None = None
    json: bool = False


def _slow(argument: str) -> dict[str, Any]:
    seconds = float(argument)
    if not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(argument)
    return {"delay": seconds}


def _length(argument: str) -> dict[str, Any]:
    if not (argument.isascii() and argument.isdigit() and len(argument) <= 6):
        raise ValueError(argument)
    return {"length": int(argument)}


def _one_of(field: str, words: tuple[str, ...]) -> Callable[[str], dict[str, Any]]:
    def read(argument: str) -> dict[str, Any]:
        if argument not in words:
            raise ValueError(argument)
        return {field: argument}

    return read


_WITH_ARGUMENT: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "/slow": _slow,
    "/fail": _one_of("fail", get_args(Fail)),
    "/usage": _one_of("usage", get_args(UsageKind)),
    "/length": _length,
}


def read_directives(text: str, switches: Switches) -> tuple[Switches, str]:
    """``switches`` as changed by the directives at the beginning of ``text``, and the rest of the text."""
    rest = text.lstrip()
    while rest.startswith("/"):
        word, _, after = rest.partition(" ") if " " in rest.split("\n", 1)[0] else rest.partition("\n")
        if word == "/echo":
            return replace(switches, echo=after), after
        if word == "/json":
            switches, rest = replace(switches, json=True), after.lstrip()
            continue
        pieces = after.split(maxsplit=1)
        if word not in _WITH_ARGUMENT or not pieces:
            break
        try:
            switches = replace(switches, **_WITH_ARGUMENT[word](pieces[0]))
        except ValueError:
            break
        rest = pieces[1] if len(pieces) > 1 else ""
    return switches, rest
