"""The console of a real process: container, gateway and pages, driven as a browser would drive them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from sqlalchemy import select

from tests.conftest import Cluster
from tests.world import KEY, ScriptedModel, Shop, WorldPlugin, open_shop
from tollhouse import plugin as th
from tollhouse.app import Process
from tollhouse.auth import repository as auth_rows
from tollhouse.auth.models import users
from tollhouse.settings import Settings
from tollhouse.store.ids import new_id
from tollhouse.store.secrets import SecretBox
from tollhouse.store.store import Store
from tollhouse.tenants.models import tenants

HOST = "127.0.0.1:8000"


class KeyedModel(ScriptedModel):
    """The scripted model with a key, a form and a test."""

    title = "Keyed model"

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid")
        region: str = Field("eu", title="Region", max_length=20)
        api_key: SecretStr | None = Field(None, title="API key")

    async def test(self, ctx: th.PluginContext[Any]) -> th.Health:
        right = ctx.config.api_key is not None and ctx.config.api_key.get_secret_value() == "sk-right-1234567890"
        return th.Health(right, "The key is accepted." if right else "The key is not accepted.")


class ConsolePlugin(WorldPlugin):
    def __init__(self) -> None:
        self.model = KeyedModel()


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def location(self) -> str:
        return self.headers.get("location", "")

    def id(self) -> UUID:
        """The first id in where it leads to."""
        found = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", self.location)
        assert found is not None, (self.status, self.location, self.text[:2000])
        return UUID(found[0])


@dataclass
class Browser:
    """Somebody's browser at one tenant (``slug``), signed in by ``token`` or not."""

    app: Any
    slug: str
    token: str | None = None

    async def get(self, path: str) -> Answer:
        return await self.send("GET", path)

    async def post(self, path: str, **form: Any) -> Answer:
        return await self.send("POST", path, form)

    async def upload(self, path: str, name: str, data: bytes) -> Answer:
        """Send a form with one file."""
        head = f'--x\r\ncontent-disposition: form-data; name="{name}"; filename="a"\r\n\r\n'
        return await self.send("POST", path, raw=head.encode() + data + b"\r\n--x--\r\n")

    async def send(
        self,
        method: str,
        path: str,
        form: Mapping[str, Any] | None = None,
        *,
        site: str = "same-origin",
        raw: bytes | None = None,
    ) -> Answer:
        path, _, query = f"/t/{self.slug}{path}".partition("?")
        body = urlencode(form or {}, doseq=True).encode() if method == "POST" else b""
        kind = "application/x-www-form-urlencoded" if raw is None else "multipart/form-data; boundary=x"
        body = body if raw is None else raw
        pairs = [("host", HOST), ("sec-fetch-site", site), ("accept", "text/html")]
        if method == "POST":
            pairs += [("content-type", kind), ("content-length", str(len(body)))]
        if self.token is not None:
            pairs.append(("cookie", f"__Host-th-{self.slug}={self.token}"))
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
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in pairs],
            "client": ("203.0.113.9", 50000),
            "server": ("127.0.0.1", 8000),
        }
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return messages.pop() if messages else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        answered = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], answered, b"".join(message.get("body", b"") for message in sent[1:]))


@dataclass
class House:
    """One process, a shop in it, and the people of the shop."""

    process: Process
    plugin: ConsolePlugin
    shop: Shop
    slug: str

    @property
    def container(self) -> Any:
        return self.process.container

    @property
    def store(self) -> Store:
        return self.process.store

    async def person(self, role: str | None = None, *, operator: bool = False, shop: Shop | None = None) -> tuple[UUID, str]:
        """A user with a browser session: id and token."""
        tenant_id, user_id = (shop or self.shop).tenant_id, new_id()
        async with self.store.transaction(tenant_id) as conn:
            email = f"{role or 'plain'}-{user_id.hex[-6:]}@example.test"
            await conn.execute(users.insert().values(tenant_id=tenant_id, id=user_id, email=email, role=role))
        if operator:
            async with self.store.operator() as conn:
                await auth_rows.add_operator(conn, tenant_id, user_id)
        async with self.store.transaction(tenant_id) as conn:
            row = await auth_rows.get_user(conn, tenant_id, user_id)
            assert row is not None
            signed_in = await self.container.sessions.open(conn, row, "password", "cookie")
        return user_id, signed_in.token

    async def browser(self, role: str | None = None, **more: Any) -> Browser:
        """A browser of somebody with this role."""
        _, token = await self.person(role, **more)
        return Browser(self.process.app, self.slug, token)

    def nobody(self) -> Browser:
        return Browser(self.process.app, self.slug)


async def slug_of(store: Store, tenant_id: UUID) -> str:
    async with store.operator() as conn:
        return str((await conn.execute(select(tenants.c.slug).where(tenants.c.id == tenant_id))).scalar_one())


@pytest.fixture
async def house(cluster: Cluster, tmp_path: Path) -> AsyncIterator[House]:
    plugin = ConsolePlugin()
    settings = Settings(
        data_dir=tmp_path, enabled=["world"], jobs=False, rate_limit_anonymous=0, rate_limit_principal=0, rate_limit_login=0
    )
    process = Process(settings, cluster.dsn, SecretBox([KEY]), plugins={"world": plugin})
    await process.start()
    shop = await open_shop(process.store)
    yield House(process, plugin, shop, await slug_of(process.store, shop.tenant_id))
    await process.close()


@pytest.fixture
async def other(house: House) -> Shop:
    """Another tenant: every story has two."""
    return await open_shop(house.store)
