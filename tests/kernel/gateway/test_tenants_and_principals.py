"""Which tenant, and who: by path, host name and header; bearer and cookie; and never the one of another tenant."""

from dataclasses import replace

import pytest

from tests.kernel.gateway.conftest import Build, Town, call, openai_mount, plugin_page_mount
from tollhouse.gateway.credentials import RECHECKED_AGE
from tollhouse.host.host import Registered


@pytest.mark.parametrize(
    ("path", "headers", "tenant", "base_url"),
    [
        ("/api/open", {}, "default", "http://127.0.0.1:8000"),
        ("/t/other/api/open", {}, "other", "http://127.0.0.1:8000/t/other"),
        ("/api/open", {"x-tenant": "other"}, "other", "http://127.0.0.1:8000/t/other"),
        ("/api/open", {"host": "other.example"}, "other", "http://other.example"),
        ("/api/open", {"host": "OTHER.example:8443"}, "other", "http://other.example"),
        ("/api/open", {"host": "OTHER.example:8000"}, "other", "http://other.example:8000"),
        ("/api/open", {"host": "evil.example"}, "default", "http://127.0.0.1:8000"),
        ("/t/default/api/open", {"host": "other.example"}, "default", "http://127.0.0.1:8000/t/default"),
    ],
)
async def test_a_tenant_is_found(ask, path, headers, tenant, base_url):
    answer = await ask("GET", path, headers=headers)
    assert (answer.json["tenant"], answer.json["base_url"]) == (tenant, base_url)


@pytest.mark.parametrize(
    "path", ["/t/nobody/api/open", "/t/nobody", "/t/UPPER/api/open", "/t//api/open", "/t/other/t/other/api/open"]
)
async def test_an_unknown_tenant_is_404(ask, path):
    assert (await ask("GET", path)).status == 404


async def test_an_unknown_name_in_the_header_is_404(ask):
    assert (await ask("GET", "/api/open", headers={"x-tenant": "nobody"})).status == 404


async def test_a_credential_must_be_of_the_tenant(ask):
    assert (await ask("GET", "/api/who", key="key")).json["user"]
    assert (await ask("GET", "/t/other/api/who", key="other-key")).json["tenant"] == "other"
    assert (await ask("GET", "/api/who", key="other-key")).status == 401
    assert (await ask("GET", "/t/other/api/who", key="key")).status == 401
    assert (await ask("GET", "/api/who", key="key", headers={"host": "other.example"})).status == 401
    foreign = await ask("GET", "/t/other/home", headers={"cookie": "__Host-th-other=cookie-default"})
    assert foreign.status == 401


async def test_a_wrong_bearer_is_refused_on_a_public_route_too(ask):
    assert (await ask("GET", "/api/open", key="expired")).status == 401
    assert (await ask("GET", "/api/open", headers={"authorization": "Basic a2V5Og=="})).status == 401


async def test_a_stale_cookie_is_as_good_as_none_and_taken_back(ask):
    answer = await ask("GET", "/api/open", headers={"cookie": "a=b; __Host-th-default=gone"})
    assert (answer.status, answer.json["user"]) == (200, None)
    assert answer.headers["set-cookie"].startswith("__Host-th-default=; Max-Age=0")


async def test_signing_in_over_a_stale_cookie_keeps_the_new_one(ask):
    headers = {
        "cookie": "__Host-th-default=gone",
        "content-type": "application/x-www-form-urlencoded",
        "sec-fetch-site": "same-origin",
    }
    for path, token in (("/login", "cookie-default"), ("/p/enter", "token")):
        answer = await ask("POST", path, body=b"email=a", headers=headers)
        cookies = [value for name, value in answer.all_headers if name == "set-cookie"]
        assert [cookie.split(";")[0] for cookie in cookies] == [f"__Host-th-default={token}"]


async def test_an_api_key_is_no_cookie(ask):
    assert (await ask("GET", "/home", headers={"cookie": "__Host-th-default=key"})).status == 401


async def test_a_browser_signs_in_and_out(ask):
    form = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
    signed_in = await ask("POST", "/t/other/login", body=b"email=a%40b.example", headers=form)
    cookie = signed_in.headers["set-cookie"]
    assert cookie.startswith("__Host-th-other=cookie-other; Max-Age=")
    assert cookie.endswith("Path=/; HttpOnly; SameSite=Lax; Secure")
    sent = {"cookie": cookie.split(";")[0]}
    assert (await ask("GET", "/t/other/home", headers=sent)).status == 200
    assert (await ask("GET", "/home", headers=sent)).status == 401
    out = await ask("POST", "/t/other/logout", headers={**sent, "sec-fetch-site": "same-origin"})
    assert "Max-Age=0" in out.headers["set-cookie"]


