"""Shapes of the public API around talking: parts, turns, conversations, files."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from tollhouse.plugin.base64 import decode_base64
from tollhouse.plugin.content import Media, Part, Text, part_to_json
from tollhouse.plugin.errors import FieldError, InvalidInput
from tollhouse.plugin.ports import StoredMessage, TurnRequest, TurnResult
from tollhouse.routes import vocabulary as v
from tollhouse.routes.common import Input, View
from tollhouse.routes.vocabulary import example


class TextPart(Input):
    model_config = example(text="What can you do?")
    type: Literal["text"]
    text: str = Field(max_length=2_000_000)


class MediaPart(Input):
    """A picture, sound or file: uploaded before (``file_id``), inside (``data``, base64), or at an https address (``url``)."""

    model_config = example(type="image", file_id=v.FILE)
    type: Literal["image", "audio", "file"]
    file_id: str | None = Field(None, max_length=64)
    data: str | None = None
    url: str | None = Field(None, max_length=2000, pattern="^https://")
    media_type: str | None = Field(None, max_length=100)
    name: str | None = Field(None, max_length=255)


InputPart = Annotated[TextPart | MediaPart, Field(discriminator="type")]


class CreateTurn(Input):
    model_config = example(agent="guide", parts=[{"type": "text", "text": "What can you do?"}])
    agent: str = Field(min_length=1, max_length=200, description="Short name or id.")
    conversation: str | None = Field(None, max_length=64, description="Go on with this one; else a new one begins.")
    parts: list[InputPart] = Field(min_length=1, max_length=50)
    parameters: dict[str, Any] = Field(default_factory=dict, max_length=30)
    metadata: dict[str, Any] = Field(default_factory=dict, max_length=50)

    def request(self, external_id: str | None) -> TurnRequest:
        """As the Turns port takes it. It takes its time where media are inside, and leaves none of their text behind."""
        request = TurnRequest(
            agent=self.agent,
            parts=tuple(_part(i, part) for i, part in enumerate(self.parts)),
            conversation=self.conversation,
            external_id=external_id,
            parameters=self.parameters,
            metadata=self.metadata,
        )
        for part in self.parts:
            if isinstance(part, MediaPart):
                part.data = None
        return request


def _part(index: int, part: TextPart | MediaPart) -> Part:
    if isinstance(part, TextPart):
        return Text(part.text)
    pointer = f"#/parts/{index}"
    if sum(value is not None for value in (part.file_id, part.data, part.url)) != 1:
        raise InvalidInput("Give one of file_id, data and url", errors=[FieldError(pointer, "one of file_id, data and url")])
    data = _decoded(pointer, part.data) if part.data is not None else None
    media_type = part.media_type or ("image/*" if part.type == "image" else "application/octet-stream")
    return Media(part.type, media_type, data, part.file_id, part.url, part.name, len(data or b""))


def _decoded(pointer: str, text: str) -> bytes:
    try:
        data = decode_base64(text)
    except ValueError:
        data = b""
    if not data:
        raise InvalidInput("data is not base64", errors=[FieldError(f"{pointer}/data", "not base64, or empty")])
    return data


class TokenCount(View):
    """What the provider reported; null where it did not say."""

    model_config = example(input_tokens=12, output_tokens=7, total_tokens=19, cached_tokens=None, reasoning_tokens=None)
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None


class Reply(View):
    model_config = example(parts=[{"type": "text", "text": "I answer questions about Acme."}], finish="stop")
    parts: list[dict[str, Any]]
    finish: str


class Turn(View):
    """A turn and what came of it."""

    model_config = example(
        id=v.TURN,
        state="done",
        version=3,
        created_at=v.NOW,
        reply={"parts": [{"type": "text", "text": "I answer questions about Acme."}], "finish": "stop"},
        error=None,
    )
    id: str
    conversation_id: str | None
    state: Literal["running", "done", "failed", "denied"]
    agent: str
    version: int | None
    channel: str
    model: str | None
    created_at: datetime
    reply: Reply | None
    usage: TokenCount | None
    error: dict[str, Any] | None
    warnings: list[str] = Field(
        description="Soft limits that were used up, and what of the request was ignored, cut or moved. The turn ran."
    )

    @classmethod
    def of(cls, result: TurnResult) -> Turn:
        """From the port's result."""
        used = result.usage
        reply = result.reply
        return cls(
            id=result.id,
            conversation_id=result.conversation_id,
            state=result.state,
            agent=result.agent,
            version=result.version,
            channel=result.channel,
            model=result.model,
            created_at=result.created_at,
            reply=Reply(parts=[part_to_json(part) for part in reply.parts], finish=reply.finish) if reply else None,
            usage=TokenCount(
                input_tokens=used.input,
                output_tokens=used.output,
                total_tokens=used.total,
                cached_tokens=used.cached,
                reasoning_tokens=used.reasoning,
            )
            if used
            else None,
            error=dict(result.error) if result.error else None,
            warnings=list(result.warnings),
        )


class StartConversation(Input):
    model_config = example(agent="guide")
    agent: str = Field(min_length=1, max_length=200)
    title: str = Field("", max_length=200)


class RenameConversation(Input):
    model_config = example(title="About Acme")
    title: str = Field(min_length=1, max_length=200)


class Conversation(View):
    model_config = example(id=v.CONVERSATION, title="What can you do?")
    id: str
    agent: str
    agent_name: str
    title: str
    channel: str
    created_at: datetime
    updated_at: datetime


class MessageView(View):
    model_config = example(id=v.MESSAGE, role="user", parts=[{"type": "text", "text": "What can you do?"}])
    id: str
    role: Literal["user", "assistant"]
    parts: list[dict[str, Any]]
    created_at: datetime
    turn_id: str | None

    @classmethod
    def of(cls, message: StoredMessage) -> MessageView:
        """From the port's message."""
        parts = [part_to_json(part) for part in message.parts]
        return cls(id=message.id, role=message.role, parts=parts, created_at=message.created_at, turn_id=message.turn_id)


class File(View):
    """An uploaded file; its type was found from its content."""

    model_config = example(
        id=v.FILE,
        name="cat.png",
        type="image",
        media_type="image/png",
        size=48213,
        sha256="9f86d081" * 8,
        width=640,
        height=480,
    )
    id: str
    name: str
    type: str
    media_type: str
    size: int
    sha256: str
    width: int | None
    height: int | None
