"""Templates: a few named variables, and nothing that could reach further."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.agents.template import VARIABLES, TemplateError, parse

VALUES = {name: f"<{name}>" for name in VARIABLES}


def test_every_variable_is_replaced() -> None:
    source = " ".join("{{ " + name + " }}" for name in VARIABLES)
    assert parse(source).render(VALUES) == " ".join(VALUES.values())


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{channel}}", "<channel>"),
        ("{{   channel\t}}", "<channel>"),
        (r"\{{ channel }}", "{{ channel }}"),
        (r"\\{{ channel }}", "\\<channel>"),
        ("{ channel } }} { {", "{ channel } }} { {"),
        ('{"json": {"a": 1}}', '{"json": {"a": 1}}'),
        ("{user.name.__class__} %s {0} $x", "{user.name.__class__} %s {0} $x"),
        ("", ""),
        (r"C:\path\new", r"C:\path\new"),
    ],
)
def test_literal_text_stays_as_it_is(source: str, text: str) -> None:
    assert parse(source).render(VALUES) == text


@pytest.mark.parametrize(
    "name",
    [
        "plan.name",
        "price",
        "balance",
        "user.name.__class__",
        "user",
        "7*7",
        "user.name|upper",
        "",
        "user['name']",
        "config.items()",
    ],
)
def test_an_unknown_variable_is_refused_with_its_place(name: str) -> None:
    with pytest.raises(TemplateError) as refused:
        parse("Hello\nyou {{ " + name + " }}")
    assert (refused.value.line, refused.value.column, refused.value.name) == (2, 5, name)
    assert "line 2, column 5" in str(refused.value)


@pytest.mark.parametrize(
    "source", ["Hello {{ user.name", "{{", "{{ user.name }", "{{{{ channel }}", "{{ " + "x" * 100 + " }}", "{% if x %}{{"]
)
def test_a_variable_without_an_end_is_refused(source: str) -> None:
    with pytest.raises(TemplateError):
        parse(source)


def test_a_value_is_never_parsed_again() -> None:
    template = parse("{{ user.name }} on {{ channel }}")
    assert template.render({**VALUES, "user.name": "{{ tenant.name }} \\{{"}) == "{{ tenant.name }} \\{{ on <channel>"


@given(st.text(alphabet="{}\\ abc.\n", max_size=60))
def test_any_text_parses_or_is_refused_cleanly(source: str) -> None:
    try:
        template = parse(source)
    except TemplateError:
        return
    assert set(template.pieces[1::2]) <= set(VARIABLES)
    if "{{" not in source:
        assert template.render(VALUES) == source


def test_parsing_is_linear() -> None:
    started = time.perf_counter()
    parse("{{ channel }}\\{{" * 4_000 + "{" + " " * 10_000)
    assert time.perf_counter() - started < 1
