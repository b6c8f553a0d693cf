"""Pages that the kernel renders itself: Jinja2, escaped, without a line of inline script or style."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from tollhouse.gateway.brand import addresses
from tollhouse.gateway.cookies import Cookies
from tollhouse.gateway.exchange import CALLER, exchange_of
from tollhouse.gateway.static import StaticFiles

TEMPLATES: Final = Path(__file__).parent / "templates"


class Pages:
    """A Jinja environment over the given folders and the gateway's own, whose ``base.html`` every page extends.

    Templates know: ``url(path)`` (keeps the tenant's prefix), ``static(name)``, ``icon`` names by ``static('icons.svg')``,
    ``brand`` (``css``, ``logo``, ``icon``: addresses),
    ``tenant``, ``principal``, ``request_id`` and ``cookies_work``.
    """

    def __init__(self, *folders: Path, static: StaticFiles, cookies: Cookies | None = None) -> None:
        self.static = static
        self._cookies = cookies
        self.environment = Environment(
            loader=FileSystemLoader([*folders, TEMPLATES]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.globals["static"] = static.url

    def html(self, scope: Mapping[str, Any], template: str, /, **values: Any) -> str:
        """The text of a page."""
        root = scope.get("root_path", "")
        caller = scope.get(CALLER)

        def url(path: str) -> str:
            return f"{root}{path}"

        tenant = scope["tollhouse.exchange"].tenant
        known = {
            "url": url,
            "brand": addresses(tenant.settings.brand, root, self.static.url("icon.svg")) if tenant else None,
            "tenant": caller.tenant if caller else None,
            "principal": caller.principal if caller else None,
            "request_id": scope["tollhouse.exchange"].request_id,
            "cookies_work": self._cookies is None or self._cookies.kept(scope["tollhouse.exchange"].headers.get(b"host")),
        }
        return self.environment.get_template(template).render({**known, **values})

    def render(self, request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """A page as an answer."""
        exchange_of(request)  # only what came through the gateway
        return HTMLResponse(self.html(request.scope, template, **values), status_code=status)
