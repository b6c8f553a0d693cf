"""Files that were made to be hard to look at, and plain large ones: their type is found in time and memory by their length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from tests.growth import HOLD_SECONDS, assert_linear, longest_hold
from tollhouse.conversations.files import FileLimits, FileService
from tollhouse.plugin.errors import InvalidInput
from tollhouse.runtime.media import MAX_FILE, sniff

Make = Callable[[int], bytes]


def repeated(unit: bytes, start: bytes = b"", end: bytes = b"") -> Make:
    return lambda size: (start + unit * (size // len(unit)))[: size - len(end)] + end


FILES: Final[dict[str, Make]] = {
    "fill bytes": repeated(b"\xff", b"\xff\xd8"),
    "fill bytes between markers": repeated(b"\xff" * 500 + b"\xd0", b"\xff\xd8"),
    "empty segments": repeated(b"\xff\xe0\x00\x02", b"\xff\xd8"),
    "segments without a length": repeated(b"\xff\xe0\x00\x00", b"\xff\xd8"),
    "restart markers": repeated(b"\xff\xd0", b"\xff\xd8\xff\xe0\x00\x02"),
    "large segments": repeated(b"\xff\xe1\xff\xff" + b"\x00" * 65_533, b"\xff\xd8"),
    "plain text": repeated(b"Some words, and a line.\n"),
    "text of many bytes a letter": repeated("Über 😀 ".encode()),
    "one letter of many bytes": repeated(b"a", "😀".encode()),
    "text with a control character at its end": repeated(b"a", end=b"\x00"),
    "text that breaks off in a letter": repeated(b"a", end=b"\xf0\x9f"),
    "almost a film": repeated(b"sou", b"\0\0\0\x18ftypmp42"),
    "a sound in a film's box": repeated(b"\0", b"\0\0\0\x18ftypmp42", b"soun"),
    "noise": repeated(b"\xe9\x00\xff"),
    "a png of nothing": repeated(b"\x00", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
    "a document": repeated(b"1 0 obj\n", b"%PDF-1.7\n"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_type_is_found_in_time_and_memory_by_the_length(name: str) -> None:
    assert_linear(sniff, FILES[name], start=64 * 1024, end=1024 * 1024, memory=1.0)


@pytest.mark.parametrize("name", FILES)
async def test_a_file_of_full_size_never_holds_the_loop(name: str) -> None:
    data = FILES[name](MAX_FILE)
    files = FileService(None, None, FileLimits(), sniff)  # type: ignore[arg-type] - nothing is stored
    assert await longest_hold(lambda: files.describe(data, "x")) < HOLD_SECONDS


@pytest.mark.parametrize("name", ["../" * 300_000 + "a.txt", "\u200b" * 900_000, "x" * 900_000])
async def test_the_name_of_a_file_is_looked_at_only_as_far_as_it_is_kept(name: str) -> None:
    files = FileService(None, None, FileLimits(), sniff)  # type: ignore[arg-type]
    assert await longest_hold(lambda: files.describe(b"x", name)) < HOLD_SECONDS / 5
    assert len((await files.describe(b"x", name)).name) <= 200


def test_a_photo_may_have_fill_bytes_and_many_segments() -> None:
    frame = b"\xff\xc0\x00\x11\x08\x00\x11\x00\x1f\x03" + b"\x00" * 20
    found = sniff(b"\xff\xd8" + (b"\xff" * 40 + b"\xe1\x00\x08Exif\0\0") * 600 + b"\xff\xff" + frame)
    assert (found.width, found.height) == (31, 17)
    with pytest.raises(InvalidInput, match="damaged"):
        sniff(b"\xff\xd8" + b"\xff\xe1\x00\x02" * 5_000 + frame)
