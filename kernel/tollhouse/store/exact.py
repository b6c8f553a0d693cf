"""Numbers and moments in what is sent to us, as they are meant or not at all.

A number is a number: JSON's true, "12" and 12.0 are none where a whole one is asked for, for it may be a price. A moment says
its time zone, and lies where calendars of every zone still have it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Final

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(2999, 12, 31)
RANGE: Final = f"is between {FIRST_DAY.year} and {LAST_DAY.year}"


def day_within(day: date) -> date:
    """
    Raises:
        ValueError: the day is so far away that there is no day before or after it to reckon with.
    """
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"A day {RANGE}")
    return day


def moment_within(moment: datetime) -> datetime:
    """The moment in UTC.

    Raises:
        ValueError: it has no time zone, or is so far away that other zones have no such moment.
    """
    if moment.tzinfo is None:
        raise ValueError("A moment says its time zone, as 2026-11-23T12:00:00Z")
    try:
        moment = moment.astimezone(UTC)
        day_within(moment.date())
    except (OverflowError, ValueError):
        raise ValueError(f"A moment {RANGE}") from None
    return moment


def _exact(node: Any) -> Any:
    if isinstance(node, list | tuple):
        return type(node)(map(_exact, node))
    if not isinstance(node, dict):
        return node
    out = {key: value if key == "metadata" else _exact(value) for key, value in node.items()}
    if node.get("type") in ("int", "float"):
        out["strict"] = True
    elif node.get("type") == "datetime":
        return core_schema.no_info_after_validator_function(_said(moment_within), out)
    elif node.get("type") == "date":
        return core_schema.no_info_after_validator_function(_said(day_within), out)
    return out


def _said(check: Any) -> Any:
    def checked(value: Any) -> Any:
        try:
            return check(value)
        except ValueError as error:
            raise PydanticCustomError("out_of_range", "{why}", {"why": str(error)}) from None

    return checked


class Exact(BaseModel):
    """A model that takes numbers, days and moments so, however deep they stand in it."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        made: CoreSchema = _exact(handler(source))
        return made
