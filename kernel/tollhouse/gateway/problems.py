"""Errors as answers: one problem (RFC 9457), rendered as a document, as a page, or in OpenAI's shape."""

from __future__ import annotations

import http
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tollhouse.gateway.errors import BadRequest, MethodNotAllowed, ParameterFault
from tollhouse.gateway.rate_limits import RateLimitReached
from tollhouse.plugin.errors import AccessDenied, BackendError, FieldError, InvalidInput, TollhouseError, Unauthenticated
from tollhouse.plugin.pointers import pointer_of

Headers = list[tuple[bytes, bytes]]
TYPE_PREFIX: Final = "urn:tollhouse:problem:"
MAX_ERRORS: Final = 50
RETRY_AFTER_503: Final = 5
SOON: Final = 60
"""Seconds that OpenAI's clients wait at most because they are asked to."""
AS_OPENAI: Final = {"invalid_input": 400, "context_too_long": 400, "content_filtered": 400}
CODES: Final = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}


@dataclass(slots=True)
class Problem:
    """An error, ready to be rendered. ``retryable``: whether the same request can succeed by itself later."""

    status: int
    code: str
    title: str
    detail: str
    retryable: bool = False
    members: Mapping[str, Any] = field(default_factory=dict)
    headers: Headers = field(default_factory=list)

    def document(self, request_id: str) -> dict[str, Any]:
        """The problem document. What every problem has cannot be overridden by what some have."""
        own = {
            "type": TYPE_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
        }
        return {**own, **{key: value for key, value in self.members.items() if key not in own}}


def problem_of(error: BaseException) -> Problem | None:
    """What an error is for the person who asked; None for what nobody expected."""
    if isinstance(error, TollhouseError):
        return _expected(error) if error.http_status != 500 else None  # a ConfigError in a request, say: a bug
    if isinstance(error, RequestValidationError):
        return _expected(_validation(error))
    if isinstance(error, HTTPException):
        if isinstance(error.__cause__, TollhouseError):  # FastAPI wraps whatever reading the body raised
            return problem_of(error.__cause__)
        return _http(error)
    return None


def bare(status: int = 500) -> Problem:
    """What is said about something that nobody expected: nothing."""
    return Problem(status, "internal_error", "Something went wrong", "Something went wrong on our side; it has been noted.")


def render_document(problem: Problem, request_id: str) -> tuple[bytes, bytes]:
    """Media type and body."""
    return b"application/problem+json", json.dumps(problem.document(request_id), default=str).encode()


def render_openai(problem: Problem, request_id: str) -> tuple[bytes, bytes]:
    """The same with OpenAI's ``error`` object beside the problem's members: one body serves both kinds of client.

    OpenAI's clients know 400 for whatever is wrong with a request, so here it is 400, whoever found it. They are told to try
    again only where it is soon: they would not wait for longer, and ask at once.
    """
    problem.status = AS_OPENAI.get(problem.code, problem.status)
    document = problem.document(request_id)
    param = document.pop("param", None) or _param(document.get("errors") or [{}])
    error = {"message": problem.detail, "type": _openai_type(problem), "param": param, "code": problem.code}
    problem.headers.append((b"x-should-retry", b"true" if problem.retryable and _is_soon(problem) else b"false"))
    return b"application/json", json.dumps({"error": error, **document}, default=str).encode()


def _is_soon(problem: Problem) -> bool:
    return all(int(value) <= SOON for name, value in problem.headers if name == b"retry-after")


def _param(errors: Sequence[Mapping[str, str]]) -> str | None:
    """The first field at fault in OpenAI's spelling: ``messages.0.content``."""
    first = errors[0]
    pointed = first.get("pointer", "#/")[2:].replace("/", ".").replace("~1", "/").replace("~0", "~")
    return first.get("parameter") or pointed or None


def _openai_type(problem: Problem) -> str:
    if problem.status == 402 or (problem.status == 429 and "limit" in problem.members):
        return "insufficient_quota"
    if problem.status >= 500:
        return "server_error"
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return kinds.get(problem.status, "invalid_request_error")


def _expected(error: TollhouseError) -> Problem:
    members: dict[str, Any] = {"retryable": error.may_retry, **error.extra}
    if isinstance(error, AccessDenied):
        members |= error.decision.problem_members()
    if isinstance(error, InvalidInput) and error.errors:
        members["errors"] = [_named(one) for one in error.errors[:MAX_ERRORS]]
    title = error.title if not isinstance(error, AccessDenied) else "Not included, or used up"
    return Problem(error.http_status, error.http_code, title, error.detail, error.may_retry, members, _headers(error))


def _headers(error: TollhouseError) -> Headers:
    headers: Headers = []
    retry_after = error.retry_after
    if retry_after is None and error.http_status == 503:
        retry_after = RETRY_AFTER_503
    if retry_after is None and error.http_status == 429:
        retry_after = 1
    if retry_after is not None:
        headers.append((b"retry-after", str(max(retry_after, 1)).encode()))
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    if isinstance(error, RateLimitReached):
        headers.extend(error.headers)
    return headers


def _validation(error: RequestValidationError) -> InvalidInput:
    faults = error.errors()
    if faults and faults[0].get("type") == "json_invalid":
        return BadRequest("The body is not valid JSON")
    found = [_field(fault, error.body) for fault in faults[:MAX_ERRORS]]
    return InvalidInput("What was sent is not what this address takes", errors=found)


def _field(fault: Mapping[str, Any], body: Any) -> FieldError:
    """By a JSON pointer or a parameter's name; never with the value that was sent: it may be a password."""
    where, *path = fault.get("loc") or ("body",)
    detail = str(fault.get("msg", "not valid")).removeprefix("Value error, ")[:300]
    if where == "body":
        return FieldError(pointer_of(path, body, missing=fault.get("type") == "missing"), detail)
    return ParameterFault("", detail, str(path[0]) if path else "", where)


def _named(one: FieldError) -> dict[str, str]:
    if isinstance(one, ParameterFault):
        return {"detail": one.detail, "parameter": one.name, "in": one.place}
    return {"detail": one.detail, "pointer": one.pointer}


def name_parameters(error: BaseException) -> None:
    """A request without a body has nothing to point into: what a service says of a field is about a parameter."""
    if isinstance(error, InvalidInput):
        error.errors = tuple(
            one if isinstance(one, ParameterFault) else ParameterFault("", one.detail, one.pointer[2:].partition("/")[0])
            for one in error.errors
        )


def _http(error: HTTPException) -> Problem:
    status = error.status_code
    title = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else "Error"
    detail = error.detail if isinstance(error.detail, str) and status < 500 else title
    headers = [(key.lower().encode(), value.encode("latin-1")) for key, value in (error.headers or {}).items()]
    return Problem(status, CODES.get(status, f"http_{status}"), title, detail, status in (429, 503), {}, headers)


def private_text(error: BaseException) -> str | None:
    """What an expected error has for the log and for nobody else."""
    return error.private if isinstance(error, BackendError) else None
