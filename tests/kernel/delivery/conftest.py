"""A stage for delivery: two tenants with a messenger each, people who write, and an agent that answers."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert

from tollhouse.auth.models import identities, users
from tollhouse.border.calls import guarded
from tollhouse.delivery.connected import Connected
from tollhouse.delivery.deliver import Deliver
from tollhouse.delivery.events import TellPlugin
from tollhouse.delivery.handle import InboxJob
from tollhouse.delivery.intake import Intake
from tollhouse.delivery.message import MessageHandler
from tollhouse.delivery.relay import Relay
from tollhouse.host.models import connections
from tollhouse.plugin.access import Principal
from tollhouse.plugin.channels import Delivered, Messenger, Outgoing, RawResponse
from tollhouse.plugin.content import Reply, Text
from tollhouse.plugin.context import PluginContext, TenantInfo
from tollhouse.plugin.errors import NotFound
from tollhouse.plugin.events import Event, Sender
from tollhouse.plugin.ports import TurnRequest, TurnResult
from tollhouse.store.blobs import BlobStore
from tollhouse.store.ids import new_id
from tollhouse.store.models import inbox, outbox
from tollhouse.store.store import Store
from tollhouse.testing.context import MemoryState
from tollhouse.testing.fakes import FakeConfig, FakeMessenger, signed_request
from tollhouse.wiring.jobs import JobHandlers, Jobs


class Stage:
    """Everything that delivery is wired to."""

    def __init__(self, store: Store, folder: Path, tenants: list[UUID]) -> None:
        self.store = store
        self.blobs = BlobStore(folder / "blobs")
        self.tenants = {tenant: TenantInfo(tenant, f"t{tenant.hex[-12:]}", "T", "UTC", "EUR", "en", "") for tenant in tenants}
        self.messenger: Any = FakeMessenger()
        self.connections: dict[UUID, tuple[UUID, Any, MemoryState]] = {}
        self.asked: list[tuple[Principal, TurnRequest]] = []
        self.answers: dict[str, TurnResult] = {}
        self.answer: Callable[[Principal, TurnRequest], Awaitable[Reply]] = self.echo
        self.deliver: Callable[[Outgoing], Awaitable[None]] | None = None
        self.told: list[tuple[str, Event]] = []
        self.notify: Callable[[str, Event], Awaitable[None]] = self.hear
        self.intake = Intake(store, self.blobs, self.find_tenant, self.connect)
        self.relay = self.new_relay()
        self.job = self.new_job(self.relay)

    # -- wiring -------------------------------------------------------------------------------------------------------

    def new_relay(self) -> Relay:
        return Relay(self.store, {"delivery": Deliver(self.connect), "event": TellPlugin(self._notify)}, tick=0.05)

    def new_job(self, relay: Relay) -> InboxJob:
        messages = MessageHandler(
            self.store,
            self.blobs,
            connect=self.connect,
            find_guest=self.find_guest,
            default_agent=self.default_agent,
            run_turn=self.run_turn,
        )
        return InboxJob(self.store, self.blobs, {"message": messages}, relay.wake)

    def new_jobs(self, concurrency: int = 10) -> Jobs:
        async def chore() -> None:
            return None

        async def alarm(code: str, message: str) -> None:
            return None

        relay = self.new_relay()
        handlers = JobHandlers(self.new_job(relay), chore, chore, chore, chore, chore, chore, alarm)
        return Jobs(self.store, handlers, relay, concurrency=concurrency)

    # -- collaborators ------------------------------------------------------------------------------------------------

    async def find_tenant(self, tenant: str) -> TenantInfo:
        for info in self.tenants.values():
            if tenant in (info.slug, str(info.id)):
                return info
        raise NotFound()

    async def connect(self, tenant_id: UUID, connection_id: UUID) -> Connected:
        owner, subject, state = self.connections.get(connection_id, (None, None, None))
        if owner != tenant_id:
            raise NotFound()
        ctx = PluginContext(
            tenant=self.tenants[tenant_id],
            config=FakeConfig(),
            connection_id=connection_id,
            principal=None,
            http=cast(Any, None),
            log=logging.LoggerAdapter(logging.getLogger("stage"), {}),
            now=lambda: datetime.now(UTC),
            state=cast(Any, state),
            ports=cast(Any, None),
        )
        return Connected(connection_id, "fake", _watched(subject, self), ctx)

    async def find_guest(self, tenant_id: UUID, sender: Sender, channel: str) -> Principal:
        """A guest, made once: whoever comes second takes back the user it made, and finds the first."""
        key = {"tenant_id": tenant_id, "provider": sender.provider, "issuer": sender.issuer, "subject": sender.subject}
        find = select(identities.c.user_id).where(*(identities.c[name] == value for name, value in key.items()))
        async with self.store.transaction(tenant_id) as conn:
            await conn.execute(text("SELECT pg_advisory_xact_lock(hashtext(:key))"), {"key": str(key)})
            user_id = (await conn.execute(find)).scalar()
            if user_id is None:
                user_id = new_id()
                await conn.execute(users.insert().values(tenant_id=tenant_id, id=user_id, name=sender.name or ""))
                await conn.execute(insert(identities).values(**key, id=new_id(), user_id=user_id))
        return Principal(tenant_id, user_id, sender.provider, channel, name=sender.name, credential_kind="identity")

    async def default_agent(self, who: Principal, connected: Connected) -> str:
        return "guide"

    async def run_turn(self, who: Principal, request: TurnRequest) -> TurnResult:
        """Idempotent by (tenant, external id), as turns are."""
        assert request.external_id is not None
        key = f"{who.tenant_id}{request.external_id}"
        if key not in self.answers:
            self.asked.append((who, request))
            reply = await self.answer(who, request)
            self.answers[key] = TurnResult(str(new_id()), "done", request.agent, who.channel, datetime.now(UTC), reply=reply)
        return self.answers[key]

    async def echo(self, who: Principal, request: TurnRequest) -> Reply:
        return Reply(tuple(Text(f"You said: {part.text}") for part in request.parts if isinstance(part, Text)))

    async def hear(self, plugin: str, event: Event) -> None:
        self.told.append((plugin, event))

    async def _notify(self, plugin: str, event: Event) -> None:
        await guarded(plugin, "on_event", lambda: self.notify(plugin, event), 60)

    # -- what happens -------------------------------------------------------------------------------------------------

    async def add_connection(self, tenant_id: UUID, subject: Any = None) -> UUID:
        connection_id = new_id()
        async with self.store.transaction(tenant_id) as conn:
            row = {"tenant_id": tenant_id, "id": connection_id, "kind": "channel", "plugin": "fake", "name": connection_id.hex}
            await conn.execute(connections.insert().values(row))
        self.connections[connection_id] = (tenant_id, subject or self.messenger, MemoryState())
        return connection_id

    async def write(
        self, connection_id: UUID, message: str, said: str, *, chat: str = "chat", user: str = "ada", **more: str
    ) -> RawResponse:
        """A person writes: the vendor calls our webhook."""
        request = signed_request({"id": message, "chat": chat, "user": user, "text": said, **more})
        return await self.intake.accept(str(self.connections[connection_id][0]), str(connection_id), request)

    async def sent(self, connection_id: UUID) -> list[str]:
        """What the vendor got from us, in order."""
        state = self.connections[connection_id][2]
        return [entry["text"] for entry in (await state.get("sent"))[0] or []]

    async def rows(self, table: Any, tenant_id: UUID) -> list[Any]:
        async with self.store.transaction(tenant_id) as conn:
            return list((await conn.execute(select(table).order_by(table.c.id))).mappings())

    async def inbox(self, tenant_id: UUID) -> list[Any]:
        return await self.rows(inbox, tenant_id)

    async def outbox(self, tenant_id: UUID) -> list[Any]:
        return await self.rows(outbox, tenant_id)


def _watched(subject: Any, stage: Stage) -> Any:
    """The messenger, with a delivery that a test may break."""
    if not isinstance(subject, Messenger):
        return subject
    watched = copy.copy(subject)

    async def deliver(ctx: Any, outgoing: Outgoing) -> Delivered:
        if stage.deliver is not None:
            await stage.deliver(outgoing)
        return cast(Delivered, await subject.deliver(ctx, outgoing))

    watched.deliver = deliver  # type: ignore[method-assign]
    return watched


async def eventually(check: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110 - the condition is in the database, nobody can set an event
            await asyncio.sleep(0.02)  # between two looks at the database


@pytest.fixture
async def stage(store: Store, tmp_path: Path, tenant_id: UUID, other_tenant_id: UUID) -> AsyncIterator[Stage]:
    async with store.operator() as conn:  # what other stories left waiting is not ours
        await conn.execute(text("DELETE FROM procrastinate_jobs"))
        await conn.execute(text("UPDATE inbox SET state = 'done' WHERE state = 'new'"))
        await conn.execute(text("UPDATE outbox SET state = 'done' WHERE state = 'new'"))
    yield Stage(store, tmp_path, [tenant_id, other_tenant_id])
    store.at(None)


@pytest.fixture
async def bot(stage: Stage, tenant_id: UUID) -> UUID:
    return await stage.add_connection(tenant_id)


@pytest.fixture
def wait_until() -> Callable[..., Awaitable[None]]:
    return eventually


@pytest.fixture
async def at_work(stage: Stage) -> AsyncIterator[Callable[[int], None]]:
    """``at_work(3)``: three workers, as on three machines."""
    stop = asyncio.Event()
    workers: list[asyncio.Task[None]] = []

    def begin(number: int) -> None:
        workers.extend(asyncio.create_task(stage.new_jobs().run(stop)) for _ in range(number))

    yield begin
    stop.set()
    await asyncio.gather(*workers)
