"""Money in words, and fields from a plugin's schema."""

from __future__ import annotations

import pytest

from tollhouse.console.format import cost, exact_cost, short_cost
from tollhouse.console.schema_form import fields_of


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (10_000_000, "$0.01"),
        (12_345_678_900, "$12.35"),
        (9_876_543, "$0.009877"),
        (1_234_567, "$0.001235"),
        (-1_234_567, "−$0.001235"),
        (1, "$0.000000001"),
    ],
)
def test_a_total_is_written_alike_everywhere(nano: int, text: str) -> None:
    assert (cost(nano, "USD"), short_cost(nano, "USD")) == (text, text)


def test_a_price_is_not_rounded() -> None:
    assert exact_cost(75_000_000, "USD") == "$0.075"
    assert exact_cost(2_000_000_000, "EUR") == "€2.00"
    assert exact_cost(0, "USD") == "$0.00"


def test_an_address_is_one_line() -> None:
    long = {"type": "string", "maxLength": 2000}
    schema = {"properties": {"base_url": long, "home": {**long, "format": "uri"}, "words": long, "url_words": long}}
    assert [field.kind for field in fields_of(schema)] == ["url", "url", "long", "long"]
