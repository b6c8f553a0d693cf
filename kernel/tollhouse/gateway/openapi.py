"""The OpenAPI document: what FastAPI makes of the routes, and the errors that the gateway adds to each of them."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from tollhouse.gateway.route_table import UNSAFE, Entry, RouteTable

PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
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

# status: (code, title, detail, more members)
EXAMPLES: Final[dict[int, tuple[str, str, str, dict[str, Any]]]] = {
    400: ("invalid_json", "The body is not valid JSON", "The body is not valid UTF-8", {}),
    401: ("unauthenticated", "Sign in first, or send a valid credential", "Sign in first, or send a valid credential", {}),
    402: (
        "limit_reached",
        "Not included, or used up",
        "You have used all 20 messages of today.",
        {
            "retryable": False,
            "metric": "calls",
            "window": "day",
            "limit": 20,
            "used": 20,
            "held": 0,
            "remaining": 0,
            "resets_at": "2026-01-16T00:00:00Z",
            "plan": "free",
            "upgrade_url": "https://example.com/plans",
        },
    ),
    403: ("forbidden", "You are not allowed to do that", "You are not allowed to do that", {}),
    404: ("not_found", "There is nothing here", "There is nothing here", {}),
    409: ("conflict", "That is not possible in the present state", "That is not possible in the present state", {}),
    413: ("too_large", "That is larger than this address accepts", "The body is larger than 1048576 bytes", {}),
    415: (
        "unsupported_media_type",
        "Send the body as application/json, uncompressed",
        "Compressed bodies are not accepted",
        {},
    ),
    422: (
        "invalid_input",
        "That input is not valid",
        "What was sent is not what this address takes",
        {"errors": [{"detail": "Field required", "pointer": "#/agent"}]},
    ),
    429: (
        "rate_limited",
        "Too many requests; slow down a little",
        "Too many requests; slow down a little",
        {"retryable": True},
    ),
    500: ("internal_error", "Something went wrong", "Something went wrong on our side; it has been noted.", {}),
    502: ("model_unavailable", "The model cannot be reached; nothing was charged", "The model cannot be reached", {}),
    503: ("unavailable", "The service is not available for a moment", "The database is not available for a moment", {}),
    504: ("model_timeout", "The model took too long; nothing was charged", "The model took too long", {}),
}
DENIALS: Final = (402, 502, 504)


def make_document(app: FastAPI, table: RouteTable) -> dict[str, Any]:
    """The whole document. Plain routes describe themselves by an attribute ``openapi`` of their endpoint."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = PROBLEM
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or the token of a session."}
    }
    components["responses"] = {str(status): _response(status) for status in EXAMPLES}
    for entry in table.entries:
        _add_plain(document, entry)
    for entry in table.entries:
        operation = document["paths"].get(entry.path, {}).get(entry.method.lower())
        if operation is not None:
            _complete(operation, entry)
    return document


def _add_plain(document: dict[str, Any], entry: Entry) -> None:
    operation = getattr(entry.endpoint, "openapi", None)
    if entry.plain is not None and isinstance(operation, dict) and entry.method != "HEAD":
        document["paths"].setdefault(entry.path, {})[entry.method.lower()] = {**operation}


def _complete(operation: dict[str, Any], entry: Entry) -> None:
    responses = operation.setdefault("responses", {})
    responses.pop("422", None)
    for status in _statuses(entry, operation):
        responses.setdefault(str(status), {"$ref": f"#/components/responses/{status}"})
    operation["security"] = [] if entry.public else [{"bearer": []}]


def _statuses(entry: Entry, operation: dict[str, Any]) -> list[int]:
    found = {404, 429, 500, 503}
    if not entry.public:
        found |= {401, 403}
    if entry.method in UNSAFE:
        found |= {400, 409, 413, 415, 422}
    if operation.get("parameters"):
        found.add(422)
    if "model call" in operation.get("tags", ()):
        found.update(DENIALS)
    return sorted(found)


def _response(status: int) -> dict[str, Any]:
    code, title, detail, more = EXAMPLES[status]
    example = {
        "type": f"urn:tollhouse:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": "req_0199a0000000700080000000",
        **more,
    }
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
    return {"description": title, "content": {"application/problem+json": content}}
