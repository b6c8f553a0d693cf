"""JSON bodies looked over, and read, in time and memory that follow their length, whatever is in them.

A body is walked through string by string, in windows: no step takes long enough for others to notice, so that the walk through
a large body can stand in a thread and let go of the interpreter in between. What is refused is what is dangerous to parse, or
no text of ours can hold; whether the rest is JSON is for the parser to say.
"""

from __future__ import annotations

import codecs
import json
import re
import time
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from tollhouse.gateway.errors import InvalidJson, TooComplex
from tollhouse.plugin.errors import TooLarge

MAX_DEPTH: Final = 64
MAX_MEMBERS: Final = 10_000
MAX_DIGITS: Final = 400
MAX_WIDE: Final = 12 * 1024 * 1024
"""Characters in texts that are not plain ASCII: each may take four bytes of memory."""
MAX_REST: Final = 8 * 1024 * 1024
"""Bytes of a body without its long texts."""
WINDOW: Final = 128 * 1024
SHORT: Final = 64

# Everything in a string that may be there, up to its quote. Nothing is tried twice (`*+`): one step for each byte.
# Not there may be a NUL, or half of a surrogate pair: JSON can spell them, text in a database cannot hold them.
TEXT: Final = re.compile(
    rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4}'
    rb'|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})[^"\\\x00-\x1f]*+)*+'
)
LONGEST_ESCAPE: Final = 12
PLAIN: Final = re.compile(rb"[ !#-\[\]-\x7f]*+")
SUSPECT: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
MARK: Final = re.compile(rb"[][{},:]")
DIGITS: Final = re.compile(rb"[0-9](?<![0-9]{2})[0-9]{%d}" % MAX_DIGITS)  # from the first of a run only
STEP: Final = 50
SOME_DIGITS: Final = re.compile(rb"[0-9]{%d}" % (MAX_DIGITS // STEP))  # what is left of such a run in every fiftieth byte
SPACES: Final = re.compile(rb"[ \t\r\n]{2,}+")
STAND_IN: Final = "\x00"


def check_json(body: bytes) -> None:
    """Refuse what is dangerous to parse or to store. Cheap for what is small: the exact look is for what is near a bound.

    Raises:
        InvalidJson: it is not UTF-8, or holds a character that no text can.
        TooComplex: too deep, too many members, or a number with hundreds of digits.
    """
    if not is_harmless(body):
        for _ in _strings(body):
            pass


def is_harmless(body: bytes) -> bool:
    """Whether a small body is far from every bound, by what is quickly seen of it."""
    _check_utf8(body)
    return not (
        len(body) > WINDOW
        or body.count(b"{") + body.count(b"[") > MAX_DEPTH
        or body.count(b",") + body.count(b":") > MAX_MEMBERS
        or SUSPECT.search(body)
        or (len(body) > MAX_DIGITS and SOME_DIGITS.search(body[::STEP]))
    )


def parse_json(body: bytes) -> Any:
    """The document in a body, with the same refusals.

    Long texts are read by themselves, window by window; the parser gets a small document in which each has a stand-in that no
    text can be.
    """
    _check_utf8(body)
    pieces: list[bytes] = []
    texts: list[str] = []
    position = wide = 0
    for start, end, plain in _strings(body):
        pieces.append(_squeezed(body, position, start))
        if end - start <= SHORT:
            pieces.append(body[start:end])
        else:
            pieces.append(b'"\\u0000%d"' % len(texts))
            texts.append(_text(body, start + 1, end - 1, plain, MAX_WIDE - wide))
            wide += 0 if texts[-1].isascii() else len(texts[-1])
        position = end
    pieces.append(_squeezed(body, position, len(body)))
    if sum(map(len, pieces)) > MAX_REST:
        raise TooComplex()
    try:
        document = json.loads(b"".join(pieces), parse_constant=_no_number)
    except ValueError:
        raise InvalidJson() from None
    return _filled(document, texts) if texts else document


def _strings(body: bytes) -> Iterator[tuple[int, int, bool]]:
    """Where each string begins and ends, with its quotes, and whether it is what it spells: ASCII without escapes."""
    shape, position, found = _Shape(body), 0, 0
    while (quote := body.find(b'"', position)) >= 0:
        shape.look(position, quote)
        found += 1
        if found > 2 * MAX_MEMBERS + 2:
            raise TooComplex()
        end, plain = _end_of_string(body, quote + 1)
        yield quote, end, plain
        position = end
    shape.look(position, len(body))


class _Shape:
    """Counts what lies between the strings."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._depth = self._members = self._containers = 0

    def look(self, start: int, end: int) -> None:
        for begin, stop in _windows(start, end):
            for mark in MARK.finditer(self._body, begin, stop):
                self._count(mark[0])
            if end - start > MAX_DIGITS and DIGITS.search(self._body, begin, min(stop + MAX_DIGITS, end)):
                raise TooComplex("A number has too many digits")

    def _count(self, mark: bytes) -> None:
        if mark in b",:":
            self._members += 1
        elif mark in b"[{":
            self._depth += 1
            self._containers += 1
        else:
            self._depth -= 1
        if self._depth > MAX_DEPTH or self._members > MAX_MEMBERS or self._containers > MAX_MEMBERS:
            raise TooComplex()
        if self._depth < 0:
            raise InvalidJson()


def _end_of_string(body: bytes, start: int) -> tuple[int, bool]:
    """Where the string that begins here ends, after its quote."""
    end, stop = _run(PLAIN, body, start)
    if stop == b'"':
        return end + 1, True
    end, stop = _run(TEXT, body, end)
    if stop == b'"':
        return end + 1, False
    if SUSPECT.match(body, end):
        raise InvalidJson("The body contains a NUL character or half a surrogate pair")
    raise InvalidJson()


def _run(allowed: re.Pattern[bytes], body: bytes, position: int) -> tuple[int, bytes]:
    """How far what is allowed goes, and the byte after it."""
    while True:
        stop = min(position + WINDOW, len(body))
        match = allowed.match(body, position, stop)
        assert match is not None, "it may be empty"
        if match.end() < stop - LONGEST_ESCAPE or stop == len(body) or match.end() == position:
            return match.end(), body[match.end() : match.end() + 1]
        position = match.end()
        _let_go()


def _windows(start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > WINDOW:
        yield start, start + WINDOW
        start += WINDOW
        _let_go()
    yield start, end


def _let_go() -> None:
    """Whoever waits for the interpreter gets it now: a thread that only computes would keep it for milliseconds."""
    time.sleep(0.0001)


def _check_utf8(body: bytes) -> None:
    try:
        if len(body) <= WINDOW:
            body.decode()
            return
        decoder = codecs.getincrementaldecoder("utf-8")()
        for start, end in _windows(0, len(body)):
            decoder.decode(body[start:end], end == len(body))
    except UnicodeDecodeError:
        raise InvalidJson("The body is not valid UTF-8") from None


def _text(body: bytes, start: int, end: int, plain: bool, room: int) -> str:
    """What is spelt between two quotes."""
    if plain:
        return str(memoryview(body)[start:end], "ascii")
    decoder = codecs.getincrementaldecoder("utf-8")()
    pieces, size, wide = [], 0, False
    while start < end:
        stop = min(start + WINDOW, end)
        if stop < end:
            match = TEXT.match(body, start, stop)
            assert match is not None, "it was looked over"
            stop = match.end()
        piece = decoder.decode(body[start:stop])
        pieces.append(json.loads(f'"{piece}"') if "\\" in piece else piece)
        start = stop
        size += len(pieces[-1])
        wide = wide or not pieces[-1].isascii()
        if wide and size > room:
            raise TooLarge(f"The texts of a request have at most {MAX_WIDE} characters")
        _let_go()
    return "".join(pieces)


def _squeezed(body: bytes, start: int, end: int) -> bytes:
    if end - start <= SHORT:
        return body[start:end]
    return b"".join(SPACES.sub(b" ", body[begin:stop]) for begin, stop in _windows(start, end))


def _no_number(name: str) -> NoReturn:
    raise InvalidJson(f"{name} is not a number in JSON")


def _filled(here: Any, texts: list[str]) -> Any:
    """The same with each text in the place of its stand-in."""
    if isinstance(here, str):
        return texts[int(here[1:])] if here.startswith(STAND_IN) else here
    if isinstance(here, list):
        return [_filled(one, texts) for one in here]
    if isinstance(here, dict):
        return {_filled(name, texts): _filled(one, texts) for name, one in here.items()}
    return here
