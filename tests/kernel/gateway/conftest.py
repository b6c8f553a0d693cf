"""A gateway around a few routes, driven as a server would drive it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from fastapi import APIRouter, Form
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tollhouse.gateway.application import Application, build_application
from tollhouse.gateway.exchange import caller_of, end_session, start_session
from tollhouse.gateway.parts import GatewayParts
from tollhouse.host.host import Registered
from tollhouse.plugin import AccessDenied, Decision, LimitStatus, Mount, NotFound, Principal, SignedIn, Unauthenticated
from tollhouse.settings import Settings
from tollhouse.tenants.values import Brand, Tenant, TenantSettings

ACME, OTHER = UUID(int=1), UUID(int=2)


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    all_headers: list[tuple[str, str]]
    body: bytes
    read: int  # how many messages of the body were asked for

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


async def call(
    app: Any,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    body: bytes | Sequence[bytes] = b"",
    client: str = "203.0.113.9",
) -> Answer:
    """One request over plain ASGI; a list of bytes is a chunked body."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    names = {name.lower() for name, _ in pairs}
    if "host" not in names:
        pairs.append(("host", "127.0.0.1:8000"))
    if isinstance(body, bytes) and body and "content-length" not in names:
        pairs.append(("content-length", str(len(body))))
    if not isinstance(body, bytes):
        pairs.append(("transfer-encoding", "chunked"))
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs],
        "client": (client, 50000),
        "server": ("127.0.0.1", 8000),
    }
    sent: list[dict[str, Any]] = []
    reads = 0

    async def receive() -> dict[str, Any]:
        nonlocal reads
        reads += 1
        if reads > len(chunks):
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunks[reads - 1], "more_body": reads < len(chunks)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    answered = [(name.decode(), value.decode("latin-1")) for name, value in start["headers"]]
    return Answer(start["status"], dict(answered), answered, b"".join(message.get("body", b"") for message in sent[1:]), reads)


