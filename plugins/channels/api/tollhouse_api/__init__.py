"""The public API channel as a Tollhouse plugin: agents behind OpenAI's own endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tollhouse import plugin as th
from tollhouse_api.channel import ApiChannel
from tollhouse_api.routes import make_mount


class Plugin:
    """What ``plugins.toml`` calls ``api``."""

    contract = (1, 0)
    ports = (th.Turns, th.Catalog)

    @th.impl
    def register_channels(self, settings: Any) -> Iterable[th.Channel]:
        """The one channel, ``api``."""
        return [ApiChannel()]

    @th.impl
    def register_routes(self, settings: Any) -> Iterable[th.Mount]:
        """``/v1``, in OpenAI's shape."""
        return [make_mount()]


plugin = Plugin()

__all__ = ["ApiChannel", "Plugin", "plugin"]
