"""JSON pointers into a body that was sent, from what a validator says of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MAX_NAME = 200
MAX_STEPS = 16

Steps = tuple[int | str, ...]


def steps_of(loc: Sequence[int | str], sent: Any, *, missing: bool = False) -> Steps:
    """The steps of pydantic's ``loc`` that lead somewhere in ``sent``.

    The rest are no part of the body: tags of unions, names of types, ``[key]``. ``missing``: the last step is a field that is
    not there, and is kept. A name longer than any of ours is left out, so that nobody's megabyte is sent back.
    """
    way = tuple(loc[:MAX_STEPS])
    if missing and way:
        return (*_walk(way[:-1], sent, 0)[1], way[-1])
    return _walk(way, sent, len(way))[1]


def pointer_of(loc: Sequence[int | str], sent: Any, *, missing: bool = False) -> str:
    """The same as a JSON pointer (RFC 6901) such as ``#/parts/0/text``."""
    return "#" + "".join("/" + _escaped(step) for step in steps_of(loc, sent, missing=missing))


def _escaped(step: int | str) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")


def _walk(loc: Steps, here: Any, whole: int) -> tuple[int, Steps]:
    """How good a way is, and the way: one that uses the last step (``whole`` more) is better than any that does not."""
    if not loc:
        return whole, ()
    score, rest = _walk(loc[1:], here, whole) if len(loc) > 1 else (0, ())
    inside, found = _step(here, loc[0])
    if not inside:
        return score, rest
    deeper, more = _walk(loc[1:], found, whole)
    return (deeper + 1, (loc[0], *more)) if deeper + 1 >= score else (score, rest)


def _step(here: Any, step: int | str) -> tuple[bool, Any]:
    if isinstance(here, dict) and isinstance(step, str) and len(step) <= MAX_NAME and step in here:
        return True, here[step]
    if isinstance(here, list) and isinstance(step, int) and 0 <= step < len(here):
        return True, here[step]
    return False, None
