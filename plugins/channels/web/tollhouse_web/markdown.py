"""An agent's Markdown as HTML that can do no harm.

Two walls: the parser escapes raw HTML and knows no dangerous address, and what it makes passes an allow-list. Nothing remote is
loaded by looking at a reply: a picture becomes a link, because its address could carry out what was said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

from tollhouse_web import words

_URL = re.compile(r"https?://[^\s<>\"'`\\|{}^\[\]]+")
_REL = "noopener noreferrer nofollow ugc"
_FIGURE = Markup(
    '<figure class="code"><figcaption>{} <button class="button plain compact needs-js" type="button" data-copy="">{}</button>'
    '</figcaption><pre tabindex="0"><code>{}</code></pre></figure>\n'
)
_TAGS = {
    *("p", "br", "hr", "strong", "em", "s", "a", "ul", "ol", "li", "blockquote", "h3", "h4", "h5", "h6", "pre", "code"),
    *("table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "button"),
}
_ATTRIBUTES = {
    "a": {"href", "title", "target"},
    "ol": {"start"},
    "pre": {"tabindex"},
    "button": {"type", "data-copy"},
}
_CLASSES = {
    "figure": {"code"},
    "button": {"button", "plain", "compact", "needs-js"},
    "th": {"num"},
    "td": {"num"},
}


def to_html(text: str) -> Markup:
    """``text`` rendered and sanitised."""
    html = _PARSER.render(text)
    safe = nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes=_CLASSES,
        url_schemes={"http", "https", "mailto"},
        link_rel=_REL,
    )
    return Markup(safe)  # noqa: S704


def _fence(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
    """Code with its language and a copy button."""
    token = tokens[index]
    language = token.info.strip().split(maxsplit=1)[0] if token.info.strip() else words.CODE
    return str(_FIGURE.format(language, words.COPY, token.content.rstrip("\n")))


def _image(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
    """A remote picture is a link that says where it leads."""
    token = tokens[index]
    address = str(token.attrGet("src") or "")
    if not address.lower().startswith(("http://", "https://")):
        return str(escape(token.content))
    return str(Markup('<a href="{}" target="_blank">{}</a>').format(address, words.picture_link(token.content, address)))


def _link(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
    tokens[index].attrSet("target", "_blank")
    return self.renderToken(tokens, index, options, env)


def _heading(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
    """The page owns h1 and h2."""
    token = tokens[index]
    token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
    return self.renderToken(tokens, index, options, env)


def _cell(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: MutableMapping[str, Any]) -> str:
    """Columns to the right are numbers; the policy permits no inline style."""
    token = tokens[index]
    align = token.attrs.pop("style", "")
    if align == "text-align:right":
        token.attrSet("class", "num")
    return self.renderToken(tokens, index, options, env)


def _link_bare_urls(state: Any) -> None:
    """Addresses that a model wrote without markup, outside of links, become links."""
    for block in state.tokens:
        if block.type == "inline" and block.children and "://" in block.content:
            block.children = list(_linked(block.children))


def _linked(children: Sequence[Token]) -> Iterator[Token]:
    depth = 0
    for token in children:
        depth += {"link_open": 1, "link_close": -1}.get(token.type, 0)
        if token.type != "text" or depth:
            yield token
            continue
        at = 0
        for match in _URL.finditer(token.content):
            url = _trimmed(match.group())
            yield Token("text", "", 0, content=token.content[at : match.start()])
            yield Token("link_open", "a", 1, attrs={"href": url})
            yield Token("text", "", 0, content=url)
            yield Token("link_close", "a", -1)
            at = match.start() + len(url)
        yield Token("text", "", 0, content=token.content[at:])


def _trimmed(url: str) -> str:
    """Without the punctuation of the sentence around it."""
    while url[-1] in ".,;:!?*_~" or (url[-1] == ")" and url.count(")") > url.count("(")):
        url = url[:-1]
    return url


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    parser.core.ruler.push("bare_urls", _link_bare_urls)
    for name, rule in (
        ("fence", _fence),
        ("code_block", _fence),
        ("image", _image),
        ("link_open", _link),
        ("th_open", _cell),
        ("td_open", _cell),
        ("heading_open", _heading),
        ("heading_close", _heading),
    ):
        parser.add_render_rule(name, rule)
    return parser


_PARSER = _parser()
