"""JSON schemas that a tenant asks replies to follow: which of them are taken, and how a reply is checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any, Final

from tollhouse.agents.patterns import Budget, TooManySteps

MAX_SCHEMA_BYTES: Final = 16_384
STEPS: Final = 200_000
STEPS_PER_CHARACTER: Final = 5
MOST_STEPS: Final = 800_000
"""Two seconds in a thread. A step is a keyword that is looked at, 2 µs; a difference that is found, 1.5 kB, counts as 15."""
STEPS_PER_ERROR: Final = 15
MAX_REPLY: Final = 4_000_000
"""Characters of a reply that is read as JSON: what it becomes takes twenty times as much memory."""
SAMPLE_STEPS: Final = 20_000
"""Steps for trying a schema out when it is saved. A reference is followed again wherever it stands, so a small schema that
refers twice to what refers twice to … can ask for more steps than there is time for, with any reply or only with a deep one."""

_budget: ContextVar[Budget] = ContextVar("_budget")

_NAMES = ("properties", "$defs", "definitions", "dependentSchemas")  # their keys are names, not keywords
_VALUES = ("enum", "const", "default", "examples")  # what they hold is data
# A pattern would be matched by a backtracking engine, an id or a dialect could name something to fetch.
# What was not evaluated is found by evaluating everything again, at every level, in ways that nobody counts.
_REFUSED = (
    *("pattern", "patternProperties", "$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary"),
    *("unevaluatedProperties", "unevaluatedItems"),
)


def problem_with_schema(schema: dict[str, Any]) -> str | None:
    """Why a JSON schema cannot be used; None if it can."""
    from jsonschema.exceptions import SchemaError  # late: most processes never check a schema, and it is not small

    try:
        if len(json.dumps(schema, allow_nan=False)) > MAX_SCHEMA_BYTES:
            return f"is larger than {MAX_SCHEMA_BYTES:,} bytes"
        for key, value in _keywords(schema):
            if key in _REFUSED:
                return f"uses “{key}”, which is not supported"
            if key == "$ref" and not (isinstance(value, str) and value.startswith("#")):
                return "refers to something outside of itself"
        _validator().check_schema(schema)
        samples: tuple[Any, ...] = ({}, [], "", 0, None)
        _budget.set(Budget(0, steps=SAMPLE_STEPS))
        for sample in samples:
            list(_validator()(schema).iter_errors(sample))
    except TooManySteps:
        return "takes too many steps to check"
    except SchemaError as error:
        return f"is not a JSON schema: {error.message[:200]}"
    except RecursionError:
        return "refers to itself without an end"
    except Exception as error:  # an unresolvable $ref, whose class is private to the library
        return f"cannot be used: {str(error)[:200]}"
    return None


@cache
def _validator() -> Any:
    """The library's validator, with each keyword that is looked at counted as a step."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    keywords = {name: _counted(name, check) for name, check in Draft202012Validator.VALIDATORS.items()}
    return extend(Draft202012Validator, keywords)  # type: ignore[no-untyped-call]


def _counted(name: str, check: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    def counting(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        budget = _budget.get()
        budget.spend(_steps(name, instance))
        for error in check(validator, value, instance, schema) or ():
            budget.spend(STEPS_PER_ERROR + len(error.message) // 100)  # it repeats the value that it is about
            yield error

    return counting


def _steps(name: str, instance: Any) -> int:
    if not isinstance(instance, list | dict):
        return 1
    # Keywords walk through what they look at; whatever is not hashable is compared with all that came before it.
    return 1 + (len(instance) ** 2 // 10 if name == "uniqueItems" else len(instance))


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
        self._validator = _validator()(schema)
        text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
        self.instruction = (
            f"\n\nAnswer with one JSON value only, without any other text. It must match this JSON schema:\n{text}"
        )

    def check(self, text: str) -> tuple[str, str | None]:
        """The JSON text in a reply, and what is wrong with it (None: nothing). Takes a second or two at most, in a thread."""
        from jsonschema.exceptions import best_match

        text = _unfenced(text)
        if len(text) > MAX_REPLY or sum(map(text.count, "[{,")) > MOST_STEPS:
            return text, "It is too large."
        try:
            value = json.loads(text, parse_constant=_no_constant)
            _budget.set(Budget(0, steps=min(STEPS + STEPS_PER_CHARACTER * len(text), MOST_STEPS)))
            error = best_match(self._validator.iter_errors(value))
        except ValueError as problem:
            return text, f"It is not JSON: {problem}"
        except RecursionError:
            return text, "It is nested too deeply."
        except TooManySteps:
            return text, "It takes too many steps to check."
        except ArithmeticError:
            return text, "It holds a number that is too large."
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
