"""A reader sees where a link leads, whatever its text says; and what Markdown would spoil is shown as it was written."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tollhouse_web import markdown

LINK = re.compile(r'<a href="([^"]*)"[^>]*>(.*?)</a>', re.DOTALL)


def links(text: str) -> list[tuple[str, str]]:
    """Text and address of each link."""
    found = LINK.findall(str(markdown.to_html(text)))
    return [(html.unescape(re.sub("<[^>]*>", "", inside)), html.unescape(href)) for href, inside in found]


def seen(text: str) -> str:
    return html.unescape(re.sub("<[^>]*>", "", str(markdown.to_html(text)))).strip()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[the docs](https://docs.example/a)", "the docs (docs.example)"),
        ("[docs.example/a](https://docs.example/a)", "docs.example/a"),
        ("[https://docs.example](https://docs.example/a)", "https://docs.example"),
        ("https://docs.example/a", "https://docs.example/a"),
        ("<https://docs.example/a>", "https://docs.example/a"),
        ("[docs.example.evil](https://docs.example/a)", "docs.example.evil (docs.example)"),
        ("[port](https://docs.example:8443/)", "port (docs.example:8443)"),
        ("[write](mailto:a@b.example?subject=x)", "write (a@b.example)"),
        ("<a@b.example>", "a@b.example"),
        ("![a map](https://maps.example/a.png)", "a map (maps.example)"),
        ("[![a map](https://maps.example/a.png)](https://docs.example)", "a map (docs.example)"),
        ("[](https://docs.example/a)", "docs.example"),
        ("[settings](/account)", "settings (/account)"),
        ("[other](//evil.example/x)", "other (//evil.example/x)"),
        ("[call](tel:123)", "call (tel:123)"),
    ],
)
def test_what_is_shown_of_a_link(text: str, shown: str) -> None:
    assert seen(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "[bank.example](https://evil.example/x)",
        "[https://bank.example/login](https://evil.example/x)",
        "[Log in at bank.example now](https://evil.example/x)",
        "[**bank**.example](https://evil.example/x)",
        "[`bank.example`](https://evil.example/x)",
        "[bank\u200b.example](https://evil.example/x)",
        "[bank\uff0eexample](https://evil.example/x)",
        "[bank\u3002example](https://evil.example/x)",
        "[a@bank.example](https://evil.example/x)",
        "[bank&#46;example](https://evil.example/x)",
        "![bank.example](https://evil.example/x)",
        "https://bank.example@evil.example/x",
        "<https://bank.example@evil.example/x>",
        "[bank.example][1]\n\n[1]: https://evil.example/x",
    ],
)
def test_no_text_of_a_link_claims_another_host(text: str) -> None:
    ((said, href),) = links(text)
    assert said == "evil.example"
    assert "evil.example" in href


def test_a_host_in_other_letters_is_shown_as_the_network_knows_it() -> None:
    ((said, href),) = links("https://b\u0430nk.example/x")
    assert said.startswith("xn--")
    assert href.startswith("https://xn--")


def test_what_leads_to_no_host_is_no_link() -> None:
    for text in ("[a](/logout)", "[a](//evil.example)", "[a](tel:1)", "[a](http://)", "[a](#b)", "[a](x.html)"):
        assert links(text) == [], text


@given(st.text(alphabet="ab.:/@-_ *`\u200b\u202e", max_size=20), st.sampled_from(["http", "https"]))
def test_the_host_is_always_beside_or_within(said: str, scheme: str) -> None:
    shown = seen(f"[{said}]({scheme}://where.example/path) end")
    assert "where.example" in shown


@pytest.mark.parametrize(
    "formula",
    ["\\(a_1 * b_1\\)", "\\[x_1 = \\{y_1\\}\\]", "$x_i * y_i$", "$$a_{1} * b_{1}$$", "\\(\\alpha\\)", "$\\frac{1}{2}$"],
)
def test_formulas_are_shown_as_they_were_written(formula: str) -> None:
    for text in (f"So {formula} it *is*.", f"- {formula} it *is*", f"| a |\n|---|\n| {formula} |", f"**{formula}**"):
        assert formula in seen(text), text
    assert "<em>is</em>" in str(markdown.to_html(f"So {formula} it *is*."))


def test_formulas_on_lines_of_their_own() -> None:
    for text in ("\\[\na_1 * b_1\n\nc_1 * d_1\n\\]", "$$\na_1 * b_1\n$$", "> \\[\n> a_1 * b_1\n> \\]"):
        page = str(markdown.to_html(f"Before\n\n{text}\n\nafter *this*"))
        assert "a_1 * b_1" in page
        assert "<em>this</em>" in page
    assert "not closed" in seen("\\[\nnot closed\n\n*really*")


def test_money_is_no_formula() -> None:
    assert "<strong>and</strong>" in str(markdown.to_html("It costs $20 **and** $30, or US$5."))


def test_footnotes_are_no_definitions() -> None:
    text = "A claim.[^1] Another.[^long]\n\n[^1]: https://a.example *says* so\n[^long]: And more."
    shown = seen(text)
    assert "A claim.[^1] Another.[^long]" in shown
    assert "[^1]: https://a.example says so" in shown
    assert links("A[^1].\n\n[^1]: word here") == []
