"""JSON as the database can hold it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from tollhouse.plugin.content import Part, Text


def json_text(value: Any) -> str:
    """JSON for a column or a parameter; ids, times and named tuples become what JSON has for them.

    Cleaned only where something is to clean: a NUL, or half a surrogate pair, which has no UTF-8.
    """
    with suppress(PydanticSerializationError):
        text = to_json(value).decode()
        if "\\u0000" not in text:
            return text
    return to_json(clean(value)).decode()


def clean(value: Any) -> Any:
    """Text (inside JSON) that the database can hold: without NUL and half surrogate pairs."""
    if isinstance(value, str):
        if value.isascii() and "\x00" not in value:  # nearly always
            return value
        return value.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def clean_part(part: Part) -> Part:
    """A part of a message as it can be stored, and so as it is when it is read again."""
    if isinstance(part, Text):
        text = clean(part.text)
        return part if text is part.text else Text(text)
    named = {name: clean(getattr(part, name)) for name in ("media_type", "file_id", "url", "name")}
    return replace(part, **named)
