"""Money in words, and fields from a plugin's schema."""

from __future__ import annotations

import pytest

from tollhouse.console.format import browser, cost, exact_cost, meter, seconds, short_cost, used
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


def test_a_time_that_was_waited_is_short() -> None:
    assert [seconds(840), seconds(12_345)] == ["840 ms", "12.3 s"]


def test_an_address_is_one_line() -> None:
    long = {"type": "string", "maxLength": 2000}
    schema = {"properties": {"base_url": long, "home": {**long, "format": "uri"}, "words": long, "url_words": long}}
    assert [field.kind for field in fields_of(schema)] == ["url", "url", "long", "long"]


def test_a_limit_is_named_by_what_it_counts_and_since_when() -> None:
    spans = ("day", "month", "lifetime", "period")
    assert [meter("calls", span) for span in spans] == [
        "Messages today",
        "Messages this month",
        "Messages in total",
        "Messages in this billing period",
    ]
    assert meter("concurrent", "now") == "At the same time"
    assert used(0, 2000, "calls", "USD") == "0 of 2,000"
    assert used(10_000_000, 5_000_000_000, "cost", "EUR") == "€0.01 of €5.00"


@pytest.mark.parametrize(
    ("user_agent", "said"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
            "Chrome on Linux",
        ),
        ("Mozilla/5.0 (Linux; Android 10; K) Chrome/140.0.0.0 Mobile Safari/537.36 EdgA/140.0.0.0", "Edge on Android"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox on macOS"),
        ("python-httpx/0.28.1", "python-httpx/0.28.1"),
        ("", "A browser"),
    ],
    ids=["chrome", "edge", "firefox", "program", "nothing"],
)
def test_a_browser_is_known_by_its_name(user_agent: str, said: str) -> None:
    assert browser(user_agent) == said
