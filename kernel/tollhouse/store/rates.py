"""Where rates are counted: in memory for one process, in Redis (or Valkey, which speaks the same) for several."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final, cast

from limits.aio.storage import RedisStorage, Storage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.errors import ConfigurationError
from limits.storage import storage_from_string

from tollhouse.plugin.errors import ConfigError

MEMORY: Final = "memory://"
PATIENCE: Final = 1.0
"""Seconds that a request waits for Redis."""


WIDE: Final = 10
"""How many times as much as an IPv6 network may be sent by the wider one around it."""
NAT64: Final = IPv6Network("64:ff9b::/96")


@lru_cache(maxsize=4096)
def networks(address: str) -> tuple[tuple[str, int], ...]:
    """What an address counts as, the narrowest first, each with how many times the ordinary amount it may.

    Whoever has an IPv6 address has its whole /64, and often a /48; an IPv4 address in the clothes of IPv6 is one all the same.
    What is no address (that of a socket's file, say) counts as itself.
    """
    text = plain_address(address)
    try:
        found = ip_address(text)
    except ValueError:
        return ((text, 1),)
    if isinstance(found, IPv4Address):
        return ((text, 1),)
    return tuple((str(IPv6Network((found, bits), strict=False)), more) for bits, more in ((64, 1), (48, WIDE)))


def plain_address(address: str) -> str:
    """An address in its one form: IPv4 where IPv6 only carries it, no zone. What is no address stays what it is."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        if found in NAT64:
            return str(IPv4Address(found.packed[-4:]))
    return str(found)


class Rates:
    """The counters of one process: the gateway's and those of the sign-in share a connection."""

    def __init__(self, url: str = MEMORY) -> None:
        """Not connected yet; every later failure to reach the storage is a ``limits.errors.StorageError``.

        Raises:
            ConfigError: ``url`` is not one that is counted in.
        """
        options: dict[str, float | str | bool] = {}
        if url.startswith(("redis://", "rediss://", "redis+unix://")):
            options = {"implementation": "redispy", "socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}
        elif url != MEMORY:
            raise ConfigError(f"setting rate_limit_storage: {url!r} is neither memory:// nor redis://host:port")
        try:
            self.storage = cast(Storage, storage_from_string(f"async+{url}", wrap_exceptions=True, **options))
        except (ConfigurationError, ValueError) as error:
            raise ConfigError(f"setting rate_limit_storage: {error}") from None

    async def close(self) -> None:
        """Give the connections back."""
        if isinstance(self.storage, RedisStorage) and isinstance(self.storage.bridge, RedispyBridge):
            client: Any = self.storage.bridge.get_connection()  # the library's type leaves out how it is closed
            await client.aclose()
