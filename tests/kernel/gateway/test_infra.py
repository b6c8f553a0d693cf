"""Health, metrics, static files, brand, the OpenAPI document, and the headers on everything."""

import asyncio
import re

import pytest
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount as StarletteMount
from starlette.routing import Route

from tests.kernel.gateway.conftest import call
from tollhouse.gateway.brand import readable_on, stylesheet
from tollhouse.host.host import Registered
from tollhouse.plugin import ConfigError, Mount
from tollhouse.store.trouble import Trouble


async def test_alive_is_not_ready(ask, build):
    state = {"database": None, "schema": Trouble("schema_mismatch", "the database's schema is 0000")}

    async def database():
        return state["database"]

    async def schema():
        return state["schema"]

    async def broken():
        raise OSError("no route to host 10.0.0.5")

    app = build(readiness={"database": database, "schema": schema})
    not_ready = await ask("GET", "/readyz", app=app)
    assert (not_ready.status, not_ready.json["reasons"]) == (503, ["the database's schema is 0000"])
    assert not_ready.json["codes"] == ["schema_mismatch"]
    assert (await ask("GET", "/healthz", app=app)).status == 200
    state["schema"] = None
    assert (await ask("GET", "/readyz", app=app)).status == 200
    failing = await ask("GET", "/readyz", app=build(readiness={"database": broken}))
    assert failing.status == 503
    assert "10.0.0.5" not in failing.text


async def test_metrics_are_not_for_everybody(ask, build):
    for key, status in ((None, 401), ("nonsense", 401), ("key", 403), ("operator-key", 200)):
        assert (await ask("GET", "/metrics", key=key)).status == status
    assert (await ask("GET", "/metrics", client="127.0.0.1")).status == 200
    behind_a_proxy = {"x-forwarded-for": "203.0.113.5"}
    assert (await ask("GET", "/metrics", client="127.0.0.1", headers=behind_a_proxy)).status == 401
    public = build(metrics_public=True)
    await ask("GET", "/api/things/7", key="key", app=public)
    text = (await ask("GET", "/metrics", app=public)).text
    assert 'tollhouse_http_requests_total{method="GET",route="/api/things/{thing_id}",status="200"} 1.0' in text


async def test_static_files_are_kept_for_ever_when_asked_for_by_content(ask):
    page = (await ask("GET", "/home")).text
    address = re.search(r'href="(/static/tollhouse\.css\?v=[0-9a-f]+)"', page)[1]
    answer = await ask("GET", address)
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"].startswith("text/css")
    assert (await ask("GET", "/static/tollhouse.css?v=old")).headers["cache-control"] == "no-cache"
    again = await ask("GET", address, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    for missing in ("/static/README.md", "/static/nothing.js", "/static/..%2fparts.py", "/static/../parts.py"):
        assert (await ask("GET", missing)).status == 404
    assert (await ask("GET", "/favicon.ico")).headers["content-type"] == "image/svg+xml"
    assert (await ask("GET", "/robots.txt")).status == 200


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json"])
async def test_what_this_machine_may_see_is_not_shown_by_another_name(ask, path):
    """A page of somebody else, whose name was made to lead here, runs in a browser on this very machine."""
    for host, status in (("127.0.0.1:8000", 200), ("localhost", 200), ("evil.example", 401), ("evil.example:8000", 401)):
        assert (await ask("GET", path, client="127.0.0.1", headers={"host": host})).status == status, host
    assert (await ask("GET", path, client="127.0.0.1", headers={"host": "evil.example@127.0.0.1"})).status == 400
    assert (await ask("GET", path, key="operator-key", client="192.0.2.9", headers={"host": "evil.example"})).status == 200
    for probe in ("/healthz", "/readyz"):
        assert (await ask("GET", probe, headers={"host": "10.0.0.7:8000"})).status == 200


async def test_each_tenant_has_its_brand(ask):
    assert "--accent: #7a1f3d; --accent-text: #fff; --radius: 4px" in (await ask("GET", "/brand.css")).text
    assert (await ask("GET", "/t/other/brand.css")).text == ":root {}\n"
    assert (await ask("GET", "/t/nobody/brand.css")).status == 404


@pytest.mark.parametrize("colour", ["#000000", "#ffffff", "#777777", "#7a1f3d", "#ffcc00", "#0066cc"])
def test_text_on_the_accent_can_be_read(colour):
    assert readable_on(colour) == {"#ffffff": "#000", "#777777": "#000", "#ffcc00": "#000"}.get(colour, "#fff")
    assert colour in stylesheet(colour, None).content.decode()


@pytest.mark.parametrize(
    ("path", "key"),
    [("/healthz", None), ("/api/who", "key"), ("/api/who", None), ("/home", None), ("/nowhere", None), ("/api/bug", "key")],
)
async def test_every_answer_is_guarded(ask, path, key):
    answer = await ask("GET", path, key=key)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] in ("no-referrer", "same-origin")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]
    assert not {"server", "x-powered-by", "strict-transport-security"} & answer.headers.keys()


