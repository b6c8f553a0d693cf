"""What changed in a version or was written into the audit log, in the words of the forms: no names of fields, no Python."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from tollhouse.console.format import INTERVALS, WORDS, exact_cost, money, share, titled, word
from tollhouse.console.limits import METRICS, WINDOWS
from tollhouse.console.version_form import LABELS

NOTHING: Final = "–"
GONE: Final = "a connection that is gone"
MODALITIES: Final[Mapping[str, str]] = {"text": "text", "image": "pictures", "audio": "sound", "file": "files"}
UNITS: Final[Mapping[str, str]] = {
    "max_output_tokens": "tokens",
    "context_tokens": "tokens",
    "history_messages": "messages",
    "timeout": "seconds",
    "post.max_characters": "characters",
}
DETAILS: Final[Mapping[str, str]] = {
    "number": "Version",
    "copy_of": "Copy of",
    "weights": "Split of the messages",
    "fields": "Changed",
    "slug": "Short name",
    "price_minor": "Price",
    "amount_minor": "Amount",
    "interval": "Paid",
    "grace_days": "Days of grace",
    "user_id": "Person",
    "user": "Person",
    "subscription_id": "Subscription",
    "purpose": "What for",
    "ended": "Sessions ended",
    "backend": "Plugin",
    "input_per_million": "Input, for a million tokens",
    "output_per_million": "Output, for a million tokens",
    "cached_per_million": "Cached input, for a million tokens",
    "ok": "It worked",
    "code": "What it was",
    "from": "Before",
    "to": "After",
}
PURPOSES: Final[Mapping[str, str]] = {
    "sign_in": "signing in",
    "invite": "joining",
    "owner": "taking over as owner",
    "operator": "becoming the operator",
}
PEOPLE_AND_THINGS: Final[Mapping[str, str]] = {
    "agent": "agent",
    "user": "user",
    "user_id": "user",
    "subscription_id": "subscription",
    "copy_of": "version",
}
"""Details that are the id of something, by what it is."""

Names = Mapping[tuple[str, str], str]
"""What things are called, by their kind and id."""


def field_label(path: str) -> str:
    """What the form calls this part of a version; what is inside of a part is said after it."""
    if path in LABELS:
        return LABELS[path]
    outer, _, inner = path.rpartition(".")
    return f"{field_label(outer)}, {word(inner)}" if outer and outer not in ("post", "parameters") else titled(inner)


def field_value(path: str, value: Any, connections: Mapping[str, str]) -> str:
    """A part of a version as the form's reader would write it."""
    if value in (None, "", [], {}):
        return NOTHING
    if path.endswith(".connection_id"):
        return connections.get(str(value), GONE)
    if path == "modalities":
        return ", ".join(text for name, text in MODALITIES.items() if name in value)
    if path == "opens":
        return ", ".join(LABELS.get(f"parameters.{name}") or titled(name) for name in value)
    if path == "post.redact":
        return ", ".join(f"“{rule['pattern']}” by “{rule['replacement']}”" for rule in value)
    return plain(value) + (f" {UNITS[path]}" if path in UNITS else "")


def plain(value: Any) -> str:
    """A value without the marks of a language: lists with commas, yes and no."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(one) for one in value) or NOTHING
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else str(value)


def details(data: Mapping[str, Any], names: Names) -> list[tuple[str, str]]:
    """What an entry of the audit log says besides: labels and values."""
    money_said = any(name.endswith(("_minor", "_per_million")) for name in data)
    shown = [name for name in data if not (name == "currency" and money_said)]
    return [(DETAILS.get(name) or titled(name), detail(name, data[name], data, names)) for name in shown]


def detail(name: str, value: Any, data: Mapping[str, Any], names: Names) -> str:
    """One of them."""
    if name in ("from", "to", "role"):
        return titled(value) if value else "Customer"
    if value is None:
        return "all of them" if name == "channels" else NOTHING
    if name in PEOPLE_AND_THINGS:
        return called(PEOPLE_AND_THINGS[name], str(value), names)
    if name.endswith("_minor"):
        return money(int(value), str(data.get("currency", "")))
    if name.endswith("_per_million"):
        return exact_cost(int(value), str(data.get("currency", "")))
    say = _DETAILS.get(name)
    return say(value, names) if say is not None else plain(value)


def called(kind: str, thing_id: str, names: Names) -> str:
    """What a thing is called; what has no name, or is gone, by its kind and the end of its id."""
    return names.get((kind, thing_id)) or f"{word(kind)} …{thing_id[-6:]}"


def _weights(value: Any, names: Names) -> str:
    return ", ".join(f"version {number}: {share(int(part))}" for number, part in value.items()) or NOTHING


def _agents(value: Any, names: Names) -> str:
    return "all of them" if value == "all" else ", ".join(called("agent", str(one), names) for one in value) or NOTHING


def _fields(value: Any, names: Names) -> str:
    return ", ".join(LABELS.get(one) or titled(one) for one in value) or NOTHING


def _limits(value: Any, names: Names) -> str:
    return ", ".join(_limit(str(one)) for one in value) or "none"


def _limit(text: str) -> str:
    match = re.fullmatch(r"(\w+) (\d+)/(\w+)", text)
    if match is None:
        return text
    metric, amount, window = match.groups()
    many = exact_cost(int(amount), "").strip() if metric == "cost" else f"{int(amount):,}"
    return " ".join(dict.fromkeys((many, METRICS.get(metric, word(metric)), WINDOWS.get(window, word(window)))))


_DETAILS: Final[Mapping[str, Callable[[Any, Names], str]]] = {
    "weights": _weights,
    "agents": _agents,
    "fields": _fields,
    "changed": _fields,
    "cleared": _fields,
    "limits": _limits,
    "purpose": lambda value, names: PURPOSES.get(value, word(value)),
    "interval": lambda value, names: INTERVALS.get(value, word(value)),
    "status": lambda value, names: word(value),
    "code": lambda value, names: word(value),
    "kind": lambda value, names: WORDS.get(value, word(value)),
}
