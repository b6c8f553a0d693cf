"""Forms: what was typed, what is wrong with it, and the way from one to the other. What was typed is never lost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request

from tollhouse.console.sentences import human
from tollhouse.plugin.errors import Conflict, InvalidInput, TollhouseError
from tollhouse.store.ids import parse_id

NOT_KEPT: Final = frozenset({"password"})
"""What is typed again after an error: it is never written into a page."""
TYPE_AGAIN: Final = "Type it again: what is secret is never put back into a page"

PLAIN_NUMBER: Final = re.compile(r"-?(?:[0-9]{1,24}(?:\.[0-9]{0,24})?|\.[0-9]{1,24})", re.ASCII)
"""No ``1e3``, no ``1_000`` and no digits of other scripts: an amount is what everybody reads in it."""


class Form:
    """The values of a form by name, as text, and its errors by name. A fresh one holds what is stored."""

    def __init__(self, values: Mapping[str, Iterable[str]] | None = None) -> None:
        self._values = {name: [_plain(one) for one in many] for name, many in (values or {}).items()}
        self.errors: dict[str, str] = {}
        self.problems: list[str] = []
        self.labels: Mapping[str, str] = {}
        """What fields are called, in the order of the page: by it the errors are listed."""
        self.status = 200

    @classmethod
    def of(cls, **values: Any) -> Form:
        """A form that shows these values; a list is a field with several."""
        return cls().fill(values)

    @classmethod
    async def sent(cls, request: Request) -> Form:
        """The form of a request; files are not taken."""
        data = await request.form()
        values: dict[str, list[str]] = {}
        for name, value in data.multi_items():
            if isinstance(value, str):
                values.setdefault(name, []).append(value)
        return cls(values)

    def fill(self, values: Mapping[str, Any]) -> Form:
        """Show these values."""
        for name, value in values.items():
            many = value if isinstance(value, list | tuple | set | frozenset) else [value]
            self._values[name] = ["" if one is None else str(one) for one in many]
        return self

    # -- reading --------------------------------------------------------------------------------------------------------

    def get(self, name: str, default: str = "") -> str:
        """The first value as it was typed."""
        found = self._values.get(name)
        return found[0] if found else default

    def all(self, name: str) -> list[str]:
        """Every value of a field with several, without blank ones."""
        return [one for one in self._values.get(name, []) if one]

    def has(self, name: str, value: str | None = None) -> bool:
        """Whether a box is checked (or one of several)."""
        found = self.all(name)
        return bool(found) if value is None else value in found

    def text(self, name: str) -> str:
        """The value, trimmed."""
        return self.get(name).strip()

    def optional(self, name: str) -> str | None:
        """The value, or None if it is blank."""
        return self.text(name) or None

    def integer(self, name: str) -> int | None:
        """A whole number; None if it is blank, or wrong (and then an error)."""
        text = self.text(name).replace(",", "").replace(" ", "")
        if not text:
            return None
        whole = text.removeprefix("-").isdecimal() and text.isascii()
        if not whole or len(text) > 19:
            self.refuse(name, "This number is too large" if whole else "Write a whole number, as 200")
            return None
        return int(text)

    def number(self, name: str) -> float | int | None:
        """A number; None if it is blank, or wrong (and then an error)."""
        value = self._decimal(name)
        return None if value is None else int(value) if value == value.to_integral_value() else float(value)

    def amount(self, name: str, exponent: int) -> int | None:
        """A decimal amount in its smallest units, ``10 ** -exponent``; None if it is blank, or wrong (and then an error)."""
        value = self._decimal(name)
        if value is None:
            return None
        scaled = value.scaleb(exponent)
        if abs(scaled) > 10**18:
            self.refuse(name, "This number is too large")
            return None
        if scaled != scaled.to_integral_value():
            self.refuse(name, f"At most {exponent} digits after the point" if exponent else "Write a whole number, as 19")
            return None
        return int(scaled)

    def _decimal(self, name: str) -> Decimal | None:
        text = self.text(name).replace(" ", "")
        if not text:
            return None
        text = text.replace(",", ".") if "." not in text else text.replace(",", "")
        if not PLAIN_NUMBER.fullmatch(text):
            self.refuse(name, "Write a number, as 19 or 19.50")
            return None
        return Decimal(text)

    def id(self, name: str) -> UUID | None:
        """The id that was chosen; None if it is blank, or wrong (and then an error)."""
        if not self.text(name):
            return None
        found = parse_id(self.text(name))
        if found is None:
            self.refuse(name, "Choose one of the list")
        return found

    def json(self, name: str) -> Any:
        """A JSON value; None if it is blank, or wrong (and then an error)."""
        if not self.text(name):
            return None
        try:
            return json.loads(self.text(name))
        except json.JSONDecodeError as error:
            self.refuse(name, f"This is not JSON: look at line {error.lineno}, character {error.colno}")
        except (ValueError, RecursionError):
            self.refuse(name, "This is not JSON that can be read: a number is too long, or it is nested too deep")
        return None

    def summary(self) -> list[tuple[str, str]]:
        """Errors as the list above the form says them: with their fields' labels, from top to bottom."""
        places = {name: place for place, name in enumerate(self.labels)}
        found = sorted(self.errors.items(), key=lambda one: places.get(one[0], len(places)))
        return [(name, _named(self.labels.get(name, ""), text)) for name, text in found]

    # -- errors ---------------------------------------------------------------------------------------------------------

    def refuse(self, name: str, detail: str) -> None:
        """Say what is wrong with a field; the first word counts."""
        self.errors.setdefault(name, detail)

    def weigh(self, check: Callable[[], object], place: Callable[[InvalidInput], object] | None = None) -> None:
        """Make a check that needs nothing but what was typed, so that its errors stand beside those of fields that could not
        be read: a service is not asked while there are any. ``place`` puts them where they belong."""
        if not self.errors:
            return  # the service makes the same check
        try:
            check()
        except InvalidInput as error:
            (place or self.failed)(error)

    def check(self) -> None:
        """
        Raises:
            InvalidInput: a field could not be read; the form knows which.
        """
        if self.errors:
            raise InvalidInput()

    def failed(
        self,
        error: TollhouseError,
        *,
        inside: str = "",
        names: Mapping[str, str] | None = None,
        beside: Mapping[str, str] | None = None,
    ) -> Form:
        """Put a service's refusal beside the fields. ``inside``: where its pointers begin; ``names``: what differs here;
        ``beside``: the fields of errors that have a code and no pointer."""
        self.status = error.http_status
        if field := (beside or {}).get(error.http_code):
            self.refuse(field, error.detail)
        found = error.errors if isinstance(error, InvalidInput) else ()
        for one in found:
            name = field_name(one.pointer, inside)
            self.refuse((names or {}).get(name, name), human(one.detail))
        if not found and not self.errors:
            self.problems.append(human(error.detail))
        for name in NOT_KEPT:
            if self._values.pop(name, [""])[0] and isinstance(error, InvalidInput | Conflict):
                self.refuse(name, TYPE_AGAIN)
        return self


def field_name(pointer: str, inside: str = "") -> str:
    """The name of the field that a JSON pointer means: ``#/spec/primary/model`` inside ``spec`` is ``primary.model``."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.removeprefix("#/").split("/")]
    if inside and parts[0] == inside:
        parts = parts[1:]
    return ".".join(parts)


def _named(label: str, text: str) -> str:
    """``Temperature: must be a number``; a capital that begins more than a word's stays, as in JSON."""
    if not label:
        return text
    return f"{label}: {text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == ' ' else text}"


def _plain(text: str) -> str:
    """Browsers send CRLF from a textarea."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
