"""An installation in its first hour, with the plugins as they are installed, and the people who come to it."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from tests.flows.driver import Answer, Client
from tests.world import KEY
from tollhouse.app import Process
from tollhouse.settings import load_settings
from tollhouse.store.audit import SYSTEM
from tollhouse.store.secrets import SecretBox
from tollhouse.wiring.bootstrap import bootstrap

PASSWORD = "correct horse battery staple"


@dataclass
class Installation:
    """A process on an empty database, listening; ``claim`` is the link that it printed."""

    process: Process
    address: str
    claim: str


@asynccontextmanager
async def installation(dsn: str, folder: Path, *backends: str, settings: str = "") -> AsyncIterator[Installation]:
    """A listening process; ``backends`` beside the demo model, ``settings``: more of ``plugins.toml``."""
    enabled = ", ".join(f'"{name}"' for name in ("api", "web", "manual", "demo", *backends))
    config = folder / "plugins.toml"
    config.write_text(f"enabled = [{enabled}]\n{settings}")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        given = load_settings(config=config, data_dir=folder, port=port, rate_limit_anonymous=0, rate_limit_login=0)
        process = Process(given, dsn, SecretBox([KEY]))
        token = await bootstrap(process.container)
        server = uvicorn.Server(uvicorn.Config(process.app, log_config=None, server_header=False))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn offers nothing to wait for
            await asyncio.sleep(0.01)
        yield Installation(process, f"http://127.0.0.1:{port}", f"/claim/{token}")
        server.should_exit = True
        await task


def cookie_of(answer: Answer, slug: str = "default") -> str:
    found = re.search(rf"__Host-th-{slug}=([^;]+)", answer.headers["set-cookie"])
    assert found is not None
    return found[1]


async def claimed(first: Installation) -> Client:
    """Whoever opens the link becomes the operator, and owns the first tenant."""
    stranger = Client.browser(first.process.app, "default", None, "")
    assert (await stranger.get(first.claim)).status == 200
    done = await stranger.fill(first.claim, email="olga@example.test", password=PASSWORD, name="Olga")
    assert (done.status, done.location) == (303, "/console")
    assert (await stranger.get(first.claim)).status in (404, 410, 403, 401)  # once
    operator = Client.browser(first.process.app, "default", cookie_of(done), "")
    assert "olga@example.test" in (await operator.get("/console")).text
    assert (await operator.get("/console/tenants")).status == 200
    return operator


async def payable(first: Installation) -> None:
    """The owner has said how to pay: before that, nothing is sold for money."""
    container = first.process.container
    tenant = await container.directory.by_slug("default")
    values = {"instructions": "Pay {amount} to DE89 3704 0044 0532 0130 00, purpose {reference}."}
    await container.connections.create(SYSTEM, tenant.id, "payment", "manual", "Bank transfer", values)


async def say(client: Client, text: str = "Hello!", agent: str = "guide") -> Answer:
    return await client.post("/api/v1/turns", {"agent": agent, "parts": [{"type": "text", "text": text}]})


async def registered(first: Installation, email: str) -> Client:
    stranger = Client.program(first.process.app, "default", None, "")
    made = await stranger.post("/api/v1/auth/register", {"email": email, "password": PASSWORD, "name": "Ada"})
    assert made.status == 201
    return Client.program(first.process.app, "default", made.json["access_token"], "")
