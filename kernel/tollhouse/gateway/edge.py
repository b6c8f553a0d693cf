"""The edge: one pure ASGI callable around every route.

In this order: request id, address, sizes, route, tenant, principal, rate limit, cross-site check, body; then the route; then
the answer's headers, its metrics and its line in the log.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final, Literal
from uuid import UUID

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from tollhouse.gateway import access_log
from tollhouse.gateway.addresses import RealAddress, host_name
from tollhouse.gateway.answer import Answer
from tollhouse.gateway.bodies import Bodies
from tollhouse.gateway.brand import addresses
from tollhouse.gateway.cookies import Cookies
from tollhouse.gateway.cors import Cors
from tollhouse.gateway.credentials import Credentials
from tollhouse.gateway.csrf import CsrfCheck
from tollhouse.gateway.errors import (
    BadRequest,
    GoesInCircles,
    HeadersTooLarge,
    MethodNotAllowed,
    ParameterFault,
    TenantSuspended,
    UriTooLong,
)
from tollhouse.gateway.exchange import CALLER, KEY, Exchange
from tollhouse.gateway.metrics import Metrics
from tollhouse.gateway.pages import Pages
from tollhouse.gateway.parts import GatewayParts
from tollhouse.gateway.problems import (
    Problem,
    bare,
    name_parameters,
    private_text,
    problem_of,
    render_document,
    render_openai,
)
from tollhouse.gateway.rate_limits import RateLimits
from tollhouse.gateway.request_ids import request_id
from tollhouse.gateway.route_table import UNSAFE, Entry, Found, RouteTable
from tollhouse.gateway.security_headers import security_headers
from tollhouse.gateway.tenancy import Tenancy
from tollhouse.gateway.trouble import (
    moment_text,
    open_page,
    opens_page,
    page_words,
    reloads_form,
    sign_in_address,
    trouble_of,
    wants_part,
)
from tollhouse.gateway.ways import came_from, door_of, nearest_page
from tollhouse.host.caller import Browser, Caller
from tollhouse.host.logs import TENANT
from tollhouse.plugin.access import Principal
from tollhouse.plugin.errors import InvalidInput, NotFound, Unauthenticated
from tollhouse.store.hops import HEADER
from tollhouse.store.hops import MOST as MOST_HOPS

log = logging.getLogger(__name__)
MAX_URL: Final = 8 * 1024
MAX_HEADERS: Final = 16 * 1024
# Two of one of these, and two readers could believe different ones.
ONCE: Final = frozenset({b"host", b"authorization", b"content-length", b"content-type", b"content-encoding", b"x-tenant"})
HOPS: Final = HEADER.lower().encode()
LEFT_UNREAD: Final = 64 * 1024
PAGE: Final = b"text/html; charset=utf-8"


class Edge:
    """Protects every route the same way, whoever registered it."""

    def __init__(self, parts: GatewayParts, table: RouteTable, inner: ASGIApp, metrics: Metrics, pages: Pages) -> None:
        settings = parts.settings
        self._parts = parts
        self._table = table
        self._inner = inner
        self._metrics = metrics
        self._pages = pages
        self._address = RealAddress(settings.trusted_proxies)
        self._cookies = Cookies(settings)
        self._credentials = Credentials(parts.authenticator, self._cookies)
        self._csrf = CsrfCheck(settings)
        self._limits = RateLimits(settings, parts.rates, metrics.rate_limit_failed)
        self._tenancy = Tenancy(settings, parts.directory, self._limits.guess)
        self._cors = Cors(settings)
        self._fixed = security_headers(settings)
        self.bodies = Bodies(settings)
        self._large_body_limit = settings.large_body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        started = time.perf_counter()
        scope[KEY] = exchange = Exchange("", self._parts.ports)
        method = scope["method"]
        answer = Answer(scope, exchange, send, self._fixed, self._cookies)
        try:
            found = await self._admit(scope, exchange, method)
            if found is None:
                await answer.complete(200, b"text/plain", b"", exchange.preflight or [])
                return
            receive = await self.bodies.guard(scope, receive, exchange, method)
            await self._dispatch(scope, receive, answer, exchange, found)
        except ClientDisconnect:
            log.info("the client of %s went away while sending", exchange.request_id)
        except BaseException as error:  # whatever a plugin's route raises: a SystemExit is no reason to end the process
            if isinstance(error, asyncio.CancelledError | GeneratorExit):
                raise
            if answer.started:
                log.exception("the answer to %s broke off", exchange.request_id)
                raise
            await self._explain(error, scope, exchange, answer)
        finally:
            if exchange.body is not None:
                exchange.body.release()
            seconds = time.perf_counter() - started
            self._metrics.answered(exchange.entry, answer.status, seconds)
            access_log.write(exchange, method, answer.status, seconds)

    async def _admit(self, scope: Scope, exchange: Exchange, method: str) -> Found | None:
        """Everything that is decided before the body. None: a browser only asks whether a page may call."""
        _read_headers(scope["headers"], exchange)
        headers = exchange.headers
        exchange.request_id = request_id(headers.get(b"x-request-id"))
        exchange.address = self._address.find(scope, headers)
        _check_address(scope)
        if b"host" in headers and host_name(headers[b"host"]) is None:
            raise BadRequest("The header Host is no host name")
        hops = self._parts.hops(headers.get(HOPS))
        slug = exchange.slug = self._tenancy.take_prefix(scope)
        path = scope["path"][len(scope.get("root_path", "")) :] or "/"
        if self._cors:
            exchange.cors = self._cors.headers(path, headers)
            exchange.preflight = self._cors.preflight(path, method, headers)
            if exchange.preflight is not None:
                return None
        found = self._table.find(path)
        entry = found.entry(method) if found else None
        exchange.errors = _errors(found, headers)
        if hops > MOST_HOPS:
            raise GoesInCircles()
        if found is None:
            raise NotFound()
        if entry is None:
            raise MethodNotAllowed(found.allow)
        exchange.entry = entry
        if (task := asyncio.current_task()) is not None:
            task.set_name(entry.label)  # whoever looks what holds the loop finds it
        if not entry.tenantless or (entry.path in NEEDS_CALLER and (b"authorization" in headers or b"cookie" in headers)):
            await self._identify(scope, exchange, entry, slug)
        return found

    async def _identify(self, scope: Scope, exchange: Exchange, entry: Entry, slug: str | None) -> None:
        """Tenant, principal, rate, and whether a browser was tricked."""
        exchange.tenant, info = await self._tenancy.find(slug, exchange.headers, exchange.address)
        TENANT.set(info.id)
        agent = exchange.headers.get(b"user-agent", b"")[:300].decode("latin-1")
        principal = None
        try:
            principal = await self._principal(exchange, entry, exchange.tenant.id, info.slug)
        finally:  # a page about an error shows the tenant too
            browser = None
            if entry.method in UNSAFE and (entry.public or exchange.by_cookie):  # whoever signs in, or has
                browser = Browser(self._cookies.read_browser(info.slug, exchange.headers.get(b"cookie")))
            who = Caller(info, principal, exchange.address, agent, entry.rechecked, browser)
            scope[CALLER] = exchange.caller = who
        if b"x-channel" in exchange.headers:
            detail = "The channel follows from the credential; nothing can name another one"
            raise InvalidInput(detail, errors=[ParameterFault("", detail, "X-Channel", "header")])
        if principal is not None:
            exchange.rate = await self._limits.hit(self._limits.signed_in, info.slug, principal.user_id.hex)
            if not exchange.tenant.active and _is_customer(principal) and _changes(entry):
                raise TenantSuspended()
        elif not entry.public:
            raise Unauthenticated()
        elif not exchange.tenant.active and not entry.infra:
            raise TenantSuspended()
        if entry.method in UNSAFE and (exchange.by_cookie or (entry.errors == "page" and principal is None)):
            self._csrf.check(exchange.headers)
        if entry.plugin is not None:
            plugin, caller = entry.plugin, exchange.caller
            scope["tollhouse.context"] = lambda: self._parts.contexts(plugin, caller)
            if entry.errors == "page":
                scope["tollhouse.cookies"] = self._cookies.bound(info.slug, exchange.headers.get(b"host"))
                scope["tollhouse.static"] = self._pages.static.url
                scope["tollhouse.large_body"] = self._large_body_limit
                brand, root = exchange.tenant.settings.brand, scope.get("root_path", "")
                scope["tollhouse.brand"] = addresses(brand, root, self._pages.static.url("icon.svg"))

    async def _principal(self, exchange: Exchange, entry: Entry, tenant_id: UUID, slug: str) -> Principal | None:
        try:
            principal = await self._credentials.principal(exchange, tenant_id, slug)
        except Unauthenticated:
            await self._limits.hit_address(self._limits.anonymous, slug, exchange.address)
            raise
        if principal is None and not entry.infra:
            is_page = entry.errors == "page" and entry.method == "GET"
            policy = self._limits.pages if is_page else self._limits.anonymous
            exchange.rate = await self._limits.hit_address(policy, slug, exchange.address)
        return principal

    async def _dispatch(self, scope: Scope, receive: Receive, answer: Answer, exchange: Exchange, found: Found) -> None:
        entry = exchange.entry
        assert entry is not None
        if entry.plain is not None:
            scope["path_params"] = found.params(entry)
            await entry.plain(scope, receive, answer.send)
            return
        if scope["method"] == "HEAD" and entry.method == "GET":
            scope["method"] = "GET"
        await self._inner(scope, receive, answer.send)

    async def _explain(self, error: BaseException, scope: Scope, exchange: Exchange, answer: Answer) -> None:
        """Answer with the error."""
        exchange.request_id = exchange.request_id or request_id(None)  # it may have failed before it got one
        if scope["method"] not in UNSAFE:
            name_parameters(error)
        problem = problem_of(error)
        if problem is None:
            log.error("request %s failed", exchange.request_id, exc_info=error)
            problem = bare()
        elif (private := private_text(error)) is not None:
            log.warning("request %s: %s: %s", exchange.request_id, problem.code, private)
        if problem.status == 401 and opens_page(exchange, scope["method"]):
            await answer.complete(303, PAGE, b"", [(b"location", self._sign_in(scope, _wanted(scope)).encode())])
            return
        if problem.status == 405 and reloads_form(exchange, scope["method"]):
            await answer.complete(303, PAGE, b"", [(b"location", self._back(scope).encode())])
            return
        if exchange.errors == "page":
            await self._recognise(scope, exchange)
        if exchange.errors == "openai":
            kind, body = render_openai(problem, exchange.request_id)
        elif exchange.errors == "page":
            kind, body = PAGE, (self._part if wants_part(exchange) else self._page)(scope, problem).encode()
        else:
            kind, body = render_document(problem, exchange.request_id)
        if _is_left_unread(exchange.headers):
            problem.headers.append((b"connection", b"close"))
        await answer.complete(problem.status, kind, body, problem.headers)

    async def _recognise(self, scope: Scope, exchange: Exchange) -> None:
        """A page about a path that there is not, or that was refused early, belongs to a tenant all the same."""
        if exchange.entry is not None:
            return  # it was asked already, and a guess at a name is counted once
        try:
            exchange.tenant, info = await self._tenancy.find(exchange.slug, exchange.headers, exchange.address)
        except Exception as error:  # the page is about another error, and comes without a name if this one fails too
            log.debug("whose page it is cannot be told: %s", error)
        else:
            scope[CALLER] = exchange.caller = Caller(info, None, exchange.address, "")

    def _page(self, scope: Scope, problem: Problem) -> str:
        values = {"errors": (), "resets_at": None, "upgrade_url": None, "retryable": False} | dict(problem.members)
        title, detail = page_words(problem, scope["method"])
        values |= {"title": title, "detail": detail, "status": problem.status, "code": problem.code}
        caller, sent = scope.get(CALLER), scope["method"] in UNSAFE
        values["resets_text"] = moment_text(values["resets_at"], caller.tenant.timezone if caller else "UTC")
        values["back"] = self._back(scope) if sent else None
        values["sign_in"] = self._sign_in(scope, self._before(scope) if sent else _wanted(scope))
        return self._pages.html(scope, "problem.html", **values)

    def _part(self, scope: Scope, problem: Problem) -> str:
        """The error for a page that stays open: a card in the place that it has for trouble."""
        root = scope.get("root_path", "")
        here = open_page(scope[KEY], root)
        return self._pages.html(scope, "trouble.html", trouble=trouble_of(problem, root + here, self._sign_in(scope, here)))

    def _before(self, scope: Scope) -> str:
        """The page that a form was on; where browsers do not say it, the one that its address lies under."""
        root = scope.get("root_path", "")
        return came_from(scope[KEY].headers, root) or nearest_page(self._table, scope["path"][len(root) :])

    def _back(self, scope: Scope) -> str:
        """Where a form can be found again: never the address that has none."""
        root = str(scope.get("root_path", ""))
        if scope["method"] in UNSAFE:
            return root + self._before(scope)
        return root + nearest_page(self._table, scope["path"][len(root) :])

    def _sign_in(self, scope: Scope, wanted: str) -> str:
        """Where to sign in at the door that was meant, and from there to where they wanted to go."""
        root = scope.get("root_path", "")
        return sign_in_address(door_of(wanted, self._parts.doors, self._parts.sign_in_path), root, wanted)


SIGN_OUT: Final = ("/logout", "/sign-out")
"""How the routes end by which a session ends: nobody is kept signed in, whatever state their tenant is in."""


def _wanted(scope: Scope) -> str:
    """The address that was asked for, as a path of its tenant."""
    path, query = str(scope["path"][len(scope.get("root_path", "")) :]), scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _changes(entry: Entry) -> bool:
    return entry.method in UNSAFE and not entry.path.endswith(SIGN_OUT)


def _is_customer(principal: Principal) -> bool:
    return principal.role is None and not principal.operator


NEEDS_CALLER: Final = frozenset({"/metrics", "/openapi.json"})
"""Routes of no tenant that answer more to whoever is signed in."""


def _check_address(scope: Scope) -> None:
    """Refuse an address that nobody could look up: too long, or with the one character that no text in a database holds."""
    query = scope["query_string"]
    if len(scope.get("raw_path") or scope["path"]) + len(query) > MAX_URL:
        raise UriTooLong()
    if "\x00" in scope["path"]:
        raise NotFound()
    if b"%00" in query or b"\x00" in query:
        raise BadRequest("The address contains a NUL character")


def _read_headers(raw: Sequence[tuple[bytes, bytes]], exchange: Exchange) -> None:
    size = 0
    headers = exchange.headers
    for name, value in raw:
        size += len(name) + len(value)
        if name in headers:
            if name in ONCE:
                raise BadRequest(f"The header {name.decode('latin-1')} came twice")
            headers[name] += (b"; " if name == b"cookie" else b", ") + value
        else:
            headers[name] = value
    if size > MAX_HEADERS:
        raise HeadersTooLarge()


def _errors(found: Found | None, headers: dict[bytes, bytes]) -> Literal["problem", "page", "openai"]:
    """What the mount says; but who accepts JSON and no page gets none, also where a path has only pages."""
    accept = headers.get(b"accept", b"")
    said = next(iter(found.methods.values())).errors if found is not None else None
    if said in (None, "page"):
        takes_page = b"text/html" in accept or (said == "page" and b"json" not in accept)
        return "page" if takes_page else "problem"
    return said


def _is_left_unread(headers: dict[bytes, bytes]) -> bool:
    """Whether so much may still be coming that the connection is better closed than drained."""
    length = headers.get(b"content-length", b"0")
    return b"transfer-encoding" in headers or not length.isdigit() or int(length[:20]) > LEFT_UNREAD
