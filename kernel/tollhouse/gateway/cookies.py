"""The session's cookie: one for each tenant, so that one browser can be signed in with several."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from starlette.responses import Response

from tollhouse.settings import LOOPBACK, Settings

HOST_PREFIX: Final = "__Host-"
MAX_BROWSER: Final = 512
BROWSER_SECONDS: Final = 400 * 24 * 3600
"""As long as browsers keep anything."""


class Cookies:
    """Names, writes and reads session cookies by the rules of the installation."""

    def __init__(self, settings: Settings) -> None:
        self._secure = settings.secure_cookies
        self._usable = settings.cookies_work
        # What is secure only because it does not leave the machine is kept under no other name of it.
        self._local = settings.base_url.startswith("http://") and settings.secure_cookies

    def name(self, slug: str) -> str:
        """The cookie of a tenant."""
        return f"{HOST_PREFIX if self._secure else ''}th-{slug}"

    def read(self, slug: str, header: bytes | None) -> str | None:
        """The token that the browser sent, if any."""
        return self._sent(self.name(slug), header)

    def read_browser(self, slug: str, header: bytes | None) -> str:
        """What the browser is known by, if it is."""
        return (self._sent(self._browser_name(slug), header) or "")[:MAX_BROWSER]

    def write_browser(self, slug: str, value: str) -> bytes:
        """``Set-Cookie`` by which it is known later. It outlives the session, which is what it is for."""
        return f"{self._browser_name(slug)}={value}; Max-Age={BROWSER_SECONDS}; {self._attributes()}".encode()

    def _browser_name(self, slug: str) -> str:
        return f"{HOST_PREFIX if self._secure else ''}thd-{slug}"

    def _sent(self, name: str, header: bytes | None) -> str | None:
        if header is None or not self._usable:
            return None
        wanted = name.encode()
        for pair in header.split(b";"):
            found, _, value = pair.strip().partition(b"=")
            if found == wanted:
                return value.strip().strip(b'"').decode("latin-1") or None
        return None

    def write(self, slug: str, token: str, expires_at: datetime) -> bytes:
        """``Set-Cookie`` for a new session. No expiry in the past, whatever the clocks say."""
        seconds = max(int((expires_at - datetime.now(UTC)).total_seconds()), 60)
        return f"{self.name(slug)}={token}; Max-Age={seconds}; {self._attributes()}".encode()

    def clear(self, slug: str) -> bytes:
        """``Set-Cookie`` that takes it back."""
        return f"{self.name(slug)}=; Max-Age=0; {self._attributes()}".encode()

    def bound(self, slug: str, host: bytes | None) -> SessionCookie:
        """The cookie of one tenant, for pages that were asked for by this host name."""
        return SessionCookie(self, slug, host)

    def kept(self, host: bytes | None) -> bool:
        """Whether a browser that knows us by this host name keeps the cookie."""
        if not (self._usable and self._local) or host is None:
            return self._usable
        try:
            name = urlsplit(f"//{host.decode('latin-1')}").hostname or ""
        except ValueError:
            return False
        return name in LOOPBACK or name.endswith(".localhost")

    def _attributes(self) -> str:
        return "Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if self._secure else "")


@dataclass(frozen=True, slots=True)
class SessionCookie:
    """``scope["tollhouse.cookies"]``."""

    cookies: Cookies
    slug: str
    host: bytes | None

    @property
    def work(self) -> bool:
        """Whether browsers would keep it at all."""
        return self.cookies.kept(self.host)

    def set(self, response: Response, token: str, expires_at: datetime) -> None:
        """Give the browser a session with this answer."""
        response.headers.append("set-cookie", self.cookies.write(self.slug, token, expires_at).decode("latin-1"))

    def clear(self, response: Response) -> None:
        """Take it back with this answer."""
        response.headers.append("set-cookie", self.cookies.clear(self.slug).decode("latin-1"))
