"""The application of a serving process: wires the container, the gateway, the routes and the background."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from tollhouse.gateway.application import Application, build_application
from tollhouse.gateway.parts import GatewayParts
from tollhouse.policy.rules import RULES, Rule
from tollhouse.settings import Settings
from tollhouse.store.secrets import SecretBox, verify_master_key
from tollhouse.store.store import Store
from tollhouse.turns.outbound import Outbound
from tollhouse.wiring import memory
from tollhouse.wiring.background import Background
from tollhouse.wiring.container import Container, build
from tollhouse.wiring.database import check_schema
from tollhouse.wiring.readiness import Readiness
from tollhouse.wiring.services import kernel_mounts

log = logging.getLogger(__name__)

GC_YOUNG = 5_000
"""New objects between two collections: a turn makes some thousands, nearly all of which die by their reference counts."""


class Process:
    """A serving process: its container, its background and its application."""

    def __init__(
        self,
        settings: Settings,
        dsn: str,
        box: SecretBox,
        *,
        plugins: Mapping[str, Any] | None = None,
        rules: Sequence[Rule] = RULES,
        outbound: Outbound | None = None,
    ) -> None:
        """Make everything; nothing is connected before the application starts.

        Raises:
            ConfigError: one line that names the plugin or setting that is wrong.
        """
        self.settings = settings
        self.box = box
        self.store = Store(dsn, pool_size=settings.database_pool, hot_pool_size=settings.database_hot_pool)
        self.container: Container = build(settings, self.store, box, plugins=plugins, rules=rules, outbound=outbound)
        self.background = Background(self.container)
        self.readiness = Readiness(self.store, self.container.runner, self.container.blobs)
        self.stop = asyncio.Event()
        self._jobs: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self.app: Application = build_application(self._parts())

    def _parts(self) -> GatewayParts:
        container = self.container
        return GatewayParts(
            settings=self.settings,
            authenticator=container.authenticator,
            directory=container.directory,
            ports=container.ports,
            contexts=container.contexts.for_route,
            rates=container.rates,
            hops=container.hops.arrived,
            mounts=kernel_mounts(container, self.background, lambda: self.readiness.troubles),
            plugin_mounts=container.host.mounts,
            readiness={"database": self.readiness.check},
            troubles=lambda: [one.code for one in self.readiness.troubles],
            lifespan=self._lifespan,
            logo=container.logos.get,
            sign_in_path="/login" if "web" in container.host.channels else "/console/sign-in",
            doors={"/console": "/console/sign-in"},
        )

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        await self.start()
        try:
            yield
        finally:
            await self.close()

    async def start(self) -> None:
        """Check what this process stands on, take the lease, start the plugins and the jobs.

        Raises:
            ConfigError: one line that says what is wrong.
        """
        await check_schema(self.store)
        await verify_master_key(self.store, self.box)
        await self.container.runner.start()
        await self.container.contexts.clock.refresh(self.store)
        await self.container.host.startup()
        # What was loaded by now lives as long as the process: the collector need not walk through it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_YOUNG, 10, 20)
        memory.trim()
        self._watch = asyncio.create_task(self.readiness.watch(), name="readiness")
        if self.settings.jobs:
            self._jobs = asyncio.create_task(self.background.jobs.run(self.stop), name="jobs")
            self._jobs.add_done_callback(_report)

    async def close(self) -> None:
        """Finish the jobs that run, then give everything back."""
        self.stop.set()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._jobs is not None:
            await asyncio.gather(self._jobs, return_exceptions=True)
        await self.container.close()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("the job worker stopped; jobs wait until a worker runs again", exc_info=error)
