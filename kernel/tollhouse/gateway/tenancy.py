"""Which tenant a request is for: by path, by host name, by header, else the default."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from tollhouse.gateway.parts import Directory
from tollhouse.plugin.context import TenantInfo
from tollhouse.plugin.errors import NotFound
from tollhouse.settings import Settings
from tollhouse.tenants.directory import info
from tollhouse.tenants.values import Tenant

SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
PREFIX: Final = "/t/"


class Tenancy:
    """Resolves tenants and takes ``/t/{slug}`` off the path, so that routes match the rest and links keep the prefix."""

    def __init__(self, settings: Settings, directory: Directory) -> None:
        self._directory = directory
        self._default = settings.default_tenant
        self._base_url = settings.base_url
        parts = urlsplit(settings.base_url)
        self._scheme = parts.scheme
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

    async def find(self, slug: str | None, headers: dict[bytes, bytes]) -> tuple[Tenant, TenantInfo]:
        """The tenant, and what a caller may know of it.

        Raises:
            NotFound: there is no such tenant.
        """
        if slug is not None:
            return await self._named(slug, f"{self._base_url}{PREFIX}{slug}")
        if (by_host := await self._by_host(headers.get(b"host", b""))) is not None:
            return by_host
        named = headers.get(b"x-tenant")
        if named is not None:
            text = named.decode("latin-1")
            return await self._named(text, f"{self._base_url}{PREFIX}{text}")
        return await self._named(self._default, self._base_url)

    async def _by_host(self, header: bytes) -> tuple[Tenant, TenantInfo] | None:
        host = header.decode("latin-1").lower()
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if not name or name in self._own_hosts or _is_address(name):
            return None
        try:
            tenant = await self._directory.by_host(name)
        except NotFound:
            return None
        return tenant, info(tenant, f"{self._scheme}://{host}")

    async def _named(self, slug: str, base_url: str) -> tuple[Tenant, TenantInfo]:
        if not SLUG.fullmatch(slug):
            raise NotFound()
        tenant = await self._directory.by_slug(slug)
        known = self._infos
        if known is not None and known[0] is tenant and known[1] == base_url:
            return tenant, known[2]
        made = info(tenant, base_url)
        self._infos = (tenant, base_url, made)
        return tenant, made


def _is_address(name: str) -> bool:
    if not (name[0].isdigit() or name[0] == "["):
        return False
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
