"""What a version may say."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from tollhouse.agents.schemas import ReplySchema, problem_with_schema
from tollhouse.agents.spec import VersionSpec

SPEC: dict[str, Any] = {"template": "Hi", "primary": {"connection_id": str(UUID(int=1)), "model": "m"}}

# Each name refers twice to the next one: 2^60 steps for any value.
DOUBLING: dict[str, Any] = {
    "$ref": "#/$defs/n0",
    "$defs": {f"n{at}": {"allOf": [{"$ref": f"#/$defs/n{at + 1}"}] * 2} for at in range(60)} | {"n60": {}},
}


def test_defaults() -> None:
    spec = VersionSpec.model_validate(SPEC)
    assert (spec.max_output_tokens, spec.modalities, spec.opens, spec.history_messages) == (1024, {"text"}, frozenset(), 40)
    assert spec.choices == (spec.primary,)


def test_it_survives_storage() -> None:
    spec = VersionSpec.model_validate(
        {
            **SPEC,
            "fallback": {"connection_id": str(UUID(int=2)), "model": "n"},
            "parameters": {"temperature": 0.5, "seed": 7},
            "modalities": ["text", "image"],
            "opens": ["top_p", "temperature"],
            "post": {"redact": [{"pattern": "a+"}], "stop": ["END"], "footer": "bye"},
        }
    )
    stored = spec.model_dump(mode="json")
    assert stored["opens"] == ["temperature", "top_p"]
    assert VersionSpec.model_validate(stored) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"unknown": 1},
        {"template": "{{ plan.price }}"},
        {"template": "x" * 64_001},
        {"primary": {"connection_id": "x", "model": "m"}},
        {"primary": {"connection_id": str(UUID(int=1)), "model": ""}},
        {"fallback": SPEC["primary"]},
        {"parameters": {"temperature": 2.1}},
        {"parameters": {"temperature": True}},
        {"parameters": {"temperature": float("nan")}},
        {"parameters": {"top_p": "1"}},
        {"parameters": {"n": 5}},
        {"parameters": {"tools": []}},
        {"parameters": {"max_tokens": 5}},
        {"parameters": {"stop": ["a"] * 5}},
        {"max_output_tokens": 0},
        {"context_tokens": 1024},
        {"modalities": ["image"]},
        {"modalities": ["text", "smell"]},
        {"opens": ["n"]},
        {"timeout": 0},
        {"history_messages": -1},
        {"post": {"redact": [{"pattern": "(a)\\1"}]}},
        {"post": {"stop": [""]}},
        {"post": {"json_schema": {"type": "object"}, "footer": "bye"}},
    ],
)
def test_what_it_may_not_say(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VersionSpec.model_validate({**SPEC, **change})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nothing"},
        {"$ref": "http://169.254.169.254/"},
        {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"$ref": "#"},
        {"$ref": "#/$defs/missing"},
        {"properties": {"a": {"pattern": "(a+)+$"}}},
        {"patternProperties": {"(a+)+$": {}}},
        {"description": "x" * 20_000},
        DOUBLING,
        {"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False},
        {"prefixItems": [{}], "unevaluatedItems": False},
    ],
)
def test_a_schema_that_cannot_be_used(schema: dict[str, Any]) -> None:
    assert problem_with_schema(schema) is not None


def test_it_does_not_change() -> None:
    spec = VersionSpec.model_validate(SPEC)
    with pytest.raises(ValidationError):
        spec.template = "other"  # type: ignore[misc]


def test_a_property_may_be_named_like_a_keyword() -> None:
    schema = {"type": "object", "properties": {"pattern": {"type": "string"}, "$id": {"enum": [{"pattern": 1}]}}}
    assert problem_with_schema(schema) is None


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"a": 1}', True),
        ('```json\n{"a": 1}\n```', True),
        (' \n{"a": 1} ', True),
        ('{"a": "1"}', False),
        ("{}", False),
        ('{"a": NaN}', False),
        ("Sure! {}", False),
        ("[" * 100_000, False),
        ("", False),
    ],
)
def test_checking_a_reply(text: str, valid: bool) -> None:
    schema = ReplySchema({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}})
    found, problem = schema.check(text)
    assert (problem is None) is valid
    if valid:
        assert found == '{"a": 1}'


def test_a_schema_that_refers_to_itself_is_checked_in_bounds() -> None:
    schema = ReplySchema({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}})
    assert schema.check("[[], [[]]]")[1] is None
    assert schema.check("[" * 5_000 + "]" * 5_000)[1] is not None


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        # Twice into the same value at every level of the reply.
        ({"$ref": "#/$defs/n", "$defs": {"n": {"allOf": [{"items": {"$ref": "#/$defs/n"}}] * 2}}}, "[" * 60 + "]" * 60),
        ({"uniqueItems": True}, json.dumps([{"a": at} for at in range(20_000)])),
        # Each of many keywords walks through all keys of a wide object.
        ({"allOf": [{"additionalProperties": {}}] * 400}, json.dumps({str(at): 0 for at in range(20_000)})),
    ],
)
def test_checking_a_reply_takes_bounded_steps(schema: dict[str, Any], text: str) -> None:
    assert problem_with_schema(schema) is None, "it can be used with ordinary replies"
    assert ReplySchema(schema).check(text)[1] == "It takes too many steps to check."


def test_a_long_ordinary_reply_is_checked() -> None:
    schema = {"type": "array", "items": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}}
    assert ReplySchema(schema).check(json.dumps([{"a": "x"}] * 10_000))[1] is None
