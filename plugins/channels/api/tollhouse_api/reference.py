"""What the routes say of themselves in the OpenAPI document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from tollhouse.plugin import Reply, Text, TokenUsage, TurnResult
from tollhouse_api.answers import completion, stream

_MODEL_EXAMPLE: Final = {"id": "guide", "object": "model", "created": 1795411781, "owned_by": "acme"}
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


_TEXT: Final[dict[str, Any]] = {"type": "string"}
_PART: Final[dict[str, Any]] = {
    "type": "object",
    "description": "`text`, `image_url` (https or data URL), `input_audio` (base64), or `file` (an upload, or base64).",
    "required": ["type"],
    "properties": {
        "type": {"enum": ["text", "image_url", "input_audio", "file", "refusal"]},
        "text": _TEXT,
        "image_url": {"type": "object", "required": ["url"], "properties": {"url": _TEXT}},
        "input_audio": {"type": "object", "required": ["data", "format"], "properties": {"data": _TEXT, "format": _TEXT}},
        "file": {"type": "object", "properties": {"file_id": _TEXT, "file_data": _TEXT, "filename": _TEXT}},
    },
}
_MESSAGE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant"]},
        "content": {"anyOf": [_TEXT, {"type": "array", "items": _PART}, {"type": "null"}]},
    },
}
_REQUEST: Final[dict[str, Any]] = {
    "type": "object",
    "description": "Other fields of OpenAI's are ignored, which `warnings` and X-Turn-Warning tell, or refused by name.",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string", "description": "An agent's short name.", "minLength": 1, "maxLength": 200},
        "messages": {"type": "array", "minItems": 1, "maxItems": 2000, "items": _MESSAGE},
        "stream": {"type": ["boolean", "null"], "description": "The whole reply comes as one chunk of an event stream."},
        "stream_options": {"type": ["object", "null"], "properties": {"include_usage": {"type": "boolean"}}},
        "n": {"type": ["integer", "null"], "const": 1},
        "max_tokens": {"type": ["integer", "null"], "minimum": 1, "description": "Can only lower what the agent has."},
        "max_completion_tokens": {"type": ["integer", "null"], "minimum": 1},
        "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2, "description": "Where the agent opens it."},
        "top_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "stop": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}, {"type": "null"}]},
        "seed": {"type": ["integer", "null"]},
        "presence_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2},
        "frequency_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2},
        "reasoning_effort": {"type": ["string", "null"]},
        "response_format": {"type": ["object", "null"]},
        "metadata": {
            "type": ["object", "null"],
            "additionalProperties": _TEXT,
            "description": "`conversation_id` goes on with a stored conversation, like the header X-Conversation-Id.",
        },
    },
}
_USAGE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
    "properties": {
        "prompt_tokens": {"type": "integer"},
        "completion_tokens": {"type": "integer"},
        "total_tokens": {"type": "integer"},
        "prompt_tokens_details": {"type": "object", "properties": {"cached_tokens": {"type": "integer"}}},
        "completion_tokens_details": {"type": "object", "properties": {"reasoning_tokens": {"type": "integer"}}},
    },
}
_CHOICE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["index", "message", "finish_reason"],
    "properties": {
        "index": {"type": "integer"},
        "message": {
            "type": "object",
            "required": ["role", "content"],
            "properties": {"role": {"const": "assistant"}, "content": _TEXT, "refusal": {"type": "null"}},
        },
        "logprobs": {"type": "null"},
        "finish_reason": {"enum": ["stop", "length", "content_filter"]},
    },
}
_COMPLETION: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["id", "object", "created", "model", "choices", "usage"],
    "properties": {
        "id": _TEXT,
        "object": {"const": "chat.completion"},
        "created": {"type": "integer"},
        "model": _TEXT,
        "choices": {"type": "array", "items": _CHOICE},
        "usage": _USAGE,
        "warnings": {
            "type": "array",
            "items": _TEXT,
            "description": "Soft limits that are used up, and what of the request was ignored, cut or moved. Absent if empty.",
        },
    },
}
_MODEL: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {"id": _TEXT, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": _TEXT},
}
_MODELS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["object", "data"],
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}},
}
_ANSWERED: Final = TurnResult(
    "0199a000-0000-7000-8000-00000000000d",
    "done",
    "guide",
    "api",
    datetime(2026, 1, 15, 12, tzinfo=UTC),
    reply=Reply((Text("I answer questions about Acme."),)),
    usage=TokenUsage(12, 7),
)
_HEADERS_BACK: Final[dict[str, Any]] = {
    "X-Turn-Id": {"description": "The turn: `GET /api/v1/turns/{id}`.", "schema": _TEXT},
    "X-Conversation-Id": {"description": "The stored conversation, if there is one.", "schema": _TEXT},
    "X-Turn-Warning": {"description": "The same as `warnings`, in one line.", "schema": _TEXT},
    "Idempotent-Replayed": {"description": "`true` for an answer that was given before.", "schema": _TEXT},
}


def _ok(description: str, schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}


def _completed() -> dict[str, Any]:
    """Both ways to be answered, as they are really written."""
    good = _ok("The reply; with `stream: true` as server-sent events.", _COMPLETION, completion(_ANSWERED, "guide"))
    events = stream(_ANSWERED, "guide", with_usage=False).decode()
    good["content"]["text/event-stream"] = {"schema": _TEXT, "example": events}
    return {**good, "headers": _HEADERS_BACK}


CHAT_COMPLETIONS: Final[dict[str, Any]] = {
    "tags": ["OpenAI-compatible", "model call"],
    "summary": "Talk to an agent in OpenAI's shape",
    "description": "An agent is a model. The last message is what is said now; the ones before it are history.",
    "operationId": "create_chat_completion",
    "parameters": _HEADERS,
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _REQUEST,
                "example": {"model": "guide", "messages": [{"role": "user", "content": "What can you do?"}]},
            }
        },
    },
    "responses": {"200": _completed()},
}
MODELS: Final[dict[str, Any]] = {
    "tags": ["OpenAI-compatible"],
    "summary": "The agents you may use",
    "operationId": "list_models",
    "responses": {"200": _ok("A list of models.", _MODELS, {"object": "list", "data": [_MODEL_EXAMPLE]})},
}
MODEL: Final[dict[str, Any]] = {
    "tags": ["OpenAI-compatible"],
    "summary": "One agent",
    "operationId": "get_model",
    "parameters": [
        {"name": "id", "in": "path", "required": True, "description": "Short name or id.", "schema": {"type": "string"}}
    ],
    "responses": {"200": _ok("A model.", _MODEL, _MODEL_EXAMPLE)},
}
