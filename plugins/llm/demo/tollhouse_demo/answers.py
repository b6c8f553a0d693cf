"""What the demo says: a guide to Tollhouse for the questions it knows, else a reflection of the message. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tollhouse.plugin import Media, Message
from tollhouse_demo.media import describe

SIGNATURE = "— *the demo model: canned answers, no AI*"

_TOPICS: Sequence[tuple[tuple[str, ...], str]] = (
    (
        ("real model", "connect a model", "openai", "api key", "model key", "litellm", "claude", "gemini", "gpt"),
        "To connect a **real model**, an admin does three things in the console:\n\n"
        "1. **Connections → New connection → OpenAI-compatible**: enter the base URL and the API key, press *Test*.\n"
        "2. **Agents → this agent → New version**: choose the connection and one of its models.\n"
        "3. **Activate** the version. The next message is answered by that model; going back is one click.",
    ),
    (
        ("plan", "price", "pricing", "subscribe", "subscription", "upgrade", "pay"),
        "A **plan** says which agents you may talk to, on which channels, how much, and for what price. You see the plans on "
        "offer, and your own, on the **Plans** page; subscribing there takes effect with your next message.",
    ),
    (
        ("limit", "allowance", "how much", "usage", "quota", "credit", "left"),
        "**Limits** belong to your plan: messages, tokens or cost per minute, hour, day, month or period. They are set aside "
        "*before* a model is asked and settled after, so they hold exactly, on all channels together. What you used, what is "
        "left and when it comes back is on the **Usage** page.",
    ),
    (
        ("channel", "telegram", "whatsapp", "mobile", "phone"),
        "You have **one account and one allowance on every channel**: this page, the phone, Telegram, WhatsApp and the API, "
        "as far as they are installed and your plan includes them.",
    ),
    (
        ("who are you", "what are you", "are you real", "are you an ai", "are you human", "your name"),
        "I am the **demo model** that comes with Tollhouse. I run offline, I always give the same answer to the same message, "
        "and I do not understand anything: I look for a few words and otherwise repeat what you wrote.",
    ),
    (
        ("what can you do", "what do you do", "help", "how does this work", "what is tollhouse", "what is this"),
        "I show that everything around a model works, without one. Try to:\n\n"
        "- ask about **plans**, **limits**, **channels**, or how to connect a **real model**;\n"
        "- send a **picture, sound or file**: I tell you what arrived;\n"
        "- write `/slow 3`, `/fail timeout`, `/usage missing`, `/length 500`, `/echo text` or `/json` and see what happens.",
    ),
    (
        ("hello", "hi", "hey", "good morning", "good evening"),
        "Hello! Ask me *what can you do*, or write anything: I will repeat it.",
    ),
)

_FILLER = tuple(
    "this is a long demo text with as many toks as you have told me to make so that you can see how it ends".split()  # noqa: SIM905
)


def answer(text: str, media: Sequence[Media], history: Sequence[Message]) -> str:
    """The reply to one message in Markdown, given what was said before (oldest first, without this message)."""
    known = _topic(text)
    paragraphs = [known] if known else []
    if media:
        paragraphs.append("I received:\n\n" + "\n".join(f"- {describe(item)}" for item in media))
    if text.strip() and not known:
        paragraphs.append("You wrote:\n\n" + "\n".join(f"> {line}".rstrip() for line in text.strip().splitlines()))
    if not paragraphs:
        paragraphs.append("Your message was empty, so there is nothing I could repeat.")
    if earlier := _earlier(history):
        paragraphs.append(earlier)
    return "\n\n".join([*paragraphs, SIGNATURE])


def _topic(text: str) -> str | None:
    """The canned answer whose words occur in a short question; a longer text is not a question for the guide."""
    if len(text) > 200:
        return None
    words = f" {''.join(c if c.isalnum() else ' ' for c in text.lower())} "
    padded = " ".join(words.split())
    for keys, reply in _TOPICS:
        if any(f" {key} " in f" {padded} " or f" {key}s " in f" {padded} " for key in keys):
            return reply
    return None


def _earlier(history: Sequence[Message]) -> str | None:
    asked = [message.text.strip() for message in history if message.role == "user"]
    if not asked:
        return None
    last = " ".join(asked[-1].split()) or "something without words"
    quoted = last if len(last) <= 80 else last[:79] + "…"
    count = "once" if len(asked) == 1 else f"{len(asked)} times"
    return f"Earlier you asked “{quoted}” (you wrote {count} before in this conversation)."


def filler(tokens: int) -> str:
    """A text of exactly ``tokens`` tokens: every word has at most four letters."""
    return " ".join(_FILLER[i % len(_FILLER)] for i in range(tokens))


def as_json(text: str, media: Sequence[Media], parameters: Mapping[str, Any]) -> str:
    """A JSON reply: an example of the schema in ``response_format`` if there is one, else a report of the message."""
    wanted = parameters.get("response_format")
    wrapper = wanted.get("json_schema") if isinstance(wanted, Mapping) else None
    schema = wrapper.get("schema") if isinstance(wrapper, Mapping) else None
    if isinstance(schema, Mapping):
        value = _example(schema, text, 8)
    else:
        value = {"demo": True, "message": text, "received": [describe(item) for item in media]}
    return json.dumps(value, ensure_ascii=False)


def wants_json(parameters: Mapping[str, Any]) -> bool:
    """Whether ``response_format`` asks for JSON."""
    wanted = parameters.get("response_format")
    return isinstance(wanted, Mapping) and wanted.get("type") in ("json_object", "json_schema")


def _example(schema: Mapping[str, Any], text: str, depth: int) -> Any:
    """A small value that fits the common keywords of JSON Schema (type, properties, items, enum, const, minimum)."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        return {name: _example(sub, text, depth - 1) for name, sub in properties.items()} if depth > 0 else {}
    if kind == "array":
        items = schema.get("items")
        return [_example(items, text, depth - 1)] if isinstance(items, Mapping) and depth > 0 else []
    if kind in ("integer", "number"):
        return schema.get("minimum", 1)
    return {"string": text or "demo", "boolean": True}.get(str(kind))
