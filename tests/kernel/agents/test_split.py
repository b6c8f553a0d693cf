"""The split between active versions: sticky, proportional, whole."""

from __future__ import annotations

from collections import Counter
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.agents.split import bucket, choose

WEIGHTS = st.lists(st.integers(1, 400), min_size=1, max_size=12).map(
    lambda parts: [part * 10_000 // sum(parts) or 1 for part in parts]
)


@given(st.uuids(), st.uuids(), st.uuids())
def test_a_bucket_is_one_of_ten_thousand_and_never_moves(tenant: UUID, agent: UUID, user: UUID) -> None:
    place = bucket(tenant, agent, user)
    assert 0 <= place < 10_000
    assert bucket(UUID(str(tenant)), UUID(str(agent)), UUID(str(user))) == place


def test_a_known_bucket() -> None:
    zero = UUID(int=0)
    assert bucket(zero, zero, zero) == 9572  # by sha256sum


@given(WEIGHTS)
def test_every_bucket_has_a_version_and_each_version_exactly_its_share(parts: list[int]) -> None:
    parts[-1] += 10_000 - sum(parts)
    ids = [UUID(int=place + 1) for place in range(len(parts))]
    weights = list(zip(ids, parts, strict=True))
    if parts[-1] < 1:
        return
    assert Counter(choose(weights, place) for place in range(10_000)) == dict(weights)


def test_users_spread_in_proportion() -> None:
    tenant, agent = uuid4(), uuid4()
    first, second = uuid4(), uuid4()
    got = Counter(choose([(first, 2_000), (second, 8_000)], bucket(tenant, agent, uuid4())) for _ in range(20_000))
    assert 3_700 < got[first] < 4_300


def test_a_later_version_only_takes_over_its_own_share() -> None:
    one, two, three = UUID(int=1), UUID(int=2), UUID(int=3)
    for place in range(10_000):
        before = choose([(one, 5_000), (two, 5_000)], place)
        after = choose([(one, 5_000), (two, 4_000), (three, 1_000)], place)
        assert after == before or (after == three and place >= 9_000)


def test_weights_that_do_not_reach_the_bucket_are_an_error_and_not_a_guess() -> None:
    with pytest.raises(ValueError, match="below bucket"):
        choose([(UUID(int=1), 9_999)], 9_999)
