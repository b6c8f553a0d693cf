"""What a plugin's method may give back, and how long it may take: looked at as deeply as it is used afterwards.

One table for everybody: the host's border applies it to every call, and the conformance kits to the plugins of others.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from tollhouse.plugin.auth_providers import ExternalIdentity
from tollhouse.plugin.channels import Delivered, InboundPart, Outgoing, Received
from tollhouse.plugin.connectable import Health
from tollhouse.plugin.content import Text
from tollhouse.plugin.errors import TollhouseError
from tollhouse.plugin.events import InboundMessage
from tollhouse.plugin.llm import Completion, ModelInfo, ModelPrice, TokenUsage
from tollhouse.plugin.payments import NextAction, PaymentState

MAX_ITEMS: Final = 1_000
MAX_MESSAGES: Final = 100
MAX_JSON: Final = 1024 * 1024
MAX_TEXT: Final = 10_000
MAX_ID: Final = 1_000
MAX_AFTER: Final = 10**9
MEDIA_TYPE: Final = re.compile(r"[\x20-\x7e]{1,200}")


T = TypeVar("T")


class Wrong(Exception):
    """What came back is not what the contract says; the text says where and why, and repeats none of it."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the contract: its time limit in seconds, the type of what it gives, and what else holds of that."""

    seconds: float
    gives: Any
    more: Callable[[Any], None] = lambda value: None

    def checked(self, value: T) -> T:
        """The same, if it is right.

        Raises:
            Wrong: it is not.
        """
        if fault := type_fault(value, self.gives):
            raise Wrong(f"gave {fault}")
        self.more(value)
        return value


# -- types ------------------------------------------------------------------------------------------------------------


def type_fault(value: Any, wanted: Any, where: str = "") -> str | None:
    """Why ``value`` is not of the type ``wanted``, looked at down to its leaves; None if it is."""
    origin, of = get_origin(wanted), get_args(wanted)
    if wanted is Any:
        return None
    if origin in (Union, types.UnionType):
        faults = [type_fault(value, one, where) for one in of]
        # The fault inside of what it was meant to be says more than a list of what else it could have been.
        inner = [fault for one, fault in zip(of, faults, strict=True) if isinstance(value, get_origin(one) or one)]
        return None if None in faults else inner[0] if inner else _fault(value, where)
    if origin is Literal:
        return None if isinstance(value, str) and value in of else _fault(value, where)
    if origin is tuple or origin is Sequence:
        if not isinstance(value, list | tuple):
            return _fault(value, where)
        return _first(type_fault(one, of[0], f"{where}[{number}]") for number, one in enumerate(value))
    if origin is not None:
        kind = {Mapping: Mapping, AbstractSet: AbstractSet}.get(origin, origin)
        if not isinstance(value, kind):
            return _fault(value, where)
        pairs = value.items() if isinstance(value, Mapping) else ((one, None) for one in value)
        return _first(
            type_fault(key, of[0], where) or (type_fault(one, of[1], f"{where}.{key}") if len(of) > 1 else None)
            for key, one in pairs
        )
    if is_dataclass(wanted) and isinstance(wanted, type):
        if not isinstance(value, wanted):
            return _fault(value, where)
        return _first(type_fault(getattr(value, name), kind, f"{where}.{name}") for name, kind in _fields(wanted))
    exact = type(value) is wanted if wanted in (int, bool) else isinstance(value, wanted)
    return None if exact else _fault(value, where)


def _fault(value: Any, where: str) -> str:
    what = "nothing (None)" if value is None else f"a {type(value).__name__}"
    return f"{what} for {where.lstrip('.')}" if where else what


def _first(faults: Any) -> str | None:
    return next((fault for fault in faults if fault), None)


@lru_cache(maxsize=64)
def _fields(kind: Any) -> tuple[tuple[str, Any], ...]:
    if kind is TokenUsage:
        return ()  # the ledger judges counts, by what the model can have used
    hints = get_type_hints(kind)
    if kind is InboundMessage:
        hints["parts"] = tuple[InboundPart, ...]  # the modules of the contract cannot say it: one of them comes first
    return tuple((field.name, hints[field.name]) for field in fields(kind))


# -- what no type says ----------------------------------------------------------------------------------------------------


def _named(value: str | None, what: str, *, longest: int = MAX_ID) -> None:
    if value is not None and not (value.strip() and len(value) <= longest):
        raise Wrong(f"gave {what} of {len(value)} characters; 1 to {longest} will do")


def _json(value: Any, what: str) -> None:
    try:
        size = len(json.dumps(value, allow_nan=False, default=_refuse))
    except (TypeError, ValueError, RecursionError):
        raise Wrong(f"gave {what} that is no JSON") from None
    if size > MAX_JSON:
        raise Wrong(f"gave {what} of {size} bytes; {MAX_JSON} is the most")


