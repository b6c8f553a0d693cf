"""Writes the reference of hooks from their specifications: ``python -m tollhouse.host.docs docs/reference/hooks.md``."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

from tollhouse.host.loader import HOOKS
from tollhouse.plugin import CONTRACT, GROUP, hookspecs

_FIELD = re.compile(r"^:(param \w+|returns|raises \w+):\s*", re.MULTILINE)
_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")


def render() -> str:
    """The whole page."""
    head = (
        "# Hooks\n\n"
        "<!-- Generated from kernel/tollhouse/plugin/hookspecs.py by `python -m tollhouse.host.docs`; do not edit. -->\n\n"
        f"Contract {CONTRACT[0]}.{CONTRACT[1]}, entry-point group `{GROUP}`. Hooks only register and notify: the work is\n"
        "methods of the objects that they return. `register_*` hooks are sync and called once, at start, one plugin after the\n"
        "other in the order of `plugins.toml`; `on_*` hooks are async. An implementation may take fewer arguments than its\n"
        "hook has, and is marked with `@impl`. How to begin: [Write a plugin](../how-to/write-a-plugin.md).\n"
    )
    return head + "".join(_section(name, getattr(hookspecs, name)) for name in HOOKS)


def _section(name: str, spec: Any) -> str:
    keyword = "async def" if inspect.iscoroutinefunction(spec) else "def"
    doc = _ROLE.sub(r"`\1`", inspect.cleandoc(spec.__doc__)).replace("``", "`")
    doc, _, version = doc.partition(".. versionadded:: ")
    text, *fields = _FIELD.split(doc)
    about = [f"- {_label(field)}: {_flow(value)}" for field, value in zip(fields[::2], fields[1::2], strict=True)]
    parts = [f"\n## {name}", f"```python\n{keyword} {name}{_signature(spec)}\n```", *map(_flow, text.strip().split("\n\n"))]
    return "\n\n".join([*parts, "\n".join(about), f"Since contract {version.strip()}."]) + "\n"


def _flow(text: str) -> str:
    return " ".join(text.split())


def _label(field: str) -> str:
    kind, _, name = field.partition(" ")
    return f"`{name}`" if kind == "param" else f"{kind} `{name}`" if name else kind


def _signature(spec: Any) -> str:
    return str(inspect.signature(spec)).replace("'", "")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render(), encoding="utf-8")
