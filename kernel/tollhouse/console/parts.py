"""What the console is given. ``app`` wires it; the fields are named as in the container."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from tollhouse.accounts.service import AccountService
from tollhouse.agents.service import AgentService
from tollhouse.auth.keys import KeyService
from tollhouse.auth.links import OneTimeLinks
from tollhouse.auth.sessions import SessionService
from tollhouse.auth.users import UserService
from tollhouse.billing.admin import SubscriptionAdmin
from tollhouse.billing.plan_service import PlanService
from tollhouse.delivery.service import QueueService
from tollhouse.host.connections import Connections
from tollhouse.host.host import Host
from tollhouse.plugin.ports import Page
from tollhouse.policy.engine import PolicyEngine
from tollhouse.reports.service import ReportService
from tollhouse.settings import Settings
from tollhouse.store.audit import Actor
from tollhouse.store.trouble import Trouble
from tollhouse.tenants.directory import TenantDirectory
from tollhouse.tenants.logos import Logos
from tollhouse.tenants.service import TenantService
from tollhouse.turns.service import TurnService
from tollhouse.usage.prices import PriceBook

Row = Mapping[str, Any]


class Alarms(Protocol):
    """Things an admin must see. Rows: id, code, subject, message, count, first_at, last_at."""

    async def open(self, tenant_id: UUID) -> Sequence[Row]:
        """Alarms that nobody has resolved, newest first."""
        ...

    async def resolve(self, tenant_id: UUID, alarm_id: UUID, actor: Actor) -> object:
        """Take an alarm off the list, with an audit entry. Should it happen again, it is a new one.

        Raises:
            NotFound: unknown, another tenant's, or resolved already.
        """
        ...


class Denials(Protocol):
    """Why people were told no. Rows: id, user_id, email, name, agent, channel, reason, decision, count, last_at."""

    async def recent(self, tenant_id: UUID, *, user_id: UUID | None = None, limit: int = 10) -> Sequence[Row]:
        """The newest, of everybody or of one person."""
        ...


class AuditLog(Protocol):
    """What was done. Rows: id, actor_id, actor_kind, email, action, target_kind, target_id, data, address, at."""

    async def list(
        self,
        tenant_id: UUID,
        *,
        action: str = "",
        actor_id: UUID | None = None,
        target_id: str = "",
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Row]:
        """Entries, newest first. ``action``: the beginning of its name, such as ``plan.``."""
        ...


@dataclass(frozen=True)
class ConsoleParts:
    """The services behind the pages. ``now`` is the database's time, as good as it was last observed."""

    settings: Settings
    troubles: Callable[[], Sequence[Trouble]]
    """What keeps this process from its work now."""
    host: Host
    now: Callable[[], datetime]
    directory: TenantDirectory
    tenants: TenantService
    logos: Logos
    users: UserService
    accounts: AccountService
    sessions: SessionService
    keys: KeyService
    links: OneTimeLinks
    agents: AgentService
    plans: PlanService
    subscription_admin: SubscriptionAdmin
    connections: Connections
    prices: PriceBook
    policy: PolicyEngine
    turns: TurnService
    reports: ReportService
    queues: QueueService
    alarms: Alarms
    denials: Denials
    audit: AuditLog
