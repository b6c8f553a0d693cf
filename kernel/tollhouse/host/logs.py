"""Keeps secrets out of the log: known values, and what looks like a credential, are masked on their way out.

On the handlers, not on a logger: libraries log too, and some vendors put a token into the address itself.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import quote

MASK: Final = "***"
SHORTEST: Final = 6  # a shorter secret would mask ordinary words
MOST: Final = 10_000

_PATTERNS: Final[tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]] = (
    (re.compile(r"\b(ths?)_[A-Za-z0-9_-]{16,}"), rf"\1_{MASK}"),
    (re.compile(r"(?<!\d)(\d{6,12}):[A-Za-z0-9_-]{30,}"), rf"\1:{MASK}"),  # a Telegram bot token, also inside an address
    (
        re.compile(r"(authorization\W{1,5}(?:(?:bearer|basic|digest|token|apikey)\s+)?)[^\s'\",;}\]]+", re.IGNORECASE),
        rf"\1{MASK}",
    ),
    (re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"(://[^/\s:@]*:)[^@\s/]+@"), rf"\1{MASK}@"),  # a password in an address
)
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class Scrubber(logging.Filter):
    """Masks secrets in log records. Knows the secrets that this process has decrypted, the latest 10,000."""

    def __init__(self) -> None:
        super().__init__()
        self._known: OrderedDict[str, None] = OrderedDict()
        self._formatter = logging.Formatter()

    def __repr__(self) -> str:
        return f"Scrubber({len(self._known)} secrets)"

    def remember(self, secrets: Iterable[str]) -> None:
        """Mask these from now on."""
        for secret in secrets:
            for form in {secret, quote(secret, safe=""), repr(secret)[1:-1]}:
                if len(form) >= SHORTEST:
                    self._known[form] = None
                    self._known.move_to_end(form)
        while len(self._known) > MOST:
            self._known.popitem(last=False)

    def scrub(self, text: str) -> str:
        """``text`` without secrets."""
        # Longest first: one secret may begin like another, and no end of it may stay behind.
        for secret in sorted((each for each in tuple(self._known) if each in text), key=len, reverse=True):
            text = text.replace(secret, MASK)
        for pattern, mask in _PATTERNS:
            text = pattern.sub(mask, text)
        return text

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask everything that a formatter could print: message, traceback, and extra fields."""
        record.msg, record.args = self.scrub(_message(record)), None
        if record.exc_info and not record.exc_text:
            record.exc_text = self._formatter.formatException(record.exc_info)
        if record.exc_text:
            # Only the text is left, so that no formatter renders the exception itself again.
            record.exc_text, record.exc_info = self.scrub(record.exc_text), None
        if record.stack_info:
            record.stack_info = self.scrub(record.stack_info)
        for key, value in vars(record).items():
            if key not in _STANDARD and value is not None and not isinstance(value, bool | int | float):
                setattr(record, key, self._plain(value))
        return True

    def _plain(self, value: Any) -> Any:
        text = value if isinstance(value, str) else repr(value)
        clean = self.scrub(text)
        return value if clean == text else clean


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit: say so rather than lose the record
        return f"{record.msg} {record.args!r}"


SCRUBBER: Final = Scrubber()
"""The process's own: log handlers belong to the process too."""


def install_scrubber(scrubber: Scrubber = SCRUBBER) -> Scrubber:
    """Put the filter on every handler of the root logger. To be called after logging is set up; twice is fine."""
    for handler in logging.getLogger().handlers:
        if scrubber not in handler.filters:
            handler.addFilter(scrubber)
    return scrubber
