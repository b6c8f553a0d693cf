"""Headers that every answer carries."""

from __future__ import annotations

from typing import Final

from tollhouse.settings import Settings

CSP: Final = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; img-src 'self' data:; form-action 'self'"
)
YEAR: Final = 365 * 24 * 3600


def security_headers(settings: Settings) -> tuple[tuple[bytes, bytes], ...]:
    """The fixed headers of this installation."""
    https = settings.base_url.startswith("https://")
    # Browsers send "Origin: null" under no-referrer. Over https they say Sec-Fetch-Site, which is enough for the CSRF check;
    # over plain http some do not, and the origin is all there is.
    referrer = b"no-referrer" if https else b"same-origin"
    headers = [
        (b"content-security-policy", CSP.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", referrer),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
    ]
    if https:
        headers.append((b"strict-transport-security", f"max-age={YEAR}; includeSubDomains".encode()))
    return tuple(headers)