def make_tenant(tenant_id: UUID, slug: str, **values: Any) -> Tenant:
    known: dict[str, Any] = {
        "name": slug.title(),
        "status": "active",
        "timezone": "UTC",
        "next_timezone": None,
        "next_timezone_from": None,
        "currency": "EUR",
        "cost_currency": "USD",
        "language": "en",
        "hosts": (),
        "daily_cost_cap": None,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Tenant(tenant_id, slug, **{**known, **values})


@dataclass
class Town:
    """Tenants and tokens, in memory: what the edge is given instead of the database."""

    tenants: dict[str, Tenant] = field(default_factory=dict)
    tokens: dict[str, Principal] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    """For how many seconds each look-up would have been believed."""

    async def by_slug(self, slug: str) -> Tenant:
        self.looked_up.append(slug)
        if slug not in self.tenants:
            raise NotFound()
        return self.tenants[slug]

    async def by_host(self, host: str) -> Tenant:
        self.looked_up.append(host)
        for tenant in self.tenants.values():
            if host in tenant.hosts:
                return tenant
        raise NotFound()

    async def authenticate(self, token: str, *, max_age: float = 1.0) -> Principal:
        self.asked.append(token)
        self.ages.append(max_age)
        if token not in self.tokens:
            raise Unauthenticated()
        return self.tokens[token]


class Note(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str
    size: int = 0


def json_mount() -> Mount:
    router = APIRouter()

    @router.get("/who")
    async def who(request: Request) -> dict[str, Any]:
        caller = caller_of(request)
        user = str(caller.principal.user_id) if caller.principal else None
        return {"tenant": caller.tenant.slug, "base_url": caller.tenant.base_url, "address": caller.address, "user": user}

    @router.get("/open")
    async def open_to_all(request: Request) -> dict[str, Any]:
        return await who(request)

    @router.post("/notes")
    async def add_note(note: Note) -> Note:
        return note

    @router.post("/big")
    async def add_big(note: Note) -> int:
        return len(note.text)

    @router.get("/things/{thing_id}")
    async def thing(thing_id: int, limit: int = 5) -> dict[str, int]:
        return {"thing": thing_id, "limit": limit}

    @router.delete("/things/{thing_id}")
    async def drop(thing_id: int) -> None:
        return None

    @router.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    @router.get("/denied")
    async def denied() -> None:
        limit = LimitStatus("calls", "day", 20, 20, 0, 0, datetime(2026, 1, 2, tzinfo=UTC))
        raise AccessDenied(Decision(False, "limit_reached", "All 20 are used.", 402, limit=limit, plan="free"))

    @router.get("/bug")
    async def bug() -> None:
        raise RuntimeError("the secret is 4711")

    @router.get("/exit")
    async def leaves() -> None:
        raise SystemExit(3)

    return Mount("/api", router, public=frozenset({"GET /open"}), large_bodies=frozenset({"POST /big"}))


def page_mount() -> Mount:
    router = APIRouter()

    @router.get("/login")
    async def login_page() -> Response:
        return HTMLResponse("<p>sign in</p>")

    @router.post("/login")
    async def login(request: Request, email: str = Form()) -> Response:
        tenant = caller_of(request).tenant
        principal = Principal(tenant.id, UUID(int=77), "password", "web", email=email)
        start_session(request, SignedIn(f"cookie-{tenant.slug}", datetime(2099, 1, 1, tzinfo=UTC), principal))
        return Response(status_code=303, headers={"location": "/"})

    @router.get("/home")
    async def home(request: Request) -> Response:
        return HTMLResponse(f"<p>{caller_of(request).user.user_id}</p>")

    @router.post("/logout")
    async def logout(request: Request) -> Response:
        end_session(request)
        return Response(status_code=303, headers={"location": "/"})

    return Mount("", router, public=frozenset({"GET /login", "POST /login"}), errors="page")


def openai_mount() -> Mount:
    async def echo(request: Request) -> Response:
        return JSONResponse(json.loads(await request.body()))

    return Mount("", APIRouter(routes=[Route("/v1/echo", echo, methods=["POST"])]), errors="openai")


def plugin_page_mount() -> Mount:
    async def enter(request: Request) -> Response:
        response = Response(status_code=303, headers={"location": request.scope["tollhouse.static"]("icon.svg")})
        assert request.scope["tollhouse.cookies"].work
        request.scope["tollhouse.cookies"].set(response, "token", datetime(2099, 1, 1, tzinfo=UTC))
        return response

    routes: list[BaseRoute] = [Route("/p/enter", enter, methods=["POST"])]
    return Mount("", APIRouter(routes=routes), public=frozenset({"POST /p/enter"}), errors="page")


Build = Callable[..., Application]


@pytest.fixture
def town() -> Town:
    acme = make_tenant(ACME, "default", settings=TenantSettings(brand=Brand(accent="#7a1f3d", radius=4)))
    other = make_tenant(OTHER, "other", hosts=("other.example",))
    known = {
        "key": Principal(ACME, UUID(int=11), "api_key", "api", credential_kind="api_key"),
        "operator-key": Principal(ACME, UUID(int=12), "api_key", "api", operator=True, credential_kind="api_key"),
        "cookie-default": Principal(ACME, UUID(int=11), "password", "web"),
        "other-key": Principal(OTHER, UUID(int=21), "api_key", "api", credential_kind="api_key"),
        "cookie-other": Principal(OTHER, UUID(int=21), "password", "web"),
    }
    return Town({"default": acme, "other": other}, known)


@pytest.fixture
def build(town: Town, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Make an application; keywords are settings."""

    def make(*, mounts: Sequence[Mount] | None = None, **settings: Any) -> Application:
        readiness, doors = settings.pop("readiness", {}), settings.pop("doors", {})
        ours = [Registered("demo", openai_mount()), Registered("pages", plugin_page_mount())]
        plugins = settings.pop("plugin_mounts", ours)
        return build_application(
            GatewayParts(
                settings=Settings(**settings),
                authenticator=town,
                directory=town,
                ports={},
                contexts=lambda plugin, caller: (plugin, caller),  # type: ignore[arg-type, return-value]
                mounts=[json_mount(), page_mount()] if mounts is None else mounts,
                plugin_mounts=plugins,
                readiness=readiness,
                doors=doors,
            )
        )

    return make


Get = Callable[..., Any]


@pytest.fixture
def ask(build: Build) -> Get:
    """Ask the ordinary application: ``await ask("GET", "/api/who", key="key")``."""
    app = build()

    async def request(method: str, path: str, *, key: str | None = None, json_body: Any = None, **more: Any) -> Answer:
        headers = dict(more.pop("headers", {}))
        if "pairs" in more:
            return await call(app, method, path, headers=more.pop("pairs"))
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        if json_body is not None:
            more["body"] = json.dumps(json_body).encode()
            headers.setdefault("content-type", "application/json")
        return await call(more.pop("app", app), method, path, headers=headers, **more)

    request.app = app  # type: ignore[attr-defined]
    return request
