"""Pages of other origins: those that are listed may call the interfaces for programs, never with cookies."""

from __future__ import annotations

import pytest

from tollhouse.plugin import ConfigError
from tollhouse.settings import load_settings

APP = "https://app.example.com"
CORS = "access-control-"


@pytest.fixture
def app(build):
    return build(cors_origins=[APP, "http://localhost:5173"])


def allowed(answer):
    return {name.removeprefix(CORS): value for name, value in answer.headers.items() if name.startswith(CORS)}


def asks(origin, method="POST", names="authorization, content-type, x-stainless-os"):
    return {"origin": origin, "access-control-request-method": method, "access-control-request-headers": names}


@pytest.mark.parametrize("path", ["/api/notes", "/t/other/api/notes", "/v1/echo"])
async def test_a_browser_that_asks_first_is_told_yes(ask, app, path):
    answer = await ask("OPTIONS", path, app=app, headers=asks(APP))
    assert (answer.status, answer.body) == (200, b"")
    told = allowed(answer)
    assert told["allow-origin"] == APP
    assert told["allow-headers"] == "authorization, content-type, x-stainless-os"
    assert {"GET", "POST", "PUT", "PATCH", "DELETE"} <= set(told["allow-methods"].split(", "))
    assert "allow-credentials" not in told
    assert answer.headers["vary"] == "Origin"
    assert answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_listed_page_reads_answers_and_errors(ask, app):
    good = await ask("GET", "/api/who", app=app, key="key", headers={"origin": APP})
    assert (good.status, allowed(good)["allow-origin"]) == (200, APP)
    assert "X-Request-Id" in allowed(good)["expose-headers"]
    for path, key, status in (("/api/who", None, 401), ("/api/nothing", "key", 404), ("/t/nobody/api/who", None, 404)):
        answer = await ask("GET", path, app=app, key=key, headers={"origin": APP})
        assert (answer.status, allowed(answer).get("allow-origin")) == (status, APP), path
        assert "allow-credentials" not in allowed(answer)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "null", APP + ":444"]
)
async def test_a_foreign_page_is_told_nothing(ask, app, origin):
    assert (await ask("OPTIONS", "/api/notes", app=app, headers=asks(origin))).status == 405
    for method, path in (("OPTIONS", "/api/notes"), ("GET", "/api/who"), ("GET", "/api/open")):
        answer = await ask(method, path, app=app, headers=asks(origin) if method == "OPTIONS" else {"origin": origin})
        assert allowed(answer) == {}
        assert answer.headers["vary"] == "Origin"


async def test_pages_for_people_are_nobody_elses(ask, app):
    for path in ("/home", "/login", "/healthz", "/brand.css"):
        assert allowed(await ask("GET", path, app=app, headers={"origin": APP})) == {}
        assert (await ask("OPTIONS", path, app=app, headers=asks(APP))).status == 405


async def test_a_cookie_does_not_help_a_listed_page(ask, app):
    cookie = {"cookie": "__Host-th-default=cookie-default", "origin": APP, "sec-fetch-site": "cross-site"}
    changing = await ask("POST", "/api/notes", app=app, json_body={"text": "x"}, headers=cookie)
    assert (changing.status, changing.json["code"]) == (403, "csrf")
    reading = await ask("GET", "/api/who", app=app, headers=cookie)
    assert "allow-credentials" not in allowed(reading)  # so the browser shows it to nobody


async def test_nothing_is_listed_at_first(ask):
    answer = await ask("GET", "/api/open", headers={"origin": APP})
    assert (answer.status, allowed(answer), "vary" in answer.headers) == (200, {}, False)
    assert (await ask("OPTIONS", "/api/notes", headers=asks(APP))).status == 405


async def test_odd_names_of_headers_are_not_given_back(ask, app):
    answer = await ask("OPTIONS", "/api/notes", app=app, headers=asks(APP, names="x-a, <script>"))
    assert (answer.status, "allow-headers" in allowed(answer)) == (200, False)


@pytest.fixture
def plugins_toml(tmp_path):
    (tmp_path / "plugins.toml").write_text("enabled = []")
    return tmp_path / "plugins.toml"


@pytest.mark.parametrize(
    "value", [f"{APP},http://localhost:5173", f" {APP} , http://localhost:5173 ", f'["{APP}", "http://localhost:5173"]']
)
def test_origins_are_a_list_by_commas_or_json(plugins_toml, monkeypatch, value):
    monkeypatch.setenv("TOLLHOUSE_CORS_ORIGINS", value)
    assert load_settings(config=plugins_toml).cors_origins == [APP, "http://localhost:5173"]


@pytest.mark.parametrize(
    "value",
    ["*", "app.example.com", f"{APP}/", f"{APP}/path", "https://*.example.com", "null", "[1]", "[", "https://A.example"],
)
def test_what_is_no_origin_stops_the_start_with_one_line(plugins_toml, monkeypatch, value):
    monkeypatch.setenv("TOLLHOUSE_CORS_ORIGINS", value)
    with pytest.raises(ConfigError) as stopped:
        load_settings(config=plugins_toml)
    line = str(stopped.value)
    assert line.startswith("setting cors_origins")
    assert "\n" not in line
