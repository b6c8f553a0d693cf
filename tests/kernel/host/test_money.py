"""Money: whole numbers of the smallest unit, and each currency has its own."""

from __future__ import annotations

import pytest

from tollhouse.plugin import Money


@pytest.mark.parametrize(
    ("minor", "currency", "figure"),
    [
        (1990, "EUR", "19.90"),
        (5, "EUR", "0.05"),
        (123_456_700, "USD", "1,234,567.00"),
        (1200, "JPY", "1,200"),
        (49, "XTR", "49"),
        (500, "KWD", "0.500"),
        (-1, "EUR", "-0.01"),
        (-1200, "JPY", "-1,200"),
        (0, "CHF", "0.00"),
        (150, "ZZZ", "1.50"),
    ],
)
def test_an_amount_has_the_digits_of_its_currency(minor: int, currency: str, figure: str) -> None:
    assert Money(minor, currency).figure() == figure
