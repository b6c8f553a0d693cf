"""From OpenAI's request to ours. Fields that we do not know are ignored, and that is told; those we know and cannot do are
refused."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tollhouse.plugin import FieldError, InvalidInput, Media, Message, Part, Text, TurnRequest, decode_base64
from tollhouse_api.errors import BadRequest, malformed, unsupported

DATA_URL: Final = re.compile(r"data:([A-Za-z0-9.+/-]{1,100})?(?:;[A-Za-z0-9.=\"-]{1,100}){0,9};base64,", re.ASCII)
PASSED_ON: Final = frozenset(
    {
        "temperature",
        "top_p",
        "stop",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "response_format",
        "reasoning_effort",
    }
)
AUDIO_TYPES: Final = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "opus": "audio/ogg", "ogg": "audio/ogg"}
WITHOUT_EFFECT: Final = frozenset(
    {"user", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"}
)
"""What OpenAI's clients send for OpenAI's own books: no answer would be another one."""
KNOWN_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,59}", re.ASCII)
MAX_NAMED: Final = 20
MAX_MESSAGES: Final = 2_000
MAX_EXTERNAL_ID: Final = 255


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class ImageUrl(BaseModel):
    url: str


class ImagePart(BaseModel):
    type: Literal["image_url"]
    image_url: ImageUrl


class InputAudio(BaseModel):
    data: str
    format: str = Field(max_length=10)


class AudioPart(BaseModel):
    type: Literal["input_audio"]
    input_audio: InputAudio


class FileData(BaseModel):
    file_data: str | None = None
    file_id: str | None = Field(None, max_length=64)
    filename: str | None = Field(None, max_length=255)


class FilePart(BaseModel):
    type: Literal["file"]
    file: FileData


class RefusalPart(BaseModel):
    type: Literal["refusal"]
    refusal: str


ContentPart = Annotated[TextPart | ImagePart | AudioPart | FilePart | RefusalPart, Field(discriminator="type")]


class ChatMessage(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None


class StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of ``POST /v1/chat/completions``."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(min_length=1, max_length=200)
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = Field(None, ge=1, le=10_000_000)
    max_completion_tokens: int | None = Field(None, ge=1, le=10_000_000)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    stop: str | list[str] | None = Field(None, max_length=1_000)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    reasoning_effort: str | None = Field(None, max_length=20)
    response_format: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    logprobs: bool | None = None
    audio: Any = None
    modalities: list[str] | None = None
    channel: Any = None

    @property
    def with_usage(self) -> bool:
        """Whether the stream ends with a usage chunk."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def ignored(self) -> list[str]:
        """Fields with a value that nothing here reads, as far as they are names that can be repeated."""
        named = [name for name, value in (self.model_extra or {}).items() if value not in (None, False, [], {})]
        return sorted(name for name in named if KNOWN_NAME.fullmatch(name) and name not in WITHOUT_EFFECT)[:MAX_NAMED]


def parse(body: bytes) -> ChatRequest:
    """Read and check the body.

    Raises:
        BadRequest: it is malformed.
        Unsupported: it asks for what agents do not do.
    """
    try:
        return _possible(ChatRequest.model_validate_json(body))
    except ValidationError as error:
        raise malformed(error, lambda: json.loads(body)) from None


def check(document: Any) -> ChatRequest:
    """The same for a body that was read already."""
    try:
        return _possible(ChatRequest.model_validate(document))
    except ValidationError as error:
        raise malformed(error, lambda: document) from None


def lighten(request: ChatRequest) -> None:
    """Let go of the text of media, which may be large: what they are was decoded, and a model takes its time."""
    for message in request.messages:
        for part in message.content if isinstance(message.content, list) else ():
            if isinstance(part, ImagePart):
                part.image_url.url = ""
            elif isinstance(part, AudioPart):
                part.input_audio.data = ""
            elif isinstance(part, FilePart):
                part.file.file_data = None


def _possible(request: ChatRequest) -> ChatRequest:
    if request.n is not None and request.n != 1:
        raise unsupported("n", "One reply for each request: 'n' can only be 1")
    for name in ("tools", "functions", "logprobs", "audio"):
        if getattr(request, name):
            raise unsupported(name)
    if request.channel is not None:
        raise unsupported("channel", "The channel follows from the credential; nothing can name another one")
    if request.modalities and request.modalities != ["text"]:
        raise unsupported("modalities")
    return request


def to_turn(request: ChatRequest, idempotency_key: str | None, conversation: str | None) -> TurnRequest:
    """The turn that is asked for: the last message is what the user says now, the rest is history."""
    conversation = conversation or (request.metadata or {}).get("conversation_id")
    last = _last(request)
    if last < 0 or any(message.role == "assistant" for message in request.messages[last:]):
        raise BadRequest("The last message must be the user's", param="messages")
    history = tuple(_message(i, request.messages[i]) for i in _history(request, conversation))
    return TurnRequest(
        agent=request.model,
        parts=_parts(last, request.messages[last]),
        conversation=conversation,
        external_id=external_id(idempotency_key),
        history=history,
        parameters=_parameters(request),
        store=conversation is not None,
    )


