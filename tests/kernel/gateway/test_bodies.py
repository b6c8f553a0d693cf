"""Bodies: refused before they are read where that is possible, and never parsed when they are dangerous."""

import json
import time

import pytest

from tollhouse.gateway.json_bodies import check_json
from tollhouse.plugin import InvalidInput

JSON = {"content-type": "application/json"}


async def test_nobody_gets_a_body_read_without_a_credential(ask):
    for key in (None, "unknown", "th_malformed", "x" * 5000):
        answer = await ask("POST", "/api/notes", key=key, body=b'{"text": "hi"}', headers=JSON)
        assert (answer.status, answer.read) == (401, 0)


async def test_an_announced_length_over_the_limit_is_refused_unread(ask):
    answer = await ask("POST", "/api/notes", key="key", headers={**JSON, "content-length": str(1024 * 1024 + 1)})
    assert (answer.status, answer.read, answer.json["code"]) == (413, 0, "too_large")
    assert answer.headers["connection"] == "close"
    large = await ask("POST", "/api/big", key="key", headers={**JSON, "content-length": str(32 * 1024 * 1024 + 1)})
    assert (large.status, large.read) == (413, 0)


async def test_a_chunked_body_is_counted_while_it_is_read(ask):
    chunks = [b"x" * 300_000] * 10
    for path in ("/api/notes", "/api/raw"):
        answer = await ask("POST", path, key="key", body=chunks, headers=JSON if "notes" in path else {})
        assert (answer.status, answer.read) == (413, 4)


async def test_routes_with_content_parts_take_more(ask):
    body = json.dumps({"text": "x" * 3_000_000}).encode()
    assert (await ask("POST", "/api/notes", key="key", body=body, headers=JSON)).status == 413
    assert (await ask("POST", "/api/big", key="key", body=body, headers=JSON)).json == 3_000_000


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
async def test_json_routes_take_json_only(ask, kind):
    headers = {"content-type": kind} if kind else {}
    answer = await ask("POST", "/api/notes", key="key", body=b'{"text": "hi"}', headers=headers)
    assert (answer.status, answer.read) == (415, 0)


async def test_compressed_bodies_are_refused(ask):
    answer = await ask("POST", "/api/notes", key="key", body=b"\x1f\x8b", headers={**JSON, "content-encoding": "gzip"})
    assert (answer.status, answer.read) == (415, 0)


DANGEROUS = {
    "deep": b"[" * 100_000,
    "deep and closed": b"[" * 1000 + b"]" * 1000,
    "members": b"{" + b",".join(b'"k%d":1' % i for i in range(50_000)) + b"}",
    "many small": b"[" + b"[]," * 300_000 + b"1]",
    "a number": b'{"text": "a", "size": ' + b"9" * 5000 + b"}",
    "not UTF-8": b'{"text": "\xff\xfe"}',
    "NUL": b'{"text": "a\\u0000b"}',
    "half a pair": b'{"text": "\\ud800"}',
    "the other half": b'{"text": "x\\udc00"}',
}


@pytest.mark.parametrize("name", DANGEROUS)
async def test_dangerous_json_is_refused_at_once(ask, name):
    started = time.perf_counter()
    answer = await ask("POST", "/api/notes", key="key", body=DANGEROUS[name], headers=JSON)
    assert answer.status == 400
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    "value",
    ["a [[[[ text {{{{ with: many, commas" * 500, "\\u0000 escaped", "😀", "\ud83d\ude00 paired", "7" * 5000, "\\\\u0000"],
)
def test_strings_may_contain_anything_else(value):
    check_json(json.dumps({"text": value, "nested": [{"a": [1, 2, {"b": None}]}]}).encode("utf-8", "surrogatepass"))


def test_depth_64_is_allowed_and_65_is_not():
    check_json(b"[" * 64 + b"]" * 64)
    check_json(b"[" + b"[]," * 80 + b"1]")
    with pytest.raises(InvalidInput):
        check_json(b"[" * 65 + b"]" * 65)


async def test_big_integers_that_fit_json_are_refused_by_the_field(ask):
    answer = await ask("POST", "/api/notes", key="key", body=b'{"text": "a", "size": 1e999}', headers=JSON)
    assert answer.status == 422


async def test_forms_are_limited(ask):
    headers = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
    many = await ask("POST", "/login", body=b"&".join(b"f%d=1" % i for i in range(1001)), headers=headers)
    assert many.status == 400
    nul = await ask("POST", "/login", body=b"email=a%00b", headers=headers)
    assert nul.status == 400
    assert (await ask("POST", "/login", body=b"email=a%40b.example", headers=headers)).status == 303


async def test_addresses_and_headers_have_limits(ask):
    assert (await ask("GET", "/api/who?" + "x" * 9000, key="key")).status == 414
    assert (await ask("GET", "/api/who", key="key", headers={"x-long": "x" * 17_000})).status == 431


async def test_a_header_that_must_be_alone_is_refused_twice(ask):
    twice = [("authorization", "Bearer key"), ("authorization", "Bearer other-key")]
    assert (await ask("GET", "/api/who", pairs=twice)).status == 400
