"""From our result to OpenAI's answer: one object, or the same as an event stream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from tollhouse.plugin import AgentInfo, TurnResult
from tollhouse_api.errors import TurnFailed

FINISHES: Final = frozenset({"stop", "length", "content_filter"})


def completion(result: TurnResult, model: str, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """``chat.completion``, with a member of ours where there is something to tell: ``warnings``."""
    text, finish = _reply(result)
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        **_head(result, model, "chat.completion"),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": usage(result),
        **_told(warnings),
    }


def stream(result: TurnResult, model: str, warnings: Sequence[str] = (), *, with_usage: bool) -> bytes:
    """The whole event stream: the reply is one chunk of it. ``warnings`` stand in the chunk that ends the reply."""
    text, finish = _reply(result)
    head = _head(result, model, "chat.completion.chunk")
    tail: dict[str, Any] = {"usage": None} if with_usage else {}
    chunks = [
        {**head, "choices": [_delta({"role": "assistant", "content": ""})], **tail},
        {**head, "choices": [_delta({"content": text})], **tail},
        {**head, "choices": [_delta({}, finish)], **tail, **_told(warnings)},
    ]
    if with_usage:
        chunks.append({**head, "choices": [], "usage": usage(result)})
    events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*events, "data: [DONE]\n\n"]).encode()


def usage(result: TurnResult) -> dict[str, Any]:
    """``usage``; a number that the provider did not tell is 0 here, for clients that cannot do without one."""
    used = result.usage
    prompt, output = (used.input or 0, used.output or 0) if used else (0, 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": (used.cached or 0) if used else 0},
        "completion_tokens_details": {"reasoning_tokens": (used.reasoning or 0) if used else 0},
    }


def model_object(agent: AgentInfo, owner: str) -> dict[str, Any]:
    """An agent as a model."""
    return {"id": agent.slug, "object": "model", "created": int(agent.created_at.timestamp()), "owned_by": owner}


def _head(result: TurnResult, model: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{result.id}", "object": kind, "created": int(result.created_at.timestamp()), "model": model}


def _told(warnings: Sequence[str]) -> dict[str, Any]:
    return {"warnings": list(warnings)} if warnings else {}


def _delta(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _reply(result: TurnResult) -> tuple[str, str]:
    if result.reply is None:
        error = result.error or {}
        raise TurnFailed(error.get("detail"), turn_id=result.id)
    finish = result.reply.finish
    return result.reply.text, finish if finish in FINISHES else "stop"
