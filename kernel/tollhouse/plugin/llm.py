"""Models: the contract of an LLM backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel

from tollhouse.plugin.content import Media, Message, Modality, Part

if TYPE_CHECKING:
    from tollhouse.plugin.context import PluginContext


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What the provider says the call used. None means the provider did not say; zero means it said zero.

    ``cached`` is part of ``input`` and ``reasoning`` part of ``output``, as in OpenAI's usage object: a backend whose
    provider counts otherwise converts. Impossible numbers are passed on as they are (and what is no whole number as a negative
    one): the kernel believes none that the model cannot have used, estimates instead, and tells the admin.
    """

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None

    @property
    def total(self) -> int | None:
        """Input plus output, when both are known."""
        return None if self.input is None or self.output is None else self.input + self.output


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that a connection can use. Sizes in tokens; None where the backend does not know.

    ``media_tokens``: the most input tokens that one part of a kind can cost, for example ``{"image": 1700}``; a kind that
    the model takes and that is not listed is held at the kernel's conservative default.
    """

    id: str
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    modalities: frozenset[Modality] = frozenset({"text"})
    media_tokens: Mapping[Modality, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One call of a model, assembled by the runtime.

    ``max_output_tokens`` is a hard upper bound: the units were set aside for exactly this many, so a backend must pass it
    on. ``timeout`` in seconds. ``attempt_id`` is stable for one attempt: pass it on where the provider knows idempotency.
    ``parameters``: temperature, top_p, seed, stop, response_format … in OpenAI's spelling.
    """

    model: str
    messages: tuple[Message, ...]
    max_output_tokens: int
    timeout: float
    attempt_id: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer. ``model`` is the one that really answered; ``usage`` None if the provider reported none."""

    parts: tuple[Part, ...]
    usage: TokenUsage | None = None
    finish: Literal["stop", "length", "content_filter", "tool_calls"] = "stop"
    model: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """A price that a backend suggests for the catalogue, in nano-units of USD per million tokens (integers)."""

    model: str
    input_per_million: int
    output_per_million: int
    cached_per_million: int | None = None
    currency: str = "USD"


@runtime_checkable
class LLMBackend(Protocol):
    """A way to call models. The object is made once, at start, and holds no state of a tenant.

    ``Config`` is the tenant's configuration of one connection (``extra="forbid"``; secrets as ``SecretStr``).
    """

    name: str
    title: str
    Config: type[BaseModel]

    async def models(self, ctx: PluginContext[Any]) -> Sequence[ModelInfo]:
        """The models this connection can use, within 15 seconds.

        Raises:
            BackendAuthFailed: the credentials are not accepted.
            BackendUnavailable: the provider cannot be reached.
        """
        ...

    async def complete(self, ctx: PluginContext[Any], request: CompletionRequest) -> Completion:
        """Call the model once: no retry and no fallback here, the runtime does both.

        Raises:
            BackendError: one of its children; ``retryable`` of the class decides whether the runtime asks again.
        """
        ...


@runtime_checkable
class DescribesModels(Protocol):
    """Optional: what a backend knows of a model by heart, without asking anybody. Called on the hot path."""

    def describe(self, config: Any, model: str) -> ModelInfo | None:
        """Facts about ``model`` for this configuration; None if unknown."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """Optional: a tokenizer. Must never give less than the provider will bill; pure and fast."""

    def count_tokens(self, model: str, text: str) -> int | None:
        """Tokens of ``text`` for ``model``; None if this model's tokenizer is not known."""
        ...


@runtime_checkable
class ChecksMedia(Protocol):
    """Optional: which pictures, sounds and files it has a form for, beside the kinds in ``ModelInfo.modalities``. Pure and
    fast; asked before anything is admitted, so that the person hears of it as a mistake of the request."""

    def refuses(self, config: Any, model: str, media: Media) -> str | None:
        """Why ``media`` cannot be sent to ``model``, as a sentence; None if it can. Its bytes may not be there."""
        ...


@runtime_checkable
class SuggestsPrices(Protocol):
    """Optional: prices for the catalogue. May read a data file, must not import a vendor's SDK or use the network."""

    def suggest_prices(self) -> Iterable[ModelPrice]:
        """Every price this backend knows."""
        ...
