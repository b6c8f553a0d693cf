"""``/api/v1``: everything a user may do, over the plugin ports."""

from __future__ import annotations

from fastapi import APIRouter

from tollhouse.plugin.mounts import Mount
from tollhouse.routes import account, shop, talk


def api_mount() -> Mount:
    """The routes. They hold no logic: each calls one port, bound to the caller."""
    router = APIRouter()
    for module in (account, shop, talk):
        router.include_router(module.router)
    return Mount("/api/v1", router, public=account.PUBLIC | shop.PUBLIC, large_bodies=talk.LARGE)
