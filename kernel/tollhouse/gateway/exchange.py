"""One request on its way through the gateway, and what routes may ask of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from starlette.requests import HTTPConnection

from tollhouse.host.caller import Caller
from tollhouse.plugin.errors import NotFound
from tollhouse.plugin.ports import SignedIn
from tollhouse.tenants.values import Tenant

if TYPE_CHECKING:
    from tollhouse.gateway.body_memory import Share
    from tollhouse.gateway.parts import PortFactories
    from tollhouse.gateway.route_table import Entry

PortT = TypeVar("PortT")
KEY = "tollhouse.exchange"
CALLER = "tollhouse.caller"
JSON = "tollhouse.json"
"""In the scope where the body is large JSON: ``await`` it for the document, instead of reading the body."""
SESSION = "tollhouse.session"
"""Set in the scope by a route to begin (``SignedIn``) or end (``None``) the browser's session: the gateway makes the cookie."""


@dataclass(slots=True)
class Exchange:
    """What is known of a request so far."""

    request_id: str
    ports: PortFactories
    headers: dict[bytes, bytes] = field(default_factory=dict)
    entry: Entry | None = None
    slug: str | None = None
    tenant: Tenant | None = None
    caller: Caller | None = None
    address: str = ""
    by_cookie: bool = False
    stale_cookie: bool = False
    rate: tuple[tuple[bytes, bytes], ...] = ()
    cors: tuple[tuple[bytes, bytes], ...] = ()
    preflight: list[tuple[bytes, bytes]] | None = None
    errors: Literal["problem", "page", "openai"] = "problem"
    body: Share | None = None


def exchange_of(request: HTTPConnection) -> Exchange:
    """The exchange of a request that came through the gateway."""
    return cast(Exchange, request.scope[KEY])


def caller_of(request: HTTPConnection) -> Caller:
    """Who calls, from where, in which tenant."""
    caller = request.scope.get(CALLER)
    if caller is None:
        raise NotFound()  # a route of no tenant
    return cast(Caller, caller)


def port(request: HTTPConnection, kind: type[PortT]) -> PortT:
    """A use case of the kernel, bound to the caller: ``port(request, Turns)``."""
    return cast(PortT, exchange_of(request).ports[kind](caller_of(request)))


def start_session(request: HTTPConnection, signed_in: SignedIn) -> None:
    """Give the browser the session's cookie with this answer."""
    request.scope[SESSION] = signed_in


def end_session(request: HTTPConnection) -> None:
    """Take the session's cookie back with this answer."""
    request.scope[SESSION] = None
