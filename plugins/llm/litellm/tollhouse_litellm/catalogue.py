"""What litellm's bundled data file knows of models, read without importing litellm (which takes seconds).

Model ids are always ``provider/model``, also where litellm would take the bare name: the same model of two providers has two
prices.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tollhouse.plugin import Modality, ModelInfo, ModelPrice

FILE = "model_prices_and_context_window_backup.json"

_NANO_PER_MILLION = Decimal(10) ** 15
"""From USD per token to nano-USD per million tokens."""

_ALIASES = {"bedrock_converse": "bedrock"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One chat model: facts, and the price where the file has one."""

    info: ModelInfo
    price: ModelPrice | None


@lru_cache(maxsize=1)
def entries() -> Mapping[str, Entry]:
    """Every chat model by its id; empty if litellm is not installed. The first call reads 3 MB, in about 0.1 s."""
    spec = find_spec("litellm")  # of a top-level package: looks, does not import
    if spec is None or spec.origin is None:
        return {}
    raw = json.loads(Path(spec.origin).with_name(FILE).read_bytes(), parse_float=Decimal)
    return read(raw)


def read(raw: Mapping[str, Any]) -> Mapping[str, Entry]:
    """The file's content as entries."""
    out: dict[str, Entry] = {}
    for key, facts in raw.items():
        if isinstance(facts, dict) and facts.get("mode") == "chat" and (model := _id(key, facts)):
            if model in out and model != key:
                continue  # a bare name does not replace the entry that is spelled out
            out[model] = Entry(_info(model, facts), _price(model, facts))
    return out


def _id(key: str, facts: Mapping[str, Any]) -> str | None:
    provider = facts.get("litellm_provider")
    if not isinstance(provider, str):
        return None
    provider = "vertex_ai" if provider.startswith("vertex_ai-") else _ALIASES.get(provider, provider)
    return key if key.startswith(f"{provider}/") else f"{provider}/{key}"


def _info(model: str, facts: Mapping[str, Any]) -> ModelInfo:
    takes: dict[Modality, bool] = {
        "text": True,
        "image": facts.get("supports_vision") is True,
        "audio": facts.get("supports_audio_input") is True,
        "file": facts.get("supports_pdf_input") is True,
    }
    return ModelInfo(
        id=model,
        context_tokens=_size(facts.get("max_input_tokens")),
        max_output_tokens=_size(facts.get("max_output_tokens")),
        modalities=frozenset(kind for kind, does in takes.items() if does),
    )


def _size(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _price(model: str, facts: Mapping[str, Any]) -> ModelPrice | None:
    """The plain price per token. None where there is none, where a call costs extra, or where it says 0.

    The file says 0 both for what is free and for what nobody looked up, and an unknown price must never count as 0.
    """
    used, written = _nano(facts.get("input_cost_per_token")), _nano(facts.get("output_cost_per_token"))
    if used is None or written is None or used + written == 0 or facts.get("input_cost_per_request"):
        return None
    return ModelPrice(model, used, written, _nano(facts.get("cache_read_input_token_cost")))


def _nano(usd_per_token: Any) -> int | None:
    """Nano-USD per million tokens, rounded up; None for what is no price."""
    if isinstance(usd_per_token, bool) or not isinstance(usd_per_token, int | Decimal):
        return None
    amount = Decimal(usd_per_token) * _NANO_PER_MILLION
    return int(amount.to_integral_value(ROUND_CEILING)) if amount.is_finite() and amount >= 0 else None
