"""Where browsers keep a session, and where pages have to say that they will not."""

from __future__ import annotations

import pytest

from tollhouse.gateway.cookies import Cookies
from tollhouse.settings import Settings


@pytest.mark.parametrize(
    ("public_url", "host", "kept"),
    [
        ("", b"127.0.0.1:8000", True),
        ("", b"localhost:8000", True),
        ("", b"shop.localhost:8000", True),
        ("", b"[::1]:8000", True),
        ("", b"192.168.1.7:8000", False),
        ("", b"shop.example:8000", False),
        ("", b"[nonsense", False),
        ("https://agents.example", b"agents.example", True),
        ("https://agents.example", b"of-a-tenant.example", True),
        ("http://agents.example", b"agents.example", False),
    ],
)
def test_a_session_is_kept(public_url: str, host: bytes, kept: bool) -> None:
    assert Cookies(Settings(public_url=public_url)).bound("default", host).work is kept


def test_a_plain_cookie_is_kept_everywhere() -> None:
    settings = Settings(public_url="http://agents.example", allow_insecure_http=True)
    assert Cookies(settings).bound("default", b"192.168.1.7").work
