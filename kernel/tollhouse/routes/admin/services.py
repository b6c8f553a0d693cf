"""The services behind the admin's routes; wired by ``app``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from tollhouse.host.connections import Connections
from tollhouse.plugin.ports import Page
from tollhouse.policy.engine import PolicyEngine
from tollhouse.reports.service import ReportService
from tollhouse.store.audit import Actor
from tollhouse.tenants.service import TenantService
from tollhouse.usage.prices import PriceBook


class AuditEntry(Protocol):
    """One entry of the audit log."""

    @property
    def id(self) -> UUID: ...
    @property
    def at(self) -> datetime: ...
    @property
    def actor_kind(self) -> str: ...
    @property
    def actor_id(self) -> UUID | None: ...
    @property
    def action(self) -> str: ...
    @property
    def target_kind(self) -> str: ...
    @property
    def target_id(self) -> str: ...
    @property
    def data(self) -> Mapping[str, Any]: ...
    @property
    def address(self) -> str: ...


class AuditLog(Protocol):
    """Reads the audit log."""

    async def list(
        self,
        tenant_id: UUID,
        *,
        action: str | None = None,
        target: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Any]: ...


class Alarms(Protocol):
    """Reads alarms, and puts them away."""

    async def list(
        self, tenant_id: UUID, *, resolved: bool = False, cursor: str | None = None, limit: int = 50
    ) -> Page[Any]: ...

    async def resolve(self, tenant_id: UUID, alarm_id: UUID, *, actor: Actor) -> Any: ...


@dataclass(frozen=True)
class AdminServices:
    """One of each. ``channels``: names of the channels that are installed."""

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
    channels: Sequence[str] = ()
