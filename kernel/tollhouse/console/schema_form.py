"""Fields of a form from a plugin's JSON schema. What has no simple field is typed as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tollhouse.console.forms import Form

Kind = Literal["text", "long", "url", "integer", "number", "switch", "select", "lines", "json", "secret"]
LONG = 400


@dataclass(frozen=True, slots=True)
class Field:
    """One field. ``options``: what a select chooses from."""

    name: str
    kind: Kind
    title: str
    hint: str
    required: bool
    default: Any = None
    options: Sequence[str] = ()

    @property
    def secret(self) -> bool:
        return self.kind == "secret"

    @property
    def input(self) -> str:
        """The name of its input."""
        return f"values.{self.name}"


def fields_of(schema: Mapping[str, Any]) -> list[Field]:
    """The fields in the schema's order."""
    required = schema.get("required", ())
    return [_field(name, own, schema, name in required) for name, own in schema.get("properties", {}).items()]


def fill_config(form: Form, fields: Sequence[Field], config: Mapping[str, Any]) -> Form:
    """Show a configuration; secrets are none of its values. A switch has no blank: left out, it stands as its default does."""
    for field in fields:
        if not field.secret and (field.name in config or field.kind == "switch"):
            form.fill({field.input: _shown(field, config.get(field.name, field.default))})
    return form


def read_config(form: Form, fields: Sequence[Field]) -> dict[str, Any]:
    """The configuration as it was typed: a blank field is left out, so that its default counts."""
    values: dict[str, Any] = {}
    for field in fields:
        value = _read(form, field)
        if value is not None:
            values[field.name] = value
    return values


def _field(name: str, own: Mapping[str, Any], schema: Mapping[str, Any], required: bool) -> Field:
    merged = {**_resolved(own, schema), **{key: value for key, value in own.items() if key not in ("$ref", "anyOf")}}
    kind = _kind(name, merged)
    title = str(own.get("title") or merged.get("title") or name)
    default = None if kind == "secret" else own.get("default")
    options = tuple(str(one) for one in merged.get("enum", ())) if kind == "select" else ()
    return Field(name, kind, title, str(own.get("description", "")), required, default, options)


def _resolved(own: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference leads to, and the one kind of an optional value besides null."""
    if "$ref" in own:
        found: Any = schema
        for step in str(own["$ref"]).removeprefix("#/").split("/"):
            found = found.get(step, {})
        return _resolved(found, schema)
    kinds = [one for one in own.get("anyOf", ()) if one.get("type") != "null"]
    return _resolved(kinds[0], schema) if len(kinds) == 1 else own


def _kind(name: str, own: Mapping[str, Any]) -> Kind:
    if own.get("writeOnly"):
        return "secret"
    if "enum" in own:
        return "select"
    kinds: dict[Any, Kind] = {"boolean": "switch", "integer": "integer", "number": "number"}
    if own.get("type") in kinds:
        return kinds[own.get("type")]
    if own.get("type") == "string":
        # Plugins keep addresses as plain strings too, so that they are stored as typed: the name tells.
        url = own.get("format") == "uri" or name.lower().endswith("url")
        return "url" if url else "long" if own.get("maxLength", 0) >= LONG else "text"
    simple = own.get("type") == "array" and own.get("items", {}).get("type") == "string"
    return "lines" if simple else "json"


def _shown(field: Field, value: Any) -> str:
    if value is None:
        return ""
    if field.kind == "switch":
        return "on" if value else ""
    if field.kind == "lines":
        return "\n".join(value)
    return json.dumps(value, ensure_ascii=False, indent=2) if field.kind == "json" else str(value)


def _read(form: Form, field: Field) -> Any:
    name = field.input
    if field.kind == "switch":
        return form.has(name)
    if field.kind == "integer":
        return form.integer(name)
    if field.kind == "number":
        return form.number(name)
    if field.kind == "lines":
        return [line.strip() for line in form.get(name).split("\n") if line.strip()] or None
    if field.kind == "json":
        return form.json(name)
    return form.text(name) or None
