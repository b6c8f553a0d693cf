"""The pages, by topic, and the one mount that carries them."""

from __future__ import annotations

from fastapi import APIRouter

from tollhouse.plugin import Mount
from tollhouse_web.routes import account, again, agents, chat, files, keys, landing, orders, plans, sign_in, talk, usage

PUBLIC = frozenset(
    {
        "GET /",
        "GET /plans",
        "GET /register",
        "POST /register",
        "GET /login",
        "POST /login",
        "POST /logout",
    }
)
LARGE = frozenset({"POST /chat"})


def mount() -> Mount:
    """Every page under the root."""
    router = APIRouter(include_in_schema=False)
    for topic in (landing, sign_in, plans, orders, agents, chat, talk, again, files, usage, account, keys):
        # Flat, not included: whoever reads the mount's routes finds the routes themselves.
        router.routes.extend(topic.router.routes)
    return Mount(prefix="", router=router, public=PUBLIC, large_bodies=LARGE, errors="page")
