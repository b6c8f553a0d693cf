"""The openai backend passes the kit against a strict fake endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web
from pydantic import BaseModel
from tollhouse_openai import OpenAIBackend, OpenAIConfig

from tollhouse.plugin import BackendAuthFailed, BackendError, BackendRejected, BackendTimeout, BackendUnavailable
from tollhouse.testing import LLMBackendSuite

MODEL = "gpt-4o"


class TestOpenAI(LLMBackendSuite):
    model = MODEL
    slow_prompt = "slow"

    @pytest.fixture
    def backend(self) -> OpenAIBackend:
        return OpenAIBackend()

    @pytest.fixture
    def config(self, server: Any) -> OpenAIConfig:
        return OpenAIConfig(base_url=server.url, api_key=server.key)

    @pytest.fixture
    def server_faults(self, server: Any) -> Mapping[str, tuple[BaseModel, type[BackendError]]]:
        async def quoting(request: web.Request) -> web.Response:
            return web.json_response(server.error("no"), status=int(request.headers["OpenAI-Project"]))

        server.answers[MODEL] = quoting
        statuses = {400: BackendRejected, 403: BackendAuthFailed, 408: BackendTimeout, 500: BackendUnavailable}
        faults: dict[str, tuple[BaseModel, type[BackendError]]] = {
            str(status): (OpenAIConfig(base_url=server.url, api_key=server.key, project=str(status)), error)
            for status, error in statuses.items()
        }
        faults["wrong key"] = (OpenAIConfig(base_url=server.url, api_key="sk-another-secret"), BackendAuthFailed)
        faults["refused"] = (OpenAIConfig(base_url="http://127.0.0.1:9/v1", api_key=server.key), BackendUnavailable)
        return faults
