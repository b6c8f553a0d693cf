"""Literals of the hot path: whatever text goes in comes out, and nothing else happens."""

from __future__ import annotations

from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tollhouse.store.ids import new_id
from tollhouse.store.scope import tenant_scope
from tollhouse.store.sql import Statement, literal
from tollhouse.store.store import NOTHING_DONE, Store

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)


@pytest.mark.parametrize("nasty", ["'", "''", "\\'", "\\", "'; SELECT 1; --", "$1", "E'\\x27'", "\u02bc\uff07", "a\nb\r\n\t"])
async def test_a_nasty_text_is_only_a_text(store: Store, nasty: str) -> None:
    assert await _there_and_back(store, nasty) == nasty


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=TEXTS)
async def test_any_text_survives(store: Store, value: str) -> None:
    assert await _there_and_back(store, value) == value


async def _there_and_back(store: Store, value: str) -> str:
    async def ask(conn: asyncpg.Connection) -> str:
        found: str = await conn.fetchval(f"SELECT {literal(value)}::text")
        return found

    return await store.run(tenant_scope(new_id()), ask)


def test_what_cannot_be_written_safely_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        literal("a\0b")
    with pytest.raises(TypeError):
        literal(["a'b"])
    with pytest.raises(TypeError):
        literal(1.5)
    with pytest.raises(TypeError):
        literal(['","'])


def test_other_values() -> None:
    key = UUID(int=7)
    assert literal(None) == "NULL"
    assert literal(-5) == "'-5'"
    assert literal(b"\x00'") == "'\\x0027'"
    assert literal([key, None]) == f"'{{{key},NULL}}'"
    assert literal([]) == "'{}'"


async def test_a_last_statement_that_did_nothing_fails_the_transaction(store: Store, tenant_id: UUID) -> None:
    touch = Statement(
        "WITH x AS (UPDATE users SET name = :name WHERE tenant_id = :tenant RETURNING id) SELECT 1 / count(*) FROM x"
    )
    with pytest.raises(NOTHING_DONE):
        await store.run_one(tenant_scope(tenant_id), touch, name="it's me", tenant=tenant_id)
    assert await store.ping()
