"""No secret leaves through the log, whoever logs it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tollhouse.host.logs import MOST, Scrubber, install_scrubber

KNOWN = "pa$$ word/of acme+1"
BOT = "123456789:AAEhBP0av28dKxmKwAbcdefghijklmnopqrs"
USER_TOKEN = "th_0198c0ffee00_abcdefghijklmnopqrstuvwxyz0123456789"


class JsonFormatter(logging.Formatter):
    """Prints every attribute of the record, as structured logging does."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({**vars(record), "text": super().format(record)}, default=repr)


@pytest.fixture(params=[logging.Formatter, JsonFormatter])
def log(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What the root handler writes."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(request.param())
    root = logging.getLogger()
    root.addHandler(handler)
    scrubber = install_scrubber(Scrubber())
    assert install_scrubber(scrubber) is scrubber
    assert handler.filters == [scrubber], "twice is once"
    scrubber.remember([KNOWN, "abc"])
    yield written
    for each in root.handlers:
        each.removeFilter(scrubber)
    root.removeHandler(handler)


def test_known_secrets_are_masked_wherever_they_are(log: io.StringIO) -> None:
    other = logging.getLogger("some.library")
    other.warning("plain %s, quoted %s, shown %r", KNOWN, quote(KNOWN, safe=""), {"key": KNOWN})
    other.warning(f"in the text itself {KNOWN}")
    other.warning("extra", extra={"header": KNOWN, "deep": {"list": [KNOWN]}, "kept": 7})
    try:
        raise ValueError(f"refused {KNOWN}")
    except ValueError:
        other.exception("failed")
    other.warning("stack", stack_info=True)
    text = log.getvalue()
    assert KNOWN not in text
    assert quote(KNOWN, safe="") not in text
    assert "refused ***" in text
    assert "Traceback" in text
    assert "plain ***, quoted ***, shown {'key': '***'}" in text


@pytest.mark.parametrize(
    ("text", "secret", "stays"),
    [
        (f"POST https://api.telegram.org/bot{BOT}/sendMessage", BOT.split(":")[1], "bot123456789:***/sendMessage"),
        (f"token {BOT}", BOT.split(":")[1], "token 123456789:***"),
        (f"key {USER_TOKEN} used", USER_TOKEN, "key th_*** used"),
        ("session ths_0198c0ffee00_abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnop", "session ths_***"),
        ("Authorization: Bearer abc.def-ghi_jkl", "abc.def-ghi_jkl", "Authorization: Bearer ***"),
        ("authorization: abcdefghijkl", "abcdefghijkl", "authorization: ***"),
        ("{'Authorization': 'Basic dXNlcjpwYXNz', 'Accept': 'x'}", "dXNlcjpwYXNz", "'Accept': 'x'"),
        ('{"authorization":"Token abcdefghijkl"}', "abcdefghijkl", "***"),
        ("sent bearer abcdefghijkl", "abcdefghijkl", "sent bearer ***"),
        ("postgresql://me:hunter22@db:5432/x", "hunter22", "postgresql://me:***@db:5432/x"),
    ],
)
def test_what_looks_like_a_credential_is_masked(log: io.StringIO, text: str, secret: str, stays: str) -> None:
    logging.getLogger("x").warning("%s", text)
    assert secret not in log.getvalue()
    assert stays.replace('"', '\\"') in log.getvalue() or stays in log.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "abc is too short to be masked",
        "at 12:30:45 in 2026",
        "GET https://db:5432/a@b",
        "th_small",
        "the bearer of news",
        "100%",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    scrubber = Scrubber()
    scrubber.remember(["abc", "", " "])
    assert scrubber.scrub(text) == text


def test_a_record_with_wrong_arguments_is_not_lost(log: io.StringIO) -> None:
    logging.getLogger("x").warning("two %s %s", KNOWN)  # noqa: PLE1206 - the mistake is meant
    assert "two %s %s" in log.getvalue()
    assert KNOWN not in log.getvalue()


def test_the_memory_for_secrets_is_bounded_and_keeps_the_latest() -> None:
    scrubber = Scrubber()
    scrubber.remember(f"secret-number-{n}" for n in range(MOST + 10))
    assert scrubber.scrub("secret-number-1 ") == "secret-number-1 "
    assert scrubber.scrub(f"secret-number-{MOST + 9}") == "***"
    scrubber.remember(["short-secret", "short-secret-and-more"])
    assert scrubber.scrub("x short-secret-and-more") == "x ***", "the longer of two that begin alike"
    assert "secret-number" not in repr(scrubber)


def test_an_adapter_of_a_plugin_is_masked_too(log: io.StringIO) -> None:
    extra: dict[str, Any] = {"tenant": "t", "plugin": "p", "connection": None}
    logging.LoggerAdapter(logging.getLogger("tollhouse.plugins.p"), extra).error("key %s", KNOWN)
    assert KNOWN not in log.getvalue()
    assert "key ***" in log.getvalue()
