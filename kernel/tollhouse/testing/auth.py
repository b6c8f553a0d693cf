"""The conformance kit for sign-in providers. Fixtures: ``provider``, ``config``, ``callback``, ``bad_callback``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import BaseModel

from tollhouse.plugin import AuthProvider, ExternalIdentity, SignInRequest, Unauthenticated
from tollhouse.testing.connection import ConnectionSuite, Unchanged, secrets_of
from tollhouse.testing.given import given

SIGN_IN = SignInRequest(
    redirect_uri="https://acme.example/sign-in/callback",
    state="state-0123456789abcdef",
    nonce="nonce-0123456789abcdef",
    code_verifier="verifier-0123456789abcdef0123456789abcdef0123456789",
)


class AuthProviderSuite(ConnectionSuite, kit=True):
    """Point ``config`` at a fake of the provider."""

    @pytest.fixture
    def provider(self) -> Any:
        """Your provider."""
        raise NotImplementedError("give a fixture `provider`")

    @pytest.fixture
    def subject(self, provider: Any) -> Any:
        """What the checks of every connection look at."""
        return provider

    @pytest.fixture
    def callback(self) -> Mapping[str, str]:
        """Parameters of a callback after a sign-in that went well, for :data:`SIGN_IN`."""
        raise NotImplementedError("give a fixture `callback`")

    @pytest.fixture
    def bad_callback(self) -> Mapping[str, str]:
        """A callback with an error of the provider."""
        return {"error": "access_denied", "state": SIGN_IN.state}

    def test_it_is_a_provider(self, provider: Any) -> None:
        """To fix: give the object ``authorize_url`` and ``exchange`` as in ``AuthProvider``."""
        assert isinstance(provider, AuthProvider)

    async def test_the_browser_is_sent_with_state_and_pkce(self, provider: AuthProvider, config: BaseModel) -> None:
        """To fix: send ``state``, ``redirect_uri`` and ``code_challenge`` (S256); never the verifier, never a secret."""
        async with self.context(config) as ctx:
            url = given("authorize_url", await provider.authorize_url(ctx, SIGN_IN))
        query = parse_qs(urlsplit(url).query)
        assert url.startswith(("https://", "http://localhost", "http://127.0.0.1"))
        assert query["state"] == [SIGN_IN.state]
        assert query["redirect_uri"] == [SIGN_IN.redirect_uri]
        assert query["code_challenge_method"] == ["S256"]
        assert SIGN_IN.code_verifier not in url
        assert not [secret for secret in secrets_of(config) if secret in url]

    async def test_a_sign_in_gives_a_stable_identity(
        self, provider: AuthProvider, config: BaseModel, callback: Mapping[str, str]
    ) -> None:
        """To fix: ``subject`` is the provider's own id of the person, never the e-mail address, which changes hands."""
        async with self.context(config) as ctx:
            identity = given("exchange", await provider.exchange(ctx, SIGN_IN, callback))
        assert isinstance(identity, ExternalIdentity)
        assert identity.issuer
        assert identity.subject
        assert identity.subject != identity.email
        assert identity.email is not None or not identity.email_verified

    async def test_a_bad_callback_is_refused(
        self, provider: AuthProvider, config: BaseModel, bad_callback: Mapping[str, str]
    ) -> None:
        """To fix: errors of the provider, a missing code and a token that does not verify are all ``Unauthenticated``."""
        async with self.context(config) as ctx:
            for wrong in (bad_callback, {}, {"state": SIGN_IN.state, "code": "no-such-code"}):
                with pytest.raises(Unauthenticated):
                    given("exchange", await provider.exchange(ctx, SIGN_IN, wrong))

    async def test_it_holds_no_state(self, provider: AuthProvider, config: BaseModel, callback: Mapping[str, str]) -> None:
        """To fix: state, nonce and verifier are the kernel's; keep nothing between the two calls."""
        with Unchanged(provider, config):
            async with self.context(config) as ctx:
                given("authorize_url", await provider.authorize_url(ctx, SIGN_IN))
                given("exchange", await provider.exchange(ctx, SIGN_IN, callback))
