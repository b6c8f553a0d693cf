"""What every page knows: the tenant, who is reading, where links begin; and how a page is made from a template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Protocol, cast

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict

from tollhouse.plugin import Principal, TenantInfo, context_of, local_path
from tollhouse_web import formats, words

ENVELOPE = 64 * 1024
"""What the rest of a form with files takes at most."""


class Settings(BaseModel):
    """Operator settings: the table ``[settings.web]`` of ``plugins.toml``."""

    model_config = ConfigDict(extra="forbid")

    signup: bool = True
    """Whether strangers can make an account."""
    tagline: str = ""
    """The sentence under the tenant's name on the landing page, where a tenant wrote none; empty for one made from the names of
    agents."""


class Brand(Protocol):
    """Where the tenant's look is: ``scope["tollhouse.brand"]``. ``logo`` and ``tagline`` are empty without one."""

    @property
    def css(self) -> str: ...
    @property
    def logo(self) -> str: ...
    @property
    def icon(self) -> str: ...
    @property
    def tagline(self) -> str: ...


@dataclass(frozen=True, slots=True)
class PlainBrand:
    """Where the gateway says nothing of it."""

    css: str
    icon: str
    logo: str = ""
    tagline: str = ""


class Cookies(Protocol):
    """The gateway's hand on the session cookie: ``scope["tollhouse.cookies"]``."""

    work: bool
    """False when browsers would drop the cookie without a word, on plain http."""

    def set(self, response: Response, token: str, expires_at: datetime) -> None: ...

    def clear(self, response: Response) -> None: ...


@dataclass(frozen=True, slots=True)
class Site:
    """One request's surroundings, as templates see them."""

    tenant: TenantInfo
    principal: Principal | None
    settings: Settings
    root: str
    path: str
    cookies_work: bool
    static: Callable[[str], str]
    brand: Brand
    most: int = 0
    """How many bytes of files one message can hold; 0 where nobody says."""

    def url(self, path: str) -> str:
        """A link within this tenant."""
        return self.root + path

    def icon(self, name: str) -> Markup:
        """One of the kernel's icons."""
        return Markup('<svg class="icon" aria-hidden="true"><use href="{}#{}"/></svg>').format(self.static("icons.svg"), name)

    def time(self, at: datetime, kind: str = "relative") -> Markup:
        """A moment, in the reader's words once the script runs."""
        return formats.time(at, self.tenant.timezone, kind)

    def beside(self, at: datetime) -> Markup:
        """How long that is from now, in brackets after the moment itself. Only a script can say it: without one, nothing."""
        return Markup('<span class="needs-js">({})</span>').format(self.time(at))

    @property
    def reader(self) -> str:
        """What to call the person who reads."""
        who = self.principal
        return (who.name or who.email or words.YOU) if who else ""

    @property
    def staff(self) -> bool:
        """Whether the person has a console to go to."""
        return self.principal is not None and bool(self.principal.roles)


def site_of(request: Request) -> Site:
    """The site of ``request``."""
    ctx = context_of(request)
    root = request.scope.get("root_path", "").rstrip("/")
    found = request.scope.get("tollhouse.static")
    static = cast("Callable[[str], str]", found) if callable(found) else lambda name: f"/static/{name}"
    return Site(
        tenant=ctx.tenant,
        principal=ctx.principal,
        settings=ctx.config if isinstance(ctx.config, Settings) else Settings(),
        root=root,
        path=request.scope["path"].removeprefix(root) or "/",
        cookies_work=cookies_of(request).work,
        static=static,
        brand=request.scope.get("tollhouse.brand") or PlainBrand(f"{root}/brand.css", static("icon.svg")),
        most=max(int(request.scope.get("tollhouse.large_body", 0)) - ENVELOPE, 0),
    )


def cookies_of(request: Request) -> Cookies:
    """The gateway's cookies."""
    return cast(Cookies, request.scope["tollhouse.cookies"])


def page(
    request: Request, template: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> HTMLResponse:
    """A page, or with htmx a fragment, from a template."""
    html = _templates().get_template(template).render(site=site_of(request), **values)
    return HTMLResponse(html, status, dict(headers or {}))


def go(request: Request, path: str) -> RedirectResponse:
    """On to another page of this tenant, after a form too."""
    return RedirectResponse(site_of(request).url(path), 303)


def by_htmx(request: Request) -> bool:
    """Whether a fragment is wanted in place of a page."""
    return request.headers.get("hx-request") == "true"


def wanted_path(request: Request, wanted: str) -> str | None:
    """``wanted`` as a path of this tenant, without its prefix; None if it leads anywhere else."""
    return local_path(wanted, site_of(request).root)


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("tollhouse_web"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals.update(w=words)
    found.filters.update(size=formats.size, initials=formats.initials, browser=formats.browser)
    return found
