"""The check of each night does not grow with the ledger; once a week it is of everything."""

from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from tollhouse.store.store import Store
from tollhouse.wiring import background
from tollhouse.wiring.background import Background


@pytest.mark.parametrize("days", range(7))
async def test_a_night_checks_what_is_new_and_sundays_check_all(
    store: Store, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    sunday, asked = date(2026, 11, 29), dict[UUID, date | None]()

    async def outside(sealer: Any) -> Any:
        return SimpleNamespace(differences=list)

    async def note(store: Store, tenant_id: UUID, outside: Any, *, since: date | None = None) -> list[Any]:
        asked[tenant_id] = since
        return []

    monkeypatch.setattr(background, "look_outside", outside)
    monkeypatch.setattr(background, "verify_all", note)
    night = Background.__new__(Background)
    night.container = SimpleNamespace(store=store, sealer=None)  # type: ignore[assignment]
    today = sunday + timedelta(days=days)
    await night.verify_ledgers(today)
    assert asked[tenant_id] == (None if today == sunday else today - timedelta(days=8))
