"""What only this channel has to say."""

from __future__ import annotations

from pydantic import ValidationError

from tollhouse.plugin import FieldError, InvalidInput, NotFound, TollhouseError


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


def malformed(error: ValidationError) -> BadRequest:
    """Pydantic's findings, without the values that were sent."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return BadRequest("The body is not valid JSON")
    errors = [FieldError("#/" + "/".join(str(part) for part in one["loc"])[:200], one["msg"]) for one in found[:20]]
    where = ".".join(str(part) for part in found[0]["loc"])[:200]
    return BadRequest(f"{where}: {found[0]['msg']}", errors=errors, param=where)
