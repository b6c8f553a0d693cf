"""Programs in browsers, on pages of other origins: those that the operator lists may call the interfaces for programs.

They sign in with a bearer token like any program. Cookies are never theirs: no answer allows credentials, so a browser shows
nothing that it asked for with them, and the check of cross-site requests stands.
"""

from __future__ import annotations

import re
from typing import Final

from tollhouse.settings import Settings

PREFIXES: Final = ("/api/", "/v1/")
METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
SHOWN: Final = (
    b"X-Request-Id, RateLimit, RateLimit-Policy, Retry-After, Idempotent-Replayed, X-Turn-Id, X-Turn-Warning, "
    b"X-Conversation-Id, X-Should-Retry"
)
SECONDS: Final = b"600"
NAMES: Final = re.compile(rb"[A-Za-z0-9_-]+(?:\s*,\s*[A-Za-z0-9_-]+)*")
MAX_NAMES: Final = 2_000
VARY: Final = (b"vary", b"Origin")

Headers = tuple[tuple[bytes, bytes], ...]


class Cors:
    """What the listed origins are told. Falsy where none is listed."""

    def __init__(self, settings: Settings) -> None:
        self._origins = frozenset(origin.encode() for origin in settings.cors_origins)

    def __bool__(self) -> bool:
        return bool(self._origins)

    def headers(self, path: str, headers: dict[bytes, bytes]) -> Headers:
        """For every answer to ``path`` (without the tenant's prefix), an error too."""
        if not path.startswith(PREFIXES):
            return ()
        origin = headers.get(b"origin")
        if origin not in self._origins:
            return (VARY,)
        return ((b"access-control-allow-origin", origin), (b"access-control-expose-headers", SHOWN), VARY)

    def preflight(self, path: str, method: str, headers: dict[bytes, bytes]) -> list[tuple[bytes, bytes]] | None:
        """What answers a browser that asks before it sends; None if this is no such question, or not by a listed origin."""
        asked = method == "OPTIONS" and b"access-control-request-method" in headers
        if not asked or not path.startswith(PREFIXES) or headers.get(b"origin") not in self._origins:
            return None
        found = [(b"access-control-allow-methods", METHODS), (b"access-control-max-age", SECONDS)]
        wanted = headers.get(b"access-control-request-headers", b"")
        if len(wanted) <= MAX_NAMES and NAMES.fullmatch(wanted):  # without cookies, no header gives anybody a right
            found.append((b"access-control-allow-headers", wanted))
        return found
