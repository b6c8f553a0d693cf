"""Which passwords are taken, and that checking them cannot be turned against the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from tollhouse.auth.errors import HashingBusy
from tollhouse.auth.passwords import DECOY, HASHER, Passwords, check_password, common_passwords
from tollhouse.plugin.errors import InvalidInput

from .conftest import PASSWORD


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    passwords = Passwords()
    yield passwords
    passwords.close()


@given(st.text(min_size=64, max_size=200).filter(lambda text: len(text.encode("utf-8", "replace")) <= 1024))
def test_a_long_password_of_any_characters_is_taken(password: str) -> None:
    check_password(password, email="somebody@example.test")


@pytest.mark.parametrize(
    "password",
    ["short", "1234567", "password", "PASSWORD", "Iloveyou", "x" * 1025, "é" * 600, "me@example.test", "\ud800 surrogate"],
)
def test_a_bad_password_is_refused_and_the_field_named(password: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_password(password, email="me@example.test", field="new")
    assert caught.value.errors[0].pointer == "#/new"


@pytest.mark.parametrize(
    "password",
    [
        " " * 8,
        " " * 100,
        "\t" * 8,
        "\u00a0" * 9,
        "\u200b" * 12,
        "\u3164" * 8,
        "\u2800" * 8,
        "\x00" * 8,
        "\x07\x08 \t\r\n\u2028\u2060",
        "a       ",
        "aaaaaaaa",
        "aAaAaAaAaA",
        "abababab",
        "1 1 1 1 1",
        "\u0430" * 8,
        "\U0001f600" * 8,
        "ｐａｓｓｗｏｒｄ",
        " password ",
        "pass word",
        "me@example.test ",
        "ME@example.TEST",
        "somebody",
        "some body",
        "ｓｏｍｅｂｏｄｙ",
        "example.test",
        "Corner Shop",
        "cornershop",
        "ada lovelace",
    ],
)
def test_what_has_nothing_in_it_or_is_known_to_everybody_is_no_password(password: str) -> None:
    for email in ("me@example.test", "somebody@example.test"):
        try:
            check_password(password, email=email, names=("Corner Shop", "shop", "Ada Lovelace", ""))
        except InvalidInput as error:
            assert [one.pointer for one in error.errors] == ["#/password"]  # noqa: PT017 - one of the two is enough
            return
    pytest.fail(f"{password!r} was taken")


@pytest.mark.parametrize(
    "password",
    [
        "my cat is",
        "кошка-на-окне",
        "猫が窓の上にいる",
        "a b c d e f",
        "    four",
        "aaaabbbbccccd",
        "0" * 64,
        "me@example.test!",
    ],
)
def test_what_has_something_in_it_is_taken(password: str) -> None:
    check_password(password, email="me@example.test", names=("Corner Shop", "shop"))


def test_three_thousand_common_passwords_are_known() -> None:
    assert len(common_passwords()) >= 3000
    assert all(len(password) >= 8 and password == password.lower() for password in common_passwords())


async def test_a_password_is_exact(passwords: Passwords) -> None:
    stored = await passwords.hash(PASSWORD + " ")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await passwords.verify(PASSWORD + " ", stored) == (True, None)
    for other in (PASSWORD, PASSWORD.upper() + " ", "x" * 5000, "\ud800"):
        assert await passwords.verify(other, stored) == (False, None)


async def test_nobody_has_the_password_of_an_unknown_account(passwords: Passwords) -> None:
    for password in ("a password that nobody has", "", "x" * 5000):
        assert await passwords.verify(password, None) == (False, None)


def test_an_unknown_account_costs_the_same_work_as_a_known_one() -> None:
    assert not HASHER.current_hasher.check_needs_rehash(DECOY)


async def test_older_parameters_are_renewed(passwords: Passwords) -> None:
    old = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8 * 1024, parallelism=1),)).hash(PASSWORD)
    matches, fresh = await passwords.verify(PASSWORD, old)
    assert matches
    assert fresh is not None
    assert await passwords.verify(PASSWORD, fresh) == (True, None)


async def test_the_queue_is_bounded_and_recovers() -> None:
    passwords = Passwords(queue=5)
    results = await asyncio.gather(*(passwords.hash(PASSWORD) for _ in range(20)), return_exceptions=True)
    assert [isinstance(result, str) for result in results].count(True) == 5
    assert all(isinstance(result, str | HashingBusy) for result in results)
    assert await passwords.hash(PASSWORD)
    passwords.close()
