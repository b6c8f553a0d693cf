"""What can be said of a file without understanding it: kind, size, and a picture's pixels from its first bytes."""

from __future__ import annotations

import struct

from tollhouse.plugin import Media

_KINDS = {"image": "picture", "audio": "sound", "file": "file"}
_SAY_NOTHING = frozenset({"", "PLAIN", "OCTET-STREAM"})
"""Subtypes that a program is given too, when nothing better is known of it."""


def describe(media: Media) -> str:
    """One line of Markdown, for example ``picture “cat.png” (PNG), 12 kB, 640 × 480 pixels``."""
    subtype = media.media_type.partition("/")[2].removeprefix("x-").upper()
    kind = "" if subtype in _SAY_NOTHING else f" ({subtype})"
    name = f" “{media.name}”" if media.name else ""
    words = [f"{_KINDS[media.type]}{name}{kind}", _size(len(media.data) if media.data is not None else media.size)]
    if media.data is not None and (pixels := dimensions(media.data)):
        words.append(f"{pixels[0]} × {pixels[1]} pixels")
    return ", ".join(words)


def _size(size: int) -> str:
    """``812 bytes``, ``82 kB``, ``1.2 MB``: rounded as the pages round it."""
    if size < 1000:
        return f"{size} bytes"
    if size < 999_500:
        return f"{(size + 500) // 1000} kB"
    return f"{size / 1_000_000:.1f} MB"


def dimensions(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, GIF, JPEG, BMP or WebP; None for anything else or broken."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
            return struct.unpack(">II", data[16:24])
        if data[:6] in (b"GIF87a", b"GIF89a"):
            return struct.unpack("<HH", data[6:10])
        if data.startswith(b"BM"):
            width, height = struct.unpack("<ii", data[18:26])
            return width, abs(height)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        return _jpeg(data) if data.startswith(b"\xff\xd8") else None
    except (struct.error, IndexError):
        return None


def _webp(data: bytes) -> tuple[int, int] | None:
    """RFC 9649: the three ways in which a WebP begins."""
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack("<HH", data[26:30])
            return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """Walk the segments to the frame header (SOF), which holds the size."""
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
