"""API keys: programs that talk with the person's plan."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tollhouse.plugin import Catalog, Forbidden, InvalidInput, Keys, context_of
from tollhouse_web import forms, shown_once, site, words
from tollhouse_web.forms import Form

router = APIRouter(include_in_schema=False)
PATH = "/account/keys"


@router.get("/account/keys")
async def keys(request: Request) -> Response:
    """Live keys, and how to use one; the secret of one that was made just now, this once."""
    response = await _show(request, secret=await shown_once.take(request, context_of(request)))
    shown_once.forget(request, response, PATH)
    return response


@router.post("/account/keys")
async def create(request: Request) -> Response:
    """A new key. Sending the page again must not make another one, so its secret is shown by the page that follows."""
    ctx = context_of(request)
    form = await forms.read(request, "name")
    if not form["name"]:
        form.errors["name"] = words.KEY_NO_NAME
        return await _show(request, 422, form=form)
    try:
        _, secret = await ctx.port(Keys).create(form["name"])
    except InvalidInput as error:
        forms.refuse(form, error)
        return await _show(request, 422, form=form)
    except Forbidden as error:
        form.notice = error.detail
        return await _show(request, 403, form=form)
    response = site.go(request, PATH)
    if await shown_once.keep(request, ctx, response, secret, PATH):
        return response
    return await _show(request, secret=secret)


@router.post("/account/keys/{key_id}/revoke")
async def revoke(request: Request, key_id: str) -> Response:
    """End a key."""
    await context_of(request).port(Keys).revoke(key_id)
    return site.go(request, "/account/keys?done=revoked")


async def _show(request: Request, status: int = 200, **shown: Any) -> Response:
    ctx = context_of(request)
    agents = await ctx.port(Catalog).agents()
    values = {
        "keys": await ctx.port(Keys).list(),
        "done": words.DONE.get(request.query_params.get("done", "")),
        "form": Form({"name": ""}),
        "secret": "",
        "agent": agents[0].slug if agents else "guide",
    }
    return site.page(request, "keys.html", status, {"Cache-Control": "no-store"}, **{**values, **shown})
