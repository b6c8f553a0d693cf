"""What the gateway is given. The tables, ports and services behind it are wired by ``app``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from fastapi import FastAPI

from tollhouse.host.caller import Caller
from tollhouse.host.host import Registered
from tollhouse.plugin.access import Principal
from tollhouse.plugin.context import PluginContext
from tollhouse.plugin.errors import NotFound
from tollhouse.plugin.mounts import Mount
from tollhouse.settings import Settings
from tollhouse.store.rates import Rates
from tollhouse.store.trouble import Trouble
from tollhouse.tenants.values import Tenant


class Authenticates(Protocol):
    """Says whose a token is (``tollhouse.auth.authenticator.Authenticator``)."""

    async def authenticate(self, token: str, *, max_age: float = 1.0) -> Principal: ...


class Directory(Protocol):
    """Finds tenants, from memory nearly always (``tollhouse.tenants.directory.TenantDirectory``); NotFound for nobody."""

    async def by_slug(self, slug: str) -> Tenant: ...
    async def by_host(self, host: str) -> Tenant: ...


PortFactories = Mapping[type[Any], Callable[[Caller], Any]]
RouteContexts = Callable[[str, Caller], PluginContext[Any]]
ReadinessCheck = Callable[[], Awaitable[Trouble | None]]


async def _no_logo(tenant_id: UUID, logo_id: UUID) -> tuple[str, bytes]:
    raise NotFound()


@dataclass(frozen=True)
class GatewayParts:
    """Everything the gateway needs.

    ``mounts``: the kernel's own routes. ``plugin_mounts``: what plugins registered. ``contexts``: makes the plugin context of
    a request (``Contexts.for_route``). ``readiness``: named checks, each an async callable that gives None, or what is missing.
    ``troubles``: the codes of all that is wrong with what this process stands on. ``sign_in_path``: where a page sends somebody
    who has to sign in first; ``doors``: where instead, by the beginning of the page's path. ``hops``: from how many model calls
    of this installation a request comes, by its header. ``logo``: media type and bytes of a tenant's logo.
    """

    settings: Settings
    authenticator: Authenticates
    directory: Directory
    ports: PortFactories
    contexts: RouteContexts
    rates: Rates = field(default_factory=Rates)
    hops: Callable[[bytes | None], int] = lambda header: 0
    mounts: Sequence[Mount] = ()
    plugin_mounts: Sequence[Registered[Mount]] = ()
    readiness: Mapping[str, ReadinessCheck] = field(default_factory=dict)
    troubles: Callable[[], Sequence[str]] = tuple
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None
    sign_in_path: str = "/login"
    doors: Mapping[str, str] = field(default_factory=dict)
    logo: Callable[[UUID, UUID], Awaitable[tuple[str, bytes]]] = _no_logo
    version: str = "0.1.0"
