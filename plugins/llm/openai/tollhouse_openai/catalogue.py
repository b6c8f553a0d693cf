"""What we know of well-known models by heart: sizes in tokens, what they take, the most that a picture can cost.

Source: OpenAI's model pages and its guide "Images and vision" (as of 2025-11). Only what is certain is in here; a model that is
missing is treated by the kernel as unknown, never as small or cheap. A picture's maximum follows from the guide's scaling:
for models that count tiles at most 8 tiles (768 × 2048), for models that count patches at most 1536 times a factor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from tollhouse.plugin import Modality, ModelInfo

_TEXT: frozenset[Modality] = frozenset({"text"})
_VISION: frozenset[Modality] = frozenset({"text", "image", "file"})
_AUDIO: frozenset[Modality] = frozenset({"text", "audio"})


def _tiles(base: int, tile: int) -> int:
    return base + 8 * tile


def _patches(factor_percent: int) -> int:
    return -(-1536 * factor_percent // 100)


_MODELS: Mapping[str, tuple[int, int, frozenset[Modality], int | None]] = {
    "gpt-3.5-turbo": (16_385, 4_096, _TEXT, None),
    "gpt-4": (8_192, 8_192, _TEXT, None),
    "gpt-4-turbo": (128_000, 4_096, frozenset({"text", "image"}), _tiles(85, 170)),
    "gpt-4o": (128_000, 16_384, _VISION, _tiles(85, 170)),
    "gpt-4o-mini": (128_000, 16_384, _VISION, _tiles(2_833, 5_667)),
    "gpt-4o-audio-preview": (128_000, 16_384, _AUDIO, None),
    "gpt-audio": (128_000, 16_384, _AUDIO, None),
    "gpt-4.1": (1_047_576, 32_768, _VISION, _tiles(85, 170)),
    "gpt-4.1-mini": (1_047_576, 32_768, _VISION, _patches(162)),
    "gpt-4.1-nano": (1_047_576, 32_768, _VISION, _patches(246)),
    "gpt-5": (400_000, 128_000, _VISION, _tiles(70, 140)),
    "gpt-5-chat-latest": (128_000, 16_384, _VISION, _tiles(70, 140)),
    "gpt-5-mini": (400_000, 128_000, _VISION, _patches(162)),
    "gpt-5-nano": (400_000, 128_000, _VISION, _patches(246)),
    "gpt-5.1": (400_000, 128_000, _VISION, None),
    "gpt-5.2": (400_000, 128_000, _VISION, None),
    "o1": (200_000, 100_000, _VISION, _tiles(75, 150)),
    "o3": (200_000, 100_000, _VISION, _tiles(75, 150)),
    "o3-mini": (200_000, 100_000, _TEXT, None),
    "o4-mini": (200_000, 100_000, _VISION, _patches(172)),
}

_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_SMALLER = {"gpt-4o-2024-05-13": 4_096}
"""Snapshots that write less than what their name stands for today."""

_NOT_CHAT = (
    "babbage", "chatgpt-image", "codex", "computer-use", "dall-e", "davinci", "gpt-image", "omni-moderation", "sora",
    "text-embedding", "text-moderation", "tts", "whisper",
)  # fmt: skip
_NOT_CHAT_INSIDE = ("-realtime", "-transcribe", "-tts", "-instruct", "-codex", "-deep-research", "-search")


@lru_cache(maxsize=1024)
def known(model: str) -> ModelInfo | None:
    """Facts about a model or a dated snapshot of it; None if it is not in the table."""
    entry = _MODELS.get(_SNAPSHOT.sub("", model))
    if entry is None:
        return None
    context, output, modalities, picture = entry
    return ModelInfo(
        id=model,
        context_tokens=context,
        max_output_tokens=_SMALLER.get(model, output),
        modalities=modalities,
        media_tokens={"image": picture} if picture else {},
    )


def talks(model: str) -> bool:
    """Whether a model of OpenAI's own list can hold a chat at all; guessed from its name, in doubt yes."""
    return not model.startswith(_NOT_CHAT) and not any(word in model for word in _NOT_CHAT_INSIDE)
