"""What a token looks like, and what is refused without a look at the database."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.auth.tokens import ALPHABET, PREFIXES, digest_of, new_token, parse, visible_prefix
from tollhouse.plugin.errors import Unauthenticated

kinds = st.sampled_from(list(PREFIXES))


@given(kinds, st.uuids())
def test_a_token_names_its_kind_and_tenant(kind: str, tenant_id: UUID) -> None:
    token = new_token(kind, tenant_id)  # type: ignore[arg-type]
    parsed = parse(token)
    assert (parsed.kind, parsed.tenant_id, parsed.digest) == (kind, tenant_id, digest_of(token))
    assert token.isascii()
    assert token.startswith(visible_prefix(token))
    assert len(token) - len(visible_prefix(token)) >= 30


@given(kinds, st.uuids(), st.data())
def test_one_wrong_character_is_noticed(kind: str, tenant_id: UUID, data: st.DataObject) -> None:
    token = new_token(kind, tenant_id)  # type: ignore[arg-type]
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from([char for char in ALPHABET + "_-é" if char != token[place]]))
    with pytest.raises(Unauthenticated):
        parse(token[:place] + other + token[place + 1 :])


@given(st.one_of(st.text(), st.text(ALPHABET + "_", min_size=60, max_size=70)))
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Unauthenticated):
        parse(text)


@pytest.mark.parametrize(
    "change", [str.upper, str.lower, lambda t: t + "\n", lambda t: " " + t, lambda t: t[:-1], lambda t: t * 2]
)
def test_a_changed_token_is_refused(change: object) -> None:
    with pytest.raises(Unauthenticated):
        parse(change(new_token("api_key", UUID(int=1))))  # type: ignore[operator]


def test_no_two_tokens_are_the_same() -> None:
    assert len({new_token("session", UUID(int=7)) for _ in range(1000)}) == 1000
