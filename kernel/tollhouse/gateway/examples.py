"""Examples for the OpenAPI document, made from what models and fields say of themselves.

A field has its own example, or its model has one for some of its fields; everything else follows from the schema. So an example
is written once, beside what it is an example of, and stands in every answer that holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Schema = dict[str, Any]
PREFIX: Final = "#/components/schemas/"
SCHEMA_OF: Final = "x-schema"
"""In a field: the component that says what it holds, where the code takes it as it is."""
ANYTHING: Final = "string"
"""A text of which nothing is known."""
NULL: Final = "x-null"
"""A null in a model's example: FastAPI leaves members that are null out of its document."""

FORMATS: Final[Mapping[str, Any]] = {
    "uuid": "0199a000-0000-7000-8000-000000000001",
    "date-time": "2026-01-15T12:00:00Z",
    "date": "2026-01-15",
    "binary": "…",
}


class Examples:
    """Completes the examples of components, and makes those of other schemas."""

    def __init__(self, components: dict[str, Schema]) -> None:
        self._components = components
        self._made: dict[str, Any] = {}

    def complete(self) -> None:
        """Give every object among the components a whole example, if enough is known of it."""
        for name, schema in self._components.items():
            if "properties" in schema and not _is_vague(made := self.of({"$ref": PREFIX + name})):
                schema["example"] = made

    def of(self, schema: Schema) -> Any:
        """An example that is valid by ``schema``."""
        if "$ref" in schema:
            return self._component(schema["$ref"].removeprefix(PREFIX))
        if "properties" in schema:
            return self._object(schema)
        given, found = _given(schema)
        if given:
            return found
        if "anyOf" in schema or "oneOf" in schema:
            return self.of(next(one for one in schema.get("anyOf") or schema["oneOf"] if one.get("type") != "null"))
        if schema.get("type") == "array":
            return [self.of(schema["items"])] if schema.get("items") else []
        return _plain(schema)

    def _component(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self.of(self._components[name])
        return self._made[name]

    def _object(self, schema: Schema) -> dict[str, Any]:
        """What must be there, and what has an example of its own; the model's example goes before both."""
        given = _restored({"example": {}, **schema}["example"])
        wanted = set(schema.get("required", ()))
        made = {}
        for name, one in schema["properties"].items():
            if name in given:
                made[name] = given[name]
            elif name in wanted or _given(one)[0]:
                made[name] = self.of(one)
        return made


def resolve_schemas(node: Any) -> None:
    """Put a reference to the component in the place of each field that names one by ``x-schema``."""
    if isinstance(node, dict):
        name = node.pop(SCHEMA_OF, None)
        if name is not None:
            kept = {key: node[key] for key in ("title", "description", "example", "examples") if key in node}
            nullable = any(one.get("type") == "null" for one in node.get("anyOf", ()))
            node.clear()
            node.update(kept)
            reference = {"$ref": PREFIX + name}
            node.update({"anyOf": [reference, {"type": "null"}]} if nullable else reference)
        for one in node.values():
            resolve_schemas(one)
    elif isinstance(node, list):
        for one in node:
            resolve_schemas(one)


def _is_vague(example: Any) -> bool:
    if isinstance(example, dict | list):
        return any(_is_vague(one) for one in (example.values() if isinstance(example, dict) else example))
    return bool(example == ANYTHING)


def keep_nulls(value: Any) -> Any:
    """An example as it is written into a model's schema."""
    if isinstance(value, dict):
        return {name: keep_nulls(one) for name, one in value.items()}
    if isinstance(value, list):
        return [keep_nulls(one) for one in value]
    return NULL if value is None else value


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _restored(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_restored(one) for one in value]
    return None if value == NULL else value


def _given(schema: Schema) -> tuple[bool, Any]:
    if "example" in schema:
        return True, _restored(schema["example"])
    if schema.get("examples"):
        return True, schema["examples"][0]
    if "const" in schema:
        return True, schema["const"]
    return (True, schema["enum"][0]) if schema.get("enum") else (False, None)


def _plain(schema: Schema) -> Any:
    kind = schema.get("type")
    if kind == "string":
        return FORMATS.get(schema.get("format", ""), ANYTHING)
    if kind in ("integer", "number"):
        return max(int(schema.get("minimum", 1)), 1)
    return {"boolean": True, "object": {}, "null": None}.get(str(kind))