async def test_a_plain_cookie_only_where_it_was_allowed(ask, build):
    http = build(public_url="http://toll.example:8000")
    plain = build(public_url="http://toll.example:8000", allow_insecure_http=True)
    secure = build(public_url="https://toll.example")
    form = {
        "content-type": "application/x-www-form-urlencoded",
        "origin": "http://toll.example:8000",
        "host": "toll.example:8000",
    }
    answer = await ask("POST", "/login", app=plain, body=b"email=a", headers=form)
    assert answer.headers["set-cookie"].startswith("th-default=")
    assert "Secure" not in answer.headers["set-cookie"]
    assert (await ask("GET", "/home", app=plain, headers={"cookie": "th-default=cookie-default"})).status == 200
    assert (await ask("GET", "/home", app=http, headers={"cookie": "th-default=cookie-default"})).status == 401
    assert (await ask("GET", "/home", app=secure, headers={"cookie": "th-default=cookie-default"})).status == 401


async def test_a_suspended_tenant_lets_nobody_sign_in(ask, town):
    town.tenants["other"] = replace(town.tenants["other"], status="suspended")
    for method, path in (("GET", "/t/other/login"), ("GET", "/t/other/api/open")):
        answer = await ask(method, path)
        assert answer.status == 403
    assert (await ask("GET", "/t/other/api/open")).json["code"] == "tenant_suspended"
    assert (await ask("GET", "/t/other/api/who", key="other-key")).status == 200
    assert (await ask("GET", "/login")).status == 200


CROSS = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8000"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:8000.evil.example"},
    {},
]


@pytest.mark.parametrize("headers", CROSS)
async def test_a_request_from_another_site_has_no_effect(ask, headers):
    cookie = {"cookie": "__Host-th-default=cookie-default"}
    json_body = {"text": "hi"}
    assert (await ask("POST", "/api/notes", json_body=json_body, headers={**cookie, **headers})).status == 403
    assert (await ask("DELETE", "/api/things/1", headers={**cookie, **headers})).status == 403
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert (await ask("POST", "/login", body=b"email=a", headers={**form, **headers})).status == 403


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {"origin": "http://127.0.0.1:8000"}]
)
async def test_our_own_pages_may_write(ask, headers):
    cookie = {"cookie": "__Host-th-default=cookie-default"}
    assert (await ask("POST", "/api/notes", json_body={"text": "hi"}, headers={**cookie, **headers})).status == 200


async def test_a_bearer_needs_no_origin(ask):
    assert (
        await ask("POST", "/api/notes", key="key", json_body={"text": "hi"}, headers={"sec-fetch-site": "cross-site"})
    ).status == 200


async def test_the_real_address_is_believed_from_trusted_proxies_only(ask, build):
    forged = {"x-forwarded-for": "198.51.100.1"}
    assert (await ask("GET", "/api/open", headers=forged)).json["address"] == "203.0.113.9"
    app = build(trusted_proxies=["203.0.113.0/24", "10.0.0.1"])
    chain = {"x-forwarded-for": "6.6.6.6, 198.51.100.1, 10.0.0.1"}
    assert (await ask("GET", "/api/open", app=app, headers=chain)).json["address"] == "198.51.100.1"
    assert (await ask("GET", "/api/open", app=app, headers=chain, client="8.8.8.8")).json["address"] == "8.8.8.8"
    garbage = {"x-forwarded-for": "6.6.6.6, <script>"}
    assert (await ask("GET", "/api/open", app=app, headers=garbage)).json["address"] == "203.0.113.9"


async def test_a_credential_is_believed_for_a_second_but_where_an_admission_reads_it_again(build: Build, town: Town) -> None:
    """Every route of the table, by each kind of credential: a mount that does not say `rechecked` never gets more."""
    marked = replace(openai_mount(), prefix="/marked", rechecked=frozenset({"POST /v1/echo"}))
    mounts = [Registered("demo", openai_mount()), Registered("pages", plugin_page_mount()), Registered("marked", marked)]
    app = build(plugin_mounts=mounts, rate_limit_principal=0)
    believed: dict[str, float] = {}
    for entry in app.table.entries:
        path = entry.path.replace("{thing_id}", "7").replace("{name}", "x")
        for headers in ({"authorization": "Bearer key"}, {"cookie": "__Host-th-default=cookie-default"}):
            town.ages.clear()
            await call(app, entry.method, path, headers={**headers, "sec-fetch-site": "same-origin"})
            for age in town.ages:
                believed[entry.path] = max(age, believed.get(entry.path, 0.0))
    longer = {path: age for path, age in believed.items() if age > 1.0}
    assert longer == {"/marked/v1/echo": RECHECKED_AGE}
    assert len(believed) > 10
