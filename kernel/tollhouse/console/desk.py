"""One request in the console: who is at the desk, in which tenant, with which rights; and how areas declare their pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Literal
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tollhouse.auth import roles
from tollhouse.auth.roles import Permission
from tollhouse.console import format as formats
from tollhouse.console.forms import Form
from tollhouse.console.nav import TOASTS, navigation
from tollhouse.console.parts import ConsoleParts
from tollhouse.gateway.exchange import caller_of, exchange_of
from tollhouse.gateway.pages import Pages
from tollhouse.host.caller import Caller
from tollhouse.plugin.access import Principal
from tollhouse.plugin.errors import Forbidden, NotFound, TollhouseError
from tollhouse.store.audit import Actor
from tollhouse.store.ids import parse_id
from tollhouse.tenants.values import Tenant

PREFIX: Final = "/console"
ELSEWHERE: Final = "/console/as/{in_tenant}"
"""Where an operator works in another tenant: each address says which, so nobody can be mistaken about it."""

Right = Permission | Literal["operator"]


@dataclass(frozen=True)
class Desk:
    """What a page works with. ``caller`` is bound to the tenant that the page is about, also where an operator is elsewhere."""

    parts: ConsoleParts
    pages: Pages
    request: Request
    caller: Caller
    tenant: Tenant
    elsewhere: bool = False

    # -- who ------------------------------------------------------------------------------------------------------------

    @property
    def principal(self) -> Principal:
        return self.caller.user

    @property
    def actor(self) -> Actor:
        return self.caller.actor

    @property
    def operator(self) -> bool:
        """Whether an operator sits here, by a credential that is meant for it."""
        return self.principal.operator and roles.has_scope(self.principal, "operator")

    @property
    def by(self) -> Principal:
        """Who acts on people, as services ask for it."""
        return self.principal

    def may(self, right: Right) -> bool:
        """Whether the person has the right, by role or as the operator."""
        if self.operator:
            return True
        return right != "operator" and roles.may(self.principal, right)

    def require(self, right: Right) -> None:
        """
        Raises:
            Forbidden: the person does not have the right.
        """
        if not self.may(right):
            raise Forbidden("Your role does not allow this. An owner of this tenant can change roles on the page of users.")

    # -- what was asked --------------------------------------------------------------------------------------------------

    def id(self, name: str = "id") -> UUID:
        """The id in the path; what is not an id is nobody's id."""
        found = parse_id(self.request.path_params[name])
        if found is None:
            raise NotFound()
        return found

    def query(self, name: str) -> str:
        """A parameter of the address; empty if it is not there."""
        return self.request.query_params.get(name, "").strip()

    async def form(self) -> Form:
        """What was sent."""
        return await Form.sent(self.request)

    # -- answers ----------------------------------------------------------------------------------------------------------

    @property
    def root(self) -> str:
        """Where the console of this tenant begins."""
        base = str(self.request.scope.get("root_path", ""))
        return base + (ELSEWHERE.replace("{in_tenant}", self.tenant.slug) if self.elsewhere else PREFIX)

    def url(self, path: str = "", **query: Any) -> str:
        """An address in the console of this tenant."""
        given = {name: value for name, value in query.items() if value not in (None, "")}
        return f"{self.root}{path}" + (f"?{urlencode(given)}" if given else "")

    def page(self, template: str, *, status: int = 200, section: str = "", **values: Any) -> Response:
        """A page in the shell. ``section``: the entry of the navigation that it belongs to."""
        known = {
            "desk": self,
            "tenant": self.tenant,
            "go": self.url,
            "may": self.may,
            "here": section,
            "nav": navigation(manages=self.may("manage"), operator=self.operator),
            "troubles": self.parts.troubles(),
            "toast": TOASTS.get(self.query("done")),
            "when": partial(formats.moment, zone=self.tenant.timezone),
        }
        return self.pages.render(self.request, template, status=status, **{**known, **values})

    def done(self, path: str, toast: str = "saved") -> Response:
        """After a write: see the result, and a word about it."""
        return RedirectResponse(self.url(path, done=toast), status_code=303)

    def refused(self, error: TollhouseError) -> Response:
        """A write that was not possible, where there is no form to show it beside."""
        return self.page("refused.html", status=error.http_status, error=error, back=self._back())

    def _back(self) -> str:
        """The page that the write came from, if the browser says so and it is one of this console."""
        came = self.request.headers.get("referer", "")
        path = came.split("?")[0].partition("://")[2].partition("/")[2]
        return f"/{path}" if f"/{path}".startswith(self.root + "/") else self.url()

    def more(self, path: str, cursor: str | None, **query: Any) -> str | None:
        """The address of a list's next page; None at the end."""
        return None if cursor is None else self.url(path, cursor=cursor, **query)


Handler = Callable[[Desk], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class PageSpec:
    """One method of one address, and the right that it takes."""

    method: Literal["GET", "POST"]
    path: str
    right: Right
    handler: Handler


@dataclass
class Area:
    """The pages of one area, declared by its module."""

    specs: list[PageSpec] = field(default_factory=list)

    def get(self, path: str, right: Right = "view") -> Callable[[Handler], Handler]:
        """A page."""
        return self._add("GET", path, right)

    def post(self, path: str, right: Right = "manage") -> Callable[[Handler], Handler]:
        """A write."""
        return self._add("POST", path, right)

    def _add(self, method: Literal["GET", "POST"], path: str, right: Right) -> Callable[[Handler], Handler]:
        def add(handler: Handler) -> Handler:
            self.specs.append(PageSpec(method, path, right, handler))
            return handler

        return add


async def open_desk(parts: ConsoleParts, pages: Pages, request: Request) -> Desk:
    """The desk for a request in one's own tenant, or (by its address) of an operator in another one.

    Raises:
        Forbidden, NotFound: not an operator; no such tenant.
    """
    caller, tenant = caller_of(request), exchange_of(request).tenant
    assert tenant is not None
    slug = request.path_params.get("in_tenant")
    if slug is None:
        return Desk(parts, pages, request, caller, tenant)
    roles.require_operator(caller.user)
    tenant = await parts.directory.by_slug(slug)
    # Of the other tenant, without a role in it: whatever asks who this is there finds nobody, and never somebody at home.
    principal = replace(caller.user, tenant_id=tenant.id, role=None)
    base = f"{parts.settings.base_url}/t/{tenant.slug}"
    if tenant.slug == parts.settings.default_tenant:
        base = parts.settings.base_url
    elsewhere = replace(caller, tenant=parts.directory.info(tenant, base), principal=principal)
    return Desk(parts, pages, request, elsewhere, tenant, elsewhere=True)


def named(rows: Any) -> Mapping[UUID, str]:
    """Names by id."""
    return {row.id: row.name for row in rows}
