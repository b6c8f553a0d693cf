"""A secret on its way to the page that shows it this once, over the redirect after a form.

Neither half says anything by itself: the browser carries a random pad in a cookie, the state holds the secret masked by it.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from tollhouse.plugin import PluginContext
from tollhouse_web import site

COOKIE = "th-shown-once"
SECONDS = 120
TRIES = 3


async def keep(request: Request, ctx: PluginContext[Any], response: Response, secret: str, path: str) -> bool:
    """Let the next page under ``path`` show ``secret`` to this person in this browser; False if others are always faster."""
    data = secret.encode()
    pad = secrets.token_bytes(len(data))
    for _ in range(TRIES):
        _, revision = await ctx.state.get(_name(ctx))
        if await ctx.state.put(_name(ctx), {"tag": _tag(pad), "masked": _xor(data, pad).hex()}, revision=revision):
            where, secure = site.site_of(request).url(path), ctx.tenant.base_url.startswith("https://")
            response.set_cookie(COOKIE, pad.hex(), SECONDS, path=where, secure=secure, httponly=True, samesite="strict")
            return True
    return False


async def take(request: Request, ctx: PluginContext[Any]) -> str:
    """The secret, the first time; empty ever after."""
    pad = _bytes(request.cookies.get(COOKIE, ""))
    if not pad:
        return ""
    kept, revision = await ctx.state.get(_name(ctx))
    if not kept or kept["tag"] != _tag(pad) or not await ctx.state.put(_name(ctx), None, revision=revision):
        return ""
    return _xor(_bytes(kept["masked"]), pad).decode()


def forget(request: Request, response: Response, path: str) -> None:
    """Take the pad back."""
    if COOKIE in request.cookies:
        response.delete_cookie(COOKIE, path=site.site_of(request).url(path), httponly=True, samesite="strict")


def _name(ctx: PluginContext[Any]) -> str:
    assert ctx.principal is not None
    return f"shown-once/{ctx.principal.user_id}"


def _tag(pad: bytes) -> str:
    return sha256(b"tag" + pad).hexdigest()


def _xor(data: bytes, pad: bytes) -> bytes:
    return bytes(one ^ other for one, other in zip(data, pad, strict=True))


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
