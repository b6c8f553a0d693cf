"""The demo model's tokenizer: four ASCII letters or digits, or one other character, with the white space before it.

It is not how any real model counts, but it behaves like one where it matters: text can be cut after n tokens, a text never
has more tokens than UTF-8 bytes, and the whole never has more tokens than its pieces together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice

from tollhouse.plugin import Message, Modality, Text

_TOKEN = re.compile(r"\s*(?:[A-Za-z0-9]{1,4}|[^\sA-Za-z0-9])|\s+\Z")

MEDIA_TOKENS: Mapping[Modality, int] = {"image": 85, "audio": 50, "file": 120}
"""What one part that is not text costs, whatever its size."""


def count(text: str) -> int:
    """Tokens of ``text``."""
    return sum(1 for _ in _TOKEN.finditer(text))


def cut(text: str, tokens: int) -> tuple[str, bool]:
    """The first ``tokens`` tokens of ``text``, and whether something is missing then."""
    end = 0
    for match in islice(_TOKEN.finditer(text), max(tokens, 0)):
        end = match.end()
    return text[:end], end < len(text)


def count_messages(messages: tuple[Message, ...]) -> int:
    """Input tokens of a request: its texts and parts, with no surcharge per message."""
    return sum(
        count(part.text) if isinstance(part, Text) else MEDIA_TOKENS[part.type]
        for message in messages
        for part in message.parts
    )
