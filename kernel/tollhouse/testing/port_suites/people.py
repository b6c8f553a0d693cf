"""Suites of the ports about who somebody is."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from tollhouse.plugin import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from tollhouse.testing.port_suites.base import PortSuite, nowhere


class AccountsSuite(PortSuite, kit=True):
    """Also: ``password``, the current one of ``port``'s user."""

    new_password = "a long enough passphrase 42"

    @pytest.fixture
    def password(self) -> str:
        """The password of the user that ``port`` is bound to."""
        raise NotImplementedError("give a fixture `password`")

    def fresh_email(self) -> str:
        """An address that has no account yet."""
        return f"new-{uuid4().hex[:12]}@example.com"

    async def test_nobody_has_no_profile(self, anonymous_port: Any) -> None:
        """To fix: every method but ``register`` raises ``Unauthenticated`` without a principal."""
        for call in (anonymous_port.profile(), anonymous_port.update(name="x"), anonymous_port.change_password("a", "b")):
            with pytest.raises(Unauthenticated):
                await call

    async def test_registering_makes_an_account(self, anonymous_port: Any) -> None:
        """To fix: the profile shows the address in lower case and not verified, and the name that was given."""
        email = self.fresh_email()
        profile = await anonymous_port.register(email.upper(), self.new_password, "Grace", "de")
        assert (profile.email, profile.email_verified, profile.name, profile.language) == (email, False, "Grace", "de")
        assert profile.created_at.tzinfo is not None

    async def test_an_address_registers_once(self, anonymous_port: Any) -> None:
        """To fix: e-mail addresses are unique without regard to case; a second one is a Conflict ``email_taken``."""
        email = self.fresh_email()
        await anonymous_port.register(email, self.new_password)
        with pytest.raises(Conflict) as error:
            await anonymous_port.register(email.title(), self.new_password)
        assert error.value.http_code == "email_taken"

    async def test_bad_input_is_named(self, anonymous_port: Any) -> None:
        """To fix: a malformed address or a short password is ``InvalidInput`` with the field in ``errors``."""
        for email, password in (("nobody", self.new_password), ("", self.new_password), (self.fresh_email(), "short")):
            with pytest.raises(InvalidInput) as error:
                await anonymous_port.register(email, password)
            assert error.value.errors

    async def test_update_changes_what_is_given(self, port: Any) -> None:
        """To fix: None leaves a field as it is."""
        await port.update(name="Ada Lovelace", language="en")
        changed = await port.update(language="de")
        assert (changed.name, changed.language) == ("Ada Lovelace", "de")
        assert await port.profile() == changed

    async def test_changing_the_password_needs_the_current_one(self, port: Any, password: str) -> None:
        """To fix: a wrong current password, or a new one that is too short, is ``InvalidInput`` and changes nothing."""
        with pytest.raises(InvalidInput):
            await port.change_password("not " + password, self.new_password)
        with pytest.raises(InvalidInput):
            await port.change_password(password, "short")
        await port.change_password(password, self.new_password)
        with pytest.raises(InvalidInput):
            await port.change_password(password, password)


