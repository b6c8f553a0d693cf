"""Files: their type comes from their content, and only from there."""

from __future__ import annotations

import io
import struct
import time
import zlib

import pytest
from PIL import Image

from tollhouse.plugin.errors import InvalidInput, TooLarge
from tollhouse.runtime.media import MAX_FILE, media, sniff


def picture(kind: str, size: tuple[int, int] = (31, 17), **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "red").save(out, kind, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize(
    ("kind", "options", "media_type"),
    [
        ("PNG", {}, "image/png"),
        ("JPEG", {}, "image/jpeg"),
        ("JPEG", {"progressive": True}, "image/jpeg"),
        ("GIF", {}, "image/gif"),
        ("WEBP", {}, "image/webp"),
        ("WEBP", {"lossless": True}, "image/webp"),
        ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}, "image/webp"),
    ],
)
def test_pictures_and_their_size(kind: str, options: dict[str, object], media_type: str) -> None:
    found = sniff(picture(kind, **options))
    assert (found.type, found.media_type, found.width, found.height) == ("image", media_type, 31, 17)


def test_a_photo_with_metadata_before_its_frame() -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 3_000
    found = sniff(picture("JPEG", exif=exif))
    assert (found.width, found.height) == (31, 17)


def test_pictures_with_too_many_pixels_are_refused_from_their_header() -> None:
    assert sniff(png_header(5_000, 5_000)).width == 5_000
    for bomb in (
        png_header(5_001, 5_000),
        png_header(30_000, 30_000),
        png_header(2**31, 2**31),
        picture("JPEG", (30_000, 1_000)),
    ):
        started = time.perf_counter()
        with pytest.raises(InvalidInput, match="million pixels"):
            sniff(bomb)
        assert time.perf_counter() - started < 0.1


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_picture_that_breaks_off_is_refused_or_measured(kind: str) -> None:
    whole = picture(kind)
    for end in range(1, min(len(whole), 400)):
        try:
            found = sniff(whole[:end])
        except InvalidInput:
            continue
        assert found.media_type == "text/plain" or (found.width, found.height) == (31, 17)


@pytest.mark.parametrize(
    ("data", "kind", "media_type"),
    [
        (b"%PDF-1.7\n%\xe2\xe3", "file", "application/pdf"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "audio", "audio/wav"),
        (b"ID3\x04\0\0\0\0\0\0", "audio", "audio/mpeg"),
        (b"\xff\xfb\x90\x64\0\0", "audio", "audio/mpeg"),
        (b"OggS\0\x02" + b"\0" * 22 + b"OpusHead", "audio", "audio/ogg"),
        (b"\0\0\0\x20ftypM4A \0\0\0\0", "audio", "audio/mp4"),
        (b"\0\0\0\x20ftypisom\0\0\0\0moovhdlrsoun", "audio", "audio/mp4"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm....A_OPUS", "audio", "audio/webm"),
        ("Grüße\n\tTab".encode(), "file", "text/plain"),
        (b"\xef\xbb\xbfwith a mark", "file", "text/plain"),
    ],
)
def test_sounds_and_documents(data: bytes, kind: str, media_type: str) -> None:
    found = sniff(data)
    assert (found.type, found.media_type, found.width) == (kind, media_type, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0",
        b"\x7fELF\x02\x01\x01\0",
        b"PK\x03\x04\x14\0\0\0\x08\0",
        b"\x1f\x8b\x08\0\0\0\0\0",
        b"\0\0\0\x20ftypisom\0\0\0\0moovhdlrvide",
        b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm....V_VP8.A_OPUS",
        b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska",
        b"RIFF\x24\0\0\0AVI LIST",
        b"BM\x9a\0\0\0\0\0",
        b"text with a NUL \0",
        b"text \x1b[2J",
        b"caf\xe9",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        png_header(0, 5),
        b"GIF89a\0\0\0\0",
    ],
)
def test_what_is_not_supported(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        sniff(data)


def test_limits() -> None:
    assert media(b"x" * MAX_FILE).size == MAX_FILE
    with pytest.raises(TooLarge):
        media(b"x" * (MAX_FILE + 1))
