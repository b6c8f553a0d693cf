"""What a plugin and the objects it registers must look like. Every fault is one sentence: it stops the start."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel

from tollhouse.host.forms import config_fault
from tollhouse.plugin import (
    CONTRACT,
    PORTS,
    AuthProvider,
    Channel,
    ChannelCapabilities,
    ChecksMedia,
    Command,
    Connectable,
    CountsTokens,
    DescribesModels,
    EventName,
    LLMBackend,
    Messenger,
    Mount,
    PaymentCapabilities,
    PaymentProvider,
    Receives,
    SuggestsPrices,
)

EVENTS: tuple[str, ...] = get_args(EventName)
OPTIONAL: tuple[type[Any], ...] = (Receives, Connectable, DescribesModels, CountsTokens, ChecksMedia, SuggestsPrices)
CAPABILITIES: dict[type[Any], type[Any]] = {Channel: ChannelCapabilities, PaymentProvider: PaymentCapabilities}
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


def contract_fault(plugin: Any) -> str | None:
    """A missing or malformed contract version, a newer one, or one of another major version."""
    ours = ".".join(map(str, CONTRACT))
    value = getattr(plugin, "contract", None)
    if value is None:
        return f"has no contract version; add `contract = {CONTRACT}` to the plugin object"
    if not (isinstance(value, tuple) and len(value) == 2 and all(type(part) is int for part in value)):
        return f"has a malformed contract version {value!r}; it must look like {CONTRACT}"
    if value > CONTRACT:
        return f"needs contract {value[0]}.{value[1]}, newer than {ours} of this version; upgrade Tollhouse"
    if value[0] != CONTRACT[0]:
        return (
            f"was written for contract {value[0]}.{value[1]}, which this version ({ours}) no longer speaks; upgrade the plugin"
        )
    return None


def declaration_fault(plugin: Any, hooks: Iterable[str]) -> str | None:
    """Ports and events that do not exist, and events without anybody who listens."""
    ports, events = getattr(plugin, "ports", ()), getattr(plugin, "events", ())
    if not isinstance(ports, tuple | list) or not isinstance(events, tuple | list):
        return "must declare `ports` and `events` as tuples"
    for port in ports:
        if port not in PORTS:
            known = _words(each.__name__ for each in PORTS)
            return f"needs the port {getattr(port, '__name__', port)!r}, which does not exist; ports are {known}"
    for event in events:
        if event not in EVENTS:
            return (
                f"listens for the event {event!r}, which does not exist{_hint(str(event), EVENTS)}; events are {_words(EVENTS)}"
            )
    if events and "on_event" not in hooks:
        return "declares events but has no hook on_event"
    if "on_event" in hooks and not events:
        return "has the hook on_event but declares no events"
    return None


def hook_fault(name: str, function: Any) -> str | None:
    """A hook that is sync and should be async, or the other way round."""
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    if name.startswith("on_") and not inspect.iscoroutinefunction(function):
        return f"has a sync hook {name}; on_* hooks are `async def`"
    if name.startswith("register_") and is_async:
        return f"has an async hook {name}; register_* hooks are plain `def`"
    return None


def settings_model_fault(model: Any) -> str | None:
    """A ``Settings`` that is no pydantic model, or would ignore a misspelt setting."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return "has a Settings that is not a pydantic model"
    if model.model_config.get("extra") != "forbid":
        return 'has a Settings model without extra="forbid", so a misspelt setting would be ignored'
    return None


