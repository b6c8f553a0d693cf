"""The backend: ``litellm.acompletion`` with the tenant's key, once, without its Router, retries, fallbacks or environment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel

from tollhouse.plugin import (
    BackendError,
    BackendRejected,
    BackendTimeout,
    BadCompletion,
    Completion,
    CompletionRequest,
    Health,
    Media,
    Message,
    ModelInfo,
    ModelPrice,
    PluginContext,
    Text,
)
from tollhouse_litellm import catalogue
from tollhouse_litellm.config import BROKEN, LiteLLMConfig, LiteLLMSettings
from tollhouse_litellm.faults import error_of
from tollhouse_litellm.messages import PARAMETERS, completion_of, refusal_of, to_litellm

TEST_TIMEOUT = 12.0
TRIAL_TOKENS = 256
"""Some reasoning models refuse a request whose tokens they would use up before the first word."""


def load() -> Any:
    """litellm, imported at the first call; takes seconds then, so it is called in a thread."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else the import fetches a price list from GitHub
    import litellm

    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    return litellm


class LiteLLMBackend:
    """Talks to the providers that the operator allows. It has no tokenizer: litellm's are estimates, not upper bounds."""

    name = "litellm"
    title = "litellm"
    Config: type[BaseModel] = LiteLLMConfig

    def __init__(self, settings: LiteLLMSettings | None = None) -> None:
        self._settings = settings or LiteLLMSettings()

    async def models(self, ctx: PluginContext[LiteLLMConfig]) -> Sequence[ModelInfo]:
        """The configuration's models, and those of the provider in litellm's data file. Nobody is asked.

        Raises:
            BackendRejected: the operator does not allow the provider.
        """
        self._check(ctx)
        known = await asyncio.to_thread(catalogue.entries)
        prefix = f"{ctx.config.provider}/"
        listed = {model: known[model].info if model in known else ModelInfo(model) for model in ctx.config.models}
        return [*listed.values(), *(known[m].info for m in known if m.startswith(prefix) and m not in listed)]

    def describe(self, config: LiteLLMConfig, model: str) -> ModelInfo | None:
        """What litellm's data file says of ``model``; None if it is not in there."""
        entry = catalogue.entries().get(model)
        return entry.info if entry is not None else None

    def refuses(self, config: LiteLLMConfig, model: str, media: Media) -> str | None:
        """What has no form in a request, whichever provider it goes to."""
        return refusal_of(media)

    def suggest_prices(self) -> Iterable[ModelPrice]:
        """The data file's prices. It may be older than the provider's own list: an admin confirms them."""
        return [entry.price for entry in catalogue.entries().values() if entry.price is not None]

    async def complete(self, ctx: PluginContext[LiteLLMConfig], request: CompletionRequest) -> Completion:
        """One call of the model.

        Raises:
            BackendRejected: another provider than the connection's, one that is not allowed, or no way to limit the output.
            BackendError: one of its children, see :mod:`tollhouse_litellm.faults`.
        """
        config = ctx.config
        self._check(ctx)
        if not request.model.startswith(f"{config.provider}/") or request.model.partition("/")[0] in BROKEN:
            raise BackendRejected(private=f"the model of this connection must begin with {config.provider}/")
        try:
            async with asyncio.timeout(request.timeout):
                litellm = await asyncio.to_thread(load)
                hops = dict(ctx.hop_headers())
                response = await litellm.acompletion(**_arguments(litellm, config, request), extra_headers=hops or None)
            return completion_of(response, request.model)
        except BackendError:
            raise
        except TimeoutError:
            raise BackendTimeout(private=f"no answer within {request.timeout:g} s") from None
        except Exception as error:  # litellm raises whatever its providers' SDKs raise
            raise error_of(error, config.api_key.get_secret_value()) from None

    async def test(self, ctx: PluginContext[LiteLLMConfig]) -> Health:
        """Ask the connection's first model, or the provider's cheapest, for a word."""
        try:
            self._check(ctx)
            model = await asyncio.to_thread(_trial_model, ctx.config)
            if model is None:
                return Health(False, "litellm knows no model of this provider; add one to the connection.")
            message = Message("user", (Text("Hi"),))
            await self.complete(ctx, CompletionRequest(model, (message,), TRIAL_TOKENS, TEST_TIMEOUT, "connection-test"))
        except BackendRejected as error:
            return Health(False, f"The trial was not accepted ({error.detail}). Add a model that this key may use.")
        except BadCompletion:
            pass  # it answered; the tokens may be too few for a text
        except BackendError as error:
            return Health(False, error.detail)
        return Health(True, f"Connected; {ctx.config.provider} answers.")

    def _check(self, ctx: PluginContext[LiteLLMConfig]) -> None:
        config = ctx.config
        if config.provider not in self._settings.providers:
            raise BackendRejected("This provider is not enabled here", private=f"provider {config.provider}: see providers")
        if config.api_base is None:
            return
        # litellm calls by itself, so nothing stands between an address of the tenant's choice and the server's own network.
        if not (self._settings.allow_api_base and ctx.tenant.private_addresses):
            raise BackendRejected(
                "This address is not allowed here",
                private="api_base is set: it needs allow_api_base, and a tenant that may use private addresses",
            )


def _trial_model(config: LiteLLMConfig) -> str | None:
    if config.models:
        return config.models[0]
    prices = [entry.price for entry in catalogue.entries().values() if entry.price is not None]
    own = [price for price in prices if price.model.startswith(f"{config.provider}/")]
    return min(own, key=lambda price: price.input_per_million + price.output_per_million).model if own else None


def _arguments(litellm: Any, config: LiteLLMConfig, request: CompletionRequest) -> dict[str, Any]:
    """The call's arguments. The output limit is the one parameter that must never be dropped."""
    _, provider, _, _ = litellm.get_llm_provider(request.model)
    known = set(litellm.get_supported_openai_params(request.model, custom_llm_provider=provider) or ())
    limit = next((name for name in ("max_tokens", "max_completion_tokens") if name in known), None)
    if limit is None:
        raise BackendRejected(private=f"litellm cannot limit the output of {request.model}")
    parameters = {key: value for key, value in request.parameters.items() if key in PARAMETERS}
    if config.drop_params:
        parameters = {key: value for key, value in parameters.items() if key in known}
    return {
        **parameters,
        limit: request.max_output_tokens,
        "model": request.model,
        "messages": [to_litellm(message) for message in request.messages],
        "timeout": request.timeout,
        "api_key": config.api_key.get_secret_value(),
        "api_base": config.api_base,
        "api_version": config.api_version,
        "drop_params": config.drop_params,
        "num_retries": 0,
        "max_retries": 0,
    }
