"""JSON schemas that a tenant asks replies to follow: which of them are taken, and how a reply is checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

MAX_SCHEMA_BYTES = 16_384

_NAMES = ("properties", "$defs", "definitions", "dependentSchemas")  # their keys are names, not keywords
_VALUES = ("enum", "const", "default", "examples")  # what they hold is data
# A pattern would be matched by a backtracking engine, an id or a dialect could name something to fetch.
_REFUSED = ("pattern", "patternProperties", "$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary")


def problem_with_schema(schema: dict[str, Any]) -> str | None:
    """Why a JSON schema cannot be used; None if it can."""
    from jsonschema import Draft202012Validator  # late: most processes never check a schema, and it is not small
    from jsonschema.exceptions import SchemaError

    try:
        if len(json.dumps(schema, allow_nan=False)) > MAX_SCHEMA_BYTES:
            return f"is larger than {MAX_SCHEMA_BYTES:,} bytes"
        for key, value in _keywords(schema):
            if key in _REFUSED:
                return f"uses “{key}”, which is not supported"
            if key == "$ref" and not (isinstance(value, str) and value.startswith("#")):
                return "refers to something outside of itself"
        Draft202012Validator.check_schema(schema)
        samples: tuple[Any, ...] = ({}, [], "", 0, None)
        for sample in samples:
            list(Draft202012Validator(schema).iter_errors(sample))
    except SchemaError as error:
        return f"is not a JSON schema: {error.message[:200]}"
    except RecursionError:
        return "refers to itself without an end"
    except Exception as error:  # an unresolvable $ref, whose class is private to the library
        return f"cannot be used: {str(error)[:200]}"
    return None


def _keywords(schema: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(schema, list):
        for item in schema:
            yield from _keywords(item)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            yield key, value
            if key in _NAMES and isinstance(value, dict):
                yield from _keywords(list(value.values()))
            elif key not in _VALUES:
                yield from _keywords(value)


class ReplySchema:
    """One version's schema, ready to check replies."""

    __slots__ = ("_validator", "instruction")

    def __init__(self, schema: dict[str, Any]) -> None:
        from jsonschema import Draft202012Validator

        self._validator = Draft202012Validator(schema)
        text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
        self.instruction = (
            f"\n\nAnswer with one JSON value only, without any other text. It must match this JSON schema:\n{text}"
        )

    def check(self, text: str) -> tuple[str, str | None]:
        """The JSON text in a reply, and what is wrong with it (None: nothing)."""
        from jsonschema.exceptions import best_match

        text = _unfenced(text)
        try:
            value = json.loads(text, parse_constant=_no_constant)
            error = best_match(self._validator.iter_errors(value))
        except ValueError as problem:
            return text, f"It is not JSON: {problem}"
        except RecursionError:
            return text, "It is nested too deeply."
        if error is None:
            return text, None
        return text, f"At {error.json_path}: {error.message[:300]}"


def _unfenced(text: str) -> str:
    """Models like to put JSON into a Markdown fence; that much is forgiven."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        return text[text.index("\n") + 1 : -3].strip()
    return text


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
