"""The web channel as a Tollhouse plugin: landing page, sign-up, plans, chat and account for a tenant's users."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tollhouse import plugin as th
from tollhouse_web.channel import WebChannel
from tollhouse_web.routes import mount
from tollhouse_web.site import Settings


class Plugin:
    """What ``plugins.toml`` calls ``web``."""

    contract = (1, 0)
    Settings = Settings
    ports = th.PORTS

    @th.impl
    def register_channels(self, settings: Any) -> Iterable[th.Channel]:
        """The one channel, ``web``."""
        return [WebChannel()]

    @th.impl
    def register_routes(self, settings: Any) -> Iterable[th.Mount]:
        """Every page, at the root."""
        return [mount()]


plugin = Plugin()

__all__ = ["Plugin", "Settings", "WebChannel", "mount", "plugin"]
