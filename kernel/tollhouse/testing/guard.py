"""The base of every conformance kit, and the guard that no check of it goes missing.

A kit is a class with checks (``test_*``). A plugin's test module subclasses it and supplies fixtures; the subclass may add
tests of its own, but it may not replace or delete a check, because a kit from which everybody takes what they like proves
nothing. The one way out is honest: override the check with ``@pytest.mark.xfail(reason="…")``, which is then seen in every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar


class Suite:
    """A conformance kit. Kits are declared with ``class MyKit(Suite, kit=True)``; anything else below is a use of one."""

    _kit: ClassVar[bool] = True

    def __init_subclass__(cls, *, kit: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._kit = kit
        if "test_no_check_is_overridden" in vars(cls):
            raise TypeError(f"{cls.__qualname__} overrides the guard itself: remove its test_no_check_is_overridden")

    def test_no_check_is_overridden(self) -> None:
        """Every check of the kit runs.

        To fix: give the test in your class another name. If your plugin really cannot pass a check, override it with
        ``@pytest.mark.xfail(reason="why")`` and call ``super()``'s.
        """
        assert not (problems := overridden(type(self))), "; ".join(problems)


def overridden(suite: type[Suite]) -> list[str]:
    """What is wrong with a subclass of a kit: a line for each check that was replaced or deleted without a reason."""
    return [
        f"{suite.__qualname__}.{name} replaces a check of {kit.__qualname__}; mark it xfail with a reason, or rename it"
        for kit, name, check in _checks(suite)
        if (now := getattr(suite, name, None)) is not check and not _has_excuse(now)
    ]


def _checks(suite: type[Suite]) -> Iterator[tuple[type[Suite], str, Any]]:
    """Every check that the kits above ``suite`` define; a kit may refine the check of a kit below it."""
    seen: set[str] = set()
    for kit in suite.__mro__:
        if issubclass(kit, Suite) and kit._kit:
            for name, check in vars(kit).items():
                if name.startswith("test_") and name not in seen:
                    seen.add(name)
                    yield kit, name, check


def _has_excuse(check: Any) -> bool:
    return any(mark.name == "xfail" and bool(mark.kwargs.get("reason")) for mark in getattr(check, "pytestmark", ()))
