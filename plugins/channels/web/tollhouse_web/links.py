"""Where the links of a reply lead, said beside them: a reader sees the host before clicking, and no text claims another one.

A link whose text begins with its own host stays as it is. Else the host stands behind it; where the text looks like an address
itself, the text is no link any more, and the host behind it is. What leads to no host (a path, an unknown scheme) is text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from markdown_it.common.normalize_url import normalizeLink
from markdown_it.token import Token

from tollhouse_web import words

_URL = re.compile(r"https?://[^\s<>\"'`\\|{}^\[\]]+")
_ADDRESS = re.compile(r"[^\s.。][.。](?=[^\s\d.。])|://|@")
"""Something that a reader takes for a host: a dot between letters."""
_LONGEST = 60


def dress(state: Any) -> None:
    """A rule of the parser, after all others: bare addresses become links, and every link says where it leads."""
    for block in state.tokens:
        if block.type == "inline" and block.children:
            block.children = list(_dressed(block.children))


def _dressed(children: Sequence[Token]) -> Iterator[Token]:
    place = 0
    while place < len(children):
        token = children[place]
        place += 1
        if token.type == "text" and "://" in token.content:
            yield from _bare(token.content)
        elif token.type == "image":
            yield from _link(str(token.attrGet("src") or ""), [_text(token.content or words.PICTURE)])
        elif token.type == "link_open":
            end = next(at for at in range(place, len(children)) if children[at].type == "link_close")
            inside = [_text(one.content) if one.type == "image" else one for one in children[place:end]]
            yield from _link(str(token.attrGet("href") or ""), inside, title=str(token.attrGet("title") or ""))
            place = end + 1
        else:
            yield token


def _bare(text: str) -> Iterator[Token]:
    """Addresses that a model wrote without markup."""
    at = 0
    for match in _URL.finditer(text):
        url = _trimmed(match.group())
        yield _text(text[at : match.start()])
        yield from _link(normalizeLink(url), [_text(url)])
        at = match.start() + len(url)
    yield _text(text[at:])


def _trimmed(url: str) -> str:
    """Without the punctuation of the sentence around it."""
    end, surplus = len(url), url.count(")") - url.count("(")
    while url[end - 1] in ".,;:!?*_~)":
        if url[end - 1] == ")":
            if surplus <= 0:
                break
            surplus -= 1
        end -= 1
    return url[:end]


def _link(href: str, inside: Sequence[Token], title: str = "") -> Iterator[Token]:
    host = host_of(href)
    said = "".join(" " if token.type in ("softbreak", "hardbreak") else token.content for token in inside)
    if host is None:
        yield from inside
        if href and href not in said:
            yield _text(f" ({href})")
    elif not said.strip():
        yield from _open(href, [_text(host)])
    elif _names(said, host):
        yield from _open(href, inside, title)
    elif _ADDRESS.search(_seen(said)):
        yield from inside
        yield _host(host, href)
    else:
        yield from _open(href, inside, title)
        yield _host(host)


def _open(href: str, inside: Sequence[Token], title: str = "") -> Iterator[Token]:
    attrs: dict[str, str | int | float] = {"href": href, "title": title} if title else {"href": href}
    yield Token("link_open", "a", 1, attrs=attrs)
    yield from inside
    yield Token("link_close", "a", -1)


def host_of(href: str) -> str | None:
    """Where an address leads, as a browser goes there: the host with its port, or a mail address; None if to neither."""
    try:
        parts = urlsplit(href)
    except ValueError:
        return None
    if parts.scheme == "mailto":
        return unquote(parts.path).lower() or None
    host = unquote(parts.netloc.rpartition("@")[2]).lower()
    return host if parts.scheme in ("http", "https") and host else None


def _names(said: str, host: str) -> bool:
    """Whether a text begins with the host that its link leads to."""
    text = said.strip().lower()
    text = re.sub(r"^(?:https?://|mailto:)", "", text)
    return text.startswith(host) and text[len(host) : len(host) + 1] in ("", "/", "?", "#")


def _seen(text: str) -> str:
    """What a text looks like: without characters that nobody sees, and with every dot a dot."""
    return "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _host(host: str, href: str = "") -> Token:
    shown = host if len(host) <= _LONGEST else f"…{host[1 - _LONGEST :]}"  # its end is what tells
    return Token("host", "", 0, content=shown, meta={"href": href})
