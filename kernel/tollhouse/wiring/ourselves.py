"""By what addresses this installation is reached. A connection that leads there would make the installation ask itself."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from tollhouse.host.addresses import numeric
from tollhouse.plugin.errors import NotFound
from tollhouse.settings import Settings
from tollhouse.tenants.directory import TenantDirectory

WEB: Final = frozenset({80, 443})
LOOK_UP_SECONDS: Final = 3.0


class Ourselves:
    """PUBLIC_URL, the host names of tenants, and the address and port that it listens at. One per process.

    What it cannot know (a name that was given to us elsewhere, behind another proxy) ends by the marks of ``store.hops``.
    """

    def __init__(self, settings: Settings, directory: TenantDirectory) -> None:
        public = urlsplit(settings.base_url)
        at = public.port or (443 if public.scheme == "https" else 80)
        self._port = settings.port
        self._ports = {at, settings.port} | (WEB if at in WEB else set())
        self._name = (public.hostname or "").lower()
        self._directory = directory

    def named(self, host: str, port: int | None) -> bool:
        """Whether a name is ours, as far as this process knows without asking."""
        name = host.rstrip(".").lower()
        return port in self._ports and (name == self._name or self._directory.knows_host(name))

    def at(self, address: str, port: int) -> bool:
        """Whether a numeric address is this machine's, at the port that we listen at."""
        return port == self._port and _is_here(address)

    async def leads_here(self, host: str, port: int | None) -> bool:
        """Whether a host, by whichever name or spelling, leads to us."""
        if port not in self._ports:
            return False
        name = host.rstrip(".").lower()
        if self.named(name, port):
            return True
        if (address := numeric(name)) is not None:
            return self.at(address, port)
        try:
            await self._directory.by_host(name)
        except NotFound:
            return port == self._port and any(map(_is_here, await _addresses(name)))
        return True


def _is_here(address: str) -> bool:
    """Whether an address is one of this machine's: only such a one can be bound to. Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


async def _addresses(name: str) -> Sequence[str]:
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return ()
    return [str(entry[4][0]) for entry in found]