async def test_https_is_insisted_on_only_where_it_is(ask, build):
    answer = await ask("GET", "/healthz", app=build(public_url="https://toll.example"))
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("bad", ["short", "x" * 65, "has space 123", "new\u00e4line-123", "'; drop--1234"])
async def test_only_sane_request_ids_are_kept(ask, bad):
    assert (await ask("GET", "/healthz", headers={"x-request-id": bad})).headers["x-request-id"] != bad
    assert (await ask("GET", "/healthz", headers={"x-request-id": "trace-1234"})).headers["x-request-id"] == "trace-1234"


async def test_the_document_names_every_route_and_its_errors(ask):
    assert (await ask("GET", "/openapi.json")).status == 401
    document = (await ask("GET", "/openapi.json", key="key")).json
    notes = document["paths"]["/api/notes"]["post"]
    assert {"400", "401", "403", "413", "415", "422", "429", "500", "503"} <= notes["responses"].keys()
    assert notes["responses"]["401"] == {"$ref": "#/components/responses/401"}
    problem = document["components"]["responses"]["401"]["content"]["application/problem+json"]
    assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert problem["example"]["code"] == "unauthenticated"
    assert document["paths"]["/api/open"]["get"]["security"] == []
    assert notes["security"] == [{"bearer": []}]


def _mount(path, *, prefix="", public=()):
    async def answer(request):
        return PlainTextResponse("x")

    return Mount(prefix, APIRouter(routes=[Route(path, answer, methods=["GET"])]), public=frozenset(public))


@pytest.mark.parametrize("path", ["/api/who", "/healthz", "/api/things/{other}", "/api/things/mine"])
def test_two_routes_for_the_same_requests_stop_the_start(build, path):
    with pytest.raises(ConfigError, match=r"plugin 'greedy'.*taken already"):
        build(plugin_mounts=[Registered("greedy", _mount(path))])


def test_a_mount_may_only_name_its_own_routes(build):
    with pytest.raises(ConfigError, match="'GET /y' is named as public"):
        build(plugin_mounts=[Registered("typo", _mount("/x", public=["GET /y"]))])
    sub_application = Mount("", APIRouter(routes=[StarletteMount("/sub", PlainTextResponse("x"))]))
    with pytest.raises(ConfigError, match="only routes"):
        build(plugin_mounts=[Registered("sub", sub_application)])


async def test_web_sockets_are_closed(build):
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    await build()({"type": "websocket", "path": "/api/who", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_the_task_of_a_request_is_called_by_its_route_and_plugin(build):
    async def name(request: Request) -> PlainTextResponse:
        return PlainTextResponse(asyncio.current_task().get_name())

    mount = Mount("/p", APIRouter(routes=[Route("/names/{id}", name)]), public=frozenset({"GET /names/{id}"}))
    app = build(plugin_mounts=[Registered("demo", mount)])
    answer = await asyncio.create_task(call(app, "GET", "/p/names/4711"))
    assert answer.text == "GET /p/names/{id} (plugin demo)"
