"""Builds the ``PluginContext`` that every call of a plugin's object receives. Cheap: it is built for every turn."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from tollhouse.host.caller import Caller
from tollhouse.host.clock import Clock
from tollhouse.host.host import Host
from tollhouse.host.http import Http
from tollhouse.host.state import StoredState
from tollhouse.plugin import ConfigError, PluginContext, Turns
from tollhouse.store.store import Store

REMEMBERED: Final = 4_096
"""Surroundings of plugins in tenants that are kept."""

PortFactories = Mapping[type[Any], Callable[[Caller], Any]]


class PortGate:
    """``ctx.port``: gives what the plugin declared, made for the caller at that moment."""

    __slots__ = ("_allowed", "_caller", "_factories", "_plugin")

    def __init__(self, plugin: str, allowed: tuple[type[Any], ...], factories: PortFactories, caller: Caller) -> None:
        self._plugin = plugin
        self._allowed = allowed
        self._factories = factories
        self._caller = caller

    def __call__(self, kind: type[Any]) -> Any:
        if kind not in self._allowed:
            name = getattr(kind, "__name__", repr(kind))
            raise ConfigError(f"plugin {self._plugin!r} uses the port {name} without declaring it; add it to `ports`")
        if self._caller.remembered and kind is not Turns:
            raise ConfigError(f"plugin {self._plugin!r}: a route that its mount names as `rechecked` can only run turns")
        factory = self._factories.get(kind)
        if factory is None:
            raise ConfigError(f"plugin {self._plugin!r} needs the port {kind.__name__}, which this process does not offer")
        return factory(self._caller)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The parts of a context that do not change from call to call."""

    plugin: str
    tenant_id: UUID
    connection_id: UUID | None
    log: logging.LoggerAdapter[logging.Logger]
    state: StoredState


class Contexts:
    """Makes contexts. ``ports`` may be filled after this is made: the services behind it need connections themselves."""

    def __init__(self, host: Host, store: Store, http: Http, ports: PortFactories, clock: Clock | None = None) -> None:
        self.host = host
        self.store = store
        self.http = http
        self.ports = ports
        self.clock = clock or Clock()
        self._around: dict[tuple[str, UUID], Surroundings] = {}

    def surroundings(self, plugin: str, tenant_id: UUID, connection_id: UUID | None = None) -> Surroundings:
        """Logger and state of a plugin in a tenant, or of one of its connections."""
        extra = {"tenant": str(tenant_id), "plugin": plugin, "connection": str(connection_id) if connection_id else None}
        log = logging.LoggerAdapter(logging.getLogger(f"tollhouse.plugins.{plugin}"), extra)
        return Surroundings(plugin, tenant_id, connection_id, log, StoredState(self.store, tenant_id, plugin, connection_id))

    def bind(self, around: Surroundings, config: Any, caller: Caller) -> PluginContext[Any]:
        """The context of one call."""
        return PluginContext(
            tenant=caller.tenant,
            config=config,
            connection_id=around.connection_id,
            principal=caller.principal,
            http=self.http.session(private=caller.tenant.private_addresses),
            log=around.log,
            now=self.clock.now,
            state=around.state,
            ports=PortGate(around.plugin, self.host.plugins[around.plugin].ports, self.ports, caller),
            hop_headers=self.http.hop_headers,
        )

    def for_route(self, plugin: str, caller: Caller) -> PluginContext[Any]:
        """The context of a route that ``plugin`` registered: ``config`` is its operator settings."""
        key = (plugin, caller.tenant.id)
        around = self._around.get(key)
        if around is None:
            if len(self._around) >= REMEMBERED:
                self._around.clear()
            around = self._around[key] = self.surroundings(*key)
        return self.bind(around, self.host.settings(plugin), caller)