def _refuse(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def _received(received: Received) -> None:
    if len(received.events) > MAX_ITEMS:
        raise Wrong(f"gave {len(received.events)} events; {MAX_ITEMS} is the most")
    for event in received.events:
        _named(event.external_id, "an external_id", longest=MAX_JSON)
        _named(event.key, "a key", longest=MAX_JSON)
        if isinstance(event, InboundMessage):
            _message(event)
    if (answer := received.response) is not None:
        if not 200 <= answer.status <= 599:
            raise Wrong(f"gave a response of status {answer.status}")
        if not MEDIA_TYPE.fullmatch(answer.media_type) or len(answer.body) > MAX_JSON:
            raise Wrong("gave a response whose media type or size is not possible")


def _message(message: InboundMessage) -> None:
    for name in ("provider", "issuer", "subject"):
        _named(getattr(message.sender, name), f"a sender's {name}")
    if not message.parts:
        raise Wrong("gave a message without parts")
    _json([message.recipient, message.context, [part.text for part in message.parts if isinstance(part, Text)]], "a message")


def _rendered(messages: Sequence[Outgoing]) -> None:
    if not 1 <= len(messages) <= MAX_MESSAGES:
        raise Wrong(f"gave {len(messages)} messages; 1 to {MAX_MESSAGES} will do, for silence is no answer")
    for message in messages:
        _named(message.recipient, "a recipient")
        _json(message.payload, "a payload")


def _action(action: NextAction) -> None:
    if action.kind == "redirect" or action.url is not None:
        _address(action.url)
    if action.text is not None and len(action.text) > MAX_TEXT:
        raise Wrong(f"gave a text of {len(action.text)} characters; {MAX_TEXT} is the most")
    _named(action.provider_reference, "a provider_reference")


def _address(url: str | None) -> None:
    """A page of the provider: nothing else may become a link in ours."""
    try:
        parts = urlsplit(url or "")
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (url or "").isprintable()
    except ValueError:
        fine = False
    if not fine or len(url or "") > MAX_TEXT:
        raise Wrong("gave an address that is no http(s) address")


def _health(health: Health) -> None:
    if len(health.detail) > MAX_TEXT:
        raise Wrong(f"gave a detail of {len(health.detail)} characters; {MAX_TEXT} is the most")


def _models(models: Sequence[ModelInfo]) -> None:
    for model in models:
        _model(model)


def _model(model: ModelInfo | None) -> None:
    if model is None:
        return
    _named(model.id, "a model's id")
    sizes = (model.context_tokens, model.max_output_tokens, *model.media_tokens.values())
    if any(size is not None and size < 0 for size in sizes):
        raise Wrong("gave a size below 0")


def _prices(prices: Sequence[ModelPrice]) -> None:
    for price in prices:
        _named(price.model, "a model's name")
        if min(price.input_per_million, price.output_per_million, price.cached_per_million or 0) < 0:
            raise Wrong("gave a price below 0")


def whole(error: TollhouseError) -> bool:
    """Whether an error that a plugin raised has what everybody reads of one."""
    detail, after = getattr(error, "detail", None), getattr(error, "retry_after", None)
    return isinstance(detail, str) and (after is None or (type(after) in (int, float) and 0 <= after < MAX_AFTER))


def _count(count: int | None) -> None:
    if count is not None and count < 0:
        raise Wrong("gave a number below 0")


def _identity(identity: ExternalIdentity) -> None:
    _named(identity.issuer, "an issuer")
    _named(identity.subject, "a subject")


PURE: Final = 1.0
LOOK: Final = 10.0
"""For what may read a data file when it is first asked."""
METHODS: Final[Mapping[str, Method]] = {
    "receive": Method(10, Received, _received),
    "render": Method(PURE, Sequence[Outgoing], _rendered),
    "deliver": Method(30, Delivered, lambda sent: _named(sent.external_id, "an external_id")),
    "checkout": Method(20, NextAction, _action),
    "fetch": Method(20, PaymentState),
    "cancel": Method(20, Any),
    "portal": Method(20, str | None, lambda url: None if url is None else _address(url)),
    "authorize_url": Method(20, str, _address),
    "exchange": Method(20, ExternalIdentity, _identity),
    "test": Method(15, Health, _health),
    "models": Method(15, Sequence[ModelInfo], _models),
    "complete": Method(600, Completion),
    "describe": Method(LOOK, ModelInfo | None, _model),
    "count_tokens": Method(LOOK, int | None, _count),
    "refuses": Method(LOOK, str | None),
    "suggest_prices": Method(60, Sequence[ModelPrice], _prices),
    "on_event": Method(60, Any),
}
"""Every method that the kernel calls, by its name."""
