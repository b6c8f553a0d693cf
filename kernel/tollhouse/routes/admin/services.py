"""The services behind the admin's routes; wired by ``app``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from tollhouse.host.connections import Connections
from tollhouse.plugin.ports import Page
from tollhouse.policy.engine import PolicyEngine
from tollhouse.reports.service import ReportService
from tollhouse.store.audit import Actor
from tollhouse.tenants.service import TenantService
from tollhouse.usage.prices import PriceBook
from tollhouse.usage.watch import DenialService


class AuditLog(Protocol):
    """Reads the audit log. Rows: id, actor_id, actor_kind, action, target_kind, target_id, data, address, at."""

    async def list(
        self,
        tenant_id: UUID,
        *,
        action: str = "",
        actor_id: UUID | None = None,
        target_id: str = "",
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Mapping[str, Any]]: ...


class Alarms(Protocol):
    """Reads alarms, and puts them away. Rows: id, code, subject, message, count, first_at, last_at."""

    async def open(self, tenant_id: UUID) -> Sequence[Mapping[str, Any]]: ...

    async def resolve(self, tenant_id: UUID, alarm_id: UUID, actor: Actor) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class AdminServices:
    """One of each. ``base_url``: where links begin. ``channels``: names of the channels that are installed."""

    tenants: TenantService
    accounts: AccountService
    users: UserService
    sessions: SessionService
    keys: KeyService
    links: OneTimeLinks
    agents: AgentService
    plans: PlanService
    subscriptions: SubscriptionAdmin
    connections: Connections
    prices: PriceBook
    reports: ReportService
    policy: PolicyEngine
    audit: AuditLog
    alarms: Alarms
    denials: DenialService
    base_url: str = ""
    channels: Sequence[str] = ()