def suggestion(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that was probably meant."""
    return next(iter(difflib.get_close_matches(name, list(known), 1, cutoff)), None)


def _hint(name: str, known: Iterable[str]) -> str:
    found = suggestion(name, known)
    return f" (did you mean {found!r}?)" if found else ""


def miss(name: str, known: Iterable[str], *, at_most: int = 10) -> str:
    """What to say after a name that is not known: what was probably meant, and the known names when they are few."""
    names = sorted(known)
    if not names:
        return "there are none"
    found = suggestion(name, names)
    meant = f"did you mean {found!r}? " if found else ""
    return f"{meant}There are more than {at_most}" if len(names) > at_most else f"{meant}Known are {_words(names)}"


def _words(names: Iterable[str]) -> str:
    return ", ".join(names)


# -- registered objects -----------------------------------------------------------------------------------------------


def object_fault(obj: Any, protocol: type[Any]) -> str | None:
    """Why ``obj`` is not what its hook registers, naming the member; None if it is."""
    if isinstance(obj, type):
        return f"registers the class {obj.__name__}; register an instance"
    what = f"registers {type(obj).__name__}, which is not a complete {protocol.__name__}: "
    for fault in _faults(obj, protocol):
        return what + fault
    if protocol is Channel and any(hasattr(obj, method) for method in ("receive", "render", "deliver")):
        for fault in _faults(obj, Messenger):
            return what.replace("Channel:", "Messenger:") + fault
    for ability in OPTIONAL:
        if isinstance(obj, ability):
            for fault in _faults(obj, ability):
                return f"registers {type(obj).__name__}, whose {ability.__name__} is wrong: {fault}"
    return None


def _faults(obj: Any, protocol: type[Any]) -> Iterator[str]:
    for name, spec in _members(protocol).items():
        if not hasattr(obj, name):
            yield f"{name} is missing"
        elif spec is not None and (fault := _method_fault(getattr(obj, name), spec)):
            yield f"{name} {fault}"
    if protocol in (Channel, Messenger, PaymentProvider, AuthProvider, LLMBackend):
        yield from _value_faults(obj, protocol)


def _members(protocol: type[Any]) -> dict[str, Any]:
    """Attributes (None) and methods (their function) of a Protocol and of those that it extends."""
    found: dict[str, Any] = {}
    for base in reversed(protocol.__mro__):
        if getattr(base, "_is_protocol", False):
            found |= dict.fromkeys(inspect.get_annotations(base))
            found |= {name: value for name, value in vars(base).items() if name[0] != "_" and inspect.isfunction(value)}
    return found


def _method_fault(mine: Any, spec: Any) -> str | None:
    if not callable(mine):
        return "is not a method"
    if inspect.iscoroutinefunction(spec) != inspect.iscoroutinefunction(mine):
        return "must be async" if inspect.iscoroutinefunction(spec) else "must not be async"
    wanted = list(inspect.signature(spec).parameters)[1:]
    try:
        inspect.signature(mine).bind(*wanted)
    except TypeError:
        return f"must take ({', '.join(wanted)})"
    return None


def _value_faults(obj: Any, protocol: type[Any]) -> Iterator[str]:
    if not (isinstance(obj.name, str) and NAME.fullmatch(obj.name)):
        yield f"name {obj.name!r} must be lower-case letters, digits, - and _, beginning with a letter"
    if not (isinstance(obj.title, str) and obj.title):
        yield "title must be a text"
    wanted = CAPABILITIES.get(protocol)
    if wanted and not isinstance(obj.capabilities, wanted):
        yield f"capabilities must be a {wanted.__name__}"
    if "Config" in _members(protocol) and (fault := config_fault(obj.Config)):
        yield f"Config {fault}"


def mount_fault(mount: Any) -> str | None:
    """A mount that is none, or whose prefix is no path."""
    if not isinstance(mount, Mount):
        return f"registers {type(mount).__name__} as routes; register a Mount"
    prefix = mount.prefix
    if not isinstance(prefix, str) or (prefix and (not prefix.startswith("/") or prefix.endswith("/"))):
        return f"mounts routes at {prefix!r}; a prefix is empty, or begins with / and does not end with it"
    if not hasattr(mount.router, "routes"):
        return f"mounts a {type(mount.router).__name__} at {prefix!r}; it must be an APIRouter"
    return None


def command_fault(command: Any) -> str | None:
    """A command that is none, or that is not async."""
    if not isinstance(command, Command):
        return f"registers {type(command).__name__} as a command; register a Command"
    if not (isinstance(command.name, str) and NAME.fullmatch(command.name)):
        return f"registers the command {command.name!r}; a name is lower-case letters, digits, - and _"
    if not inspect.iscoroutinefunction(command.run):
        return f"registers the command {command.name!r}, whose run is not async"
    return None
