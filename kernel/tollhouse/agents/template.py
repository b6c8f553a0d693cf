r"""Prompt templates: text with a few named variables and nothing else.

There is no logic, no attribute access and no expression, so a template cannot reach anything but the values it is given. A
variable is ``{{ agent.name }}``; ``\{{`` is a literal ``{{`` and ``\\{{`` a backslash before a variable; single braces, and
``}}`` outside a variable, are ordinary text. A value is never parsed again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

VARIABLES: Final = ("tenant.name", "agent.name", "user.name", "user.language", "channel", "date")
"""Never a plan, a price or a balance: what a customer pays is no business of a model."""

# The inside of a variable is bounded, so that no template makes the search anything but linear.
_TOKEN = re.compile(r"\\\\(?=\{\{)|\\\{\{|\{\{([^{}]{0,64})\}\}|\{\{")


class TemplateError(ValueError):
    """A template that cannot be used; ``name`` is the variable, ``line`` and ``column`` count from 1."""

    def __init__(self, problem: str, source: str, position: int, name: str = "") -> None:
        self.name = name
        self.line = source.count("\n", 0, position) + 1
        self.column = position - (source.rfind("\n", 0, position) + 1) + 1
        super().__init__(f"line {self.line}, column {self.column}: {problem}")


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: ``pieces`` alternate between literal text (even places) and variable names (odd places)."""

    pieces: tuple[str, ...]
    variables: frozenset[str]

    def render(self, values: Mapping[str, str]) -> str:
        """The text with every variable replaced; ``values`` holds each of ``variables``."""
        if not self.variables:
            return self.pieces[0]
        return "".join(values[piece] if place % 2 else piece for place, piece in enumerate(self.pieces))


def parse(source: str) -> Template:
    """Parse ``source`` once.

    Raises:
        TemplateError: an unknown variable, or ``{{`` without an end; it names the place.
    """
    pieces: list[str] = []
    literal: list[str] = []
    end = 0
    for found in _TOKEN.finditer(source):
        literal.append(source[end : found.start()])
        end = found.end()
        token = found.group()
        if token.startswith("\\"):
            literal.append(token[1:])
            continue
        if found.group(1) is None:
            raise TemplateError(r"this {{ is never closed; write \{{ for two literal braces", source, found.start())
        name = found.group(1).strip()
        if name not in VARIABLES:
            known = ", ".join(VARIABLES)
            raise TemplateError(f"unknown variable “{name}”; a template can use {known}", source, found.start(), name)
        pieces += ("".join(literal), name)
        literal = []
    pieces.append("".join(literal) + source[end:])
    return Template(tuple(pieces), frozenset(pieces[1::2]))
