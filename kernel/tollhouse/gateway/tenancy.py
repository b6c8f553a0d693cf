"""Which tenant a request is for: by path, by host name, by header, else the default.

The database is asked for a name that was never heard here only on the account of the address that says it: who guesses names is
bounded like who guesses keys, while everybody else's tenants go on.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from tollhouse.gateway.addresses import host_name
from tollhouse.gateway.parts import Directory
from tollhouse.plugin.context import TenantInfo
from tollhouse.plugin.errors import NotFound
from tollhouse.settings import Settings
from tollhouse.tenants.directory import info
from tollhouse.tenants.values import Tenant

SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
PREFIX: Final = "/t/"
REMEMBERED: Final = 5_000
STRANGE_SECONDS: Final = 10.0
"""How long a host name that is no tenant's is not asked about again: a server may well be reached by such a name."""

Count = Callable[[str], Awaitable[object]]
"""Counts one guess of an address; refuses if there were too many."""


class Tenancy:
    """Resolves tenants and takes ``/t/{slug}`` off the path, so that routes match the rest and links keep the prefix."""

    def __init__(
        self, settings: Settings, directory: Directory, count: Count, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory = directory
        self._count = count
        self._clock = clock
        self._heard: OrderedDict[str, None] = OrderedDict()
        self._strange: OrderedDict[str, float] = OrderedDict()
        self._default = settings.default_tenant
        self._base_url = settings.base_url
        parts = urlsplit(settings.base_url)
        self._scheme = parts.scheme
        self._own_ports = {str(parts.port or ""), str(settings.port)} - {""}
        self._own_hosts = {(parts.hostname or "").lower(), "localhost"}
        self._infos: tuple[Tenant, str, TenantInfo] | None = None

    @staticmethod
    def take_prefix(scope: Any) -> str | None:
        """The slug in the path, if it begins with one; ``root_path`` then holds it."""
        root = scope.get("root_path", "")
        path = scope["path"]
        rest = path[len(root) :] if root and path.startswith(root) else path
        if not rest.startswith(PREFIX):
            return None
        slug, slash, _ = rest[len(PREFIX) :].partition("/")
        if not SLUG.fullmatch(slug):
            return None
        scope["root_path"] = f"{root}{PREFIX}{slug}"
        if not slash:
            scope["path"] += "/"
        return str(slug)

    async def find(self, slug: str | None, headers: dict[bytes, bytes], address: str) -> tuple[Tenant, TenantInfo]:
        """The tenant, and what a caller may know of it.

        Raises:
            NotFound: there is no such tenant.
            RateLimited: this address has named too many that there are not.
        """
        if slug is not None:
            return await self._named(slug, f"{self._base_url}{PREFIX}{slug}", address)
        if (by_host := await self._by_host(headers.get(b"host", b""), address)) is not None:
            return by_host
        named = headers.get(b"x-tenant")
        if named is not None:
            text = named.decode("latin-1")
            return await self._named(text, f"{self._base_url}{PREFIX}{text}", address)
        return await self._named(self._default, self._base_url, address)

    async def _by_host(self, header: bytes, address: str) -> tuple[Tenant, TenantInfo] | None:
        name = host_name(header)
        if not name or name in self._own_hosts or _is_address(name):
            return None
        if self._strange.get(name, 0.0) > self._clock():
            return None
        try:
            tenant = await self._ask(self._directory.by_host, f"host:{name}", name, address)
        except NotFound:
            _remember(self._strange, name, self._clock() + STRANGE_SECONDS)
            return None
        # The name is proven to be the tenant's; a port is not, and counts only if it is one of ours.
        port = header.decode("latin-1")[len(name) + 1 :]
        return tenant, info(tenant, f"{self._scheme}://{name.rstrip('.')}" + (f":{port}" if port in self._own_ports else ""))

    async def _ask(self, ask: Callable[[str], Awaitable[Tenant]], key: str, name: str, address: str) -> Tenant:
        heard = key in self._heard
        if not heard:
            await self._count(address)
        try:
            tenant = await ask(name)
        except NotFound:
            self._heard.pop(key, None)
            raise
        if not heard:
            _remember(self._heard, key, None)
        return tenant

    async def _named(self, slug: str, base_url: str, address: str) -> tuple[Tenant, TenantInfo]:
        if slug == self._default:
            tenant = await self._directory.by_slug(slug)
        elif SLUG.fullmatch(slug):
            tenant = await self._ask(self._directory.by_slug, slug, slug, address)
        else:
            raise NotFound()
        known = self._infos
        if known is not None and known[0] is tenant and known[1] == base_url:
            return tenant, known[2]
        made = info(tenant, base_url)
        self._infos = (tenant, base_url, made)
        return tenant, made


def _remember(known: OrderedDict[str, Any], key: str, value: Any) -> None:
    known[key] = value
    if len(known) > REMEMBERED:
        known.popitem(last=False)


def _is_address(name: str) -> bool:
    if not (name[0].isdigit() or name[0] == "["):
        return False
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
