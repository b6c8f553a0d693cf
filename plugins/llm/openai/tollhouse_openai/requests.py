"""From a :class:`~tollhouse.plugin.CompletionRequest` to the JSON of ``POST /chat/completions``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from tollhouse.plugin import BackendRejected, CompletionRequest, Media, Message, Text, encode_base64, file_as_text
from tollhouse_openai.config import OpenAIConfig

_OURS = frozenset(
    {
        "model",
        "messages",
        "n",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "best_of",
    }
)
"""Parameters that nobody may pass: each would change what was set aside for the call, or how its answer looks."""

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
"""Made once: json.dumps with options makes an encoder per call."""

_AUDIO_FORMATS: Mapping[str, str] = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/vnd.wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}


ONLY_WAV = "This agent's model takes sound only as WAV or MP3."
ONLY_PDF = "This agent's model takes only PDF files and files of text."


def body_of(config: OpenAIConfig, request: CompletionRequest) -> bytes:
    """The request's body.

    Raises:
        BackendRejected: a part that this API has no form for, or a parameter that is not JSON.
    """
    media = _Aside()
    body: dict[str, Any] = {key: value for key, value in request.parameters.items() if key not in _OURS}
    body["model"] = request.model
    body["messages"] = [{"role": message.role, "content": _content(message, media)} for message in request.messages]
    body[config.output_limit_name] = request.max_output_tokens
    try:
        return media.put_into(_encode(body))
    except (TypeError, ValueError, RecursionError) as error:
        raise BackendRejected(private=f"the request cannot be written as JSON: {type(error).__name__}") from None


class _Aside:
    """The bytes of media, kept out of what is encoded: base64 needs no escape, and is as large as all the rest is small."""

    def __init__(self) -> None:
        self._mark = token_hex(8)
        self._texts: list[str] = []

    def base64(self, data: bytes) -> str:
        """What stands for these bytes until all is encoded."""
        self._texts.append(encode_base64(data))
        return f"{self._mark}.{len(self._texts) - 1}."

    def put_into(self, encoded: str) -> bytes:
        """The whole."""
        first, *rest = encoded.split(f"{self._mark}.")
        pieces = [first.encode("ascii")]
        for piece in rest:
            index, _, after = piece.partition(".")
            pieces += [self._texts[int(index)].encode("ascii"), after.encode("ascii")]
        return b"".join(pieces)


def _content(message: Message, aside: _Aside) -> str | list[dict[str, Any]]:
    """A lone text as a plain string, which every compatible server takes; else a list of parts."""
    parts = message.parts
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    if not parts:
        return ""
    if message.role != "user":  # system and assistant messages take text only
        return message.text
    return [{"type": "text", "text": part.text} if isinstance(part, Text) else _media(part, aside) for part in parts]


def _media(media: Media, aside: _Aside) -> dict[str, Any]:
    if media.data is None:
        raise BackendRejected(private=f"a part of type {media.type} came without its bytes")
    if media.type == "image":
        return {"type": "image_url", "image_url": {"url": _data_url(media.media_type, aside.base64(media.data))}}
    if media.type == "audio":
        if (kind := _AUDIO_FORMATS.get(media.media_type)) is None:
            raise BackendRejected(ONLY_WAV, private=f"audio of type {media.media_type}")
        return {"type": "input_audio", "input_audio": {"data": aside.base64(media.data), "format": kind}}
    if (text := file_as_text(media)) is not None:
        return {"type": "text", "text": text.text}
    if media.media_type != "application/pdf":
        raise BackendRejected(ONLY_PDF, private=f"a file of type {media.media_type}")
    return {
        "type": "file",
        "file": {"filename": media.name or "document.pdf", "file_data": _data_url(media.media_type, aside.base64(media.data))},
    }


def refusal_of(media: Media) -> str | None:
    """Why a picture, sound or file has no form here; None if it has one."""
    if media.type == "audio" and media.media_type not in _AUDIO_FORMATS:
        return ONLY_WAV
    if media.type == "file" and media.media_type != "application/pdf" and not media.media_type.startswith("text/"):
        return ONLY_PDF
    return None


def _data_url(media_type: str, encoded: str) -> str:
    """RFC 2397."""
    return f"data:{media_type};base64,{encoded}"
