"""Base64 of media, in pieces.

One call for twenty megabytes takes a quarter of a second in which nothing else runs, in a thread as well: call these in one
(``asyncio.to_thread``) for what may be large.
"""

from __future__ import annotations

import binascii
import time
from typing import Final

PIECE: Final = 192 * 1024


def encode_base64(data: bytes) -> str:
    """As ``base64.b64encode``, as text."""
    made = bytearray()
    for start in range(0, len(data), PIECE):
        made += binascii.b2a_base64(data[start : start + PIECE], newline=False)
        _let_go(start)
    return made.decode("ascii")


def decode_base64(text: str) -> bytes:
    """As ``base64.b64decode`` with ``validate=True``.

    Raises:
        ValueError: it is not base64.
    """
    made = bytearray()
    for start in range(0, len(text), PIECE):
        piece = binascii.a2b_base64(text[start : start + PIECE], strict_mode=True)
        if len(made) % 3:  # the piece before was padded
            raise ValueError("padding within base64")
        made += piece
        _let_go(start)
    return bytes(made)


def _let_go(start: int) -> None:
    """Whoever waits for the interpreter gets it; not for what was small."""
    if start:
        time.sleep(0.0001)
