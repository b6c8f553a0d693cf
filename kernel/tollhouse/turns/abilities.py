"""What a backend knows of its models by heart. Asked on every turn, so it costs little; and it is believed only as far as it
makes sense: a wrong count would let more through than was paid for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from tollhouse.border.calls import ask_now
from tollhouse.host.values import Bound
from tollhouse.plugin.content import Media
from tollhouse.plugin.llm import ChecksMedia, CountsTokens, DescribesModels, ModelInfo

log = logging.getLogger(__name__)


@lru_cache(maxsize=256)
def _abilities(kind: Any) -> tuple[bool, bool, bool]:
    """Whether backends of this class describe models, count tokens, and check media; asked once, because asking is slow."""
    return issubclass(kind, DescribesModels), issubclass(kind, CountsTokens), issubclass(kind, ChecksMedia)


def described(bound: Bound, model: str) -> ModelInfo | None:
    """What it says of a model.

    Raises:
        PluginFault: it fails, or says what cannot be.
    """
    if not _abilities(bound.obj.__class__)[0]:
        return None
    info: ModelInfo | None = ask_now(bound.plugin_name, "describe", bound.obj, bound.ctx.config, model)
    return info


def counter(bound: Bound, model: str) -> Callable[[str], int | None] | None:
    """Its tokenizer. What it cannot count is None: then the upper bound for a text counts."""
    if not _abilities(bound.obj.__class__)[1]:
        return None
    count = bound.obj.count_tokens

    def counted(text: str) -> int | None:
        try:
            found = count(model, text)
        except BaseException as error:  # it is called for every message: no more than this stands around it
            log.error("plugin %r: count_tokens raised %s", bound.plugin_name, type(error).__name__)
            return None
        if found is None or (type(found) is int and found >= 0):
            return found
        log.error("plugin %r: count_tokens gave a %s that is no number of tokens", bound.plugin_name, type(found).__name__)
        return None

    return counted


def refusals(bound: Bound, model: str) -> Callable[[Media], str | None] | None:
    """Which media it refuses, and why."""
    if not _abilities(bound.obj.__class__)[2]:
        return None

    def refuses(media: Media) -> str | None:
        why: str | None = ask_now(bound.plugin_name, "refuses", bound.obj, bound.ctx.config, model, media)
        return why

    return refuses
