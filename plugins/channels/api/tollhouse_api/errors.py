"""What only this channel has to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from tollhouse.plugin import FieldError, InvalidInput, NotFound, TollhouseError, pointer_of, steps_of


class BadRequest(InvalidInput):
    """OpenAI's clients expect 400 where we say 422 elsewhere."""

    code = "invalid_request"
    status = 400


class Unsupported(BadRequest):
    code = "unsupported_parameter"
    title = "Agents do not take this parameter"


class ModelNotFound(NotFound):
    code = "model_not_found"
    title = "There is no such model for you; GET /v1/models lists those there are"


class UnknownEndpoint(NotFound):
    code = "unknown_endpoint"
    title = "This endpoint is not offered; there are /v1/chat/completions and /v1/models"


class TurnFailed(TollhouseError):
    """A turn that ran before under the same idempotency key, and failed then."""

    code = "model_failed"
    status = 502
    title = "The model did not answer; nothing was charged"


def unsupported(param: str, why: str | None = None) -> Unsupported:
    """The parameter is known and not taken."""
    return Unsupported(why or f"'{param}' is not supported here", param=param)


def malformed(error: ValidationError, document: Callable[[], Any]) -> BadRequest:
    """Pydantic's findings, without the values that were sent; each points into the body."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return BadRequest("The body is not valid JSON")
    sent = document()
    places = {steps_of(one["loc"], sent, missing=one["type"] == "missing"): one["msg"] for one in reversed(found[:20])}
    # A content that is a list is told that it is no text, too: what is wrong inside of it says more.
    deepest = [
        place for place in reversed(places) if not any(place == other[: len(place)] for other in places if other != place)
    ]
    where = ".".join(map(str, deepest[0]))
    text = places[deepest[0]]
    errors = [FieldError(pointer_of(place, sent, missing=True), places[place]) for place in deepest]
    return BadRequest(f"{where}: {text}" if where else text, errors=errors, param=where or None)
