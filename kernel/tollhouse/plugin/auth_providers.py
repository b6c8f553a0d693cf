"""Sign-in providers. State, nonce, PKCE, linking and sessions stay in the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import BaseModel

if TYPE_CHECKING:
    from tollhouse.plugin.context import PluginContext


@dataclass(frozen=True, slots=True)
class SignInRequest:
    """One sign-in under way. The values are made by the kernel, bound to the browser and used once."""

    redirect_uri: str
    state: str
    nonce: str
    code_verifier: str


@dataclass(frozen=True, slots=True)
class ExternalIdentity:
    """Who the provider says it is. ``email_verified`` only if the provider asserts exactly that."""

    issuer: str
    subject: str
    email: str | None = None
    email_verified: bool = False
    name: str | None = None


@runtime_checkable
class AuthProvider(Protocol):
    """Somebody else's sign-in (OpenID Connect and its relatives)."""

    name: str
    title: str
    Config: type[BaseModel]

    async def authorize_url(self, ctx: PluginContext[Any], request: SignInRequest) -> str:
        """Where to send the browser (RFC 6749 section 4.1.1, with PKCE: RFC 7636)."""
        ...

    async def exchange(self, ctx: PluginContext[Any], request: SignInRequest, callback: Mapping[str, str]) -> ExternalIdentity:
        """Turn the callback's parameters into an identity, within 20 seconds.

        Raises:
            Unauthenticated: the callback, the token or its signature is not valid.
        """
        ...
