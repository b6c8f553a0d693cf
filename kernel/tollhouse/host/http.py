"""The one outbound HTTP session of a process, shared by all plugins."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Coroutine
from typing import Any, Final

import aiohttp

from tollhouse.host.addresses import is_public

TIMEOUT: Final = aiohttp.ClientTimeout(total=10, sock_connect=3)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # aiohttp discourages subclasses; it has no setting for this

    class _Session(aiohttp.ClientSession):
        """Never follows a redirect: the next address would be one that nobody checked, and would be sent our headers."""

        def _request(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
            kwargs["allow_redirects"] = False
            return super()._request(*args, **kwargs)


def _public_socket(found: Any) -> socket.socket:
    """A socket for an address that a name has led to; asked here, so that no second look-up can lead elsewhere."""
    family, kind, protocol, _, address = found
    if not is_public(address[0]):
        raise OSError(f"{address[0]} is not an address of the public internet, and this installation allows no others")
    return socket.socket(family, kind, protocol)


class Http:
    """Owns the session; made on first use, because a session belongs to the running loop."""

    def __init__(self, *, private: bool = True) -> None:
        """``private``: whether connections may lead to addresses that are not of the public internet."""
        self._private = private
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """Pooled without a limit, without cookies; a call gives up after 10 s unless it says otherwise."""
        if self._session is None or self._session.closed:
            self._session = _Session(
                connector=aiohttp.TCPConnector(
                    limit=0, keepalive_timeout=30, ttl_dns_cache=60, socket_factory=None if self._private else _public_socket
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=TIMEOUT,
                auto_decompress=True,
            )
        return self._session

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
