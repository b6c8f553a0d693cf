"""The plugin's pages in a tiny application: the kernel's ports as fakes, the gateway as the few things it promises to pages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send
from tollhouse_web import Settings, plugin
from tollhouse_web.site import PlainBrand

from tollhouse.plugin import Mount, PluginContext, Principal, Sessions, TenantInfo, TollhouseError
from tollhouse.testing.context import TENANT, MemoryState
from tollhouse.testing.ports import FakePorts
from tollhouse.testing.world import World

COOKIE = "session"


class FakeCookies:
    """``scope["tollhouse.cookies"]``."""

    def __init__(self, work: bool = True) -> None:
        self.work = work

    def set(self, response: Response, token: str, expires_at: datetime) -> None:
        response.set_cookie(COOKIE, token, httponly=True)

    def clear(self, response: Response) -> None:
        response.delete_cookie(COOKIE)


@dataclass
class FakeGateway:
    """Finds the principal of a session cookie, asks for one where the mount does not say ``public``, shows errors."""

    world: World = field(default_factory=World)
    settings: Settings = field(default_factory=Settings)
    tenant: TenantInfo = TENANT
    cookies: FakeCookies = field(default_factory=FakeCookies)
    tokens: dict[str, Principal] = field(default_factory=dict)
    state: MemoryState = field(default_factory=MemoryState)
    brand: PlainBrand = field(default_factory=lambda: PlainBrand("/brand.css", "/static/icon.svg"))
    wrap: Callable[[type[Any], Any], Any] = lambda kind, port: port

    def app(self, root_path: str = "") -> ASGIApp:
        """The application, behind the gateway."""
        (mount,) = plugin.register_routes(self.settings)
        app = FastAPI()
        app.include_router(mount.router, prefix=mount.prefix)

        async def show(request: Any, error: Exception) -> Response:
            assert isinstance(error, TollhouseError)
            return PlainTextResponse(error.detail, error.http_status)

        app.add_exception_handler(TollhouseError, show)
        return _Edge(self, mount, app, root_path)

    def ports(self, principal: Principal | None) -> Callable[[type[Any]], Any]:
        """Fakes of what the plugin declares; signing in makes the token known."""
        fakes = FakePorts(self.world, principal, declared=plugin.ports)

        def port(kind: type[Any]) -> Any:
            found = fakes(kind)
            return self.wrap(kind, _Remembering(self, found) if kind is Sessions else found)

        return port


class _Remembering:
    def __init__(self, gateway: FakeGateway, sessions: Any) -> None:
        self.gateway, self.sessions = gateway, sessions

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sessions, name)

    async def login(self, email: str, password: str, kind: Any) -> Any:
        signed_in = await self.sessions.login(email, password, kind)
        self.gateway.tokens[signed_in.token] = signed_in.principal
        return signed_in


class _Edge:
    def __init__(self, gateway: FakeGateway, mount: Mount, app: FastAPI, root: str) -> None:
        self.gateway, self.mount, self.app, self.root = gateway, mount, app, root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        token = dict(_cookies(scope)).get(COOKIE, "")
        principal = self.gateway.tokens.get(token)
        path = scope["path"].removeprefix(self.root)
        if principal is None and f"{scope['method']} {path}" not in self.mount.public:
            where = f"{self.root}/login?next={quote(scope['path'])}"
            answer = RedirectResponse(where, 303) if scope["method"] == "GET" else PlainTextResponse("sign in", 401)
            await answer(scope, receive, send)
            return
        async with aiohttp.ClientSession() as http:
            context: PluginContext[Any] = PluginContext(
                tenant=self.gateway.tenant,
                config=self.gateway.settings,
                connection_id=None,
                principal=principal,
                http=http,
                log=logging.LoggerAdapter(logging.getLogger("test"), {}),
                now=self.gateway.world.clock,
                state=self.gateway.state,
                ports=self.gateway.ports(principal),
            )
            more = {"root_path": self.root, "tollhouse.context": lambda: context, "tollhouse.cookies": self.gateway.cookies}
            more["tollhouse.brand"] = replace(self.gateway.brand, css=f"{self.root}/brand.css")
            await self.app({**scope, **more}, receive, send)


def _cookies(scope: Scope) -> Iterator[tuple[str, str]]:
    for name, value in scope["headers"]:
        if name == b"cookie":
            for pair in value.decode().split("; "):
                key, _, text = pair.partition("=")
                yield key, text


class Browser(TestClient):
    """A client that follows redirects, keeps cookies, and sends a chat's form as the page holds it."""

    def __init__(self, app: ASGIApp, **more: Any) -> None:
        super().__init__(app, base_url="https://testserver", **more)

    def hidden(self, html: str, name: str) -> str:
        """The value of a hidden field."""
        marker = f'<input type="hidden" name="{name}"'
        rest = html[html.index(marker) :]
        return rest[rest.index('value="') + 7 :].split('"', 1)[0]

    def say(self, html: str, text: str, htmx: bool = False, **more: Any) -> Any:
        """Write ``text`` into the composer of a chat page and send it."""
        data = {name: self.hidden(html, name) for name in ("agent", "conversation", "key")}
        headers = {"HX-Request": "true"} if htmx else {}
        return self.post("/chat", data={**data, "text": text}, headers=headers, **more)


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def stranger(gateway: FakeGateway) -> Iterator[Browser]:
    with Browser(gateway.app()) as client:
        yield client


@pytest.fixture
def ada(gateway: FakeGateway) -> Iterator[Browser]:
    """Somebody who is signed in."""
    gateway.tokens["ada"] = gateway.world.principal()
    with Browser(gateway.app(), cookies={COOKIE: "ada"}) as client:
        yield client


@pytest.fixture
def bob(gateway: FakeGateway) -> Iterator[Browser]:
    """Somebody else who is signed in."""
    gateway.tokens["bob"] = gateway.world.principal("bob@example.com")
    with Browser(gateway.app(), cookies={COOKIE: "bob"}) as client:
        yield client


@pytest.fixture
def browser_at(gateway: FakeGateway) -> Callable[[str], Browser]:
    """Somebody who is signed in, at a tenant that lives under a path."""
    gateway.tokens["ada"] = gateway.world.principal()
    return lambda root_path: Browser(gateway.app(root_path), cookies={COOKIE: "ada"})
