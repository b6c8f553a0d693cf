"""The guard sees every way in which a check can go missing."""

from __future__ import annotations

import pytest

from tollhouse.testing.guard import Suite, overridden


class Kit(Suite, kit=True):
    def test_one(self) -> None:
        """A check."""

    async def test_two(self) -> None:
        """Another."""


class BiggerKit(Kit, kit=True):
    def test_one(self) -> None:
        """A kit may refine a kit."""

    def test_three(self) -> None:
        """And add to it."""


class TestHonestUse(BiggerKit):
    def test_of_its_own(self) -> None:
        assert True


def test_a_replaced_check_is_seen() -> None:
    class Replaces(Kit):
        def test_one(self) -> None:
            """Easier to pass."""

    assert [line.split()[0] for line in overridden(Replaces)] == [f"{Replaces.__qualname__}.test_one"]
    with pytest.raises(AssertionError, match="test_one replaces a check"):
        Replaces().test_no_check_is_overridden()


def test_a_deleted_check_is_seen() -> None:
    class Deletes(Kit):
        test_two = None  # type: ignore[assignment]

    assert len(overridden(Deletes)) == 1


def test_a_check_replaced_by_a_mixin_is_seen() -> None:
    class Mixin:
        async def test_two(self) -> None:
            """Sneaks in from the side."""

    class Mixes(Mixin, BiggerKit):
        pass

    assert len(overridden(Mixes)) == 1


def test_a_check_replaced_further_up_is_seen() -> None:
    class Replaces(Kit):
        def test_one(self) -> None:
            """Hidden one class higher."""

    class Uses(Replaces):
        pass

    assert len(overridden(Uses)) == 1


def test_an_expected_failure_needs_a_reason() -> None:
    class WithReason(Kit):
        @pytest.mark.xfail(reason="the vendor cannot")
        def test_one(self) -> None:
            raise AssertionError

    class WithoutReason(Kit):
        @pytest.mark.xfail
        def test_one(self) -> None:
            raise AssertionError

    class Skipped(Kit):
        @pytest.mark.skip(reason="no time")
        def test_one(self) -> None:
            """Not run at all."""

    assert not overridden(WithReason)
    assert len(overridden(WithoutReason)) == 1
    assert len(overridden(Skipped)) == 1


def test_the_guard_guards_itself() -> None:
    with pytest.raises(TypeError, match="overrides the guard"):

        class Sly(Kit):
            def test_no_check_is_overridden(self) -> None:
                """Nothing to see here."""
