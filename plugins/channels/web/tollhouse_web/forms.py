"""Reading a form and saying what is wrong with it, next to the field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import Request

from tollhouse.plugin import InvalidInput, RateLimited, TollhouseError
from tollhouse_web import words

PASSWORDS = frozenset({"password", "current", "new"})


@dataclass(slots=True)
class Form:
    """What was typed, and what is wrong with it. ``notice`` is what belongs to no field."""

    values: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    notice: str = ""

    def shown(self, name: str) -> str:
        """What the field holds when the form comes back: never a password."""
        return "" if name in PASSWORDS else self.values.get(name, "")

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    @property
    def attention(self) -> str:
        """The headline of what is wrong with the fields."""
        return words.attention(len(self.errors))


async def read(request: Request, *names: str) -> Form:
    """The named fields of the form that was sent, trimmed; passwords exactly as they are."""
    sent = await request.form(max_files=0, max_fields=50)
    values = {}
    for name in names:
        found = sent.get(name)
        text = found if isinstance(found, str) else ""
        values[name] = text if name in PASSWORDS else clean(text).strip()
    return Form(values)


def clean(text: str) -> str:
    """Without the one character that no text column takes."""
    return text.replace("\x00", "")


def refuse(form: Form, error: TollhouseError, names: Mapping[str, str] | None = None) -> None:
    """Put an error next to its field; ``names`` maps the kernel's field names to the form's."""
    pointed = error.errors if isinstance(error, InvalidInput) else ()
    for item in pointed:
        name = item.pointer.rsplit("/", 1)[-1]
        form.errors[(names or {}).get(name, name)] = item.detail
    if not form.errors.keys() & form.values.keys():
        form.notice = error.detail
    ask_again(form)


def ask_again(form: Form) -> None:
    """A password is not put back into the page: say so beside its field, so that nobody sends the form without it."""
    for name in PASSWORDS & form.values.keys():
        if form.values[name]:
            form.errors.setdefault(name, words.TYPE_AGAIN)


def retry_header(error: TollhouseError) -> dict[str, str]:
    """``Retry-After`` for an error that says how long."""
    return {"Retry-After": str(error.retry_after or 60)} if isinstance(error, RateLimited) else {}
