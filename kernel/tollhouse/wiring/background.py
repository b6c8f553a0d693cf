"""What a process does beside requests: the jobs' handlers, wired to the services."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.billing.orders import handle_payment_event
from tollhouse.billing.renewal import renew_due
from tollhouse.delivery.connected import Connected
from tollhouse.delivery.deliver import Deliver
from tollhouse.delivery.events import TellPlugin
from tollhouse.delivery.handle import ApplyOnly, InboxJob
from tollhouse.delivery.intake import Intake
from tollhouse.delivery.message import MessageHandler
from tollhouse.delivery.relay import Relay
from tollhouse.host.caller import Caller
from tollhouse.host.logs import TENANT
from tollhouse.plugin.access import Principal
from tollhouse.plugin.context import TenantInfo
from tollhouse.plugin.errors import NotFound
from tollhouse.plugin.ports import TurnRequest, TurnResult
from tollhouse.reports.chain import look_outside
from tollhouse.reports.forgetting import forget_audit
from tollhouse.reports.rollup import roll
from tollhouse.reports.sealing import NotSealed
from tollhouse.reports.verify import verify_all
from tollhouse.store.events import payment_from_json
from tollhouse.store.ids import parse_id
from tollhouse.store.inbox import InboxRow
from tollhouse.store.scope import tenant_scope
from tollhouse.tenants.models import tenants
from tollhouse.usage.alarms import raise_alarm
from tollhouse.usage.sweeper import sweep
from tollhouse.usage.verify import Difference
from tollhouse.wiring.container import Container, emitter
from tollhouse.wiring.endpoint import tell_endpoint
from tollhouse.wiring.guests import find_guest
from tollhouse.wiring.jobs import JobHandlers, Jobs
from tollhouse.wiring.retention import prune

log = logging.getLogger(__name__)

SUNDAY: Final = 7


class Background:
    """Intake, relay and jobs of one process."""

    def __init__(self, container: Container) -> None:
        self.container = c = container
        self.intake = Intake(c.store, c.blobs, self.find_tenant, self.connect)
        self.relay = Relay(c.store, {"delivery": Deliver(self.connect), "event": TellPlugin(c.host.notify)})
        emit = emitter(c.host)
        messages = MessageHandler(
            c.store,
            c.blobs,
            connect=self.connect,
            find_guest=lambda tenant_id, sender, channel: find_guest(c.store, tenant_id, sender, channel, emit),
            default_agent=self.default_agent,
            run_turn=self.run_turn,
        )

        async def apply_payment(conn: AsyncConnection, row: InboxRow) -> None:
            event = payment_from_json(row.payload)
            await handle_payment_event(conn, row.tenant_id, row.connection_id, event, emit=emit)

        self.inbox = InboxJob(c.store, c.blobs, {"message": messages, "payment": ApplyOnly(apply_payment)}, self.relay.wake)
        handlers = JobHandlers(
            inbox=self.inbox,
            sweep_holds=lambda: sweep(c.store),
            roll_up=lambda: roll(c.store),
            renew_due=lambda: renew_due(c.store, self_renewing=self.self_renewing(), emit=emit),
            prune=self.forget,
            verify_ledger=self.verify_ledgers,
            seal_ledger=self.seal_ledger,
            alarm=self.alarm,
        )
        self.jobs = Jobs(c.store, handlers, self.relay, concurrency=c.settings.job_concurrency)

    async def find_tenant(self, name: str) -> TenantInfo:
        """A tenant by slug or id."""
        tenant_id, directory = parse_id(name), self.container.directory
        tenant = await (directory.by_id(tenant_id) if tenant_id else directory.by_slug(name))
        TENANT.set(tenant.id)
        return directory.info(tenant, self.container.settings.base_url)

    async def connect(self, tenant_id: UUID, connection_id: UUID) -> Connected:
        """A connection that is ready for use."""
        tenant = await self.find_tenant(str(tenant_id))
        bound = await self.container.connections.bound(tenant, connection_id)
        return Connected(connection_id, bound.plugin_name, bound.obj, bound.ctx)

    async def default_agent(self, principal: Principal, connected: Connected) -> str:
        """The first agent that the policy engine lets this person use on this channel."""
        for agent, decision in await self.container.policy.check_many(principal, principal.channel):
            if decision.allowed:
                return agent.slug
        for agent, _ in await self.container.policy.check_many(principal, principal.channel):
            return agent.slug  # its denial says what would help
        raise NotFound("There is no agent to talk to yet.")

    async def run_turn(self, principal: Principal, request: TurnRequest) -> TurnResult:
        """A turn of somebody who wrote through a messenger."""
        tenant = await self.find_tenant(str(principal.tenant_id))
        return await self.container.turns.run(Caller(tenant, principal), request)

    def self_renewing(self) -> list[str]:
        """Providers that charge for the next period by themselves."""
        return [
            name for name, one in self.container.host.payment_providers.items() if one.obj.capabilities.renews == "provider"
        ]

    async def verify_ledgers(self, today: date | None = None) -> None:
        """Recompute every ledger; a difference is an alarm of its tenant.

        Each night what is new since the same night of the week before, so that a night's work does not grow with the ledger; on
        Sundays everything.
        """
        today = today or datetime.now(UTC).date()
        since = None if today.isoweekday() == SUNDAY else today - timedelta(days=8)
        ids = await self._tenant_ids()
        outside = await look_outside(self.container.sealer)
        for difference in outside.differences():
            await self.alarm(difference.check, difference.detail)
        for tenant_id in ids:
            store = self.container.store
            for difference in await verify_all(store, tenant_id, outside, since=since):
                log.error("ledger of %s: %s", tenant_id, difference.detail)
                tell = partial(_tell_difference, difference=difference)
                await store.run(tenant_scope(tenant_id), tell)

    async def _tenant_ids(self) -> Sequence[UUID]:
        async with self.container.store.operator() as conn:
            found: Sequence[UUID] = (await conn.execute(select(tenants.c.id))).scalars().all()
            return found

    async def forget(self) -> None:
        """Forget what is past its time, and what is kept of people who were erased."""
        await prune(self.container.store)
        for tenant_id in await self._tenant_ids():
            await self.container.files.forget_unused(tenant_id)
        await forget_audit(self.container.sealer, self.container.settings.audit_days)

    async def seal_ledger(self) -> None:
        """Seal what is new in the ledger and the audit log; what stands in the way of it is an alarm."""
        try:
            done = await self.container.sealer.run()
        except NotSealed as error:
            await self.alarm(error.code, error.detail)
            return
        for chain, why in done.refused.items() if done is not None else ():
            await self.alarm(
                "ledger_not_sealed", f"{chain.log} of tenant {chain.tenant_id}: {why}; see tollhouse ledger verify"
            )
        for fault in done.anchor_faults if done is not None else ():
            await self.alarm("anchor", f"{fault}; see tollhouse ledger verify")
        url = self.container.settings.anchor_url
        if url and done is not None and (why := await tell_endpoint(self.container.sealer, url)):
            await self.alarm("anchor_endpoint", why)

    async def alarm(self, code: str, message: str) -> None:
        """Something of the whole installation; there is no tenant whose page could show it."""
        log.error("%s: %s", code, message)


async def _tell_difference(conn: Any, difference: Difference) -> None:
    await raise_alarm(conn, difference.tenant_id, "ledger_difference", difference.check, difference.detail)
