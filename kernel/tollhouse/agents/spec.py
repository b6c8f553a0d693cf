"""What a prompt version says. Stored as JSON with the version, and immutable with it."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, field_serializer, field_validator, model_validator

from tollhouse.agents.parameters import PARAMETERS, problem_with
from tollhouse.agents.patterns import MAX_PATTERN, Pattern
from tollhouse.agents.template import parse
from tollhouse.plugin.content import Modality
from tollhouse.store.exact import Exact

MAX_TEMPLATE = 64_000

ModelName = Annotated[str, Field(min_length=1, max_length=200)]
Mark = Annotated[str, Field(min_length=1, max_length=100)]


class _Part(Exact):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelChoice(_Part):
    """A model, by the tenant's connection that leads to it."""

    connection_id: UUID
    model: ModelName


class RegexRule(_Part):
    """What is replaced in replies. ``replacement`` is taken literally. See ``patterns.py`` for what a pattern may hold."""

    pattern: str = Field(min_length=1, max_length=MAX_PATTERN)
    replacement: str = Field(default="[redacted]", max_length=200)

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        Pattern(pattern)
        return pattern


class PostProcessing(_Part):
    """What happens to a reply before anybody sees it, in this order: stop, redact, JSON schema, length, footer.

    Whether ``json_schema`` can be used is checked when a version is saved (``schemas.problem_with_schema``): it takes a while.
    """

    stop: tuple[Mark, ...] = Field(default=(), max_length=16)
    max_characters: int | None = Field(default=None, ge=1, le=1_000_000)
    json_schema: dict[str, Any] | None = None
    redact: tuple[RegexRule, ...] = Field(default=(), max_length=20)
    footer: str = Field(default="", max_length=2_000)

    @model_validator(mode="after")
    def _json_stays_json(self) -> PostProcessing:
        if self.json_schema is not None and (self.footer or self.stop or self.max_characters is not None):
            raise ValueError(
                "a reply with a JSON schema cannot have a footer, stop marks or a maximum length: it would be no JSON"
            )
        return self


class VersionSpec(_Part):
    """A prompt version: what an agent is told, which model it uses, and what is done with the reply.

    ``parameters`` go to the model; ``opens`` names those that an API client may set for itself. ``context_tokens`` narrows the
    model's window. ``timeout``: seconds for one call. ``history_messages``: how many earlier messages are sent at most.
    """

    template: str = Field(max_length=MAX_TEMPLATE)
    primary: ModelChoice
    fallback: ModelChoice | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    max_output_tokens: int = Field(default=1024, ge=1, le=1_000_000)
    context_tokens: int | None = Field(default=None, ge=16, le=100_000_000)
    modalities: frozenset[Modality] = frozenset({"text"})
    opens: frozenset[str] = frozenset()
    post: PostProcessing = PostProcessing()
    timeout: float | None = Field(default=None, ge=1, le=600)
    history_messages: int = Field(default=40, ge=0, le=1_000)

    @field_validator("template")
    @classmethod
    def _known_variables(cls, template: str) -> str:
        parse(template)
        return template

    @field_validator("parameters")
    @classmethod
    def _in_range(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        for name, value in parameters.items():
            if problem := problem_with(name, value):
                raise ValueError(f"{name} {problem}")
        return parameters

    @field_validator("modalities")
    @classmethod
    def _talks(cls, modalities: frozenset[Modality]) -> frozenset[Modality]:
        if "text" not in modalities:
            raise ValueError("an agent always takes text")
        return modalities

    @field_validator("opens")
    @classmethod
    def _can_be_opened(cls, opens: frozenset[str]) -> frozenset[str]:
        if unknown := sorted(opens - set(PARAMETERS)):
            raise ValueError(f"{', '.join(unknown)}: not a parameter; these can be opened: {', '.join(sorted(PARAMETERS))}")
        return opens

    @model_validator(mode="after")
    def _leaves_room(self) -> VersionSpec:
        if self.context_tokens is not None and self.context_tokens <= self.max_output_tokens:
            raise ValueError("context_tokens must be more than max_output_tokens, or nothing could be said to the model")
        if self.fallback == self.primary:
            raise ValueError("the fallback is the same model on the same connection as the primary")
        return self

    @field_serializer("modalities", "opens")
    def _sorted(self, values: frozenset[str]) -> list[str]:
        return sorted(values)

    @property
    def choices(self) -> tuple[ModelChoice, ...]:
        """Primary, then fallback."""
        return (self.primary,) if self.fallback is None else (self.primary, self.fallback)
