"""What every call of a plugin's object receives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast
from uuid import UUID

from tollhouse.plugin.access import Principal
from tollhouse.plugin.errors import ConfigError

if TYPE_CHECKING:
    import aiohttp
    from starlette.requests import HTTPConnection

ConfigT = TypeVar("ConfigT")
PortT = TypeVar("PortT")


@dataclass(frozen=True, slots=True)
class TenantInfo:
    """What a plugin may know of the tenant it works for. ``base_url`` is where its pages begin, without a slash.

    ``currency`` is what its plans are sold in unless they say otherwise; ``cost_currency`` is what its models' costs, and
    limits of cost, are counted in. ``private_addresses``: whether the operator allows its connections to lead to this machine
    and the networks behind it; ``ctx.http`` keeps to it by itself.
    """

    id: UUID
    slug: str
    name: str
    timezone: str
    currency: str
    language: str
    base_url: str
    cost_currency: str = "USD"
    private_addresses: bool = False


class State(Protocol):
    """A small JSON store of one connection (or of the plugin in one tenant), with compare-and-set.

    Plugins own no tables: what does not fit here is a message to the kernel through a port.
    """

    async def get(self, key: str) -> tuple[Any, int]:
        """The value and its revision; ``(None, 0)`` if there is none."""
        ...

    async def put(self, key: str, value: Any, *, revision: int) -> bool:
        """Store ``value`` if the stored revision is still ``revision``; False if somebody was faster."""
        ...


@dataclass(frozen=True, slots=True)
class PluginContext(Generic[ConfigT]):
    """One call's surroundings: tenant, connection and its validated configuration, tools, and ports.

    ``http`` is a shared aiohttp session that pools connections, follows no redirects, calls no address that this tenant may
    not reach, and says with each request how many model calls it comes from. A plugin with an HTTP client of its own sends
    ``hop_headers()`` along instead: without them, a connection that leads back to this installation would never end.
    ``now`` is the database's clock. ``principal`` is None where nobody is signed in.
    """

    tenant: TenantInfo
    config: ConfigT
    connection_id: UUID | None
    principal: Principal | None
    http: aiohttp.ClientSession
    log: logging.LoggerAdapter[logging.Logger]
    now: Callable[[], datetime]
    state: State
    ports: Callable[[type[Any]], Any]
    hop_headers: Callable[[], Mapping[str, str]] = dict

    def port(self, kind: type[PortT]) -> PortT:
        """A use case of the kernel, bound to this tenant and principal: ``ctx.port(Turns)``.

        Raises:
            ConfigError: the plugin did not declare this port.
        """
        return cast(PortT, self.ports(kind))


def context_of(request: HTTPConnection) -> PluginContext[Any]:
    """The context of the request, in a route that a plugin registered by ``register_routes``.

    ``config`` is the plugin's operator settings there; tenant and principal are the request's.
    """
    make = request.scope.get("tollhouse.context")
    if make is None:
        raise ConfigError("context_of() was called outside a route that a plugin registered")
    return cast("PluginContext[Any]", make())
