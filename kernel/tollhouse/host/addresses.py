"""Which hosts and addresses the server may be sent to by somebody else's URL: the public internet; and, for tenants that the
operator allowed it, this machine and the networks behind it. Never where clouds give out credentials."""

from __future__ import annotations

import ipaddress
import socket
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
# What the operator may allow a tenant. Not in it, and so never reached: link-local addresses (and with them the metadata
# service of most clouds), the unspecified ones, multicast, and every IPv6 form that carries an IPv4 address.
_PRIVATE: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "::1/128",
        "fc00::/7",
    )
)
_METADATA: Final = frozenset({"100.100.100.200", "fd00:ec2::254", "fd20:ce::254"})  # of Alibaba, AWS and Google
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


def is_private(address: str) -> bool:
    """Whether a numeric address is this machine's own or one of a private network, without those that nobody may reach."""
    try:
        found: Address = ipaddress.ip_address(address)
    except ValueError:
        return False
    return str(found) not in _METADATA and any(found in network for network in _PRIVATE)


def may_reach(address: str, *, private: bool) -> bool:
    """Whether a socket may be connected to this numeric address; ``private``: by who may reach private ones."""
    return is_public(address) or (private and is_private(address))


def may_name(host: str, *, private: bool) -> bool:
    """What can be said of a URL's host before it is looked up: an address in whatever spelling, or a name."""
    if (address := numeric(host)) is not None:
        return may_reach(address, private=private)
    return private or not is_private_name(host)


def numeric(host: str) -> str | None:
    """The address that a host is, also in decimal, octal, hexadecimal or short form; None for a name."""
    host = host.strip("[]").rstrip(".")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return None if ":" in host else socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, ValueError):  # ValueError: a character that is no host's
        return None


def is_private_name(host: str) -> bool:
    """Whether a name can only mean something inside: without a dot, of a private ending, or a disguised number."""
    host = host.rstrip(".").lower()
    if host in _NO_NAMES or host.endswith(_NO_ENDINGS):
        return True
    last = host.rpartition(".")[2]
    return "." not in host or last.isdigit() or last.startswith("0x")
