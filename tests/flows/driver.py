"""A client on plain ASGI: it sends what no well-behaved client would, and sees how much of a body was read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

HOST = "127.0.0.1:8000"


@dataclass(frozen=True)
class Answer:
    """What came back. ``reads``: how often the application asked for the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    reads: int

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def location(self) -> str:
        return self.headers.get("location", "")

    @property
    def everything(self) -> str:
        """Headers and body, for looking for what must not be there."""
        return "\n".join(f"{name}: {value}" for name, value in self.headers.items()) + "\n\n" + self.body.decode("latin-1")


@dataclass(frozen=True)
class Body:
    """A body and its content type. ``announced``: what Content-Length says; None for a chunked body."""

    data: bytes = b""
    kind: str = ""
    announced: int | None = -1
    pieces: Sequence[bytes] | None = None

    @classmethod
    def json(cls, value: Any) -> Body:
        return cls(json.dumps(value).encode(), "application/json")

    @classmethod
    def form(cls, values: Mapping[str, Any]) -> Body:
        return cls(urlencode(values, doseq=True).encode(), "application/x-www-form-urlencoded")

    @classmethod
    def upload(cls, data: bytes, name: str = "a.txt", field: str = "file", **fields: str) -> Body:
        parts = [f'--x\r\ncontent-disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()]
        head = f'--x\r\ncontent-disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
        return cls("".join([*parts, head]).encode() + data + b"\r\n--x--\r\n", "multipart/form-data; boundary=x")

    def headers(self) -> dict[str, str]:
        if self.announced is None:
            return {"content-type": self.kind, "transfer-encoding": "chunked"}
        length = len(self.data) if self.announced < 0 else self.announced
        return {"content-type": self.kind, "content-length": str(length)} if length else {}

    async def messages(self) -> AsyncIterator[bytes]:
        for piece in self.pieces if self.pieces is not None else [self.data]:
            yield piece


NOTHING = Body()


async def call(app: Any, method: str, path: str, headers: Mapping[str, str] | None = None, body: Body = NOTHING) -> Answer:
    """One request. A body whose pieces are used up without an end never ends."""
    path, _, query = path.partition("?")
    pairs = {"host": HOST, **body.headers(), **(headers or {})}
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
    endless = body.pieces is not None
    waiting = list(body.pieces) if body.pieces is not None else [body.data]
    sent: list[dict[str, Any]] = []
    reads = 0

    async def receive() -> dict[str, Any]:
        nonlocal reads
        reads += 1
        if not waiting:
            if endless:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}
        piece = waiting.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(waiting) or endless}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async with asyncio.timeout(30):
        await app(scope, receive, send)
    answered: dict[str, str] = {}
    for name, value in sent[0]["headers"]:
        key = name.decode()
        answered[key] = f"{answered[key]}, {value.decode('latin-1')}" if key in answered else value.decode("latin-1")
    return Answer(sent[0]["status"], answered, b"".join(message.get("body", b"") for message in sent[1:]), reads)


@dataclass(frozen=True)
class Client:
    """Somebody at one tenant's address, with a credential: a bearer token, a browser's session, or none."""

    app: Any
    prefix: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def browser(cls, app: Any, slug: str, token: str | None, prefix: str | None = None, **more: str) -> Client:
        headers = {"sec-fetch-site": "same-origin", "accept": "text/html", **more}
        if token is not None:
            headers["cookie"] = f"__Host-th-{slug}={token}"
        return cls(app, f"/t/{slug}" if prefix is None else prefix, headers)

    @classmethod
    def program(cls, app: Any, slug: str, token: str | None, prefix: str | None = None, **more: str) -> Client:
        headers = dict(more) if token is None else {"authorization": f"Bearer {token}", **more}
        return cls(app, f"/t/{slug}" if prefix is None else prefix, headers)

    async def send(self, method: str, path: str, body: Body = NOTHING, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await call(self.app, method, self.prefix + path, {**self.headers, **named}, body)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.send("GET", path, **headers)

    async def post(self, path: str, json_body: Any = None, **headers: str) -> Answer:
        return await self.send("POST", path, NOTHING if json_body is None else Body.json(json_body), **headers)

    async def fill(self, path: str, **form: Any) -> Answer:
        """Send a form."""
        return await self.send("POST", path, Body.form(form))
