"""Turns as they are stored and as they are told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from tollhouse.plugin.content import Reply, part_from_json, part_to_json
from tollhouse.plugin.errors import TollhouseError
from tollhouse.plugin.llm import TokenUsage
from tollhouse.plugin.ports import TurnResult
from tollhouse.store.events import clean


def reply_json(reply: Reply, warnings: Sequence[str] = ()) -> str:
    """A reply as it is stored, with the warnings that were given with it, so that it can be given again. NUL, which JSON
    columns refuse, is left out: a model may say anything."""
    stored: dict[str, Any] = {"parts": [part_to_json(part) for part in reply.parts], "finish": reply.finish}
    return stored_json({**stored, "warnings": list(warnings)} if warnings else stored)


def stored_json(value: Any) -> str:
    """JSON for a column. Cleaned only where something is to clean: a NUL, or half a surrogate pair, which has no UTF-8."""
    with suppress(PydanticSerializationError):
        text = to_json(value).decode()
        if "\\u0000" not in text:
            return text
    return json.dumps(clean(value))


def usage_json(usage: TokenUsage) -> str:
    """Usage as it is stored and told: tokens by kind."""
    used = {"input": usage.input, "output": usage.output, "cached": usage.cached, "reasoning": usage.reasoning}
    return to_json(used).decode()


def error_json(error: TollhouseError) -> str:
    """A failure as it is stored: safe to show."""
    return json.dumps({"code": error.http_code, "status": error.http_status, "detail": error.detail})


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
