"""Cross-site requests: an unsafe request that rides on a cookie, or a form, must come from our own pages."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from tollhouse.plugin.errors import Forbidden
from tollhouse.settings import Settings

OWN: Final = (b"same-origin", b"none")


class CrossSite(Forbidden):
    code = "csrf"
    title = "This request did not come from our own page; open the page again and retry"


class CsrfCheck:
    """Believes what browsers say about where a request comes from: pages cannot forge these headers."""

    def __init__(self, settings: Settings) -> None:
        self._origin = settings.base_url.lower().encode()

    def check(self, headers: dict[bytes, bytes]) -> None:
        """
        Raises:
            CrossSite: it comes from another site, or nothing says where it comes from.
        """
        site = headers.get(b"sec-fetch-site")
        if site is not None:
            if site in OWN:
                return
            raise CrossSite()
        origin = headers.get(b"origin", b"").lower()
        host = headers.get(b"host", b"").lower()
        if origin and (origin == self._origin or (host and netloc(origin) == host)):
            return
        raise CrossSite()


def netloc(origin: bytes) -> bytes:
    """Host and port of an address of the web."""
    parts = urlsplit(origin)
    return parts.netloc if parts.scheme in (b"http", b"https") else b""
