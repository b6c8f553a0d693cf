"""Every model that litellm speaks to, as a Tollhouse plugin. litellm itself is imported at the first call, not here."""

from __future__ import annotations

from collections.abc import Iterable

from tollhouse import plugin as th
from tollhouse_litellm.backend import LiteLLMBackend
from tollhouse_litellm.config import LiteLLMConfig, LiteLLMSettings


class Plugin:
    """What ``plugins.toml`` calls ``litellm``."""

    contract = (1, 0)
    Settings = LiteLLMSettings

    @th.impl
    def register_llm_backends(self, settings: LiteLLMSettings | None) -> Iterable[th.LLMBackend]:
        """The one backend, ``litellm``."""
        return [LiteLLMBackend(settings or LiteLLMSettings())]


plugin = Plugin()

__all__ = ["LiteLLMBackend", "LiteLLMConfig", "LiteLLMSettings", "Plugin", "plugin"]
