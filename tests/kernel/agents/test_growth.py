"""What tenants write and what models answer to it is looked through in time and memory by its length."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.growth import assert_linear
from tollhouse.agents.patterns import Pattern, TooManySteps
from tollhouse.agents.rows import changed_lines
from tollhouse.agents.schemas import ReplySchema, problem_with_schema
from tollhouse.agents.template import TemplateError, parse

ITEM: Final = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a"]}
EITHER: Final = {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "array", "items": {"type": "null"}}]}
SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "numbers": {"type": "array", "items": {"type": "integer"}},
    "none of them right": {"type": "array", "items": {"type": "string"}},
    "objects": {"type": "array", "items": ITEM},
    "one of several": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}, {"type": "integer"}]}},
    "one of several wrong lists": EITHER,
    "all different": {"type": "array", "uniqueItems": True},
    "what is required": {"type": "array", "items": {"required": ["a", "b", "c"]}},
    "contained": {"contains": {"const": "z"}, "minContains": 1},
    "nested": {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}},
    "anything": {},
}


def listed(unit: str) -> Callable[[int], str]:
    return lambda size: "[" + ",".join([unit] * (size // (len(unit) + 1))) + "]"


REPLIES: Final[dict[str, Callable[[int], str]]] = {
    "numbers": listed("1"),
    "objects": listed('{"a":1,"b":"some text"}'),
    "empty lists": listed("[]"),
    "empty objects": listed("{}"),
    "lists of one": lambda size: "[" + ",".join(f"[{number}]" for number in range(size // 8)) + "]",
    "long numbers": listed("9" * 4_000),
    "a text": lambda size: '{"a": "' + "x" * size + '"}',
    "escapes": lambda size: '{"a": "' + "\\\\" * (size // 2) + '"}',
    "depth": lambda size: "[" * size,
    "no end": lambda size: '{"a":' * (size // 5),
    "blanks": lambda size: " " * size + "1",
    "a fence": lambda size: "```\n" * (size // 4) + "```",
}


PAIRS: Final = [
    *((schema, reply) for schema in SCHEMAS for reply in ("numbers", "empty objects")),
    *(("anything", reply) for reply in REPLIES),
    ("objects", "objects"),
    ("all different", "lists of one"),
    ("nested", "empty lists"),
]


@pytest.mark.parametrize(("schema", "reply"), PAIRS)
def test_a_reply_is_checked_in_time_by_its_length(schema: str, reply: str) -> None:
    check = ReplySchema(SCHEMAS[schema]).check
    assert_linear(check, REPLIES[reply], start=20_000, end=80_000, memory=None)
    started = time.thread_time()
    check(REPLIES[reply](2_000_000))
    assert time.thread_time() - started < 6, "two seconds on a machine that is not busy with other things"


@pytest.mark.parametrize("schema", ["one of several wrong lists", "what is required", "anything"])
def test_a_reply_is_checked_in_bounded_memory(schema: str) -> None:
    tracemalloc.start()
    ReplySchema(SCHEMAS[schema]).check(REPLIES["numbers"](200_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 1024 * 1024


@pytest.mark.parametrize("name", ["objects", "numbers"])
def test_a_plain_reply_of_some_length_can_be_checked(name: str) -> None:
    _, problem = ReplySchema(SCHEMAS[name]).check(REPLIES[name](200_000))
    assert problem is None


@pytest.mark.parametrize(
    "pattern", [r"\d{4}[ -]?\d{4}", r"[\w.+-]+@[\w-]+\.[\w.]+", "(a|aa)+b", "(x+x+)+y", r"\bfoo\b", ".*z", "(?i)x", "a{1,40}"]
)
@pytest.mark.parametrize("text", ["The quick brown fox. ", "a", "😀é "])
def test_a_pattern_is_searched_in_time_by_the_length(pattern: str, text: str) -> None:
    search = Pattern(pattern).replace
    assert_linear(
        lambda given: search(given, "[redacted]"),
        lambda size: text * (size // len(text)),
        start=8_000,
        end=128_000,
        memory=None,
        refusal=TooManySteps,
    )


def test_what_replaces_is_counted_too() -> None:
    with pytest.raises(TooManySteps):
        Pattern("x").replace("x" * 100_000, "y" * 200)


@pytest.mark.parametrize(
    "unit", ["{{ agent.name }} ", "{{", r"\{{", "\\", "{{ x ", "{", "}}", "words ", "{{" + " " * 60 + "}} "]
)
def test_a_template_is_read_in_time_by_its_length(unit: str) -> None:
    assert_linear(parse, lambda size: unit * (size // len(unit)), start=4_000, end=64_000, memory=80.0, refusal=TemplateError)


@pytest.mark.parametrize(
    "lines",
    [
        lambda size: ["a"] * size,
        lambda size: [str(number % 7) for number in range(size)],
        lambda size: [str(number * 7919 % 151) for number in range(size)],
        lambda size: [str(number) for number in range(size)],
        lambda size: [""] * size,
    ],
    ids=["the same", "seven", "many", "all different", "empty"],
)
def test_two_versions_are_compared_in_time_by_their_length(lines: Callable[[int], list[str]]) -> None:
    """Templates have 64,000 characters at most."""
    assert_linear(
        lambda given: changed_lines(given, "\n".join(reversed(given.split("\n"))), "1", "2"),
        lambda size: "\n".join(lines(size // 2)),
        start=2_000,
        end=32_000,
        memory=None,
    )


def test_a_schema_is_looked_at_in_time_by_its_length() -> None:
    assert_linear(
        problem_with_schema,
        lambda size: {"properties": {f"p{number}": {"type": "string"} for number in range(size // 32)}},
        start=1_000,
        end=64_000,
        memory=None,
    )


def test_two_long_versions_that_differ_in_a_line_show_that_line() -> None:
    old = [f"line {number}" for number in range(5_000)]
    new = [*old[:2_000], "another", *old[2_001:]]
    assert changed_lines("\n".join(old), "\n".join(new), "a", "b").splitlines() == [
        "--- a",
        "+++ b",
        "@@ -2001,1 +2001,1 @@",
        "-line 2000",
        "+another",
    ]
    assert changed_lines("\n".join(old), "\n".join(old), "a", "b") == ""
