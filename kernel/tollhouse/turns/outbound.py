"""Fetching a URL that a client named, without being sent where only this server can go.

The address is checked where the socket is made, on every hop: no name, spelling, redirect or second DNS answer leads to one
that is not public. Nothing of ours is sent: no cookie, no credential, no referrer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from tollhouse.host.addresses import is_private_name, is_public
from tollhouse.plugin.content import Media
from tollhouse.plugin.errors import InvalidInput, TooLarge
from tollhouse.runtime.media import MAX_FILE, media

PORTS: Final = frozenset({80, 443})
MAX_REDIRECTS: Final = 3
MAX_URL: Final = 8_192
CONNECT_TIMEOUT: Final = 3.0
TOTAL_TIMEOUT: Final = 10.0
REDIRECTS: Final = (301, 302, 303, 307, 308)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name."""


class _Refused(OSError):
    """The address is not one that may be connected to."""


class Outbound:
    """Fetches remote files under the outbound rules. Keeps no connection, cookie or DNS answer between fetches."""

    def __init__(
        self,
        *,
        also: frozenset[str] = frozenset(),
        ports: frozenset[int] = PORTS,
        resolve: Resolve | None = None,
        max_bytes: int = MAX_FILE,
        timeout: float = TOTAL_TIMEOUT,
    ) -> None:
        """``also`` (addresses permitted beside the public ones: a test's own server), ``ports`` and ``resolve`` are for tests;
        nothing in a configuration reaches them."""
        self._also = also
        self._ports = ports
        self._resolve = resolve or _system_resolve
        self._max_bytes = max_bytes
        self._timeout = timeout

    async def media(self, url: str, *, name: str | None = None, field: str = "url") -> Media:
        """The file at ``url`` as a part, its type found from its content.

        Raises:
            InvalidInput: the URL may not be fetched, did not answer, or holds something unsupported; it names ``field``.
            TooLarge: it is more than 20 MiB.
        """
        return media(await self.fetch(url, field=field), name=name, field=field)

    async def fetch(self, url: str, *, field: str = "url") -> bytes:
        """The bytes at ``url``. The same answer for an address that is refused and one that is not there."""
        try:
            async with asyncio.timeout(self._timeout), self._session() as session:
                for _ in range(MAX_REDIRECTS + 1):
                    found = await self._hop(session, self._checked(url, field), field)
                    if isinstance(found, bytes):
                        return found
                    url = found
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            raise InvalidInput("This address could not be fetched.", field=field) from None
        raise InvalidInput(f"This address redirects more than {MAX_REDIRECTS} times.", field=field)

    async def _hop(self, session: aiohttp.ClientSession, url: URL, field: str) -> bytes | str:
        """One request: the bytes, or where it redirects to."""
        async with session.get(url, allow_redirects=False) as response:
            if response.status in REDIRECTS and "Location" in response.headers:
                return urljoin(str(url), response.headers["Location"])
            if response.status != 200 or response.headers.get("Content-Encoding", "identity") != "identity":
                raise InvalidInput("This address did not answer with a file.", field=field)
            if (response.content_length or 0) > self._max_bytes:
                raise self._too_large()
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > self._max_bytes:
                    raise self._too_large()
            return bytes(body)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"A file can have at most {self._max_bytes // 1024 // 1024} MiB.")

    def _checked(self, url: str, field: str) -> URL:
        """What can be said of a URL before its name is looked up."""
        refused = InvalidInput("This address cannot be used: give a public http or https address.", field=field)
        try:
            if len(url) > MAX_URL or any(char.isspace() or not char.isprintable() for char in url):
                raise refused
            found = URL(url)
            host, port = found.host, found.port
        except ValueError:
            raise refused from None
        if found.scheme not in ("http", "https") or not host or port not in self._ports or "@" in found.authority:
            raise refused
        numeric = ":" in host or host.replace(".", "").isdigit()
        if not self.permits(host) if numeric else is_private_name(host):
            raise refused
        return found

    def permits(self, address: str) -> bool:
        """Whether a socket may be connected to this numeric address."""
        return is_public(address) or address in self._also

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        connector = aiohttp.TCPConnector(
            resolver=_Resolver(self._resolve, self.permits),
            use_dns_cache=False,
            force_close=True,
            socket_factory=self._socket,
        )
        timeout = aiohttp.ClientTimeout(total=self._timeout, sock_connect=CONNECT_TIMEOUT)
        headers = {"Accept-Encoding": "identity", "Accept": "*/*", "User-Agent": "Tollhouse"}
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=timeout,
            headers=headers,
            auto_decompress=False,
            trust_env=False,
        ) as session:
            yield session

    def _socket(self, info: Any) -> socket.socket:
        """The last place before a connection: the address here is the one that is connected to."""
        family, kind, proto, _, address = info
        if not self.permits(address[0]):
            raise _Refused("refused by the outbound rules")
        return socket.socket(family=family, type=kind, proto=proto)


class _Resolver(AbstractResolver):
    """Looks a name up once; one address that is not permitted refuses the name as a whole."""

    def __init__(self, resolve: Resolve, permits: Callable[[str], bool]) -> None:
        self._resolve = resolve
        self._permits = permits

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        addresses = await self._resolve(host, port)
        if not addresses or not all(self._permits(address) for address in addresses):
            raise _Refused("refused by the outbound rules")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is kept."""


async def _system_resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
