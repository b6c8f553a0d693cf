"""The tenant's look as addresses that change with it: a browser keeps each for ever, and sees a change at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from tollhouse.gateway.exchange import exchange_of
from tollhouse.gateway.static import StaticFile, cached, made
from tollhouse.plugin.errors import NotFound
from tollhouse.tenants.values import Brand

CSS: Final = "text/css; charset=utf-8"
FOR_EVER: Final = "private, max-age=31536000, immutable"
ASK_AGAIN: Final = "private, no-cache"

ReadLogo = Callable[[UUID, UUID], Awaitable[tuple[str, bytes]]]
"""Media type and bytes of a tenant's logo; NotFound if there is none."""


@dataclass(frozen=True, slots=True)
class BrandAddresses:
    """``scope["tollhouse.brand"]`` and ``brand`` in templates. ``logo`` is empty without one; ``icon`` stands in the tab;
    ``tagline`` is the sentence under the name, empty for none."""

    css: str
    logo: str
    icon: str
    tagline: str = ""


def addresses(brand: Brand, root: str, plain_icon: str) -> BrandAddresses:
    """Where a page under ``root`` finds the tenant's look."""
    logo = f"{root}/brand/logo?v={brand.logo_file_id.hex[-12:]}" if brand.logo_file_id is not None else ""
    css = f"{root}/brand.css?v={stylesheet(brand.accent, brand.radius).digest}"
    return BrandAddresses(css, logo, logo or plain_icon, brand.tagline)


class BrandFiles:
    """Answers them."""

    def __init__(self, read_logo: ReadLogo) -> None:
        self._read_logo = read_logo

    async def css(self, request: Request) -> Response:
        """``GET /brand.css``."""
        brand = _brand(request)
        return _kept(request, stylesheet(brand.accent, brand.radius))

    async def logo(self, request: Request) -> Response:
        """``GET /brand/logo``."""
        tenant = exchange_of(request).tenant
        assert tenant is not None
        logo_id = tenant.settings.brand.logo_file_id
        if logo_id is None:
            raise NotFound()
        kind, data = await self._read_logo(tenant.id, logo_id)
        return _kept(request, StaticFile(data, kind, logo_id.hex[-12:]))


@lru_cache(maxsize=1024)
def stylesheet(accent: str | None, radius: int | None) -> StaticFile:
    """The tenant's brand as custom properties; every value was checked by ``Brand``."""
    lines = []
    if accent is not None:
        lines += [f"--accent: {accent}", f"--accent-text: {readable_on(accent)}"]
    if radius is not None:
        lines.append(f"--radius: {radius}px")
    return made(":root { " + "; ".join(lines) + " }\n" if lines else ":root {}\n", CSS)


def readable_on(colour: str) -> str:
    """Black or white, whichever has more contrast (WCAG 2) on ``#rrggbb``: one of them always has 4.5:1."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#fff" if 1.05 / (luminance + 0.05) >= (luminance + 0.05) / 0.05 else "#000"


def _brand(request: Request) -> Brand:
    tenant = exchange_of(request).tenant
    assert tenant is not None
    return tenant.settings.brand


def _kept(request: Request, file: StaticFile) -> Response:
    return cached(request, file, FOR_EVER if request.query_params.get("v") == file.digest else ASK_AGAIN)
