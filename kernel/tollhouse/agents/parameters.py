"""The parameters of a model call that an agent may set, and what values they take. The same rules hold for clients' wishes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

MAX_STOP = 4

Check = Callable[[Any], str | None]


def _number(low: float, high: float) -> Check:
    def check(value: Any) -> str | None:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
            or not low <= value <= high
        ):
            return f"must be a number from {low:g} to {high:g}"
        return None

    return check


def _integer(low: int, high: int) -> Check:
    def check(value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            return f"must be a whole number from {low} to {high}"
        return None

    return check


def _one_of(*choices: str) -> Check:
    def check(value: Any) -> str | None:
        return None if value in choices else "must be one of " + ", ".join(choices)

    return check


def _stop(value: Any) -> str | None:
    marks = [value] if isinstance(value, str) else value
    if not isinstance(marks, list) or len(marks) > MAX_STOP:
        return f"must be a text or a list of at most {MAX_STOP} texts"
    if not all(isinstance(mark, str) and 0 < len(mark) <= 100 for mark in marks):
        return "each text must have 1 to 100 characters"
    return None


def _response_format(value: Any) -> str | None:
    if not isinstance(value, dict) or value.get("type") not in ("text", "json_object", "json_schema"):
        return 'must be an object whose "type" is text, json_object or json_schema'
    return None


PARAMETERS: Final[Mapping[str, Check]] = {
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "top_k": _integer(1, 1000),
    "seed": _integer(-(2**63), 2**63 - 1),
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "stop": _stop,
    "reasoning_effort": _one_of("none", "minimal", "low", "medium", "high"),
    "verbosity": _one_of("low", "medium", "high"),
    "response_format": _response_format,
}
"""Never here: what multiplies output (n, best_of) or makes the agent a raw model (tools, logit_bias)."""


def problem_with(name: str, value: Any) -> str | None:
    """Why ``value`` is not one for parameter ``name``; None if it is."""
    check = PARAMETERS.get(name)
    if check is None:
        return "is not a parameter that an agent can set; these are: " + ", ".join(sorted(PARAMETERS))
    return check(value)
