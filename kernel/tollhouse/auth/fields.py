"""What people type about themselves, made safe to store: e-mail, name, language."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from tollhouse.plugin.errors import InvalidInput
from tollhouse.store.text import one_line

EMAIL_MAX: Final = 254
NAME_MAX: Final = 200
LOCAL: Final = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}", re.ASCII)


def normal_email(email: str, *, field: str = "email") -> str:
    """The e-mail as it is stored and compared: trimmed, in lower case, an international domain in its ASCII form.

    Raises:
        InvalidInput: it does not look like an e-mail.
    """
    local, at, domain = unicodedata.normalize("NFKC", email).strip().lower().rpartition("@")
    try:
        domain = domain.encode("idna").decode()
    except UnicodeError:
        at = ""
    labels = domain.split(".")
    fine = bool(at) and len(local) <= 64 and LOCAL.fullmatch(local) and len(labels) > 1 and all(map(LABEL.fullmatch, labels))
    if not fine or len(local) + 1 + len(domain) > EMAIL_MAX:
        raise InvalidInput("That is not a valid e-mail address", field=field)
    return f"{local}@{domain}"


def clean_text(value: str, *, field: str, longest: int = NAME_MAX, required: bool = False) -> str:
    """One line of text for people.

    Raises:
        InvalidInput: too long, missing, or with characters that cannot be shown.
    """
    return one_line(value, field=field, longest=longest, required=required)


def valid_language(language: str, *, field: str = "language") -> str:
    """A language tag such as ``en`` or ``pt-BR`` (BCP 47).

    Raises:
        InvalidInput: it is not one.
    """
    if not LANGUAGE.fullmatch(language):
        raise InvalidInput("A language is a tag such as 'en' or 'pt-BR'", field=field)
    return language


def printable(value: str, longest: int) -> str:
    """What a client sent about itself, cut and without what a database or a log cannot take. Never refused."""
    return "".join(char for char in value[:longest] if char.isprintable())
