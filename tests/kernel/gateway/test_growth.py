"""What sees raw bodies takes time and memory by their length, and no more, whatever is in them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.growth import assert_linear
from tollhouse.gateway.json_bodies import WINDOW, check_json, parse_json
from tollhouse.plugin import InvalidInput, decode_base64, encode_base64
from tollhouse.plugin.base64 import PIECE

CHAT = b'{"model":"guide","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,'

BODIES: dict[str, Callable[[int], bytes]] = {
    # what honest clients send
    "a picture and messages": lambda n: (
        CHAT + b"Ab/9" * (n // 4) + b'"}}]}' + b',{"role":"user","content":"short"}' * 24 + b"]}"
    ),
    "a picture with escaped slashes": lambda n: CHAT + b"AbCd\\/" * (n // 6) + b'"}}]}]}',
    "a long text": lambda n: json.dumps({"text": "Dear all,\n" * (n // 12)}).encode(),
    "a text in Chinese": lambda n: json.dumps({"text": "你好" * (n // 6)}, ensure_ascii=False).encode(),
    "the same in ASCII": lambda n: json.dumps({"text": "你好" * (n // 12)}).encode(),
    "emoji": lambda n: json.dumps({"text": "😀 " * (n // 13)}).encode(),
    "indented": lambda n: b"[" + b",\n          ".join([b'"some text"'] * min(n // 22, 9_000)) + b"]",
    # what nobody means well with
    "an open string": lambda n: b"[" * 65 + b'"' + b'\\"' * (n // 2),
    "an open string, not deep": lambda n: b'["' + b'\\"' * (n // 2),
    "backslashes": lambda n: b'["' + b"\\" * n,
    "pairs of backslashes": lambda n: b'["' + b"\\\\" * (n // 2) + b'"]',
    "backslashes before u": lambda n: b'["' + b"\\\\u0000" * (n // 7) + b'"]',
    "halves of pairs": lambda n: b'["' + b"\\ud83d\\ude00" * (n // 12) + b'\\ude00"]',
    "escapes cut short": lambda n: b'["' + b"\\u00" * (n // 4),
    "open brackets": lambda n: b"[" * n,
    "closed brackets": lambda n: b"[]" * (n // 2),
    "only closing": lambda n: b"]" * n,
    "commas": lambda n: b"[" + b"," * n,
    "quotes": lambda n: b'"' * n,
    "strings": lambda n: b'"",' * (n // 3),
    "digits": lambda n: b"[" + b"9" * n,
    "numbers nearly too long": lambda n: b"[" + (b"9" * 400 + b" ") * (n // 401),
    "nearly numbers": lambda n: b'["' + b"9" * n + b'"]',
    "spaces": lambda n: b"[" + b" " * n + b"]",
    "rubbish": lambda n: b"x" * n,
    "nested members": lambda n: b"[" + b"[[[[]]]]," * (n // 9),
    "keys": lambda n: b"{" + b",".join(b'"k%d":1' % i for i in range(n // 9)) + b"}",
    "not UTF-8 at the end": lambda n: b'["' + b"a" * n + b'\xff"]',
    "control characters": lambda n: b'["' + b"a" * n + b'\x01"]',
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_looked_over_in_time_and_memory_of_its_length(name: str) -> None:
    assert_linear(check_json, BODIES[name], memory=1.0)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_read_in_time_and_memory_of_its_length(name: str) -> None:
    assert_linear(parse_json, BODIES[name], memory=3.0)


def test_what_is_read_piece_by_piece_is_what_the_parser_reads() -> None:
    for length in (10, WINDOW - 5, WINDOW, 3 * WINDOW + 7):
        for piece in ("a", "é", "你", "😀", '"', "\\", "\n", "\\u0000", "/", "\x7f"):
            for ascii_only in (True, False):
                sent = {"text": "x" + piece * (length // len(piece)), piece * 70: [1, 2.5e3, None, True, {"": piece}]}
                assert parse_json(json.dumps(sent, ensure_ascii=ascii_only).encode()) == sent


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 1, 3]))
def test_every_document_is_read_as_it_is(document: Any, ascii_only: bool, indent: int | None) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    if "\\u0000" in json.dumps(document) and _has_nul(document):
        with pytest.raises(InvalidInput):
            parse_json(body)
    else:
        assert parse_json(body) == document
        check_json(body)


def _has_nul(document: Any) -> bool:
    if isinstance(document, dict):
        return any(map(_has_nul, document)) or any(map(_has_nul, document.values()))
    return (
        any(map(_has_nul, document)) if isinstance(document, list) else "\0" in document if isinstance(document, str) else False
    )


@pytest.mark.parametrize(
    "escaped",
    [
        "\\u0000",
        "\\\\\\u0000",
        "\\ud83d",
        "\\ud83dx",
        "\\ude00",
        "\\ude00\\ud83d",
        "\\ud83d\\ud83d\\ude00",
        "\\ud83d\\ude00\\ude00",
        "\\ud83d\\\\\\ude00",
        "\\\\ud83d\\ude00",  # the first is text about an escape, and no half of anything
    ],
)
def test_half_a_pair_is_found_wherever_it_stands(escaped: str) -> None:
    for before in ("", "x" * 5_000, "x" * (WINDOW - 9), "x" * (WINDOW - 1), "\\n" * WINDOW):
        body = f'{{"text": "{before}{escaped}"}}'.encode()
        for look in (check_json, parse_json):
            with pytest.raises(InvalidInput):
                look(body)


def test_stand_ins_cannot_be_forged() -> None:
    long = "a long text " * 20
    for forged in ("\x000", "0", "\\u00000"):
        body = json.dumps([long, forged]).encode()
        if "\0" in forged:
            with pytest.raises(InvalidInput):
                parse_json(body)
        else:
            assert parse_json(body) == [long, forged]
    for body in (b'["\\q000", 1]', b'["\x000"]', b"[NaN]", b"[Infinity]", b"[1] 2", b"{1: 2}", b""):
        with pytest.raises(InvalidInput):
            parse_json(body)


# -- media ----------------------------------------------------------------------------------------------------------------


@given(st.binary(), st.sampled_from([0, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 5]))
def test_media_are_what_they_were(data: bytes, before: int) -> None:
    data = b"x" * before + data
    assert encode_base64(data) == base64.b64encode(data).decode()
    assert decode_base64(encode_base64(data)) == data


@pytest.mark.parametrize("wrong", ["A", "AAA", "AA=A", "AAAA\n", "A AA", "é", "AA==AAAA", "-_-_"])
@pytest.mark.parametrize("before", [0, PIECE - 4, PIECE, PIECE + 4])
def test_what_is_no_base64_is_refused(wrong: str, before: int) -> None:
    with pytest.raises(ValueError):
        decode_base64("A" * before + wrong)


def test_padding_belongs_to_the_end() -> None:
    with pytest.raises(ValueError, match="padding"):
        decode_base64("A" * (PIECE - 4) + "AA==" + "AAAA")


@pytest.mark.parametrize("text", [lambda n: "A" * n, lambda n: "=" * n, lambda n: "AA==" * (n // 4), lambda n: "é" * n])
def test_media_are_decoded_in_time_of_their_length(text: Callable[[int], str]) -> None:
    assert_linear(decode_base64, text, memory=2.0, refusal=ValueError)
