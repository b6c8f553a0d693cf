"""What the routes say of themselves in the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

_MODEL_EXAMPLE: Final = {"id": "guide", "object": "model", "created": 1795411781, "owned_by": "default"}
_HEADERS: Final[list[dict[str, Any]]] = [
    {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "maxLength": 255},
        "description": "The same key with the same body gives the first answer again, and charges once.",
    },
    {
        "name": "X-Conversation-Id",
        "in": "header",
        "schema": {"type": "string"},
        "description": "Go on with a stored conversation; earlier messages of the request are then left aside.",
    },
]


def _ok(description: str, example: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": {"type": "object"}, "example": example}}}


CHAT_COMPLETIONS: Final[dict[str, Any]] = {
    "tags": ["OpenAI-compatible", "model call"],
    "summary": "Talk to an agent in OpenAI's shape",
    "operationId": "create_chat_completion",
    "parameters": _HEADERS,
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["model", "messages"],
                    "properties": {
                        "model": {"type": "string", "description": "An agent's short name."},
                        "messages": {"type": "array", "minItems": 1, "items": {"type": "object"}},
                        "stream": {"type": "boolean"},
                        "stream_options": {"type": "object"},
                        "max_tokens": {"type": "integer", "minimum": 1},
                        "max_completion_tokens": {"type": "integer", "minimum": 1},
                        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
                    },
                },
                "example": {"model": "guide", "messages": [{"role": "user", "content": "What can you do?"}]},
            }
        },
    },
    "responses": {
        "200": _ok(
            "The reply; with `stream: true` as server-sent events.",
            {
                "id": "chatcmpl-0199a000-0000-7000-8000-000000000001",
                "object": "chat.completion",
                "created": 1795411781,
                "model": "guide",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
            },
        )
    },
}
MODELS: Final[dict[str, Any]] = {
    "tags": ["OpenAI-compatible"],
    "summary": "The agents you may use",
    "operationId": "list_models",
    "responses": {"200": _ok("A list of models.", {"object": "list", "data": [_MODEL_EXAMPLE]})},
}
MODEL: Final[dict[str, Any]] = {
    "tags": ["OpenAI-compatible"],
    "summary": "One agent",
    "operationId": "get_model",
    "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
    "responses": {"200": _ok("A model.", _MODEL_EXAMPLE)},
}
