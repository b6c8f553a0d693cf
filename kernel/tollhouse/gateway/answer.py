"""The way out: every answer gets its request id, its security headers, and what the request earned on its way in."""

from __future__ import annotations

from typing import Any

from starlette.types import Message, Scope, Send

from tollhouse.gateway.cookies import Cookies
from tollhouse.gateway.exchange import SESSION, Exchange
from tollhouse.plugin.ports import SignedIn

Headers = tuple[tuple[bytes, bytes], ...]
NO_STORE = (b"cache-control", b"no-store")


class Answer:
    """Wraps ``send`` for one request."""

    __slots__ = ("_cookies", "_exchange", "_fixed", "_head", "_scope", "_send", "started", "status")

    def __init__(self, scope: Scope, exchange: Exchange, send: Send, fixed: Headers, cookies: Cookies) -> None:
        self._scope = scope
        self._exchange = exchange
        self._send = send
        self._fixed = fixed
        self._cookies = cookies
        self._head = scope["method"] == "HEAD"
        self.started = False
        self.status = 499

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            message["headers"] = self._headers(message.get("headers") or ())
        elif self._head and message["type"] == "http.response.body":
            message = {"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)}
        await self._send(message)

    async def complete(self, status: int, kind: bytes, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """A whole answer at once."""
        own = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *headers]
        await self.send({"type": "http.response.start", "status": status, "headers": own})
        await self.send({"type": "http.response.body", "body": body})

    def _headers(self, given: Any) -> list[tuple[bytes, bytes]]:
        exchange = self._exchange
        headers = [
            *self._browser_cookie(),
            *given,
            (b"x-request-id", exchange.request_id.encode()),
            *self._fixed,
            *exchange.cors,
        ]
        if exchange.rate and not any(name == b"ratelimit" for name, _ in given):
            headers += exchange.rate
        if not any(name == b"cache-control" for name, _ in given):
            headers.append(NO_STORE)
        if SESSION in self._scope or exchange.stale_cookie:
            self._session_cookie(headers)
        return headers

    def _browser_cookie(self) -> Headers:
        """What a browser is known by from now on, if somebody has just signed in with it."""
        exchange = self._exchange
        browser = exchange.caller.browser if exchange.caller is not None else None
        if browser is None or not browser.kept or exchange.tenant is None:
            return ()
        if not self._cookies.kept(exchange.headers.get(b"host")):
            return ()
        return ((b"set-cookie", self._cookies.write_browser(exchange.tenant.slug, browser.kept)),)

    def _session_cookie(self, headers: list[tuple[bytes, bytes]]) -> None:
        tenant = self._exchange.tenant
        if tenant is None:
            return
        begun = self._scope.get(SESSION)
        if isinstance(begun, SignedIn):
            headers.append((b"set-cookie", self._cookies.write(tenant.slug, begun.token, begun.expires_at)))
        elif not any(
            name == b"set-cookie" and value.startswith(self._cookies.name(tenant.slug).encode()) for name, value in headers
        ):
            headers.append((b"set-cookie", self._cookies.clear(tenant.slug)))
