"""How errors look: a document, a page, or OpenAI's shape; never more than the person who asked may know."""

import logging

import pytest


async def test_a_denial_is_a_problem_with_its_numbers(ask):
    answer = await ask("GET", "/api/denied", key="key")
    assert answer.status == 402
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json | {"request_id": ""} == {
        "type": "urn:tollhouse:problem:limit_reached",
        "title": "Not included, or used up",
        "status": 402,
        "detail": "All 20 are used.",
        "code": "limit_reached",
        "request_id": "",
        "retryable": False,
        "plan": "free",
        "upgrade_url": None,
        "limit": 20,
        "used": 20,
        "held": 0,
        "remaining": 0,
        "metric": "calls",
        "window": "day",
        "unit": "count",
        "resets_at": "2026-01-02T00:00:00Z",
    }
    assert answer.json["request_id"] == answer.headers["x-request-id"]


async def test_a_bug_is_a_bare_500_and_the_log_has_the_rest(ask, caplog):
    with caplog.at_level(logging.ERROR):
        answer = await ask("GET", "/api/bug", key="key", headers={"x-request-id": "trace-12345678"})
    assert answer.status == 500
    assert "4711" not in answer.text
    assert answer.json["request_id"] == "trace-12345678"
    assert "trace-12345678" in caplog.text
    assert "4711" in caplog.text


async def test_wrong_fields_are_named_and_never_repeated(ask):
    answer = await ask("POST", "/api/notes", key="key", json_body={"text": 5, "size": "pass-word", "a/b": 1})
    assert answer.status == 422
    assert {error["pointer"] for error in answer.json["errors"]} == {"#/text", "#/size", "#/a~1b"}
    assert "pass-word" not in answer.text
    query = await ask("GET", "/api/things/1?limit=many", key="key")
    assert query.status == 422
    [fault] = query.json["errors"]  # there is no body to point into
    assert (fault["parameter"], fault["in"], "pointer" in fault) == ("limit", "query", False)


async def test_a_route_that_wants_to_end_the_process_is_an_error_of_that_request(ask):
    answer = await ask("GET", "/api/exit", key="key")
    assert (answer.status, answer.json["code"]) == (500, "internal_error")


@pytest.mark.parametrize("body", [b"{", b"", b"nonsense", b'{"text": }'])
async def test_broken_json_is_a_clear_refusal(ask, body):
    answer = await ask("POST", "/api/notes", key="key", body=body, headers={"content-type": "application/json"})
    assert answer.status in (400, 422)
    assert answer.json["code"] in ("bad_request", "invalid_input", "invalid_json")


async def test_unknown_address_and_unknown_method(ask):
    missing = await ask("GET", "/api/nothing", key="key")
    assert (missing.status, missing.json["code"]) == (404, "not_found")
    wrong = await ask("PATCH", "/api/things/3", key="key")
    assert (wrong.status, wrong.headers["allow"]) == (405, "DELETE, GET, HEAD")
    for method in ("TRACE", "CONNECT", "OPTIONS"):
        assert (await ask(method, "/api/who", key="key")).status == 405


async def test_people_get_a_page(ask):
    answer = await ask("GET", "/home")
    assert answer.status == 401
    assert answer.headers["content-type"].startswith("text/html")
    assert 'href="/login?next=/home"' in answer.text
    assert answer.headers["x-request-id"] in answer.text
    lost = await ask("GET", "/nowhere", headers={"accept": "text/html,*/*"})
    assert lost.status == 404
    assert "<h1>" in lost.text


async def test_the_tenants_prefix_stays_in_the_links_of_a_page(ask):
    answer = await ask("GET", "/t/other/home")
    assert 'href="/t/other/login?next=/home"' in answer.text
    assert 'href="/t/other/brand.css?v=' in answer.text


async def test_openai_clients_get_their_shape_and_are_told_whether_to_retry(ask):
    answer = await ask("POST", "/v1/echo", json_body={})
    assert answer.status == 401
    assert answer.json["error"] == {
        "message": "Sign in first, or send a valid credential",
        "type": "authentication_error",
        "param": None,
        "code": "unauthenticated",
    }
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_head_answers_like_get_without_a_body(ask):
    for path in ("/api/who", "/healthz", "/static/tollhouse.css"):
        answer = await ask("HEAD", path, key="key")
        assert (answer.status, answer.body) == (200, b"")
