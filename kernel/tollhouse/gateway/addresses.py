"""The real address of a request: what proxies say counts only if we trust the proxy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

from tollhouse.plugin.errors import ConfigError
from tollhouse.settings import LOOPBACK
from tollhouse.store.rates import plain_address

HOST: Final = re.compile(r"([a-z0-9_](?:[a-z0-9_.-]{0,252}[a-z0-9_.])?|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)
Network = IPv4Network | IPv6Network


class RealAddress:
    """Finds address and scheme behind trusted proxies."""

    def __init__(self, trusted: Sequence[str]) -> None:
        try:
            self._trusted: tuple[Network, ...] = tuple(ip_network(item, strict=False) for item in trusted)
        except ValueError as error:
            raise ConfigError(f"setting trusted_proxies: {error}") from None

    def find(self, scope: Any, headers: dict[bytes, bytes]) -> str:
        """The client's address; sets the scheme that a trusted proxy reports."""
        client = scope.get("client")
        peer = plain_address(client[0]) if client else ""
        if not self._trusted or not self._is_trusted(peer):
            return peer
        if headers.get(b"x-forwarded-proto") in (b"https", b"http"):
            scope["scheme"] = headers[b"x-forwarded-proto"].decode()
        address = peer
        for hop in reversed(headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")):
            hop = plain_address(hop.strip().strip("[]"))
            if not _is_address(hop):
                break
            address = hop
            if not self._is_trusted(hop):
                break
        return address

    def _is_trusted(self, address: str) -> bool:
        if not _is_address(address):
            return not address  # a unix socket has no address: its peer is the proxy
        found = ip_address(address)
        return any(found in network for network in self._trusted)


def is_loopback(address: str, headers: dict[bytes, bytes]) -> bool:
    """Whether the request was made on this very machine, and to it by its own name. A proxy here that we were not told of does
    not count as such; neither does a page of somebody else's whose name was made to lead here."""
    if host_name(headers.get(b"host", b"localhost")) not in LOOPBACK:
        return False
    forwarded = b"x-forwarded-for" in headers or b"forwarded" in headers or b"x-real-ip" in headers
    return not forwarded and _is_address(address) and ip_address(address).is_loopback


def host_name(header: bytes) -> str | None:
    """The name in a Host header, in lower case; None if it is anything but a name, and perhaps a port (RFC 9112, 3.2)."""
    found = HOST.fullmatch(header.decode("latin-1").lower())
    return None if found is None else found[1]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
