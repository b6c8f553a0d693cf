"""Which hosts and addresses the server may be sent to by somebody else's URL: the public internet, and nothing behind it."""

from __future__ import annotations

import ipaddress
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Forms that carry an IPv4 address inside an IPv6 one, and ranges that are routed to one: none is needed for a public picture.
_NO_V6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "::/96",
        "::ffff:0:0/96",
        "::ffff:0:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2002::/16",
    )
)
# Azure's metadata and DNS service has a public address.
_NO_V4: Final = tuple(ipaddress.IPv4Network(network) for network in ("168.63.129.16/32", "192.88.99.0/24", "192.0.0.0/24"))
_NO_NAMES: Final = ("localhost", "metadata", "instance-data", "kubernetes")
_NO_ENDINGS: Final = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".intranet", ".corp", ".localdomain", ".onion")


def is_public(address: str) -> bool:
    """Whether a numeric address is one of the public internet."""
    try:
        found: Address = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        # Global unicast is 2000::/3; everything else is private, special, or not given out.
        if found.scope_id is not None or int(found) >> 125 != 1 or any(found in network for network in _NO_V6):
            return False
    elif any(found in network for network in _NO_V4):
        return False
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified or found.is_loopback)


def is_private_name(host: str) -> bool:
    """Whether a name can only mean something inside: without a dot, of a private ending, or a disguised number."""
    host = host.rstrip(".").lower()
    if host in _NO_NAMES or host.endswith(_NO_ENDINGS):
        return True
    last = host.rpartition(".")[2]
    return "." not in host or last.isdigit() or last.startswith("0x")
