"""A connection's ``Config``: the form that is made from it, and the split between what may be read and what is secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, PydanticUserError, ValidationError

from tollhouse.plugin import FieldError, InvalidInput
from tollhouse.plugin.pointers import pointer_of

MASK = "***"
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@cache
def secret_fields(model: type[BaseModel]) -> frozenset[str]:
    """The fields of ``model`` that are secret (``SecretStr``, also an optional one)."""
    properties = model.model_json_schema(mode="validation").get("properties", {})
    return frozenset(name for name, schema in properties.items() if _is_secret(schema))


def _is_secret(schema: Mapping[str, Any]) -> bool:
    return bool(schema.get("writeOnly")) or any(option.get("writeOnly") for option in schema.get("anyOf", ()))


def config_fault(model: Any) -> str | None:
    """Why a class cannot be the configuration of connections; None if it can."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return "must be a pydantic model"
    if model.model_config.get("extra") != "forbid":
        return 'must have extra="forbid", so that a misspelt field is refused'
    for name, field in model.model_fields.items():
        if field.alias or field.validation_alias or field.serialization_alias:
            return f"must not give the field {name} an alias"
    try:
        schema = model.model_json_schema(mode="validation")
    except PydanticUserError as error:
        return f"has no JSON schema, so no form can be made from it: {str(error).splitlines()[0]}"
    found = sum(1 for node in _walk(schema) if node.get("writeOnly"))
    if found != len(secret_fields(model)):
        return "must keep secrets in fields of its own, not inside lists or nested models"
    return None


def _walk(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, Mapping):
        yield node
        for value in node.values():
            yield from _walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from _walk(value)


def form_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema that a form is made from. Secret fields are marked ``writeOnly`` and have no default to show."""
    schema = model.model_json_schema(mode="validation")
    for name in secret_fields(model):
        schema["properties"][name]["writeOnly"] = True
        schema["properties"][name].pop("default", None)
        schema["properties"][name].pop("examples", None)
    return schema


def split(
    model: type[BaseModel], values: Mapping[str, Any], kept: Mapping[str, str]
) -> tuple[BaseModel, dict[str, Any], dict[str, str]]:
    """Validate ``values`` (with ``kept`` for the secrets that it leaves out or blank): the model, its open part, its secrets.

    Raises:
        InvalidInput: names each field, and repeats no value.
    """
    hidden = secret_fields(model)
    given = {name: value for name, value in values.items() if not (name in hidden and _blank(value))}
    merged = {**{name: value for name, value in kept.items() if name in hidden}, **given}
    parsed = parse(model, merged)
    open_part = parsed.model_dump(mode="json", exclude=set(hidden), exclude_unset=True)
    for name, value in open_part.items():
        if fault := json_fault(value):
            raise InvalidInput(f"The value {fault}.", errors=[FieldError(_pointer((name,), open_part), f"The value {fault}.")])
    secrets: dict[str, str] = {}
    for name in hidden:
        value = getattr(parsed, name)
        if value is not None and (text := value.get_secret_value()):
            secrets[name] = text if isinstance(text, str) else text.decode()
    return parsed, open_part, secrets


def json_fault(value: Any) -> str | None:
    """Why PostgreSQL would not take ``value`` as JSON; None if it would."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError):  # also what is no Unicode: a lone surrogate
        return "is not JSON"
    return "holds a NUL character" if _NUL.search(text) else None


def _blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def parse(model: type[BaseModel], values: Mapping[str, Any]) -> BaseModel:
    """The validated model.

    Raises:
        InvalidInput: names each field; secrets are masked even where a plugin's own validator repeats them.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        hidden = [str(values[name]) for name in secret_fields(model) if values.get(name)]
        faults = error.errors(include_url=False, include_context=False, include_input=False)
    raise InvalidInput(
        "The configuration is not valid.",
        errors=[
            FieldError(_pointer(fault["loc"], values, missing=fault["type"] == "missing"), _mask(fault["msg"], hidden))
            for fault in faults
        ],
    )


def _pointer(loc: tuple[int | str, ...], values: Mapping[str, Any], *, missing: bool = False) -> str:
    return pointer_of(("values", *loc), {"values": dict(values)}, missing=missing)


def _mask(text: str, hidden: list[str]) -> str:
    for secret in hidden:
        text = text.replace(secret, MASK)
    return text.removeprefix("Value error, ")
