"""The OpenAPI document: what FastAPI makes of the routes, the errors that the gateway adds to each of them, and examples.

Made at the first request for it, because few processes are ever asked.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from tollhouse.gateway.examples import Examples, resolve_schemas
from tollhouse.gateway.openapi_errors import Shape, components, reference
from tollhouse.gateway.route_table import UNSAFE, Entry, RouteTable

MODEL_CALL: Final = (402, 410, 502, 504)
ERRORS: Final = "x-errors"
"""In an operation of a route: statuses that it answers beside those of its kind."""


Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def answer(shown: Any, media: str = "application/json") -> dict[str, Any]:
    """What a plain route answers, by an example."""
    schema = {"type": "string"} if isinstance(shown, str) else {"type": "object"}
    return {"description": "The answer.", "content": {media: {"schema": schema, "example": shown}}}


def described(
    summary: str, good: dict[str, Any], more: dict[str, Any] | None = None, errors: tuple[int, ...] = ()
) -> Callable[[Endpoint], Endpoint]:
    """Let a plain route of our own describe itself."""

    def mark(endpoint: Endpoint) -> Endpoint:
        name = endpoint.__name__.strip("_")
        operation = {"tags": ["infrastructure"], "summary": summary, "operationId": f"get_{name}", ERRORS: errors}
        endpoint.openapi = {**operation, "responses": {"200": good, **(more or {})}}  # type: ignore[attr-defined]
        return endpoint

    return mark


def make_document(app: FastAPI, table: RouteTable) -> dict[str, Any]:
    """The whole document. Plain routes describe themselves by an attribute ``openapi`` of their endpoint."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    found = document.setdefault("components", {})
    schemas = found.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    resolve_schemas(document)
    found["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or the token of a session."}
    }
    for entry in table.entries:
        _add_plain(document, entry)
    shapes: set[Shape] = {"problem"}
    operations = [(entry, operation) for entry in table.entries if (operation := _operation(document, entry)) is not None]
    for entry, operation in operations:
        shapes.add(_shape(entry))
        _complete(operation, entry)
    errors, found["responses"] = components(shapes)
    examples = Examples(schemas)
    examples.complete()
    for _, operation in operations:
        _give_examples(operation, examples)
    schemas |= errors
    return document


def _path(entry: Entry) -> str:
    """A path as OpenAPI writes it: ``/models/{id:path}`` is ``/models/{id}``."""
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", entry.path)


def _operation(document: dict[str, Any], entry: Entry) -> dict[str, Any] | None:
    found: dict[str, Any] | None = document["paths"].get(_path(entry), {}).get(entry.method.lower())
    return found


def _add_plain(document: dict[str, Any], entry: Entry) -> None:
    operation = getattr(entry.endpoint, "openapi", None)
    if entry.plain is not None and isinstance(operation, dict) and entry.method != "HEAD":
        described = {"description": inspect.getdoc(entry.endpoint) or "", **operation}
        described["responses"] = dict(operation.get("responses", {}))
        document["paths"].setdefault(_path(entry), {})[entry.method.lower()] = described


def _shape(entry: Entry) -> Shape:
    return "openai" if entry.errors == "openai" else "problem"


def _complete(operation: dict[str, Any], entry: Entry) -> None:
    responses = operation.setdefault("responses", {})
    responses.pop("422", None)
    for status in sorted({*_statuses(entry, operation), *operation.pop(ERRORS, ())}):
        responses.setdefault(str(status), reference(status, _shape(entry)))
    operation["security"] = [] if entry.public else [{"bearer": []}]


def _statuses(entry: Entry, operation: dict[str, Any]) -> set[int]:
    """What the gateway answers of itself: a wrong credential and a suspended tenant are refused on public routes, too."""
    if entry.tenantless:
        return set() if entry.infra else {400, 401, 404, 408, 413, 414, 422, 431, 500, 503}
    found = {400, 401, 403, 404, 414, 422, 429, 431, 500, 503}
    if entry.method in UNSAFE:
        found |= {408, 409, 413, 415}
    if "model call" in operation.get("tags", ()):
        found.update(MODEL_CALL)
    return found


def _give_examples(operation: dict[str, Any], examples: Examples) -> None:
    """To what is sent and to what is answered; a route may have written its own."""
    contents = [operation.get("requestBody", {})]
    contents += [response for status, response in operation["responses"].items() if status.startswith("2")]
    for one in contents:
        for media in one.get("content", {}).values():
            if "schema" in media and not media.keys() & {"example", "examples"}:
                media["example"] = examples.of(media["schema"])
