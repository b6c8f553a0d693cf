"""From a request to a principal: a bearer token, or the session's cookie."""

from __future__ import annotations

from uuid import UUID

from tollhouse.gateway.cookies import Cookies
from tollhouse.gateway.exchange import Exchange
from tollhouse.gateway.parts import Authenticates
from tollhouse.plugin.access import Principal
from tollhouse.plugin.errors import Unauthenticated

MAX_TOKEN = 512
RECHECKED_AGE = 30.0
"""Seconds for which an answer is believed on routes whose every effect is admitted: admission reads the credential again."""

ELSEWHERE = "This credential belongs to another tenant: use its own address, /t/<tenant>/ or the header X-Tenant"


class Credentials:
    """Reads the one credential of a request. A bearer token is meant: a wrong one is an error, even where none is needed. A
    cookie is sent by habit: a wrong one is as good as none, and is taken back."""

    def __init__(self, authenticator: Authenticates, cookies: Cookies) -> None:
        self._authenticator = authenticator
        self._cookies = cookies

    async def principal(self, exchange: Exchange, tenant_id: UUID, slug: str) -> Principal | None:
        """Who it is; None for nobody.

        Raises:
            Unauthenticated: the bearer token is not valid here.
        """
        authorization = exchange.headers.get(b"authorization")
        if authorization is not None:
            rechecked = exchange.entry is not None and exchange.entry.rechecked
            return await self._bearer(authorization, tenant_id, rechecked)
        token = self._cookies.read(slug, exchange.headers.get(b"cookie"))
        if token is None:
            return None
        try:
            principal = await self._authenticator.authenticate(token[:MAX_TOKEN])
        except Unauthenticated:
            principal = None
        if principal is None or principal.tenant_id != tenant_id or principal.credential_kind != "session":
            exchange.stale_cookie = True
            return None
        exchange.by_cookie = True
        return principal

    async def _bearer(self, authorization: bytes, tenant_id: UUID, rechecked: bool) -> Principal:
        scheme, _, token = authorization.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
            raise Unauthenticated()
        ask = self._authenticator.authenticate
        principal = await (ask(token.strip(), max_age=RECHECKED_AGE) if rechecked else ask(token.strip()))
        if principal.tenant_id != tenant_id:
            raise Unauthenticated(ELSEWHERE)
        return principal
