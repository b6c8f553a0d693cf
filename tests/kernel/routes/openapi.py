"""Looks at an OpenAPI document as a stranger would: by what its own version of the specification demands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
STATUS = re.compile(r"[1-5]\d\d|[1-5]XX|default")
Document = dict[str, Any]


def operations(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def resolved(document: Document, node: dict[str, Any]) -> dict[str, Any]:
    """What a reference points at; it is there."""
    while "$ref" in node:
        found: Any = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = found
    return node


def structure(document: Document) -> Iterator[str]:
    """What is against OpenAPI 3.1, as far as it can be told without its whole schema."""
    if not re.fullmatch(r"3\.1\.\d+", document["openapi"]) or not {"title", "version"} <= document["info"].keys():
        yield "head"
    seen: set[str] = set()
    for method, path, operation in operations(document):
        where = f"{method.upper()} {path}"
        if method not in METHODS or not path.startswith("/"):
            yield f"{where}: no method or path"
        if operation.get("operationId") in seen:
            yield f"{where}: operationId twice"
        seen.add(operation.get("operationId", where))
        parameters = [resolved(document, one) for one in operation.get("parameters", ())]
        named = [(one["name"], one["in"]) for one in parameters]
        if len(named) != len(set(named)) or any("schema" not in one for one in parameters):
            yield f"{where}: parameters"
        in_path = {name for name, place in named if place == "path"}
        if in_path != set(re.findall(r"\{([^}]*)\}", path)) or any(
            not one.get("required") for one in parameters if one["in"] == "path"
        ):
            yield f"{where}: its path has not these parameters"
        if not operation["responses"] or not all(STATUS.fullmatch(status) for status in operation["responses"]):
            yield f"{where}: responses"
        yield from (
            f"{where}: {s} has no description"
            for s, one in operation["responses"].items()
            if "description" not in resolved(document, one)
        )
    yield from references(document, document)


def references(document: Document, node: Any) -> Iterator[str]:
    """References that lead nowhere. What stands in an example is data."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            try:
                resolved(document, {"$ref": node["$ref"]})
            except KeyError:
                yield f"{node['$ref']} leads nowhere"
        for key, one in node.items():
            if key not in ("example", "examples", "default", "const", "enum"):
                yield from references(document, one)
    elif isinstance(node, list):
        for one in node:
            yield from references(document, one)


def contents(document: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every body of every operation and of every shared response, with its name."""
    for method, path, operation in operations(document):
        where = f"{method.upper()} {path}"
        yield from ((f"{where} body {kind}", one) for kind, one in operation.get("requestBody", {}).get("content", {}).items())
        for status, response in operation["responses"].items():
            yield from ((f"{where} {status} {kind}", one) for kind, one in response.get("content", {}).items())
    for name, response in document["components"]["responses"].items():
        yield from ((f"response {name} {kind}", one) for kind, one in response["content"].items())


def examples(media: dict[str, Any]) -> list[Any]:
    return [media["example"]] if "example" in media else [one["value"] for one in media.get("examples", {}).values()]


def faults(document: Document, schema: dict[str, Any], value: Any) -> list[str]:
    """Why a value is not valid by a schema of the document."""
    whole = {**schema, "components": document["components"]}
    return [
        f"{one.json_path}: {one.message[:200]}"
        for one in Draft202012Validator(whole, format_checker=FormatChecker()).iter_errors(value)
    ]


def schemas(document: Document) -> Iterator[str]:
    """Components that are no JSON schemas."""
    for name, schema in document["components"]["schemas"].items():
        try:
            Draft202012Validator.check_schema(schema)
        except Exception as error:
            yield f"{name}: {error}"
