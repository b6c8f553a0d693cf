"""``/api/v1``: signing in, oneself, keys, sessions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from tollhouse.gateway.exchange import caller_of, port
from tollhouse.plugin.access import Principal
from tollhouse.plugin.ports import Accounts, Keys, Sessions, SignedIn
from tollhouse.routes import schemas as s
from tollhouse.routes.common import Items, items

router = APIRouter(tags=["account"])
PUBLIC = frozenset({"POST /auth/register", "POST /auth/login"})


@router.post("/auth/register", status_code=201, response_model=s.Token)
async def register(request: Request, body: s.Register) -> s.Token:
    """Make an account with the default plan, and sign in."""
    await port(request, Accounts).register(body.email, body.password, body.name, body.language)
    return _token(await port(request, Sessions).login(body.email, body.password, "bearer"))


@router.post("/auth/login", response_model=s.Token)
async def login(request: Request, body: s.Login) -> s.Token:
    """Start a session for a program."""
    return _token(await port(request, Sessions).login(body.email, body.password, "bearer"))


@router.post("/auth/logout", status_code=204)
async def logout(request: Request) -> None:
    """End the session that asks."""
    await port(request, Sessions).logout()


@router.get("/me", response_model=s.Me)
async def me(request: Request) -> s.Me:
    """Who the credential belongs to, and which channel it speaks on."""
    return _me(caller_of(request).user)


@router.get("/api-keys", response_model=Items[s.Key])
async def list_keys(request: Request) -> dict[str, Any]:
    """Your live API keys."""
    return items(await port(request, Keys).list())


@router.post("/api-keys", status_code=201, response_model=s.NewKey)
async def create_key(request: Request, body: s.CreateKey) -> s.NewKey:
    """A new API key; its secret is in this answer and nowhere else."""
    info, secret = await port(request, Keys).create(body.name, body.scopes, body.expires_at)
    return s.NewKey(**s.Key.model_validate(info).model_dump(), key=secret)


@router.delete("/api-keys/{key_id}", status_code=204)
async def revoke_key(request: Request, key_id: str) -> None:
    """End a key, at once."""
    await port(request, Keys).revoke(key_id)


@router.get("/sessions", response_model=Items[s.Session])
async def list_sessions(request: Request) -> dict[str, Any]:
    """Where you are signed in."""
    return items(await port(request, Sessions).list())


@router.delete("/sessions/{session_id}", status_code=204)
async def end_session(request: Request, session_id: str) -> None:
    """Sign out there."""
    await port(request, Sessions).end(session_id)


def _me(who: Principal) -> s.Me:
    return s.Me(
        user_id=str(who.user_id),
        tenant_id=str(who.tenant_id),
        auth_provider=who.auth_provider,
        channel=who.channel,
        email=who.email,
        name=who.name,
        roles=list(who.roles),
    )


def _token(signed_in: SignedIn) -> s.Token:
    return s.Token(access_token=signed_in.token, expires_at=signed_in.expires_at, user=_me(signed_in.principal))
