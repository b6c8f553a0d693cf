"""Any OpenAI-compatible chat-completions endpoint as a Tollhouse plugin, straight through aiohttp."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tollhouse import plugin as th
from tollhouse_openai.backend import OpenAIBackend
from tollhouse_openai.config import OpenAIConfig


class Plugin:
    """What ``plugins.toml`` calls ``openai``."""

    contract = (1, 0)

    @th.impl
    def register_llm_backends(self, settings: Any) -> Iterable[th.LLMBackend]:
        """The one backend, ``openai``."""
        return [OpenAIBackend()]


plugin = Plugin()

__all__ = ["OpenAIBackend", "OpenAIConfig", "Plugin", "plugin"]
