"""What is said: parts of a message, in both directions.

A part is one piece of content. Bytes travel in memory between gateway, runtime and backend; between processes and at rest
they are a file (:class:`FileRef`), so that no database row holds a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Modality = Literal["text", "image", "audio", "file"]
MAX_NAME = 80
MODALITIES: tuple[Modality, ...] = ("text", "image", "audio", "file")


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text or Markdown, as the model wrote it."""

    text: str
    type: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class Media:
    """A picture, a sound or a document.

    ``type`` was decided from the content, never from a name. Exactly one of ``data`` (bytes in memory), ``file_id``
    (stored by us) or ``url`` (remote; fetched under the outbound rules before anything else sees it) is set.
    """

    type: Literal["image", "audio", "file"]
    media_type: str
    data: bytes | None = None
    file_id: str | None = None
    url: str | None = None
    name: str | None = None
    size: int = 0


Part = Text | Media


def file_as_text(media: Media) -> Text | None:
    """A file of text as what it says, under its name, for whom takes no files; None for every other part."""
    if media.type != "file" or not media.media_type.startswith("text/") or media.data is None:
        return None
    name = " ".join("".join(char if char.isprintable() else " " for char in (media.name or "file")[: 4 * MAX_NAME]).split())[
        :MAX_NAME
    ]
    return Text(f"[{name}]\n{media.data.decode('utf-8-sig', 'replace')}")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation. ``role``: ``user``, ``assistant``, or ``system`` (ranks below the agent's own)."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """All text parts, joined by newlines."""
        return "\n".join(part.text for part in self.parts if isinstance(part, Text))


@dataclass(frozen=True, slots=True)
class FileRef:
    """A stored file. ``size`` in bytes; ``sha256`` in hex; ``width``/``height`` in pixels for pictures."""

    id: str
    name: str
    type: Literal["image", "audio", "file"]
    media_type: str
    size: int
    sha256: str
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What the agent answered. ``finish``: why it ended (``stop``, ``length``, ``content_filter``)."""

    parts: tuple[Part, ...]
    finish: str = "stop"

    @property
    def text(self) -> str:
        """All text parts, joined by newlines."""
        return "\n".join(part.text for part in self.parts if isinstance(part, Text))


def part_to_json(part: Part) -> dict[str, Any]:
    """The stored and public form of a part; in-memory bytes are not part of it."""
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    out: dict[str, Any] = {"type": part.type, "media_type": part.media_type, "size": part.size}
    for key in ("file_id", "name", "url"):
        if (value := getattr(part, key)) is not None:
            out[key] = value
    return out


def part_from_json(raw: dict[str, Any]) -> Part:
    """The inverse of :func:`part_to_json`."""
    if raw["type"] == "text":
        return Text(raw["text"])
    return Media(
        type=raw["type"],
        media_type=raw["media_type"],
        file_id=raw.get("file_id"),
        url=raw.get("url"),
        name=raw.get("name"),
        size=raw.get("size", 0),
    )
