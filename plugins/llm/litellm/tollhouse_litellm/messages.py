"""Between our request and completion and litellm's."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Literal

from tollhouse.plugin import (
    BackendRejected,
    BadCompletion,
    Completion,
    ContentFiltered,
    Media,
    Message,
    Text,
    TokenUsage,
    file_as_text,
)

PARAMETERS = frozenset(
    {
        "temperature", "top_p", "stop", "seed", "presence_penalty", "frequency_penalty", "response_format", "tools",
        "tool_choice", "parallel_tool_calls", "reasoning_effort", "verbosity", "logit_bias", "user",
    }
)  # fmt: skip
"""What may be passed on. A list of what is allowed, because litellm takes far more than a request should decide: the
address, keys, fallbacks, mock replies."""

NO_NUMBER = -1
"""For a count that is none: the kernel believes no negative one, and says so."""

_AUDIO = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}

Finish = Literal["stop", "length", "content_filter", "tool_calls"]
_FINISH: dict[str, Finish] = {
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}


ONLY_WAV = "This agent's model takes sound only as WAV or MP3."
ONLY_PDF = "This agent's model takes only PDF files and files of text."


def to_litellm(message: Message) -> dict[str, Any]:
    """One message in OpenAI's form, which litellm translates for every provider.

    Raises:
        BackendRejected: a part that has no form.
    """
    media = any(isinstance(part, Media) for part in message.parts)
    if not media or message.role != "user":
        return {"role": message.role, "content": message.text}
    return {"role": message.role, "content": [_part(part) for part in message.parts]}


def _part(part: Text | Media) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if part.data is None:
        raise BackendRejected(private=f"a part of type {part.type} came without its bytes")
    data = b64encode(part.data).decode("ascii")
    url = f"data:{part.media_type};base64,{data}"
    if part.type == "image":
        return {"type": "image_url", "image_url": {"url": url, "format": part.media_type}}
    if part.type == "audio":
        if part.media_type not in _AUDIO:
            raise BackendRejected(ONLY_WAV, private=f"audio of type {part.media_type}")
        return {"type": "input_audio", "input_audio": {"data": data, "format": _AUDIO[part.media_type]}}
    if (text := file_as_text(part)) is not None:
        return {"type": "text", "text": text.text}
    if part.media_type != "application/pdf":
        raise BackendRejected(ONLY_PDF, private=f"a file of type {part.media_type}")
    return {"type": "file", "file": {"file_data": url, "filename": part.name or "document.pdf", "format": part.media_type}}


def refusal_of(media: Media) -> str | None:
    """Why a picture, sound or file has no form here; None if it has one."""
    if media.type == "audio" and media.media_type not in _AUDIO:
        return ONLY_WAV
    if media.type == "file" and media.media_type != "application/pdf" and not media.media_type.startswith("text/"):
        return ONLY_PDF
    return None


def completion_of(response: Any, model: str) -> Completion:
    """Read litellm's ``ModelResponse``.

    Raises:
        BadCompletion: it says nothing, or is something else.
        ContentFiltered: the provider's filter left nothing over.
    """
    choices = getattr(response, "choices", None)
    message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
    content = getattr(message, "content", None)
    text = content if isinstance(content, str) else ""
    usage = usage_of(getattr(response, "usage", None), bool(text))
    if message is None or not isinstance(choices, list):
        raise BadCompletion(private="the answer has no choices[0].message", usage=usage)
    finish: Finish = _FINISH.get(str(getattr(choices[0], "finish_reason", None)), "stop")
    if not text:
        finish = _nothing_said(message, finish, usage)
    answered = getattr(response, "model", None)
    request_id = getattr(response, "id", None)
    return Completion(
        parts=(Text(text),) if text else (),
        usage=usage,
        finish=finish,
        model=answered if isinstance(answered, str) and answered else model,
        request_id=request_id if isinstance(request_id, str) else None,
    )


def _nothing_said(message: Any, finish: Finish, usage: TokenUsage | None) -> Finish:
    """An answer without text is one only if the limit or a tool call explains it."""
    if finish == "content_filter":
        raise ContentFiltered(private="the content filter left no text", usage=usage)
    if getattr(message, "tool_calls", None):
        return "tool_calls"
    if finish == "stop":
        raise BadCompletion(private="the answer has neither text nor tool calls", usage=usage)
    return finish


def usage_of(raw: Any, said_something: bool) -> TokenUsage | None:
    """litellm's usage as it is, absurd or not: the kernel knows what is possible. Where a provider reported nothing litellm
    fills in 0, so all zeros with a text mean unknown."""
    used, written = _count(getattr(raw, "prompt_tokens", None)), _count(getattr(raw, "completion_tokens", None))
    if (used is None and written is None) or (not used and not written and said_something):
        return None
    cached = _count(getattr(getattr(raw, "prompt_tokens_details", None), "cached_tokens", None))
    reasoning = _count(getattr(getattr(raw, "completion_tokens_details", None), "reasoning_tokens", None))
    return TokenUsage(used, written, cached, reasoning)


def _count(value: Any) -> int | None:
    return value if value is None or type(value) is int else NO_NUMBER
