"""What all routes share: shapes of input and output, lists, ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tollhouse.plugin.errors import InvalidInput, NotFound
from tollhouse.routes.vocabulary import WORDS
from tollhouse.store.exact import Exact, day_within, moment_within
from tollhouse.store.ids import parse_id

MAX_HEADER = 2_000

T = TypeVar("T")
Cursor = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
Day = Annotated[date, AfterValidator(day_within)]
Moment = Annotated[AwareDatetime, AfterValidator(moment_within)]
MAX_KEY = 255
Rate = Annotated[str, Field(pattern=r"^[0-9]{1,6}(\.[0-9]{1,9})?$", examples=["0.92"])]
"""A rate of exchange, as a decimal number in a text: no float is ever made of it."""


def nano_rate(rate: str) -> int:
    """A :data:`Rate` in nano-units."""
    return int(Decimal(rate).scaleb(9))


class Documented(BaseModel):
    """A model whose fields have examples: by their names, where neither field nor model says another."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        found = handler.resolve_ref_schema(schema)
        for name, one in found.get("properties", {}).items():
            if name in WORDS and not one.keys() & {"$ref", "example", "examples"} and cls._has_example(found, name):
                one["examples"] = [WORDS[name]]
        return schema

    @classmethod
    def _has_example(cls, schema: JsonSchemaValue, name: str) -> bool:
        return True


class Input(Documented, Exact):
    """A body. A field that we do not know is refused: it was meant to do something. Numbers and moments are exact."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def _has_example(cls, schema: JsonSchemaValue, name: str) -> bool:
        return name in schema.get("required", ())  # what may be left out is left out


class View(Documented):
    """An answer, made from a value object by its attributes."""

    model_config = ConfigDict(from_attributes=True)


class Items(Documented, Generic[T]):
    """A list: what every list answers."""

    items: list[T]
    next_cursor: str | None = None


def items(values: Sequence[Any], next_cursor: str | None = None) -> dict[str, Any]:
    """A list as it is answered."""
    return {"items": list(values), "next_cursor": next_cursor}


def answers(shown: Any, media: str = "application/json", status: int = 200) -> dict[int | str, dict[str, Any]]:
    """What a route answers, where no model says it: an example for the interface's document."""
    content: dict[str, Any] = {"example": shown}
    if media != "application/json":
        content["schema"] = {"type": "string"} if media.startswith("text/") else {"type": "string", "format": "binary"}
    return {status: {"content": {media: content}}}


def known_id(text: str) -> UUID:
    """The id in a path. What is not an id is nobody's id."""
    found = parse_id(text)
    if found is None:
        raise NotFound()
    return found


@contextmanager
def inside(place: str, belongs: Callable[[str], bool]) -> Iterator[None]:
    """Services point at the fields that they are given; in the body, those that ``belongs`` is true of are inside ``place``."""
    try:
        yield
    except InvalidInput as error:
        error.errors = tuple(
            replace(one, pointer=f"#/{place}{one.pointer[1:]}") if belongs(one.pointer[2:].partition("/")[0]) else one
            for one in error.errors
        )
        raise


class BadIdempotencyKey(InvalidInput):
    code = "bad_idempotency_key"
    status = 400
    title = f"Idempotency-Key is 1 to {MAX_KEY} printable characters"


def in_one_line(sentences: Sequence[str]) -> str:
    """Sentences as the value of a header, which is ASCII."""
    return " ".join(sentences).encode("ascii", "replace").decode()[:MAX_HEADER]


def idempotency_key(header: str | None) -> str | None:
    """``Idempotency-Key``: a structured string in quotes, or the same without them.

    Raises:
        BadIdempotencyKey: empty, too long, or not text.
    """
    if header is None:
        return None
    key = header.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not key or len(key) > MAX_KEY or not key.isprintable():
        raise BadIdempotencyKey()
    return key
