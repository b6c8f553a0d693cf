"""Where rates are counted: in memory for one process, in Redis (or Valkey, which speaks the same) for several."""

from __future__ import annotations

from typing import Any, Final, cast

from limits.aio.storage import RedisStorage, Storage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.errors import ConfigurationError
from limits.storage import storage_from_string

from tollhouse.plugin.errors import ConfigError

MEMORY: Final = "memory://"
PATIENCE: Final = 1.0
"""Seconds that a request waits for Redis."""


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
