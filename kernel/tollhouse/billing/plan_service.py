"""Plans: made, changed, archived, and shown to those who may buy them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.billing import repository as rows
from tollhouse.billing.errors import PlanExists, PlanIsDefault
from tollhouse.billing.offers import plan_infos
from tollhouse.billing.plans import Plan, PlanCache, PlanVersion
from tollhouse.billing.subscription_repository import current_subscription
from tollhouse.billing.terms import Terms, check_terms
from tollhouse.plugin.errors import InvalidInput, NotFound, gather
from tollhouse.store import audit
from tollhouse.store.ids import new_id, parse_id
from tollhouse.store.text import lines, one_line

if TYPE_CHECKING:
    from tollhouse.host.caller import Caller
    from tollhouse.plugin.access import Principal
    from tollhouse.plugin.context import TenantInfo
    from tollhouse.plugin.ports import PlanInfo
    from tollhouse.store.store import Store

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class VersionSubscribers:
    """How many current subscriptions a version has: what a change of the plan does not reach."""

    version_id: UUID
    number: int
    created_at: datetime
    subscribers: int


class PlanService:
    """Use cases of plans. Versions are immutable: a change of the terms writes a new one, and subscribers keep theirs."""

    def __init__(self, store: Store, cache: PlanCache | None = None) -> None:
        self.store = store
        self.cache = cache or PlanCache(store)

    # -- reading ------------------------------------------------------------------------------------------------------------

    async def list(self, tenant_id: UUID, *, archived: bool = False) -> Sequence[Plan]:
        """The tenant's plans in its own order; ``archived`` ones too if asked for."""
        async with self.store.transaction(tenant_id) as conn:
            return await self._whole(conn, tenant_id, await rows.list_plans(conn, tenant_id, archived=archived))

    async def get(self, tenant_id: UUID, plan: UUID | str) -> Plan:
        """One plan by id or slug.

        Raises:
            NotFound: the tenant has no such plan.
        """
        async with self.store.transaction(tenant_id) as conn:
            return await self.find(conn, tenant_id, plan)

    async def find(self, conn: AsyncConnection, tenant_id: UUID, plan: UUID | str) -> Plan:
        """:meth:`get` inside a transaction of the caller's."""
        plan_id = plan if isinstance(plan, UUID) else parse_id(plan)
        row = await rows.get_plan(conn, tenant_id, plan_id=plan_id, slug=None if plan_id else str(plan))
        if row is None:
            raise NotFound()
        return (await self._whole(conn, tenant_id, [row]))[0]

    async def _whole(self, conn: AsyncConnection, tenant_id: UUID, found: Sequence[rows.Row]) -> Sequence[Plan]:
        loaded = await rows.load_versions(conn, tenant_id, [row["version_id"] for row in found])
        versions = {version.id: version for version in map(PlanVersion.of, loaded)}
        names = [name for name in Plan.__slots__ if name != "version"]
        return [Plan(**{name: row[name] for name in names}, version=versions[row["version_id"]]) for row in found]

    async def subscribers(self, tenant_id: UUID, plan_id: UUID) -> Sequence[VersionSubscribers]:
        """Current subscriptions by version, newest version first: those on older ones keep what they bought."""
        async with self.store.transaction(tenant_id) as conn:
            found = await rows.subscribers_by_version(conn, tenant_id, plan_id)
        if not found:
            raise NotFound()
        return [VersionSubscribers(row["id"], row["number"], row["created_at"], row["subscribers"]) for row in found]

    async def public_plans(self, tenant: TenantInfo, principal: Principal | None) -> Sequence[PlanInfo]:
        """What is on offer, in the tenant's order; the principal's own plan is marked."""
        tenant_id = tenant.id
        async with self.store.transaction(tenant_id) as conn:
            plans = await self._whole(conn, tenant_id, await rows.list_plans(conn, tenant_id, on_offer=True))
            agents = await rows.agent_names(conn, tenant_id)
            own = await current_subscription(conn, tenant_id, principal.user_id) if principal is not None else None
        return plan_infos(plans, agents, None if own is None else own["plan_id"])

    # -- writing ------------------------------------------------------------------------------------------------------------

    async def create(
        self,
        caller: Caller,
        slug: str,
        name: str,
        terms: Terms,
        *,
        description: str = "",
        public: bool = True,
        default: bool = False,
        position: int = 0,
        channels: Collection[str] | None = None,
    ) -> Plan:
        """A new plan with its first version. ``channels``: the names that are known here.

        Raises:
            InvalidInput: names each field.
            Conflict: ``plan_exists``.
        """
        tenant_id, plan_id = caller.tenant.id, new_id()
        values = {"name": name, "description": description, "public": public, "default": default, "position": position}
        gather(lambda: _check_slug(slug), lambda: _check_plan(values), lambda: _check_default(default, terms))
        try:
            async with self.store.transaction(tenant_id) as conn:
                await self._check_terms(conn, tenant_id, terms, channels)
                if default:
                    await rows.clear_default(conn, tenant_id)
                await rows.insert_plan(conn, tenant_id, {"id": plan_id, "slug": slug, **values})
                await self._write_version(conn, caller, plan_id, terms)
                await audit.record(
                    conn,
                    tenant_id,
                    caller.actor,
                    "plan.created",
                    target=("plan", plan_id),
                    data={"slug": slug, **_facts(terms)},
                )
                return await self.find(conn, tenant_id, plan_id)
        except IntegrityError as error:
            if "uq_plans_slug" in str(error.orig) or "uq_plans_tenant_id" in str(error.orig):
                raise PlanExists() from None
            raise

    async def update(
        self,
        caller: Caller,
        plan_id: UUID,
        *,
        name: str | None = None,
        description: str | None = None,
        public: bool | None = None,
        default: bool | None = None,
        position: int | None = None,
        terms: Terms | None = None,
        channels: Collection[str] | None = None,
    ) -> Plan:
        """Change what is given. Other terms become a new version; the same terms change nothing.

        Raises:
            NotFound: the tenant has no such plan.
            InvalidInput: names each field.
            Conflict: ``plan_is_default``: there is always a default once there was one.
        """
        given = {"name": name, "description": description, "public": public, "default": default, "position": position}
        values = {key: value for key, value in given.items() if value is not None}
        _check_plan(values)
        tenant_id = caller.tenant.id
        async with self.store.transaction(tenant_id) as conn:
            if await rows.get_plan(conn, tenant_id, plan_id=plan_id, lock=True) is None:
                raise NotFound()
            plan = await self.find(conn, tenant_id, plan_id)
            changed = {key: value for key, value in values.items() if getattr(plan, key) != value}
            if changed.get("default") is False:
                raise PlanIsDefault()
            new = terms if terms is not None and terms != Terms.of(plan.version) else None
            _check_default(plan.default or bool(changed.get("default")), new or Terms.of(plan.version))
            if plan.status == "archived" and changed.get("default"):
                raise InvalidInput("An archived plan cannot be the default.", field="default")
            if changed.get("default"):
                await rows.clear_default(conn, tenant_id)
            if changed:
                await rows.update_plan(conn, tenant_id, plan_id, changed)
            if new is not None:
                await self._check_terms(conn, tenant_id, new, channels)
                await self._write_version(conn, caller, plan_id, new)
            if changed or new is not None:
                data = {**changed, **(_facts(new) if new is not None else {})}
                await audit.record(conn, tenant_id, caller.actor, "plan.updated", target=("plan", plan_id), data=data)
            return await self.find(conn, tenant_id, plan_id)

    async def archive(self, caller: Caller, plan_id: UUID, *, archived: bool = True) -> Plan:
        """Take a plan off the offer (or put it back): nobody new is subscribed, those who have it keep it.

        Raises:
            NotFound: the tenant has no such plan.
            Conflict: ``plan_is_default``.
        """
        tenant_id, status = caller.tenant.id, "archived" if archived else "active"
        async with self.store.transaction(tenant_id) as conn:
            row = await rows.get_plan(conn, tenant_id, plan_id=plan_id, lock=True)
            if row is None:
                raise NotFound()
            if archived and row["default"]:
                raise PlanIsDefault()
            if row["status"] != status:
                await rows.update_plan(conn, tenant_id, plan_id, {"status": status})
                action = "plan.archived" if archived else "plan.restored"
                await audit.record(conn, tenant_id, caller.actor, action, target=("plan", plan_id), data={"slug": row["slug"]})
            return await self.find(conn, tenant_id, plan_id)

    async def _check_terms(
        self, conn: AsyncConnection, tenant_id: UUID, terms: Terms, channels: Collection[str] | None
    ) -> None:
        named = {*terms.agents, *(limit.agent_id for limit in terms.limits if limit.agent_id is not None)}
        known = await rows.agent_names(conn, tenant_id, list(named)) if named else {}
        check_terms(terms, known, channels)

    async def _write_version(self, conn: AsyncConnection, caller: Caller, plan_id: UUID, terms: Terms) -> None:
        by = caller.principal.user_id if caller.principal and not caller.principal.operator else None
        names = ("price_minor", "currency", "interval", "grace_days", "all_agents", "verified_email")
        values = {name: getattr(terms, name) for name in names}
        values |= {"id": new_id(), "plan_id": plan_id, "created_by": by}
        values["channels"] = None if terms.channels is None else sorted(terms.channels)
        agents = [{"id": new_id(), "agent_id": agent_id} for agent_id in sorted(terms.agents)]
        limits = [{"id": new_id(), **{name: getattr(limit, name) for name in type(limit).__slots__}} for limit in terms.limits]
        await rows.insert_version(conn, caller.tenant.id, values, agents, limits)


