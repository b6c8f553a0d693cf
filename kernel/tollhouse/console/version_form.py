"""A prompt version as the fields of a form, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from tollhouse.agents.parameters import problem_with
from tollhouse.agents.spec import VersionSpec
from tollhouse.console.forms import Form
from tollhouse.console.sentences import human
from tollhouse.plugin.errors import Conflict, FieldError, InvalidInput

NUMBERS: Final = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
INTEGERS: Final = ("top_k", "seed")
CHOICES: Final = {"reasoning_effort": ("none", "minimal", "low", "medium", "high"), "verbosity": ("low", "medium", "high")}
LABELS: Final[Mapping[str, str]] = {
    "template": "Instructions",
    "primary.connection_id": "Connection",
    "primary.model": "Model",
    "fallback.connection_id": "Second connection",
    "fallback.model": "Second model",
    "max_output_tokens": "Longest reply",
    "modalities": "What people can send",
    "parameters.temperature": "Temperature",
    "parameters.top_p": "Top p",
    "parameters.top_k": "Top k",
    "parameters.presence_penalty": "Presence penalty",
    "parameters.frequency_penalty": "Frequency penalty",
    "parameters.seed": "Seed",
    "parameters.reasoning_effort": "Reasoning effort",
    "parameters.verbosity": "Verbosity",
    "parameters": "More parameters",
    "context_tokens": "Context",
    "history_messages": "Earlier messages",
    "timeout": "Patience",
    "opens": "What API clients may set themselves",
    "post.stop": "Stop marks",
    "post.max_characters": "Longest text",
    "post.redact": "Replace what matches",
    "post.json_schema": "JSON schema",
    "post.footer": "Footer",
    "note": "Note",
}
"""What the form calls each part of a version, in the order of the page; whatever else speaks of a version says the same."""
MOST_REDACTIONS: Final = 20
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


def form_labels() -> dict[str, str]:
    """What each field is called, in the order of the page: with every row of what is replaced."""
    found: dict[str, str] = {}
    for name, label in LABELS.items():
        found[name] = label
        if name == "post.redact":
            for number in range(MOST_REDACTIONS):
                found |= {f"{name}.{number}.pattern": label, f"{name}.{number}.replacement": "With"}
    return found


def place_errors(form: Form, error: InvalidInput | Conflict) -> Form:
    """Errors beside their fields; what is said about several goes to the one that it names."""
    if isinstance(error, InvalidInput):
        moved = [_moved(one) for one in error.errors]
        error = InvalidInput(error.detail, errors=moved)
    return form.failed(error, inside="spec", names={"post": "post.json_schema", "spec": "template"})


_OF_THE_WHOLE: Final = {
    "context_tokens": ("context_tokens", "This must be more than the longest reply, or nothing could be said to the model"),
    "the fallback": ("fallback/model", "Choose another model or another connection than the first one"),
}
"""What is said about a version as a whole, by how it begins: the field that it is put beside, and in which words."""


def _moved(error: FieldError) -> FieldError:
    detail = human(error.detail)
    if error.pointer == "#/spec":
        for begins, (field, words) in _OF_THE_WHOLE.items():
            if detail.lower().startswith(begins):
                return FieldError(f"#/spec/{field}", words)
    first, _, rest = detail.partition(" ")
    if error.pointer == "#/spec/parameters" and first.lower() in OWN:
        return FieldError(f"#/spec/parameters/{first.lower()}", rest)
    return FieldError(_pointer(error), detail)


def _pointer(error: FieldError) -> str:
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
    for name in OWN & found.keys():
        if problem := problem_with(name, found[name]):  # each of them: the check of a version stops at the first
            form.refuse(f"parameters.{name}", human(problem))
    return found


def _post(form: Form) -> dict[str, Any]:
    post: dict[str, Any] = {
        "stop": [line for line in form.get("post.stop").split("\n") if line.strip()],
        "max_characters": form.integer("post.max_characters"),
        "json_schema": form.json("post.json_schema"),
        "footer": form.get("post.footer").strip(),
    }
    post["redact"] = []
    for number in range(min(max(form.integer("post.redact.rows") or 0, 0) + 2, MOST_REDACTIONS)):
        pattern = form.get(f"post.redact.{number}.pattern")
        if pattern:
            post["redact"].append({"pattern": pattern, "replacement": form.get(f"post.redact.{number}.replacement")})
    return post


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) if value else ""
