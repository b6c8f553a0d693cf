"""The outbound HTTP of a process, shared by all plugins: where it may lead, and what every request carries."""

from __future__ import annotations

import logging
import re
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from tollhouse.host.addresses import is_private_name, may_name, may_reach
from tollhouse.plugin import FieldError, InvalidInput

log = logging.getLogger(__name__)

TIMEOUT: Final = aiohttp.ClientTimeout(total=10, sock_connect=3)
SCHEME: Final = re.compile(r"\s*[a-z][a-z0-9+.-]*://\S+\s*$", re.IGNORECASE)  # a text that is an address, and nothing beside it
REFUSED: Final = "refused by the outbound rules"


class Unreachable(aiohttp.ClientConnectionError):
    """The same for a name that there is not and for an address that may not be called: neither tells what is behind us."""

    sent = False  # nothing was: whoever calls models must know


class Own(Protocol):
    """By what addresses this installation itself is reached: nothing may lead back to it. ``named``: a name that this process
    knows as its own. ``at``: a numeric address at which it listens. ``leads_here``: either, and may look the name up."""

    def named(self, host: str, port: int | None) -> bool: ...
    def at(self, address: str, port: int) -> bool: ...
    async def leads_here(self, host: str, port: int | None) -> bool: ...


class Http:
    """Owns two sessions, one for callers that may reach private addresses; made on first use, in the running loop."""

    def __init__(
        self, *, private: bool = True, own: Own | None = None, hop_headers: Callable[[], Mapping[str, str]] = dict
    ) -> None:
        """``private``: whether anybody may reach private addresses at all. ``hop_headers``: what every request carries."""
        self._private = private
        self.own = own
        self.hop_headers = hop_headers
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    def session(self, *, private: bool) -> aiohttp.ClientSession:
        """Pooled without a limit, without cookies; a call gives up after 10 s unless it says otherwise."""
        private = private and self._private
        session = self._sessions.get(private)
        if session is None or session.closed:
            session = self._sessions[private] = _session(self, private)
        return session

    async def check(self, values: Any, *, private: bool) -> None:
        """Look at the addresses in a configuration before it is kept.

        Raises:
            InvalidInput: names each field that leads where this caller may not, or back to this installation.
        """
        faults = []
        for path, text in addresses(values):
            try:
                url = URL(text)
                host, port = url.raw_host or "", url.port
            except ValueError:
                host, port = "", None
            if not host or "%" in host:
                faults.append(FieldError(f"#/values/{path}", "This is not the address of a server."))
            elif self.own is not None and await self.own.leads_here(host, port):
                faults.append(FieldError(f"#/values/{path}", "This is an address of this installation itself."))
            elif not may_name(host, private=private and self._private):
                faults.append(FieldError(f"#/values/{path}", _words(host)))
        if faults:
            raise InvalidInput("An address cannot be used.", errors=faults)

    async def close(self) -> None:
        """Close all connections."""
        while self._sessions:
            await self._sessions.popitem()[1].close()


def addresses(values: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every URL in a configuration, with the way to it."""
    if isinstance(values, str):
        if "://" in values and SCHEME.match(values):
            yield path, values.strip()
    elif isinstance(values, Mapping | list):
        for key, value in values.items() if isinstance(values, Mapping) else enumerate(values):
            yield from addresses(value, f"{path}/{key}" if path else str(key))


def _words(host: str) -> str:
    if is_private_name(host) or may_name(host, private=True):
        return "This is a private address, and they are not allowed here: whoever runs the installation can allow them."
    return "Nothing may be sent to this address."


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # aiohttp discourages subclasses; it has no setting for this

    class _Session(aiohttp.ClientSession):
        """Never follows a redirect: the next address would be one that nobody checked, and would be sent our headers."""

        http: Http

        async def _request(self, method: str, str_or_url: Any, **kwargs: Any) -> aiohttp.ClientResponse:
            kwargs["allow_redirects"] = False
            kwargs["headers"] = headers = CIMultiDict(kwargs.get("headers") or ())
            headers.update(self.http.hop_headers())
            try:
                called, own = URL(str_or_url), self.http.own
                if own is not None and called.host and own.named(called.host, called.port):
                    raise Unreachable("this is an address of this installation itself")
                return await super()._request(method, str_or_url, **kwargs)
            except aiohttp.ClientConnectorError as error:
                if isinstance(error, aiohttp.ClientConnectorDNSError) or REFUSED in str(error.os_error):
                    raise Unreachable("no address that may be called is known by this name") from None
                raise


def _session(http: Http, private: bool) -> aiohttp.ClientSession:
    def guarded(found: Any) -> socket.socket:
        """A socket for an address that a name has led to; asked here, so that no second look-up can lead elsewhere."""
        family, kind, protocol, _, address = found
        own = http.own is not None and http.own.at(address[0], address[1])
        if own or not may_reach(address[0], private=private):
            log.warning("a connection wanted to call %s, port %s: %s", address[0], address[1], REFUSED)
            raise OSError(REFUSED)
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ttl_dns_cache=60, socket_factory=guarded)
    jar = aiohttp.DummyCookieJar()
    session = _Session(connector=connector, cookie_jar=jar, timeout=TIMEOUT, auto_decompress=True, trust_env=False)
    object.__setattr__(session, "http", http)
    return session
