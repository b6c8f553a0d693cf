"""A prompt version as the fields of a form, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from tollhouse.agents.spec import VersionSpec
from tollhouse.console.forms import Form
from tollhouse.plugin.errors import Conflict, FieldError, InvalidInput

NUMBERS: Final = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
INTEGERS: Final = ("top_k", "seed")
CHOICES: Final = {"reasoning_effort": ("none", "minimal", "low", "medium", "high"), "verbosity": ("low", "medium", "high")}
OWN: Final = frozenset((*NUMBERS, *INTEGERS, *CHOICES))


def form_of(spec: Mapping[str, Any], note: str = "") -> Form:
    """The form that shows this version."""
    post, parameters = spec.get("post") or {}, spec.get("parameters") or {}
    form = Form.of(note=note)
    for name in ("template", "max_output_tokens", "context_tokens", "timeout", "history_messages", "modalities", "opens"):
        form.fill({name: spec.get(name)})
    for slot in ("primary", "fallback"):
        chosen = spec.get(slot) or {}
        form.fill({f"{slot}.connection_id": chosen.get("connection_id"), f"{slot}.model": chosen.get("model")})
    form.fill({f"parameters.{name}": parameters.get(name) for name in OWN})
    rest = {name: value for name, value in parameters.items() if name not in OWN}
    form.fill({"parameters": _json(rest)})
    form.fill({f"post.{name}": post.get(name) for name in ("max_characters", "footer")})
    form.fill({"post.stop": "\n".join(post.get("stop") or ()), "post.json_schema": _json(post.get("json_schema"))})
    for number, rule in enumerate(post.get("redact") or ()):
        form.fill({f"post.redact.{number}.pattern": rule["pattern"]})
        form.fill({f"post.redact.{number}.replacement": rule["replacement"]})
    form.fill({"post.redact.rows": len(post.get("redact") or ())})
    return form


def spec_of(form: Form) -> dict[str, Any]:
    """The version that the form says; what cannot be read is an error of the form."""
    spec: dict[str, Any] = {
        "template": form.get("template"),
        "primary": {"connection_id": form.text("primary.connection_id"), "model": form.text("primary.model")},
        "parameters": _parameters(form),
        "modalities": sorted({"text", *form.all("modalities")}),
        "opens": form.all("opens"),
        "post": _post(form),
        "timeout": form.number("timeout"),
        "context_tokens": form.integer("context_tokens"),
    }
    if form.text("fallback.connection_id") and form.text("fallback.model"):
        spec["fallback"] = {name: form.text(f"fallback.{name}") for name in ("connection_id", "model")}
    elif form.text("fallback.model"):
        form.refuse("fallback.connection_id", "Choose the connection of the second model")
    for name in ("max_output_tokens", "history_messages"):
        value = form.integer(name)
        if value is not None:
            spec[name] = value
    return spec


def check_spec(spec: Mapping[str, Any]) -> None:
    """What can be said about a version without asking the database.

    Raises:
        InvalidInput: names each field.
    """
    try:
        VersionSpec.model_validate(spec)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        errors = [FieldError("#/" + "/".join(("spec", *map(str, fault["loc"]))), fault["msg"]) for fault in faults]
        raise InvalidInput("That prompt version is not valid.", errors=errors) from None


def place_errors(form: Form, error: InvalidInput | Conflict) -> Form:
    """Errors beside their fields; what is said about all parameters goes to the one that it names."""
    if isinstance(error, InvalidInput):
        moved = [FieldError(_pointer(one), one.detail) for one in error.errors]
        error = InvalidInput(error.detail, errors=moved)
    return form.failed(error, inside="spec", names={"post": "post.json_schema", "spec": "template"})


def _pointer(error: FieldError) -> str:
    first = error.detail.split(" ", 1)[0].strip(",")
    if error.pointer == "#/spec/parameters" and first in OWN:
        return f"#/spec/parameters/{first}"
    parts = error.pointer.split("/")
    if parts[1:4] == ["spec", "post", "stop"]:
        return "#/spec/post/stop"
    return "/".join(parts[:3]) if parts[1:3] in (["spec", "modalities"], ["spec", "opens"]) else error.pointer


def _parameters(form: Form) -> dict[str, Any]:
    more = form.json("parameters")
    if more is not None and not isinstance(more, dict):
        form.refuse("parameters", 'Write a JSON object, as {"stop": ["END"]}')
        more = None
    found: dict[str, Any] = dict(more or {})
    for name in (*NUMBERS, *INTEGERS):
        read = form.integer if name in INTEGERS else form.number
        value = read(f"parameters.{name}")
        if value is not None:
            found[name] = value
    found |= {name: form.text(f"parameters.{name}") for name in CHOICES if form.text(f"parameters.{name}")}
    return found


def _post(form: Form) -> dict[str, Any]:
    post: dict[str, Any] = {
        "stop": [line for line in form.get("post.stop").split("\n") if line.strip()],
        "max_characters": form.integer("post.max_characters"),
        "json_schema": form.json("post.json_schema"),
        "footer": form.get("post.footer").strip(),
    }
    post["redact"] = []
    for number in range(min(form.integer("post.redact.rows") or 0, 20) + 2):
        pattern = form.get(f"post.redact.{number}.pattern")
        if pattern:
            post["redact"].append({"pattern": pattern, "replacement": form.get(f"post.redact.{number}.replacement")})
    return post


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) if value else ""
