"""Errors of the HTTP edge."""

from __future__ import annotations

from dataclasses import dataclass

from tollhouse.plugin.errors import FieldError, Forbidden, InvalidInput, TollhouseError


@dataclass(frozen=True, slots=True)
class ParameterFault(FieldError):
    """One thing wrong with what is not in the body, which no JSON pointer can point at."""

    name: str = ""
    place: str = "query"


class BadRequest(InvalidInput):
    code = "bad_request"
    status = 400
    title = "That is not a request we can read"


class InvalidJson(BadRequest):
    code = "invalid_json"
    title = "The body is not valid JSON"


class TooComplex(BadRequest):
    code = "too_complex"
    title = "The body is nested too deeply, or has too many members"


class UnsupportedMediaType(TollhouseError):
    code = "unsupported_media_type"
    status = 415
    title = "Send the body as application/json, uncompressed"


class MethodNotAllowed(TollhouseError):
    code = "method_not_allowed"
    status = 405
    title = "This address does not know that method"

    def __init__(self, allow: str) -> None:
        super().__init__()
        self.allow = allow


class UriTooLong(TollhouseError):
    code = "uri_too_long"
    status = 414
    title = "The address is too long"


class HeadersTooLarge(TollhouseError):
    code = "headers_too_large"
    status = 431
    title = "The headers are too large"


class BodyTimeout(TollhouseError):
    code = "body_timeout"
    status = 408
    title = "The body did not arrive in time"
    retryable = True


class GoesInCircles(TollhouseError):
    code = "goes_in_circles"
    status = 508
    title = "A model connection leads back to this installation: its owner has to correct the connection's address"


class Overloaded(TollhouseError):
    code = "overloaded"
    status = 503
    title = "Too much is being sent at this moment; try again in a few seconds"
    retryable = True


class TenantSuspended(Forbidden):
    code = "tenant_suspended"
    title = "This service is suspended; ask whoever runs it"
