"""One process on this worker's database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import Cluster
from tests.world import World, open_world


@pytest.fixture
async def world(cluster: Cluster, tmp_path: Path) -> AsyncIterator[World]:
    world = await open_world(cluster.dsn, tmp_path)
    yield world
    await world.container.close()
