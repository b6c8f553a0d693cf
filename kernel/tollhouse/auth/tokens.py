"""Tokens: what a credential looks like, and what of it is stored.

``th_<tenant>_<random><checksum>`` is an API key, ``ths_…`` a session, ``tho_…`` a one-time link. A token names its tenant, so
no request needs a scope wider than one tenant; its checksum makes a typo or an invention refusable without a look at the
database, and lets scanners recognise a leaked key. Only the SHA-256 of a token is stored: it is random enough to need no more.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal
from uuid import UUID

from tollhouse.plugin.errors import Unauthenticated

TokenKind = Literal["api_key", "session", "link"]

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIXES: Final[dict[TokenKind, str]] = {"api_key": "th", "session": "ths", "link": "tho"}
KINDS: Final = {prefix: kind for kind, prefix in PREFIXES.items()}
TENANT_CHARS: Final = 22  # 62**22 > 2**128
RANDOM_CHARS: Final = 30  # 178 bits
CHECK_CHARS: Final = 6  # 62**6 > 2**32
VISIBLE_RANDOM: Final = 4

SHAPE: Final = re.compile(
    rf"(th|ths|tho)_([0-9A-Za-z]{{{TENANT_CHARS}}})_([0-9A-Za-z]{{{RANDOM_CHARS}}})([0-9A-Za-z]{{{CHECK_CHARS}}})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class ParsedToken:
    """A well-formed token: nothing is known yet of whether it is valid."""

    kind: TokenKind
    tenant_id: UUID
    digest: bytes


def new_token(kind: TokenKind, tenant_id: UUID) -> str:
    """A fresh token of a tenant."""
    noise = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARS))
    body = f"{PREFIXES[kind]}_{_base62(tenant_id.int, TENANT_CHARS)}_{noise}"
    return body + _checksum(body)


@lru_cache(maxsize=4096)
def parse(token: str) -> ParsedToken:
    """Read a token without the database. Remembered for the tokens in use: it is arithmetic, and asked for each request.

    Raises:
        Unauthenticated: it is malformed, or its checksum does not match.
    """
    match = SHAPE.fullmatch(token)
    if match is None or _checksum(token[:-CHECK_CHARS]) != match[4]:
        raise Unauthenticated()
    number = _number(match[2])
    if number >= 1 << 128:
        raise Unauthenticated()
    return ParsedToken(KINDS[match[1]], UUID(int=number), digest_of(token))


def digest_of(token: str) -> bytes:
    """What of a token is stored."""
    return hashlib.sha256(token.encode()).digest()


def visible_prefix(token: str) -> str:
    """The beginning of a token, enough to recognise it and far too little to guess it."""
    return token[: token.rindex("_") + 1 + VISIBLE_RANDOM]


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECK_CHARS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def _number(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * 62 + ALPHABET.index(digit)
    return number
