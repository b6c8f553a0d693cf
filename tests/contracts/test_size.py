"""Small is a promise: the packages that everybody has to trust stay readable in a sitting."""

from __future__ import annotations

from pathlib import Path

KERNEL = Path(__file__).parents[2] / "kernel" / "tollhouse"
TRUSTED = ("plugin", "host", "policy", "usage", "runtime")
PROMISE = 6_000


def test_the_packages_that_are_trusted_stay_small() -> None:
    sizes = {
        package: sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (KERNEL / package).rglob("*.py"))
        for package in TRUSTED
    }
    assert all(sizes.values()), sizes
    assert sum(sizes.values()) < PROMISE, f"{sum(sizes.values())} lines: {sizes}"
