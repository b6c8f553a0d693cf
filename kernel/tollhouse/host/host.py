"""The host: which plugins run, what they registered, and whom to tell. Made by ``load_plugins``; holds no state of a tenant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, SecretBytes, SecretStr

from tollhouse.border.bounded import TookTooLong, in_time
from tollhouse.border.calls import guarded
from tollhouse.border.errors import PluginFault
from tollhouse.host.checks import miss
from tollhouse.plugin import (
    AuthProvider,
    Channel,
    Command,
    ConfigError,
    Event,
    LLMBackend,
    Mount,
    NotFound,
    PaymentProvider,
    TollhouseError,
)

T = TypeVar("T")
NOTIFY_SECONDS: Final = 60.0
STARTUP_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Registered(Generic[T]):
    """Something that a plugin registered, and which plugin it was."""

    plugin: str
    obj: T


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """An enabled plugin that passed every check. ``hooks`` maps each hook it implements to a callable over keywords."""

    name: str
    obj: Any
    contract: tuple[int, int]
    settings: BaseModel
    ports: tuple[type[Any], ...]
    events: tuple[str, ...]
    hooks: Mapping[str, Callable[..., Any]]
    distribution: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """Everything that is registered, by name, in the order of ``plugins.toml``."""

    plugins: Mapping[str, LoadedPlugin]
    channels: Mapping[str, Registered[Channel]] = field(default_factory=dict)
    payment_providers: Mapping[str, Registered[PaymentProvider]] = field(default_factory=dict)
    auth_providers: Mapping[str, Registered[AuthProvider]] = field(default_factory=dict)
    llm_backends: Mapping[str, Registered[LLMBackend]] = field(default_factory=dict)
    mounts: Sequence[Registered[Mount]] = ()
    commands: Mapping[str, Registered[Command]] = field(default_factory=dict)

    def of_kind(self, kind: str) -> Mapping[str, Registered[Any]]:
        """What can have connections of ``kind`` (channel, payment, auth, llm), by name; empty for any other word."""
        kinds: dict[str, Mapping[str, Registered[Any]]] = {
            "channel": self.channels,
            "payment": self.payment_providers,
            "auth": self.auth_providers,
            "llm": self.llm_backends,
        }
        return kinds.get(kind, {})

    def settings(self, plugin: str) -> BaseModel:
        """The validated operator settings of an enabled plugin."""
        return self.plugins[plugin].settings

    def subscribers(self, event: str) -> list[str]:
        """The plugins that declared this event; the outbox gets one row for each."""
        return [plugin.name for plugin in self.plugins.values() if event in plugin.events]

    async def startup(self, *, timeout: float = STARTUP_SECONDS) -> None:
        """Run ``on_startup`` of each plugin, in order.

        Raises:
            ConfigError: a plugin refuses to start, fails, or takes longer than ``timeout`` seconds; one line that names it.
        """
        for plugin in self.plugins.values():
            hook = plugin.hooks.get("on_startup")
            if hook is None:
                continue
            try:
                await in_time(partial(hook, settings=plugin.settings), timeout)
            except TookTooLong:
                raise ConfigError(f"plugin {plugin.name!r} did not finish its on_startup within {timeout:g} seconds") from None
            except ConfigError as error:
                raise ConfigError(f"plugin {plugin.name!r}: {error.detail}") from error
            except BaseException as error:
                if isinstance(error, GeneratorExit) or ((task := asyncio.current_task()) and task.cancelling()):
                    raise
                raise ConfigError(f"plugin {plugin.name!r} failed in on_startup: {one_line(error)}") from error

    async def notify(self, plugin: str, event: Event, *, timeout: float = NOTIFY_SECONDS) -> None:
        """Tell one plugin of one event. Whatever it does, only this call knows: the caller retries it for this plugin alone.

        Raises:
            PluginFault: it raised, took longer than ``timeout`` seconds, or is not enabled any more.
        """
        loaded = self.plugins.get(plugin)
        if loaded is None or "on_event" not in loaded.hooks:
            raise PluginFault(plugin, "on_event", "is not enabled, or does not listen")
        try:
            await guarded(plugin, "on_event", partial(loaded.hooks["on_event"], event=event), timeout)
        except TollhouseError as error:  # none of ours is known to this hook
            if isinstance(error, PluginFault):
                raise
            raise PluginFault(plugin, "on_event", f"raised {type(error).__name__}") from error

    def describe(self, name: str) -> dict[str, Any]:
        """Everything there is to know of an enabled plugin, ready for JSON; secret settings are masked.

        Raises:
            NotFound: it is not enabled.
        """
        plugin = self.plugins.get(name)
        if plugin is None:
            raise NotFound(f"plugin {name!r} is not enabled; {miss(name, self.plugins)}")
        return {
            "name": name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "contract": ".".join(map(str, plugin.contract)),
            "hooks": list(plugin.hooks),
            "ports": [port.__name__ for port in plugin.ports],
            "events": list(plugin.events),
            "channels": _names(self.channels, name),
            "payment_providers": _names(self.payment_providers, name),
            "auth_providers": _names(self.auth_providers, name),
            "llm_backends": _names(self.llm_backends, name),
            "mounts": [mount.obj.prefix or "/" for mount in self.mounts if mount.plugin == name],
            "commands": _names(self.commands, name),
            "settings_schema": type(plugin.settings).model_json_schema(),
            "settings": masked(plugin.settings),
        }


def _names(registry: Mapping[str, Registered[Any]], plugin: str) -> list[str]:
    return [key for key, found in registry.items() if found.plugin == plugin]


def masked(model: BaseModel) -> dict[str, Any]:
    """The model's values for showing: a secret only says whether it is set."""
    values = model.model_dump(mode="json")
    for key in values:
        value = getattr(model, key)
        if isinstance(value, SecretStr | SecretBytes):
            values[key] = "set" if value.get_secret_value() else "not set"
    return values


def one_line(error: BaseException) -> str:
    """An exception as one line: its type, and the first line of its text."""
    first = str(error).strip().splitlines()[:1]
    return f"{type(error).__name__}: {first[0]}" if first else type(error).__name__
