"""The demo model as a Tollhouse plugin: deterministic, offline, and honest about being a demo."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tollhouse import plugin as th
from tollhouse_demo.backend import DemoBackend, DemoConfig


class Plugin:
    """What ``plugins.toml`` calls ``demo``."""

    contract = (1, 0)

    @th.impl
    def register_llm_backends(self, settings: Any) -> Iterable[th.LLMBackend]:
        """The one backend, ``demo``."""
        return [DemoBackend()]


plugin = Plugin()

__all__ = ["DemoBackend", "DemoConfig", "Plugin", "plugin"]
