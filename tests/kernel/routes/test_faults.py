"""What is wrong is named where it is: in the body by a pointer that leads there, elsewhere by the parameter's name."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

SOME_ID = "0199a000-0000-7000-8000-00000000beef"
CLOSED = {"reason", "status", "state", "role", "kind", "by", "format"}
"""Parameters of these names choose from a list."""


def operations(app):
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def closed(schema: dict[str, Any]) -> list[str]:
    """The values that a parameter chooses from, if it does."""
    return schema.get("enum") or next((one["enum"] for one in schema.get("anyOf", ()) if "enum" in one), [])


def key_for(path: str) -> str:
    return "operator" if "/tenants" in path or path.endswith("margin-by-tenant") else "owner"


async def test_a_value_that_is_not_on_the_list_is_refused_by_the_parameters_name(ask):
    tried = set()
    for method, path, operation in operations(ask.app):
        for parameter in operation.get("parameters", ()):
            values = closed(parameter["schema"])
            if parameter["in"] != "query" or not values:
                continue
            where = re.sub(r"\{[^}]+\}", SOME_ID, path)
            others = {one["name"]: "2026-01-01" for one in operation["parameters"] if one["required"] and one["in"] == "query"}
            query = "&".join(f"{name}={value}" for name, value in {**others, parameter["name"]: "bogus"}.items())
            answer = await ask(method, f"{where}?{query}", key=key_for(path))
            assert (path, parameter["name"], answer.status) == (path, parameter["name"], 422)
            assert [(fault["parameter"], fault["in"]) for fault in answer.json["errors"]] == [(parameter["name"], "query")]
            tried.add((path.rsplit("/", 1)[-1], parameter["name"]))
    assert {("subscriptions", "status"), ("orders", "state"), ("tenants", "status"), ("users", "role")} <= tried
    assert {("connections", "kind"), ("agents", "status"), ("usage", "by"), ("revenue", "by"), ("usage", "format")} <= tried


def test_a_parameter_that_chooses_from_a_list_says_the_list(ask):
    open_ended = [
        (path, parameter["name"])
        for _, path, operation in operations(ask.app)
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query" and parameter["name"] in CLOSED and not closed(parameter["schema"])
    ]
    assert open_ended == []


# -- pointers -------------------------------------------------------------------------------------------------------------

BODIES: list[tuple[str, str, str, Any]] = [
    (
        "ada",
        "POST",
        "/api/v1/turns",
        {
            "agent": "helper",
            "parts": [
                {"type": "text", "text": "Hello", "name": "x"},
                {"type": "image", "url": "https://example.com/a.png", "media_type": "image/png"},
            ],
            "parameters": {"temperature": 1},
        },
    ),
    ("ada", "POST", "/api/v1/policy/check", {"agent": "helper", "channel": "api", "metadata": {"prompt_tokens": 5}}),
    (
        "owner",
        "POST",
        "/api/v1/admin/plans",
        {
            "slug": "p",
            "name": "P",
            "terms": {"limits": [{"metric": "calls", "amount": 1, "window": "day", "agent_id": SOME_ID}], "channels": ["api"]},
        },
    ),
    (
        "owner",
        "PUT",
        f"/api/v1/admin/subscriptions/{SOME_ID}/overrides",
        {"overrides": [{"metric": "calls", "amount": 1, "window": "day"}], "reason": "x"},
    ),
    ("owner", "POST", f"/api/v1/admin/versions/{SOME_ID}/activate", {"weights": {SOME_ID: 10_000}}),
    ("owner", "PATCH", "/api/v1/admin/tenant", {"name": "N", "brand": {"accent": "#112233", "radius": 4}}),
    ("owner", "POST", "/api/v1/admin/connections", {"kind": "llm", "plugin": "x", "name": "n", "values": {"a": {"b": 1}}}),
]


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for name, one in inner for place in places(one, (*at, name)))]


def follow(pointer: str, body: Any) -> Any:
    """RFC 6901; KeyError or IndexError where it leads nowhere."""
    assert pointer.startswith("#"), pointer
    for step in pointer[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        body = body[int(name)] if isinstance(body, list) else body[name]
    return body


def leads_somewhere(fault: dict[str, str], body: Any) -> bool:
    """To a value that was sent; or to the name of one that is missing from an object that was."""
    try:
        follow(fault["pointer"], body)
    except (KeyError, IndexError, TypeError, ValueError):
        parent, _, name = fault["pointer"].rpartition("/")
        where = follow(parent, body) if parent else None
        return fault["detail"] == "Field required" and isinstance(where, dict) and name not in where
    return True


SIMPLE = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=5))
JSON = SIMPLE | st.sampled_from([[], {}, [{}], {"text": 1}]).map(copy.deepcopy)  # each is spoiled in its turn


@st.composite
def spoiled(draw: Any) -> tuple[str, str, str, Any]:
    """A good body with up to three places spoiled: another value, a name too many, a name too few."""
    key, method, path, body = draw(st.sampled_from(BODIES))
    body = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.sampled_from(places(body)[1:] or [()]))
        if not at:
            break
        where = body
        for step in at[:-1]:
            where = where[step]
        change = draw(st.sampled_from(("another", "more", "less")))
        if change == "less" and isinstance(where, dict):
            del where[at[-1]]
        elif change == "more" and isinstance(where, dict):
            where[draw(st.sampled_from(("odd", "a/b~c", "type", "text", "image", "x" * 300)))] = draw(JSON)
        else:
            where[at[-1]] = draw(JSON)
    return key, method, path, body


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=spoiled())
async def test_every_pointer_leads_to_what_was_sent(ask, case):
    key, method, path, body = case
    # A body that is good enough reaches a service, which is not there: that is no matter of pointers.
    answer = await ask(method, path, key=key, json_body=body)
    if answer.status == 422:
        for fault in answer.json.get("errors", ()):
            assert leads_somewhere(fault, body), (fault, json.dumps(body))


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ([{"type": "text"}], "#/parts/0/text"),
        ([{"type": "text", "text": 5}], "#/parts/0/text"),
        ([{"type": "text", "text": "a", "image": 1}], "#/parts/0/image"),
        ([{"type": "text", "text": "a"}, {"type": "image", "url": "http://x"}], "#/parts/1/url"),
        ([{"type": "video"}], "#/parts/0"),
        ("text", "#/parts"),
    ],
)
async def test_the_tag_of_a_part_is_no_step_of_its_pointer(ask, parts, pointer):
    answer = await ask("POST", "/api/v1/turns", key="ada", json_body={"agent": "helper", "parts": parts})
    assert [fault["pointer"] for fault in answer.json["errors"]] == [pointer]


def test_the_problem_document_says_how_faults_look(ask):
    problem = ask.app.openapi()["components"]["schemas"]["Problem"]
    for fault in ({"detail": "x", "pointer": "#/a"}, {"detail": "x", "parameter": "limit", "in": "query"}):
        Draft202012Validator(problem["properties"]["errors"]["items"]).validate(fault)