def point_into(request: ChatRequest, turn: TurnRequest, error: InvalidInput) -> None:
    """What the kernel says of a turn's parts and parameters, said of the message and fields that they came from."""
    places = [_place(request, turn, one.pointer[2:].split("/")) for one in error.errors]
    error.errors = tuple(FieldError(f"#/{place}", one.detail) for place, one in zip(places, error.errors, strict=True))


def _place(request: ChatRequest, turn: TurnRequest, steps: list[str]) -> str:
    name, *rest = steps
    index = _last(request)
    if name == "history" and len(rest) > 1:
        index, name, rest = _history(request, turn.conversation)[int(rest[0])], rest[1], rest[2:]
    if name in ("max_tokens", "max_completion_tokens"):
        return "max_tokens" if request.max_tokens is not None else "max_completion_tokens"
    if name != "parts":
        return "/".join(steps)
    content = f"messages/{index}/content"
    said = request.messages[index].content
    if not rest or not isinstance(said, list):
        return content
    where = f"{content}/{rest[0]}"
    if rest[1:] == ["file_id"]:
        return f"{where}/file/file_id"
    return f"{where}/{rest[1]}" if rest[1:] in (["type"], ["text"]) else where


def _history(request: ChatRequest, conversation: str | None) -> list[int]:
    """Which messages were said before. In a conversation we hold what was said; the client's own copy would say it twice."""
    last = _last(request)
    said = ("user", "assistant") if conversation is not None else ()
    return [i for i, message in enumerate(request.messages) if i != last and message.role not in said]


def _last(request: ChatRequest) -> int:
    """Which message the user says now; -1 if there is none."""
    last = len(request.messages) - 1
    while last >= 0 and request.messages[last].role != "user":
        last -= 1
    return last


def external_id(header: str | None) -> str | None:
    """``Idempotency-Key``: a structured string, or the same without quotes."""
    if header is None:
        return None
    key = header.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not key or len(key) > MAX_EXTERNAL_ID or not key.isprintable():
        raise BadRequest(f"Idempotency-Key is 1 to {MAX_EXTERNAL_ID} printable characters", param="Idempotency-Key")
    return key


def _parameters(request: ChatRequest) -> dict[str, Any]:
    sent = request.model_fields_set & PASSED_ON
    wishes = {name: value for name in sent if (value := getattr(request, name)) is not None}
    bounds = [bound for bound in (request.max_tokens, request.max_completion_tokens) if bound is not None]
    if bounds:
        wishes["max_tokens"] = min(bounds)
    return wishes


def _message(index: int, message: ChatMessage) -> Message:
    if message.role in ("tool", "function"):
        raise unsupported(f"messages.{index}.role", "Messages of tools are not supported here")
    role: Literal["system", "user", "assistant"]
    role = "user" if message.role == "user" else "assistant" if message.role == "assistant" else "system"
    return Message(role, _parts(index, message))


def _parts(index: int, message: ChatMessage) -> tuple[Part, ...]:
    if message.content is None:
        return ()
    if isinstance(message.content, str):
        return (Text(message.content),)
    return tuple(_part(f"messages.{index}.content.{i}", part) for i, part in enumerate(message.content))


def _part(where: str, part: TextPart | ImagePart | AudioPart | FilePart | RefusalPart) -> Part:
    if isinstance(part, TextPart):
        return Text(part.text)
    if isinstance(part, RefusalPart):
        return Text(part.refusal)
    if isinstance(part, ImagePart):
        return _image(f"{where}.image_url.url", part.image_url.url)
    if isinstance(part, AudioPart):
        kind = AUDIO_TYPES.get(part.input_audio.format.lower(), "application/octet-stream")
        data = _decode(f"{where}.input_audio.data", part.input_audio.data)
        return Media("audio", kind, data=data, size=len(data))
    return _file(f"{where}.file", part.file)


def _image(where: str, url: str) -> Media:
    if url.startswith("data:"):
        kind, data = _data_url(where, url)
        return Media("image", kind, data=data, size=len(data))
    if not url.startswith("https://") or len(url) > 2_000:
        raise BadRequest("A picture is a data: URL with base64, or an https:// address", param=where)
    return Media("image", "image/*", url=url)


def _file(where: str, file: FileData) -> Media:
    if file.file_id is not None:
        return Media("file", "application/octet-stream", file_id=file.file_id, name=file.filename)
    if file.file_data is None:
        raise BadRequest("A file needs file_data or file_id", param=where)
    if file.file_data.startswith("data:"):
        kind, data = _data_url(f"{where}.file_data", file.file_data)
    else:
        kind, data = "application/octet-stream", _decode(f"{where}.file_data", file.file_data)
    return Media("file", kind, data=data, name=file.filename, size=len(data))


def _data_url(where: str, url: str) -> tuple[str, bytes]:
    match = DATA_URL.match(url)
    if match is None:
        raise BadRequest("A data: URL must be base64 and name its type, as in data:image/png;base64,…", param=where)
    return match[1] or "application/octet-stream", _decode(where, url[match.end() :])


def _decode(where: str, text: str) -> bytes:
    try:
        data = decode_base64(text)
    except ValueError:
        raise BadRequest("This is not valid base64", param=where) from None
    if not data:
        raise BadRequest("There is nothing in it", param=where)
    return data
