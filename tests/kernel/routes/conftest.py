"""The kernel's routes behind the gateway, with the shipped fakes behind the ports."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from tollhouse.gateway.application import Application, build_application
from tollhouse.gateway.parts import GatewayParts
from tollhouse.plugin import PORTS, Mount, NotFound, Principal, Unauthenticated
from tollhouse.routes.admin import admin_mount
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.api import api_mount
from tollhouse.routes.hooks import hooks_mount
from tollhouse.settings import Settings
from tollhouse.tenants.values import Tenant
from tollhouse.testing.context import TENANT
from tollhouse.testing.ports import FAKES
from tollhouse.testing.world import World

ROLES = ("owner", "admin", "support", "analyst")


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes
    reads: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def call(app: Any, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
    """One request over plain ASGI."""
    path, _, query = path.partition("?")
    pairs = {"host": "127.0.0.1:8000", **headers} | ({"content-length": str(len(body))} if body else {})
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
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs.items()],
        "client": ("203.0.113.9", 50000),
        "server": ("127.0.0.1", 8000),
    }
    sent: list[dict[str, Any]] = []
    reads = 0

    async def receive() -> dict[str, Any]:
        nonlocal reads
        reads += 1
        return {"type": "http.request", "body": body, "more_body": False} if reads == 1 else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answered = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], answered, b"".join(message.get("body", b"") for message in sent[1:]), reads)


class Untouchable:
    """A service that must not be reached."""

    def __getattr__(self, name: str) -> Any:
        def called(*args: Any, **kwargs: Any) -> Any:
            raise AssertionError(f"{name} was called")

        return called


class Door:
    """Two tenants, and a key for every kind of person: ``ada``, ``bob``, each role, ``operator``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tenants = {slug: _tenant(tenant_id, slug) for slug, tenant_id in (("default", TENANT.id), ("other", UUID(int=2)))}

    async def by_slug(self, slug: str) -> Tenant:
        if slug not in self.tenants:
            raise NotFound()
        return self.tenants[slug]

    async def by_host(self, host: str) -> Tenant:
        raise NotFound()

    async def authenticate(self, token: str, *, max_age: float = 1.0) -> Principal:
        if token in ("ada", "bob"):
            known = self.world.principal(f"{token}@example.com")
            return replace(known, channel="api", auth_provider="api_key", credential_kind="api_key")
        base = Principal(TENANT.id, UUID(int=99), "password", "api")
        if token in ROLES:
            return replace(base, role=token)  # type: ignore[arg-type]
        if token == "operator":
            return replace(base, operator=True)
        if token == "narrow":
            return replace(base, role="owner", operator=True, scopes=frozenset({"turns"}), credential_kind="api_key")
        if token == "stranger":
            return replace(base, tenant_id=UUID(int=2), role="owner", operator=True)
        raise Unauthenticated()


def _tenant(tenant_id: UUID, slug: str) -> Tenant:
    return Tenant(
        tenant_id, slug, "Acme", "active", "UTC", None, None, "EUR", "USD", "en", (), None, datetime(2026, 1, 1, tzinfo=UTC)
    )


@pytest.fixture
def world() -> World:
    return World()


Ask = Callable[..., Any]


@pytest.fixture
def make_app(world: World) -> Callable[..., Application]:
    """The application; ``services`` are the admin's, none by default: whoever gets as far as to call one fails."""

    def make(services: Any = None, intake: Any = None, mounts: Sequence[Mount] = ()) -> Application:
        door = Door(world)
        none = SimpleNamespace(**{name: Untouchable() for name in AdminServices.__dataclass_fields__})
        admin = admin_mount(cast(AdminServices, services or none))
        return build_application(
            GatewayParts(
                settings=Settings(rate_limit_anonymous=0),
                authenticator=door,
                directory=door,
                ports={kind: _factory(kind, world) for kind in PORTS},
                contexts=lambda plugin, caller: None,  # type: ignore[arg-type, return-value]
                mounts=[api_mount(), admin, hooks_mount(intake), *mounts],
            )
        )

    return make


def _factory(kind: Any, world: World) -> Callable[[Any], Any]:
    return lambda caller: FAKES[kind](world, caller.principal)


@pytest.fixture
def ask(make_app: Callable[..., Application]) -> Ask:
    """``await ask("GET", "/api/v1/me", key="ada")``."""
    default = make_app()

    async def request(
        method: str,
        path: str,
        *,
        key: str | None = None,
        json_body: Any = None,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        app: Application | None = None,
    ) -> Answer:
        sent = dict(headers or {})
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        if json_body is not None:
            body = json.dumps(json_body).encode()
            sent.setdefault("content-type", "application/json")
        return await call(app or default, method, path, sent, body)

    request.app = default  # type: ignore[attr-defined]
    return request


@pytest.fixture
def drive() -> Any:
    """The bare driver."""
    return call
