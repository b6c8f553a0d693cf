"""How many input tokens something can cost at most. Units are set aside for these numbers, so they must never be too low.

With a model's own tokenizer (:class:`~tollhouse.plugin.llm.CountsTokens`) text is counted exactly. Without one, and beyond
200,000 characters, a text costs at most one token for each byte of UTF-8, which holds for every byte-level tokenizer. Media
cost what the model's table says, else:

========  ==========================================================================================
picture   1,700 tokens, what the usual models take for one at full detail
sound     uncompressed: 1 token for 200 bytes; compressed: 1 for 20 bytes (32 tokens a second at 5 kbit/s)
text      1 token for each byte, and 400 for its name
document  2,000 tokens, and 1 for each byte, but never more than the model's window has left
========  ==========================================================================================

A model that costs more says so in ``ModelInfo.media_tokens``. A document that was made to unpack to far more than its size can
cost up to the window all the same: what goes beyond is the tenant's, raises an alarm, and counts towards its daily stop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tollhouse.plugin.content import Media, Message, Modality, Text

Count = Callable[[str], int | None]

PER_REQUEST: Final = 32
"""What a provider's own framing adds to a request: begin and end marks, a date line, the reply's header."""
PER_MESSAGE: Final = 8
"""A message's marks and its role."""
IMAGE: Final = 1_700
DOCUMENT: Final = 2_000
COUNTED: Final = 200_000
"""Characters of a text that is counted: counting holds everybody else up, and what is longer seldom fits."""
TEXT_NAME: Final = 400
"""What the name of a text file adds at most."""


def text_bound(text: str, count: Count | None = None) -> int:
    """The most tokens ``text`` can be."""
    if count is not None and len(text) <= COUNTED:
        known = count(text)
        if known is not None:
            return known
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def media_bound(media: Media, table: Mapping[Modality, int]) -> int:
    """The most input tokens a part can cost."""
    size = max(media.size, len(media.data or b""))
    if media.type == "file" and media.media_type.startswith("text/"):
        return TEXT_NAME + size  # a model that takes no files is sent it as text
    known = table.get(media.type)
    if known is not None:
        return known
    if media.type == "image":
        return IMAGE
    if media.type == "audio":
        return 100 + size // (200 if media.media_type in ("audio/wav", "audio/x-wav") else 20)
    return DOCUMENT + size


def message_bound(message: Message, count: Count | None, table: Mapping[Modality, int], room: int | None = None) -> int:
    """The most input tokens a message can cost, where ``room`` is what the window has left for it; None if nobody knows."""
    total, documents = PER_MESSAGE, 0
    for part in message.parts:
        if isinstance(part, Text):
            total += text_bound(part.text, count) + 1
        elif part.type == "file" and not part.media_type.startswith("text/"):
            documents += media_bound(part, table)
        else:
            total += media_bound(part, table)
    if room is not None and documents:
        documents = min(documents, max(room - total, DOCUMENT))
    return total + documents
