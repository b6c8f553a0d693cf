"""Turns as they are stored and as they are told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tollhouse.plugin.content import Reply, part_from_json, part_to_json
from tollhouse.plugin.errors import TollhouseError
from tollhouse.plugin.llm import TokenUsage
from tollhouse.plugin.ports import TurnResult


def stored_parts(reply: Reply) -> list[dict[str, Any]]:
    """The reply as a conversation keeps it."""
    return [part_to_json(part) for part in reply.parts]


def stored_reply(reply: Reply, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """A reply as a turn keeps it, with the warnings that were given with it, so that it can be given again."""
    stored: dict[str, Any] = {"parts": stored_parts(reply), "finish": reply.finish}
    return {**stored, "warnings": list(warnings)} if warnings else stored


def stored_usage(usage: TokenUsage) -> dict[str, int | None]:
    """Usage as it is stored and told: tokens by kind."""
    return {"input": usage.input, "output": usage.output, "cached": usage.cached, "reasoning": usage.reasoning}


def stored_error(error: TollhouseError) -> dict[str, Any]:
    """A failure as it is stored: safe to show."""
    return {"code": error.http_code, "status": error.http_status, "detail": error.detail}


def result_of(row: Mapping[str, Any], *, replayed: bool = False) -> TurnResult:
    """A stored turn."""
    reply = json.loads(row["reply"]) if row["reply"] else None
    usage = json.loads(row["usage"]) if row["usage"] else None
    return TurnResult(
        id=str(row["id"]),
        state=row["state"],
        agent=row["agent_slug"],
        channel=row["channel"],
        created_at=row["created_at"],
        conversation_id=str(row["conversation_id"]) if row["conversation_id"] else None,
        version=row["version_number"],
        reply=Reply(tuple(part_from_json(part) for part in reply["parts"]), reply["finish"]) if reply else None,
        usage=TokenUsage(**usage) if usage else None,
        model=row["model"],
        error=json.loads(row["error"]) if row["error"] else None,
        replayed=replayed,
        warnings=tuple(reply.get("warnings", ())) if reply else (),
        external_id=row["external_id"],
    )
