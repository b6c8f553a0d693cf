"""A process that only works on jobs: the same container and background as a server, without its routes."""

from __future__ import annotations

from tollhouse.settings import Settings
from tollhouse.store.secrets import SecretBox, open_secrets
from tollhouse.store.store import Store
from tollhouse.wiring.background import Background
from tollhouse.wiring.container import build
from tollhouse.wiring.database import check_schema
from tollhouse.wiring.jobs import Jobs


class WorkerProcess:
    """The services and jobs of one worker."""

    def __init__(self, settings: Settings, store: Store, box: SecretBox) -> None:
        self.container = build(settings, store, box)
        self.background = Background(self.container)

    @property
    def jobs(self) -> Jobs:
        """What this process works on."""
        return self.background.jobs

    async def start(self) -> None:
        """Take the lease and start the plugins."""
        await self.container.runner.start()
        await self.container.contexts.clock.refresh(self.container.store)
        await self.container.host.startup()

    async def close(self) -> None:
        """Give everything back."""
        await self.container.close()


async def build_worker(settings: Settings, dsn: str) -> WorkerProcess:
    """A worker on the database at ``dsn``.

    Raises:
        ConfigError: the schema or the master key is not right.
    """
    store = Store(
        dsn, pool_size=settings.database_pool, hot_pool_size=settings.database_hot_pool, application="tollhouse worker"
    )
    try:
        await check_schema(store)
        return WorkerProcess(settings, store, await open_secrets(store, settings))
    except BaseException:
        await store.close()
        raise
