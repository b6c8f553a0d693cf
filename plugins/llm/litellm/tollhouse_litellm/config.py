"""The operator's settings, and a tenant's configuration of one provider."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

PROVIDERS = (
    "ai21", "anthropic", "cerebras", "cohere_chat", "dashscope", "deepinfra", "deepseek", "fireworks_ai", "gemini", "groq",
    "huggingface", "mistral", "moonshot", "nvidia_nim", "openai", "openrouter", "perplexity", "sambanova", "together_ai", "xai",
)  # fmt: skip
"""Providers that are used with nothing but a key. Others may take credentials from the server's environment (bedrock,
vertex_ai), or talk to the server's own network (ollama): those an operator has to allow by name."""

BROKEN = frozenset({"aiohttp_openai"})
"""Reports usage 0 in litellm 1.106, so whatever it answers would be free."""


class LiteLLMSettings(BaseModel):
    """``[settings.litellm]`` in ``plugins.toml``."""

    model_config = ConfigDict(extra="forbid")

    providers: tuple[str, ...] = Field(
        PROVIDERS, title="Providers", description="Providers that tenants may use; each by litellm's name of it."
    )
    allow_api_base: bool = Field(
        False,
        title="Allow api_base",
        description="Let tenants choose the address. litellm's own HTTP client does not obey our outbound rules.",
    )


class LiteLLMConfig(BaseModel):
    """One provider and its key."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    provider: str = Field(
        pattern=r"^[a-z0-9_]{2,40}$", title="Provider", description="litellm's name of it: anthropic, gemini, mistral …"
    )
    api_key: SecretStr = Field(
        title="API key", description="The provider's key; for one that needs none, any word.", min_length=1, max_length=10_000
    )
    api_base: str | None = Field(
        None, max_length=2000, title="API base", description="Another address; only if the operator allows it."
    )
    api_version: str | None = Field(None, max_length=50, title="API version", description="Needed by some providers (azure).")
    models: list[str] = Field(
        default_factory=list,
        max_length=500,
        title="Models",
        description="Models that litellm does not know, as provider/model.",
    )
    drop_params: bool = Field(
        True, title="Drop parameters", description="Leave out parameters that a model does not know instead of failing."
    )

    @field_validator("provider")
    @classmethod
    def _not_broken(cls, value: str) -> str:
        if value in BROKEN:
            raise ValueError(f"{value} reports no usage in this version of litellm, so it cannot be metered; use openai")
        return value
