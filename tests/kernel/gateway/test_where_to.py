"""Where links and redirects lead: to this tenant, whatever a header or a form says."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.billing.views import safe_return
from tollhouse.gateway.addresses import host_name, is_loopback
from tollhouse.gateway.ways import came_from
from tollhouse.plugin import InvalidInput, TenantInfo, local_path

ELSEWHERE = [
    "https://evil.example",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "javascript:alert(1)",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r\nLocation: //evil.example",
    "/\x00",
    "/a\x7f",
    "evil.example",
    "",
    "@evil.example",
    "/..//evil.example",
    "/./x",
    "/../x",
    "/chat/../../x",
    "/t/acme/../../x",
    "/t/other/x",
    "/t/acme/../other/x",
    "/a/..",
    "/a/.",
    "/%2e%2e/x",
    "/%2E./x",
    "/a/%2e%2e%2fb",
    "/%2f%2fevil.example",
    "/%2F/evil.example",
    "/%5cevil.example",
    "/%5C%5Cevil.example",
    "/%252e%252e/x",
    "/%25252e%25252e/x",
    "/%2525252525252e/x",
    "/%0d%0aLocation:x",
    "/%00",
    "/%09/evil.example",
    "/%74/other/x",
    "/t%2fother/x",
    "/\u202e/x",
    "/\u200b/evil",
    "/%E2%80%AE/x",
    "/" + "a" * 5000,
    "/t/other",
    "/t",
    "?next=/x",
    "#x",
    " /x",
]
HERE = [
    "/",
    "/chat",
    "/chat/7?x=1&y=//z",
    "/a?next=https://evil.example",
    "/caf%C3%A9",
    "/üb",
    "/a#b",
    "/a.b/..c/d..",
    "/tt/x",
    "/console/usage?first=2026-01-01",
    "/a%20b",
]


@pytest.mark.parametrize("wanted", ELSEWHERE)
def test_no_spelling_leads_elsewhere(wanted: str) -> None:
    assert local_path(wanted) is None
    assert local_path(wanted, "/t/acme") is None
    assert local_path(f"/t/acme{wanted}", "/t/acme") is None or not wanted or wanted[0] in "?#@ e"


@pytest.mark.parametrize("wanted", HERE)
def test_a_page_of_ones_own_is_one(wanted: str) -> None:
    assert local_path(wanted) == wanted
    assert local_path(wanted, "/t/acme") == wanted
    assert local_path(f"/t/acme{wanted}", "/t/acme") == wanted
    assert local_path("/t/acme", "/t/acme") == "/"
    assert local_path("/t/acmes/x", "/t/acme") is None
    assert local_path("/t/acme?x=1", "/t/acme") == "/?x=1"


@given(st.text(alphabet="/.%2eE5fFcC\\\tt@:?#ab", max_size=30))
def test_what_is_let_through_stays_here(text: str) -> None:
    found = local_path("/" + text)
    if found is not None:
        path = unquote(unquote(found.partition("?")[0].partition("#")[0]))
        assert path.startswith("/")
        assert "//" not in path
        assert "\\" not in path
        assert not {".", ".."} & set(path.split("/"))
        assert not path.startswith("/t/")


@pytest.mark.parametrize("base", ["https://h.example", "https://h.example/t/acme"])
def test_a_payment_comes_back_to_a_page_of_the_tenant(base: str) -> None:
    tenant = TenantInfo(None, "acme", "Acme", "UTC", "EUR", "en", base)  # type: ignore[arg-type]
    assert safe_return(tenant, "") == base + "/"
    assert safe_return(tenant, "/orders/1?a=b") == base + "/orders/1?a=b"
    assert safe_return(tenant, base + "/orders/1") == base + "/orders/1"
    assert safe_return(tenant, base) == base + "/"
    for wanted in (
        *ELSEWHERE,
        base + ".evil.example/",
        base + "@evil.example",
        base + "/../x",
        base + "//evil.example",
        base + "\\x",
    ):
        if wanted:
            with pytest.raises(InvalidInput) as refused:
                safe_return(tenant, wanted)
            assert refused.value.errors[0].pointer == "#/return_url"


def test_a_referrer_is_believed_for_its_path_alone() -> None:
    def back(referer: str, root: str = "") -> str | None:
        return came_from({b"host": b"h.example", b"referer": referer.encode("latin-1")}, root)

    assert back("https://h.example/chat/7?x=1") == "/chat/7?x=1"
    assert back("https://h.example/t/acme/chat", "/t/acme") == "/chat"
    for referer in (
        "https://evil.example/x",
        "https://h.example//evil.example",
        "https://h.example/%2e%2e/x",
        "https://h.example/t/other/x",
        "https://h.example/\\evil.example",
        "https://h.example@evil.example/x",
    ):
        assert back(referer) is None, referer
    assert back("https://h.example/t/acme/../other/x", "/t/acme") is None


NO_HOSTS = [
    "acme.example.com:80@evil.example",
    "acme@evil.example",
    "user:pw@acme.example.com",
    "acme.example.com/x",
    "acme.example.com?x",
    "acme.example.com#x",
    "acme.example.com\\x",
    "acme.example.com:80:80",
    "acme.example.com:x",
    "acme.example.com:",
    "a b",
    "a\tb",
    "http://acme.example.com",
    "acme.example.com,evil.example",
    "[::1",
    "::1",
    "[evil.example]",
    "<script>",
    "acme.example.com:123456",
    "\xe4cme.example.com",
    "a" * 300,
    "-a.example",
    "",
    "%61cme.example.com",
    "acme.example.com;x",
    "acme.example.com'\"",
]


@pytest.mark.parametrize("host", NO_HOSTS)
async def test_a_host_that_is_none_is_refused(ask: Any, town: Any, host: str) -> None:
    assert host_name(host.encode("latin-1")) is None
    answer = await ask("GET", "/api/open", headers={"host": host})
    assert answer.status == 400
    assert "evil.example" not in answer.text
    assert not [name for name in town.looked_up if "evil" in name]


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Acme.Example.com:8000", "acme.example.com"),
        ("acme.example.com.", "acme.example.com."),
        ("127.0.0.1:8000", "127.0.0.1"),
        ("[::1]:8000", "[::1]"),
        ("my_service:80", "my_service"),
        ("a", "a"),
    ],
)
def test_a_host_is_a_name_and_perhaps_a_port(host: str, name: str) -> None:
    assert host_name(host.encode()) == name


def test_the_loopback_is_who_asks_it_by_its_own_name() -> None:
    for host in (b"127.0.0.1:8000", b"localhost", b"[::1]:8000", b"LOCALHOST:1"):
        assert is_loopback("127.0.0.1", {b"host": host})
        assert not is_loopback("192.0.2.1", {b"host": host})
        assert not is_loopback("127.0.0.1", {b"host": host, b"x-forwarded-for": b"127.0.0.1"})
    for host in (
        b"evil.example",
        b"evil.example:8000",
        b"127.0.0.1.evil.example",
        b"localhost.evil.example",
        b"a@localhost",
        b"",
    ):
        assert not is_loopback("127.0.0.1", {b"host": host}), host