class SessionsSuite(PortSuite, kit=True):
    """Also: ``credentials`` (of ``port``'s user), ``link`` (a one-time token). ``port`` belongs to a live session."""

    @pytest.fixture
    def credentials(self) -> tuple[str, str]:
        """E-mail address and password of the user that ``port`` is bound to."""
        raise NotImplementedError("give a fixture `credentials`")

    @pytest.fixture
    def link(self) -> str:
        """A one-time token that was not redeemed yet."""
        raise NotImplementedError("give a fixture `link`")

    async def test_login_starts_a_session(self, anonymous_port: Any, credentials: tuple[str, str]) -> None:
        """To fix: a new secret token every time, an expiry with a time zone, and the user as principal."""
        email, password = credentials
        first = await anonymous_port.login(email, password, "bearer")
        second = await anonymous_port.login(email.upper(), password, "cookie")
        assert len(first.token) >= 20
        assert first.token != second.token
        assert first.principal.email == email
        assert first.expires_at.tzinfo is not None

    async def test_wrong_credentials_say_nothing(self, anonymous_port: Any, credentials: tuple[str, str]) -> None:
        """To fix: unknown address and wrong password are one answer, ``bad_credentials``, in every word."""
        seen = []
        for email, password in ((credentials[0], "wrong password"), ("nobody@example.com", credentials[1])):
            with pytest.raises(Unauthenticated) as error:
                await anonymous_port.login(email, password, "cookie")
            seen.append((error.value.http_code, error.value.detail))
        assert seen[0] == seen[1]
        assert seen[0][0] == "bad_credentials"

    async def test_a_link_works_once(self, anonymous_port: Any, link: str) -> None:
        """To fix: the statement that reads the link uses it up; used and unknown are both ``link_invalid``."""
        assert (await anonymous_port.redeem(link, "cookie")).token
        for token in (link, "no-such-link"):
            with pytest.raises(Unauthenticated) as error:
                await anonymous_port.redeem(token, "cookie")
            assert error.value.http_code == "link_invalid"

    async def test_sessions_are_listed(self, port: Any, credentials: tuple[str, str]) -> None:
        """To fix: list the principal's live sessions, newest first; exactly one is ``current``: the one that asks."""
        await port.login(*credentials, "bearer")
        sessions = await port.list()
        assert [session.current for session in sessions].count(True) == 1
        assert len({session.id for session in sessions}) == len(sessions) >= 2
        assert [session.created_at for session in sessions] == sorted((s.created_at for s in sessions), reverse=True)

    async def test_ending_needs_ones_own_session(self, port: Any, other_port: Any, credentials: tuple[str, str]) -> None:
        """To fix: an unknown session and somebody else's are both ``NotFound``; one's own is gone from the list."""
        await port.login(*credentials, "bearer")
        victim = next(session for session in await port.list() if not session.current)
        with pytest.raises(NotFound):
            await other_port.end(victim.id)
        for unknown in nowhere():
            with pytest.raises(NotFound):
                await port.end(unknown)
        await port.end(victim.id)
        assert victim.id not in {session.id for session in await port.list()}

    async def test_nobody_has_no_sessions(self, anonymous_port: Any) -> None:
        """To fix: ``list``, ``end`` and ``logout`` raise ``Unauthenticated`` without a principal."""
        for call in (anonymous_port.list(), anonymous_port.end(str(uuid4())), anonymous_port.logout()):
            with pytest.raises(Unauthenticated):
                await call

    async def test_logout_ends_the_session_that_asks(self, port: Any) -> None:
        """To fix: after ``logout`` no session is ``current`` any more."""
        await port.logout()
        with suppress(Unauthenticated):  # a principal whose session has ended may be nobody
            assert not [session for session in await port.list() if session.current]


class KeysSuite(PortSuite, kit=True):
    """Also: ``scope``, a scope that keys can have; ``narrow_port``, bound to an API key that has only this scope."""

    @pytest.fixture
    def scope(self) -> str:
        """A scope that the installation knows."""
        raise NotImplementedError("give a fixture `scope`")

    @pytest.fixture
    def narrow_port(self, scope: str) -> Any:
        """The port, bound to an API key narrowed to ``scope``."""
        raise NotImplementedError("give a fixture `narrow_port`")

    async def test_the_secret_is_shown_once(self, port: Any) -> None:
        """To fix: ``create`` gives the secret, which begins with ``prefix``; no list contains it."""
        info, secret = await port.create("laptop")
        assert secret.startswith(info.prefix)
        assert len(secret) >= len(info.prefix) + 16
        listed = await port.list()
        assert info.id in {key.id for key in listed}
        assert secret not in repr(listed)

    async def test_keys_are_kept_as_asked(self, port: Any, scope: str) -> None:
        """To fix: name, scopes and expiry come back as given; newest first; two keys are never the same."""
        first, one = await port.create("first")
        second, two = await port.create("second", [scope])
        assert one != two
        assert [key.id for key in await port.list()][:2] == [second.id, first.id]
        assert list(second.scopes) == [scope]
        assert (second.name, second.expires_at, second.last_used_at) == ("second", None, None)

    async def test_revoking_is_for_the_owner(self, port: Any, other_port: Any) -> None:
        """To fix: an unknown key and somebody else's are both ``NotFound``; one's own is gone at once."""
        info, _ = await port.create("laptop")
        for unknown in nowhere():
            with pytest.raises(NotFound):
                await port.revoke(unknown)
        with pytest.raises(NotFound):
            await other_port.revoke(info.id)
        assert info.id not in {key.id for key in await other_port.list()}
        await port.revoke(info.id)
        assert info.id not in {key.id for key in await port.list()}

    async def test_a_key_cannot_widen_itself(self, narrow_port: Any, scope: str) -> None:
        """To fix: a key with scopes makes keys with at most these; no scopes would be all of them: ``Forbidden``."""
        with pytest.raises(Forbidden):
            await narrow_port.create("everything")
        try:
            info, _ = await narrow_port.create("the same", [scope])
        except Forbidden:
            return  # an installation may forbid it altogether
        assert list(info.scopes) == [scope]

    async def test_nobody_has_no_keys(self, anonymous_port: Any) -> None:
        """To fix: every method raises ``Unauthenticated`` without a principal."""
        for call in (anonymous_port.list(), anonymous_port.create("x"), anonymous_port.revoke(str(uuid4()))):
            with pytest.raises(Unauthenticated):
                await call
