"""What bytes are: the type of a picture, a sound or a document, found from its content and never from a name."""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from tollhouse.plugin.content import Media
from tollhouse.plugin.errors import InvalidInput, TooLarge

MAX_FILE: Final = 20 * 1024 * 1024
MAX_PIXELS: Final = 25_000_000
MAX_SEGMENTS: Final = 2_000
"""What a JPEG has before its frame: metadata, a colour profile, a preview; a few hundred segments of 64 kB at most."""
PIECE: Final = 256 * 1024
"""Bytes that are looked through at once, so that neither memory nor other turns feel how long a file is."""
SUPPORTED: Final = "PNG, JPEG, GIF, WebP, PDF, WAV, MP3, Ogg, M4A, WebM sound, plain text (UTF-8)"


@dataclass(frozen=True, slots=True)
class Sniffed:
    """What was found. ``width`` and ``height`` in pixels, for pictures."""

    type: Literal["image", "audio", "file"]
    media_type: str
    width: int | None = None
    height: int | None = None


def sniff(data: bytes) -> Sniffed:
    """The type of ``data``.

    Raises:
        InvalidInput: empty, of a type that is not supported, a broken picture, or one with too many pixels.
    """
    if not data:
        raise InvalidInput("The file is empty.", field="file")
    for look in (_picture, _sound, _document):
        if (found := look(data)) is not None:
            return found
    raise InvalidInput(f"Files of this type are not supported. These are: {SUPPORTED}.", field="file")


def media(data: bytes, *, name: str | None = None, field: str = "file") -> Media:
    """``data`` as a part.

    Raises:
        TooLarge: more than 20 MiB.
        InvalidInput: as :func:`sniff`; it names ``field``.
    """
    if len(data) > MAX_FILE:
        raise TooLarge(f"A file can have at most {MAX_FILE // 1024 // 1024} MiB.")
    try:
        found = sniff(data)
    except InvalidInput as error:
        raise InvalidInput(error.detail, field=field) from None
    return Media(found.type, found.media_type, data=data, name=name, size=len(data))


# -- Pictures ---------------------------------------------------------------------------------------------------------------


def _picture(data: bytes) -> Sniffed | None:
    kind = next((kind for kind in _PICTURES if kind[0](data)), None)
    if kind is None:
        return None
    _, media_type, measure = kind
    try:
        size = measure(data)
    except (struct.error, IndexError):
        size = None
    if size is None or min(size) < 1:
        raise InvalidInput("This picture is damaged.", field="file")
    if size[0] * size[1] > MAX_PIXELS:
        raise InvalidInput(f"A picture can have at most {MAX_PIXELS // 1_000_000} million pixels.", field="file")
    return Sniffed("image", media_type, *size)


Size = tuple[int, int] | None


def _png(data: bytes) -> Size:
    if data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _gif(data: bytes) -> Size:
    width, height = struct.unpack("<HH", data[6:10])
    return width, height


_FILL: Final = re.compile(rb"\xff*")


def _jpeg(data: bytes) -> Size:
    """From the first frame header: segments are skipped by their length, and the fill bytes before a marker at once."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        fill = _FILL.match(data, at)
        at = fill.end() - 1 if fill is not None else at
        if at + 9 > len(data) or data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            at += 2
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        else:
            at += 2 + max(2, struct.unpack(">H", data[at + 2 : at + 4])[0])
    return None


def _webp(data: bytes) -> Size:
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = struct.unpack("<I", data[21:25])[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


_PICTURES: Final[tuple[tuple[Callable[[bytes], bool], str, Callable[[bytes], Size]], ...]] = (
    (lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"), "image/png", _png),
    (lambda data: data.startswith(b"\xff\xd8\xff"), "image/jpeg", _jpeg),
    (lambda data: data.startswith((b"GIF87a", b"GIF89a")), "image/gif", _gif),
    (lambda data: data.startswith(b"RIFF") and data[8:12] == b"WEBP", "image/webp", _webp),
)


# -- Sounds and documents -----------------------------------------------------------------------------------------------------


def _sound(data: bytes) -> Sniffed | None:
    found = None
    if data.startswith(b"RIFF") and data[8:12] == b"WAVE":
        found = "audio/wav"
    elif data.startswith(b"ID3") or _is_mpeg_frame(data):
        found = "audio/mpeg"
    elif data.startswith(b"OggS") and b"theora" not in data[:256]:
        found = "audio/ogg"
    elif data[4:8] == b"ftyp" and _is_sound_of_mp4(data):
        found = "audio/mp4"
    elif data.startswith(b"\x1a\x45\xdf\xa3") and b"webm" in data[:64] and b"A_" in data[:4096] and b"V_" not in data[:4096]:
        found = "audio/webm"
    return None if found is None else Sniffed("audio", found)


def _is_mpeg_frame(data: bytes) -> bool:
    """An MPEG audio frame: sync, a layer, a bit rate and a sampling rate that exist."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return False
    layer, bit_rate, sampling = data[1] >> 1 & 3, data[2] >> 4, data[2] >> 2 & 3
    return data[1] >> 3 & 3 != 1 and layer != 0 and bit_rate not in (0, 15) and sampling != 3


def _is_sound_of_mp4(data: bytes) -> bool:
    brand = data[8:12]
    return brand in (b"M4A ", b"M4B ") or (
        brand in (b"mp42", b"isom", b"iso5", b"dash") and _holds(data, b"soun") and not _holds(data, b"vide")
    )


def _holds(data: bytes, word: bytes) -> bool:
    return any(data.find(word, at, at + PIECE + len(word)) >= 0 for at in range(0, len(data), PIECE))


_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


def _document(data: bytes) -> Sniffed | None:
    if data.startswith(b"%PDF-"):
        return Sniffed("file", "application/pdf")
    return Sniffed("file", "text/plain") if _is_text(data) else None


def _is_text(data: bytes) -> bool:
    """UTF-8 without control characters."""
    decoder, view = codecs.getincrementaldecoder("utf-8-sig")(), memoryview(data)
    try:
        for at in range(0, len(data), PIECE):
            if _CONTROL.search(decoder.decode(view[at : at + PIECE], at + PIECE >= len(data))):
                return False
    except UnicodeDecodeError:
        return False
    return True
