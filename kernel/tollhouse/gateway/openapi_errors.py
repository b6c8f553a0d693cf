"""Every error in the OpenAPI document, as it is really rendered: as a problem, or in OpenAI's shape."""

from __future__ import annotations

import json
from typing import Any, Final, Literal

from tollhouse.gateway.problems import TYPE_PREFIX, Problem, render_document, render_openai

Shape = Literal["problem", "openai"]
REQUEST_ID: Final = "req_0199a0000000700080000000"

PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem details. Programs read `code`; people read `detail`.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "retryable": {"type": "boolean", "description": "Whether the same request can succeed later by itself."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "description": "What is wrong in the body by a JSON pointer into it; elsewhere by the parameter's name.",
                "required": ["detail"],
                "properties": {
                    "detail": {"type": "string"},
                    "pointer": {"type": "string", "description": "RFC 6901, as a fragment: `#/parts/0/text`."},
                    "parameter": {"type": "string"},
                    "in": {"enum": ["query", "path", "header", "cookie"]},
                },
            },
        },
        "limit": {"type": "integer"},
        "used": {"type": "integer"},
        "held": {"type": "integer"},
        "remaining": {"type": "integer"},
        "metric": {"type": "string"},
        "window": {"type": "string"},
        "resets_at": {"type": ["string", "null"], "format": "date-time"},
        "plan": {"type": ["string", "null"]},
        "upgrade_url": {"type": ["string", "null"]},
    },
}
OPENAI_ERROR: Final[dict[str, Any]] = {
    "title": "OpenAIError",
    "description": "OpenAI's `error` object, with the members of a problem beside it: one body for both kinds of client.",
    "allOf": [{"$ref": "#/components/schemas/Problem"}],
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "The field at fault: `messages.0.content`."},
                "code": {"type": "string"},
            },
        }
    },
}

LIMIT: Final[dict[str, Any]] = {
    "metric": "calls",
    "window": "day",
    "limit": 20,
    "used": 20,
    "held": 0,
    "remaining": 0,
    "resets_at": "2026-01-16T00:00:00Z",
    "plan": "free",
    "upgrade_url": "https://example.com/plans",
}

# status: (code, title, detail, whether it can succeed later, more members)
ERRORS: Final[dict[int, tuple[str, str, str, bool, dict[str, Any]]]] = {
    400: ("invalid_json", "The body is not valid JSON", "The body is not valid UTF-8", False, {}),
    401: (
        "unauthenticated",
        "Sign in first, or send a valid credential",
        "Sign in first, or send a valid credential",
        False,
        {},
    ),
    402: ("limit_reached", "Not included, or used up", "You have used all of your 20 messages a day.", False, LIMIT),
    403: ("forbidden", "You are not allowed to do that", "You are not allowed to do that", False, {}),
    404: ("not_found", "There is nothing here", "There is nothing here", False, {}),
    408: ("body_timeout", "The body did not arrive in time", "The body did not arrive in time", True, {}),
    409: (
        "conflict",
        "That is not possible in the present state",
        "That is not possible in the present state",
        False,
        {},
    ),
    410: (
        "answer_deleted",
        "This was answered before, and the answer has been deleted since",
        "This was answered before, and the answer has been deleted since",
        False,
        {},
    ),
    413: ("too_large", "That is larger than this address accepts", "The body is larger than 1048576 bytes", False, {}),
    414: ("uri_too_long", "The address is too long", "The address is too long", False, {}),
    415: (
        "unsupported_media_type",
        "Send the body as application/json, uncompressed",
        "Compressed bodies are not accepted",
        False,
        {},
    ),
    422: (
        "invalid_input",
        "That input is not valid",
        "What was sent is not what this address takes",
        False,
        {"errors": [{"detail": "Field required", "pointer": "#/agent"}]},
    ),
    429: ("rate_limited", "Too many requests; slow down a little", "Too many requests; slow down a little", True, {}),
    431: ("headers_too_large", "The headers are too large", "The headers are too large", False, {}),
    500: ("internal_error", "Something went wrong", "Something went wrong on our side; it has been noted.", False, {}),
    502: (
        "model_unavailable",
        "The model cannot be reached; nothing was charged",
        "The model cannot be reached; nothing was charged",
        True,
        {},
    ),
    503: ("unavailable", "The service is not available for a moment", "The database is not available for a moment", True, {}),
    504: (
        "model_timeout",
        "The model took too long; nothing was charged",
        "The model took too long; nothing was charged",
        True,
        {},
    ),
}
OPENAI: Final[dict[int, tuple[str, str, str, bool, dict[str, Any]]]] = {
    400: (
        "invalid_request",
        "That input is not valid",
        "temperature: Input should be less than or equal to 2",
        False,
        {"errors": [{"detail": "Input should be less than or equal to 2", "pointer": "#/temperature"}]},
    ),
    404: (
        "model_not_found",
        "There is no such model for you; GET /v1/models lists those there are",
        "There is no such model for you; GET /v1/models lists those there are",
        False,
        {"param": "model"},
    ),
    422: (
        "idempotency_mismatch",
        "This idempotency key was used with another request",
        "This idempotency key was used with another request",
        False,
        {},
    ),
}


def components(shapes: set[Shape]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schemas and the responses that :func:`reference` points at."""
    schemas = {"Problem": PROBLEM} | ({"OpenAIError": OPENAI_ERROR} if "openai" in shapes else {})
    return schemas, {_name(status, shape): _response(status, shape) for shape in sorted(shapes) for status in ERRORS}


def reference(status: int, shape: Shape) -> dict[str, str]:
    """A pointer to the response of this status."""
    return {"$ref": f"#/components/responses/{_name(status, shape)}"}


def _name(status: int, shape: Shape) -> str:
    return str(status) if shape == "problem" else f"{shape}-{status}"


def _response(status: int, shape: Shape) -> dict[str, Any]:
    code, title, detail, retryable, more = ERRORS[status] if shape == "problem" else {**ERRORS, **OPENAI}[status]
    problem = Problem(status, code, title, detail, retryable, {"retryable": retryable, **more})
    assert problem.document("")["type"] == TYPE_PREFIX + code
    kind, body = (render_document if shape == "problem" else render_openai)(problem, REQUEST_ID)
    schema = {"$ref": f"#/components/schemas/{'Problem' if shape == 'problem' else 'OpenAIError'}"}
    response: dict[str, Any] = {
        "description": title,
        "content": {kind.decode(): {"schema": schema, "example": json.loads(body)}},
    }
    headers = {name: _header(text, status) for name, text in HEADERS.items() if _has(name, status, shape)}
    return {**response, "headers": headers} if headers else response


HEADERS: Final = {
    "Retry-After": "Seconds until it is worth to try again.",
    "RateLimit": 'What is left of the rate: `"anonymous";r=0;t=12`.',
    "WWW-Authenticate": "`Bearer`.",
    "x-should-retry": "Whether OpenAI's clients try again by themselves.",
}


def _has(name: str, status: int, shape: Shape) -> bool:
    if name == "x-should-retry":
        return shape == "openai"
    return status in {"Retry-After": (429, 503), "RateLimit": (429,), "WWW-Authenticate": (401,)}[name]


def _header(text: str, status: int) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "integer" if text.startswith("Seconds") else "string"}}
