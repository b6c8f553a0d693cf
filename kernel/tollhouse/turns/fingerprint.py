"""What makes two requests the same: a digest of everything that decides the answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from tollhouse.plugin.content import Media, Message, Part
from tollhouse.plugin.ports import TurnRequest


def body_hash(request: TurnRequest, parts: Sequence[Part]) -> bytes:
    """SHA-256 over the canonical form of the request, without its idempotency key.

    ``parts`` have the bytes that are here: a file that was uploaded again under another id is still the same file. A remote
    picture is its address.
    """
    body = {
        "agent": request.agent,
        "conversation": request.conversation,
        "parts": [_part(part) for part in parts],
        "history": [_message(message) for message in request.history],
        "parameters": dict(request.parameters),
        "store": request.store,
        **{name: request.metadata[name] for name in ("test", "version") if name in request.metadata},
    }
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).digest()


def _message(message: Message) -> list[Any]:
    return [message.role, [_part(part) for part in message.parts]]


def _part(part: Part) -> list[Any]:
    if not isinstance(part, Media):
        return ["text", part.text]
    if part.data is not None:
        return [part.type, part.media_type, hashlib.sha256(part.data).hexdigest()]
    return [part.type, part.media_type, part.file_id, part.url]
