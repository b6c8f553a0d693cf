"""A tenant's configuration of one endpoint."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from tollhouse.plugin import Modality

OPENAI = "https://api.openai.com/v1"
_OPENAI_PREFIX = "https://api.openai.com/"

MaxTokensParameter = Literal["max_completion_tokens", "max_tokens"]


class ModelSpec(BaseModel):
    """What the admin knows of a model; it wins over what the endpoint or our own table says."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=200, title="Model", description="The model's id, as the endpoint spells it.")
    context_tokens: int | None = Field(None, gt=0, title="Context (tokens)", description="How much it can read and write.")
    max_output_tokens: int | None = Field(None, gt=0, title="Output (tokens)", description="How much it can write at most.")
    modalities: set[Modality] | None = Field(
        None, min_length=1, title="Takes", description="What it takes besides text; empty for what Tollhouse knows by itself."
    )


class OpenAIConfig(BaseModel):
    """One endpoint and its key. Which addresses ``base_url`` may point to is decided by the kernel's outbound rules."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)  # a mistyped key must not end up in a log

    base_url: str = Field(
        OPENAI,
        max_length=2000,
        title="Base URL",
        description="Where the API begins, usually ending in /v1, without /chat/completions.",
    )
    api_key: SecretStr | None = Field(
        None, title="API key", description="Sent as a bearer token; empty for servers without one."
    )
    organization: str | None = Field(None, max_length=200, title="Organization", description="Sent as OpenAI-Organization.")
    project: str | None = Field(None, max_length=200, title="Project", description="Sent as OpenAI-Project.")
    max_tokens_parameter: MaxTokensParameter | None = Field(
        None,
        title="Name of the output limit",
        description="Empty: max_completion_tokens for api.openai.com, max_tokens for everybody else.",
    )
    models: list[ModelSpec] = Field(
        default_factory=list, max_length=500, title="Models", description="Models the endpoint does not list or describe."
    )

    @field_validator("base_url")
    @classmethod
    def _usable_url(cls, value: str) -> str:
        url = urlsplit(value.strip())
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("must begin with https:// or http:// and name a host")
        if url.username is not None or url.password is not None:
            raise ValueError("must not contain a user name or password; use the API key")
        if url.query or url.fragment:
            raise ValueError("must not contain ? or #")
        return value.strip().rstrip("/").removesuffix("/chat/completions")

    @field_validator("api_key")
    @classmethod
    def _usable_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not (key := value.get_secret_value().strip()):
            return None
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ValueError("contains characters that no API key has")
        return SecretStr(key)

    @field_validator("organization", "project")
    @classmethod
    def _usable_header(cls, value: str | None) -> str | None:
        if value is None or not (word := value.strip()):
            return None
        if not (word.isascii() and word.isprintable()):
            raise ValueError("must be plain ASCII")
        return word

    @property
    def is_openai(self) -> bool:
        """Whether this is OpenAI's own API rather than something compatible."""
        return self.base_url.startswith(_OPENAI_PREFIX)

    @property
    def output_limit_name(self) -> MaxTokensParameter:
        """Which parameter carries the hard upper bound of the output."""
        if self.max_tokens_parameter is not None:
            return self.max_tokens_parameter
        return "max_completion_tokens" if self.is_openai else "max_tokens"

    def headers(self) -> dict[str, str]:
        """Headers of every request, with the key in the clear: never log them."""
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key.get_secret_value()}"
        if self.organization is not None:
            headers["OpenAI-Organization"] = self.organization
        if self.project is not None:
            headers["OpenAI-Project"] = self.project
        return headers
