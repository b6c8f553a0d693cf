"""Pages work under a strict content security policy: no script, style or handler inside of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted({*ROOT.glob("kernel/tollhouse/**/*.html"), *ROOT.glob("plugins/*/*/tollhouse_*/**/*.html")})
FORBIDDEN = {
    "a handler": re.compile(r"<[^>]*\s(?:on[a-z]+|hx-on[\w:-]*)\s*=", re.IGNORECASE),
    "a script": re.compile(r"<script(?![^>]*\ssrc=)", re.IGNORECASE),
    "a style": re.compile(r"<style\b|<[^>]*\sstyle\s*=", re.IGNORECASE),
    "an expression": re.compile(r"""hx-[\w-]+\s*=\s*["']\s*(?:js|javascript):|href\s*=\s*["']\s*javascript:""", re.IGNORECASE),
    "somebody else's file": re.compile(r"""<(?:script|link|img)[^>]*\s(?:src|href)\s*=\s*["'](?:https?:)?//""", re.IGNORECASE),
    "unescaped text": re.compile(r"\|\s*safe\b|autoescape\s+false"),
}
EXAMPLES = {
    "a handler": '<button class="x" onclick="go()">',
    "a script": "<script>go()</script>",
    "a style": '<p style="color: red">',
    "an expression": """<div hx-vals="js:{a: 1}">""",
    "somebody else's file": '<script src="https://cdn.example/x.js"></script>',
    "unescaped text": "{{ reply|safe }}",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_template_holds(what: str) -> None:
    assert TEMPLATES
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in TEMPLATES
        for match in FORBIDDEN[what].finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_it_would_be_found(what: str) -> None:
    assert FORBIDDEN[what].search(EXAMPLES[what])
