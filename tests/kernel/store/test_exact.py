"""Numbers and moments are what they seem, however deep in a body they stand."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from tollhouse.store.exact import Exact, day_within, moment_within


class Inner(BaseModel):
    """Not exact itself, and not a part of its own."""

    units: int = 0


class Terms(Exact):
    price: int = Field(0, ge=0)
    share: float = 0.0
    until: datetime | None = None
    day: date | None = None


class Order(Exact):
    terms: Terms | None = None
    many: list[Terms] = Field(default_factory=list)
    amounts: dict[str, int | None] = Field(default_factory=dict)
    pair: tuple[int, str] = (0, "")


@pytest.mark.parametrize("value", [True, False, "1", "1e3", 1.0, 1.5, 1e3, None, [], {}, "", "０"])
def test_a_whole_number_is_nothing_else(value: Any) -> None:
    for body in (
        {"terms": {"price": value}},
        {"many": [{"price": 1}, {"price": value}]},
        {"pair": [value, ""]},
        *([{"amounts": {"a": value}}] if value is not None else []),
    ):
        with pytest.raises(ValidationError):
            Order.model_validate(body)


def test_numbers_are_numbers() -> None:
    order = Order.model_validate({"terms": {"price": 7, "share": 1}, "amounts": {"a": 5, "b": None}, "pair": [1, "x"]})
    assert (order.terms and order.terms.price, order.amounts, order.pair) == (7, {"a": 5, "b": None}, (1, "x"))
    for value in (True, "0.5"):
        with pytest.raises(ValidationError):
            Terms.model_validate({"share": value})
    with pytest.raises(ValidationError):
        Terms.model_validate({"price": -1})


@pytest.mark.parametrize(
    "moment",
    [
        "9999-12-31T23:59:59-23:59",
        "9999-12-31T23:59:59+23:59",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "0001-01-01T00:00:00-14:00",
        "0000-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "3000-01-01T00:00:00Z",
        "2026-01-01T00:00:00",
        "2026-02-30T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "now",
        "",
        True,
        1e300,
        -1e18,
        float("nan"),
    ],
)
def test_a_moment_that_is_none_anywhere(moment: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        Terms.model_validate({"until": moment})
    assert refused.value.errors()[0]["loc"][0] == "until"


def test_a_moment_is_kept_in_one_zone() -> None:
    found = Terms.model_validate({"until": "2026-11-23T12:00:00+05:30", "day": "2026-11-23"})
    assert found.until == datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
    assert found.until is not None
    assert found.until.tzinfo == UTC
    assert found.day == date(2026, 11, 23)
    for day in ("0001-01-01", "9999-12-31", "1969-12-31", "3000-01-01"):
        with pytest.raises(ValidationError):
            Terms.model_validate({"day": day})
        with pytest.raises(ValueError, match="between 1970 and 2999"):
            day_within(date.fromisoformat(day))
    with pytest.raises(ValueError, match="time zone"):
        moment_within(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point


def test_the_schema_for_readers_stays_what_it_was() -> None:
    schema = Terms.model_json_schema()
    assert schema["properties"]["price"] == {"default": 0, "minimum": 0, "title": "Price", "type": "integer"}
    assert schema["properties"]["until"]["anyOf"][0] == {"format": "date-time", "type": "string"}
