"""From the JSON of a chat completion to a :class:`~tollhouse.plugin.Completion`. Trusts no field to have its type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tollhouse.plugin import BadCompletion, Completion, ContentFiltered, Text, TokenUsage
from tollhouse_openai.faults import error_object, error_of_payload

NO_NUMBER = -1
"""For a count that is none: the kernel believes no negative one, and says so, where nothing at all would be "not reported"."""

Finish = Literal["stop", "length", "content_filter", "tool_calls"]

_FINISH: Mapping[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}


def completion_of(payload: Any, request_id: str | None) -> Completion:
    """Read an answer.

    Raises:
        BadCompletion: it is not a chat completion, or says nothing at all; carries the usage if that could be read.
        ContentFiltered: the provider's filter left nothing over.
        BackendError: the ``error`` object that some gateways put into a 200.
    """
    if not isinstance(payload, dict):
        raise BadCompletion(private="the answer is JSON, but not an object")
    if payload.get("error"):
        raise error_of_payload(error_object(payload))
    usage = usage_of(payload.get("usage"))
    choice, message = _first_choice(payload, usage)
    reason = choice.get("finish_reason")
    finish: Finish = _FINISH.get(reason, "stop") if isinstance(reason, str) else "stop"
    text, refused = _text(message.get("content"))
    if not text and (refusal := refused or message.get("refusal")) and isinstance(refusal, str):
        text, finish = refusal, "content_filter"
    if not text:
        finish = _nothing_said(message, finish, usage)
    model = payload.get("model")
    return Completion(
        parts=(Text(text),) if text else (),
        usage=usage,
        finish=finish,
        model=model if isinstance(model, str) and model else None,
        request_id=request_id,
    )


def _first_choice(payload: Mapping[str, Any], usage: TokenUsage | None) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    choices = payload.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise BadCompletion(private="the answer has no choices[0].message", usage=usage)
    return choice, message


def _nothing_said(message: Mapping[str, Any], finish: Finish, usage: TokenUsage | None) -> Finish:
    """An answer without text is one only if there is a reason for it: thinking used up the limit, or a tool was called."""
    if finish == "content_filter":
        raise ContentFiltered(private="the content filter left no text", usage=usage)
    if message.get("tool_calls") or message.get("function_call"):
        return "tool_calls"
    if finish == "stop":
        raise BadCompletion(private="the answer has neither text, refusal nor tool calls", usage=usage)
    return finish


def _text(content: Any) -> tuple[str, str | None]:
    """Text and refusal of a message's content: a string, None, or a list of parts."""
    if isinstance(content, str):
        return content, None
    if not isinstance(content, list):
        return "", None
    parts = [part for part in content if isinstance(part, dict)]
    texts = [
        part["text"] for part in parts if isinstance(part.get("text"), str) and part.get("type") in ("text", "output_text")
    ]
    refusals = [part["refusal"] for part in parts if isinstance(part.get("refusal"), str)]
    return "".join(texts), "".join(refusals) or None


def usage_of(raw: Any) -> TokenUsage | None:
    """The usage object as it is, absurd or not: the kernel knows what is possible. None if there is none; zero is zero."""
    if not isinstance(raw, dict):
        return None
    used, written = _count(raw.get("prompt_tokens")), _count(raw.get("completion_tokens"))
    if used is None and written is None:
        return None
    return TokenUsage(
        input=used,
        output=written,
        cached=_detail(raw.get("prompt_tokens_details"), "cached_tokens"),
        reasoning=_detail(raw.get("completion_tokens_details"), "reasoning_tokens"),
    )


def _detail(details: Any, key: str) -> int | None:
    return _count(details.get(key)) if isinstance(details, dict) else None


def _count(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if value is None or type(value) is int else NO_NUMBER
