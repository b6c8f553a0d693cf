"""An agent's Markdown as HTML that can do no harm, whatever its size and shape.

Two walls: the parser escapes raw HTML and knows no dangerous address, and what it makes passes an allow-list. Nothing remote is
loaded by looking at a reply: a picture becomes a link, because its address could carry out what was said.

And a budget: a text that is too long, nested too deeply, or would become a page many times its size (a table of a thousand
columns, an address that is referred to a thousand times) is shown as it was written. Nothing of it is lost either way.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping, Sequence
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

from tollhouse_web import links, verbatim, words

log = logging.getLogger(__name__)

LONGEST = 64_000
"""Characters of a text that is rendered: twenty printed pages. The parser takes 3 µs for each, of the worst texts 16."""
DEEPEST = 20
"""Lists in lists in quotes, an item and its list counted each. The parser would leave out what is deeper."""
GROWTH = 16
"""How many times as long as its text a page may be; a table of one-letter cells is 8 times as long."""
ALLOWANCE = 8_192
_TOKEN = 8
"""What a token comes to in characters: a cell is four of them."""
_REL = "noopener noreferrer nofollow ugc"
_FIGURE = Markup(
    '<figure class="code"><figcaption>{} <button class="button plain compact needs-js" type="button" data-copy="">{}</button>'
    '</figcaption><pre tabindex="0"><code>{}</code></pre></figure>\n'
)
_PLAIN = Markup('<pre class="wrap">\n{}</pre>\n')
_HOST = Markup(' <span class="host">(<bdi>{}</bdi>)</span>')
_LINKED_HOST = Markup(' <span class="host">(<a href="{}" target="_blank"><bdi>{}</bdi></a>)</span>')
_TAGS = {
    *("p", "br", "hr", "strong", "em", "s", "a", "ul", "ol", "li", "blockquote", "h3", "h4", "h5", "h6", "pre", "code"),
    *("table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "button", "span", "bdi"),
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
    "span": {"host", "formula"},
    "pre": {"wrap", "formula"},
}


class _TooMuch(Exception):
    """The text would become more than is shown, or is nested too deeply."""


class _Budget:
    """What is left of the characters that a page may have."""

    def __init__(self, text: str) -> None:
        self.left = len(text) * GROWTH + ALLOWANCE

    def spend(self, characters: int) -> None:
        self.left -= characters
        if self.left < 0:
            raise _TooMuch()


class _Tokens(list[Token]):
    """What the parser finds, counted while it finds it."""

    def __init__(self, budget: _Budget) -> None:
        self._budget = budget

    def append(self, token: Token) -> None:
        self._budget.spend(_TOKEN)
        if token.level >= DEEPEST - 1:
            raise _TooMuch()
        super().append(token)


def to_html(text: str) -> Markup:
    """``text`` rendered and sanitised; as it was written where it is too much for that. Takes a second at most: in a thread."""
    if len(text) > LONGEST:
        return plain(text)
    try:
        html = _PARSER.render(text, {"budget": _Budget(text)})
    except (_TooMuch, RecursionError):
        return plain(text)
    except Exception:  # a fault of the parser's is no reason to keep a paid answer from its reader
        log.exception("a text of %d characters cannot be rendered as Markdown", len(text))
        return plain(text)
    safe = nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes=_CLASSES,
        url_schemes={"http", "https", "mailto"},
        link_rel=_REL,
    )
    return Markup(safe)  # noqa: S704


def plain(text: str) -> Markup:
    """``text`` as it was written."""
    return _PLAIN.format(text)


Env = MutableMapping[str, Any]


def _find_blocks(state: Any) -> None:
    state.tokens = _Tokens(state.env["budget"])
    state.md.block.parse(state.src, state.md, state.env, state.tokens)


def _find_inlines(state: Any) -> None:
    for token in state.tokens:
        if token.type == "inline":
            token.children = _Tokens(state.env["budget"])
            state.md.inline.parse(token.content, state.md, state.env, token.children)


def _fence(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Env) -> str:
    """Code with its language and a copy button."""
    token = tokens[index]
    language = token.info.strip().split(maxsplit=1)[0] if token.info.strip() else words.CODE
    return str(_FIGURE.format(language, words.COPY, token.content.rstrip("\n")))


def _link(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Env) -> str:
    token = tokens[index]
    env["budget"].spend(sum(len(str(value)) for value in token.attrs.values()))  # as often as it is referred to
    token.attrSet("target", "_blank")
    return self.renderToken(tokens, index, options, env)


def _host(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Env) -> str:
    """Where the link before leads; or the link itself, where that is only a text."""
    token = tokens[index]
    href = str(token.meta["href"])
    env["budget"].spend(len(href) + len(token.content))
    return str(_LINKED_HOST.format(href, token.content) if href else _HOST.format(token.content))


def _heading(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Env) -> str:
    """The page owns h1 and h2."""
    token = tokens[index]
    token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
    return self.renderToken(tokens, index, options, env)


def _cell(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Env) -> str:
    """Columns to the right are numbers; the policy permits no inline style."""
    token = tokens[index]
    align = token.attrs.pop("style", "")
    if align == "text-align:right":
        token.attrSet("class", "num")
    return self.renderToken(tokens, index, options, env)


def _formula(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Env) -> str:
    return f'<span class="formula">{escape(tokens[index].content)}</span>'


def _formula_block(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Env) -> str:
    return f'<pre class="formula">\n{escape(tokens[index].content)}</pre>\n'


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": DEEPEST}).enable(["table", "strikethrough"])
    parser.core.ruler.at("block", _find_blocks)
    parser.core.ruler.at("inline", _find_inlines)
    parser.core.ruler.push("links", links.dress)
    verbatim.keep(parser)
    for name, rule in (
        ("fence", _fence),
        ("code_block", _fence),
        ("host", _host),
        ("link_open", _link),
        ("th_open", _cell),
        ("td_open", _cell),
        ("heading_open", _heading),
        ("heading_close", _heading),
        ("formula", _formula),
        ("formula_block", _formula_block),
    ):
        parser.add_render_rule(name, rule)
    return parser


_PARSER = _parser()