def check_plan(slug: str | None, values: Mapping[str, Any], terms: Terms) -> None:
    """What can be said about a plan without asking the database. ``slug`` None: it has one already.

    Raises:
        InvalidInput: names each field.
    """
    known = {*terms.agents, *(one.agent_id for one in terms.limits if one.agent_id is not None)}
    gather(
        *([] if slug is None else [lambda: _check_slug(slug)]),
        lambda: _check_plan(values),
        lambda: _check_default(bool(values.get("default")), terms),
        lambda: check_terms(terms, known, None),
    )


def _check_slug(slug: str) -> None:
    if not _SLUG.fullmatch(slug) or parse_id(slug) is not None:
        raise InvalidInput("Small letters, digits and hyphens, at most 63, please.", field="slug")


def _check_plan(values: Mapping[str, Any]) -> None:
    gather(
        lambda: one_line(values.get("name", "-"), field="name", longest=100, required=True),
        lambda: lines(values.get("description", ""), field="description", longest=2000),
        lambda: _check_position(values.get("position", 0)),
    )


def _check_position(position: int) -> None:
    if not -(10**9) <= position <= 10**9:
        raise InvalidInput("The position is out of range.", field="position")


def _check_default(default: bool, terms: Terms) -> None:
    if default and terms.price_minor:
        raise InvalidInput("New users begin on the default plan without paying, so it has to be free.", field="default")


def _facts(terms: Terms) -> dict[str, Any]:
    return {
        "price_minor": terms.price_minor,
        "currency": terms.currency,
        "interval": terms.interval,
        "agents": "all" if terms.all_agents else sorted(str(agent) for agent in terms.agents),
        "channels": None if terms.channels is None else sorted(terms.channels),
        "limits": [f"{one.metric} {one.amount}/{one.window}" for one in terms.limits],
    }
