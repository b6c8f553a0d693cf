"""Connections: a tenant's configured uses of plugins. Secrets are encrypted at rest, and never come out of here again."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import asyncpg
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.host import repository
from tollhouse.host.caller import Caller
from tollhouse.host.context import Contexts, Surroundings
from tollhouse.host.errors import ConnectionDisabled, ConnectionInUse, ConnectionInvalid, NameTaken, Outdated, PluginOff
from tollhouse.host.forms import form_schema, parse, secret_fields, split
from tollhouse.host.host import Host, Registered
from tollhouse.host.http import addresses
from tollhouse.host.logs import SCRUBBER, TENANT, Scrubber
from tollhouse.host.trial import tried
from tollhouse.host.values import KINDS, Bound, Connection, Connector
from tollhouse.host.vault import Vault
from tollhouse.plugin import (
    Connectable,
    Health,
    InvalidInput,
    NotFound,
    Page,
    Principal,
    TenantInfo,
)
from tollhouse.store.audit import Actor, record
from tollhouse.store.ids import new_id
from tollhouse.store.secrets import SecretBox, SecretUnreadable
from tollhouse.store.store import Store
from tollhouse.store.text import one_line

__all__ = ["Bound", "Connection", "Connections", "Connector"]

log = logging.getLogger(__name__)

CACHED: Final = 4096
WORDS: Final = {"inbox": "received messages", "subscriptions": "subscriptions", "orders": "orders"}

InUse = Callable[[AsyncConnection, UUID, UUID], Awaitable[str | None]]
"""(conn, tenant, connection) -> what uses it, in a word or two; for uses that no foreign key knows."""


@dataclass(slots=True)
class _Loaded:
    found: Registered[Any]
    config: BaseModel
    around: Surroundings
    revision: int
    # The last context made for nobody in particular: every turn within a second or so asks for the same one again.
    bound: Bound | None = None


class Connections:
    """Create, change, try and use connections. One per process: it keeps what it has decrypted, by revision."""

    def __init__(
        self,
        store: Store,
        host: Host,
        box: SecretBox,
        contexts: Contexts,
        *,
        in_use: Sequence[InUse] = (),
        scrubber: Scrubber = SCRUBBER,
    ) -> None:
        self.store = store
        self.host = host
        self.contexts = contexts
        self._vault = Vault(box, scrubber)
        self._in_use = in_use
        self._scrubber = scrubber
        self._cache: OrderedDict[tuple[UUID, UUID], _Loaded] = OrderedDict()

    # -- what can be connected ------------------------------------------------------------------------------------------

    def available(self, kind: str | None = None) -> list[Connector]:
        """Everything that this installation can connect, in the order of ``plugins.toml``."""
        return [
            Connector(each, name, found.obj.title)
            for each in KINDS
            for name, found in self.host.of_kind(each).items()
            if kind in (None, each) and hasattr(found.obj, "Config")
        ]

    def form(self, plugin: str, kind: str) -> dict[str, Any]:
        """The JSON schema of its configuration; secret fields are marked ``writeOnly``.

        Raises:
            InvalidInput: there is no such plugin of this kind.
        """
        return form_schema(self._connectable(kind, plugin).obj.Config)

    def _connectable(self, kind: str, plugin: str) -> Registered[Any]:
        if kind not in KINDS:
            raise InvalidInput(f"The kind must be one of {', '.join(KINDS)}.", field="kind")
        found = self.host.of_kind(kind).get(plugin)
        if found is None:
            raise InvalidInput("No enabled plugin offers this.", field="plugin")
        if not hasattr(found.obj, "Config"):
            raise InvalidInput("This needs no connection.", field="plugin")
        return found

    # -- changing -------------------------------------------------------------------------------------------------------

    async def create(
        self, actor: Actor, tenant_id: UUID, kind: str, plugin: str, name: str, values: Mapping[str, Any]
    ) -> Connection:
        """A new connection, active at once. ``plugin`` is the name of what a plugin registered for this kind.

        Raises:
            InvalidInput: names each field; ``NameTaken``.
        """
        found = self._connectable(kind, plugin)
        _, config, secrets = split(found.obj.Config, values, {})
        await self._check_addresses(tenant_id, config | secrets)
        connection_id = new_id()
        row = {
            "id": connection_id,
            "kind": kind,
            "plugin": plugin,
            "name": _name(name),
            "config": config,
            "secrets": self._vault.seal(tenant_id, connection_id, secrets),
        }
        data = {"kind": kind, "plugin": plugin, "name": row["name"], "fields": sorted({*config, *secrets})}
        with _unique_name():
            async with self.store.transaction(tenant_id) as conn:
                stored = await repository.insert(conn, tenant_id, row)
                await record(conn, tenant_id, actor, "connection.created", target=("connection", connection_id), data=data)
        return self._view(stored)

    async def update(
        self,
        actor: Actor,
        tenant_id: UUID,
        connection_id: UUID,
        *,
        name: str | None = None,
        values: Mapping[str, Any] | None = None,
        clear: Collection[str] = (),
        revision: int | None = None,
    ) -> Connection:
        """Change what is given. ``values`` replaces the open fields; a secret that it omits or leaves blank is kept.

        ``clear`` names secrets to forget. ``revision``: refuse if it is not the present one.

        Raises:
            InvalidInput, NotFound, NameTaken, Outdated.
        """
        await self._check_addresses(tenant_id, values or {})
        with _unique_name():
            async with self.store.transaction(tenant_id) as conn:
                row = await self._locked(conn, tenant_id, connection_id)
                if revision is not None and row["revision"] != revision:
                    raise Outdated()
                changes: dict[str, Any] = {} if name is None else {"name": _name(name)}
                if values is not None or clear:
                    changes |= self._changed_config(row, row["config"] if values is None else values, clear)
                stored = await repository.change(conn, tenant_id, connection_id, changes)
                data = {"name": stored["name"], "changed": sorted(changes), "cleared": sorted(clear)}
                await record(conn, tenant_id, actor, "connection.updated", target=("connection", connection_id), data=data)
        return self._view(stored)

    def _changed_config(self, row: Mapping[str, Any], values: Mapping[str, Any], clear: Collection[str]) -> dict[str, Any]:
        found = self._connectable(row["kind"], row["plugin"])
        if unknown := set(clear) - secret_fields(found.obj.Config):
            raise InvalidInput("There is no such secret.", field=f"clear.{list(clear).index(sorted(unknown)[0])}")
        try:
            kept = {name: value for name, value in self._vault.open(row).items() if name not in clear}
        except SecretUnreadable:
            log.warning("the secrets of connection %s do not decrypt and are replaced", row["id"])
            kept = {}  # what cannot be read must be entered again; a field that is required says so
        _, config, secrets = split(found.obj.Config, values, kept)
        _refuse_redirected(row["config"], config, kept, values)
        return {"config": config, "secrets": self._vault.seal(row["tenant_id"], row["id"], secrets), "health": None}

    async def _check_addresses(self, tenant_id: UUID, values: Mapping[str, Any]) -> None:
        """Before anything is locked: names may be looked up. What a name leads to later is checked whenever it is called."""
        if any(addresses(values)):
            async with self.store.transaction(tenant_id) as conn:
                private = await repository.private_addresses(conn, tenant_id)
            await self.contexts.http.check(values, private=private)

    async def enable(self, actor: Actor, tenant_id: UUID, connection_id: UUID) -> Connection:
        """Switch it on."""
        return await self._switch(actor, tenant_id, connection_id, "active", "connection.enabled")

    async def disable(self, actor: Actor, tenant_id: UUID, connection_id: UUID) -> Connection:
        """Switch it off, in every process with the next use."""
        return await self._switch(actor, tenant_id, connection_id, "disabled", "connection.disabled")

    async def _switch(self, actor: Actor, tenant_id: UUID, connection_id: UUID, status: str, action: str) -> Connection:
        async with self.store.transaction(tenant_id) as conn:
            row = await self._locked(conn, tenant_id, connection_id)
            if row["status"] != status:
                row = await repository.change(conn, tenant_id, connection_id, {"status": status})
                await record(conn, tenant_id, actor, action, target=("connection", connection_id), data={"name": row["name"]})
        return self._view(row)

    async def delete(self, actor: Actor, tenant_id: UUID, connection_id: UUID) -> None:
        """Delete it, with what its plugin remembered.

        Raises:
            ConnectionInUse: names what uses it; it can still be disabled.
        """
        try:
            async with self.store.transaction(tenant_id) as conn:
                row = await self._locked(conn, tenant_id, connection_id)
                for used_by in self._in_use:
                    if user := await used_by(conn, tenant_id, connection_id):
                        raise _in_use(user)
                await repository.remove(conn, tenant_id, connection_id)
                data = {"kind": row["kind"], "plugin": row["plugin"], "name": row["name"]}
                await record(conn, tenant_id, actor, "connection.deleted", target=("connection", connection_id), data=data)
        except IntegrityError as error:
            cause = error.orig.__cause__ if error.orig else None
            if not isinstance(cause, asyncpg.ForeignKeyViolationError):
                raise
            raise _in_use(WORDS.get(cause.table_name or "", cause.table_name or "other rows")) from None
        self._cache.pop((tenant_id, connection_id), None)

    async def _locked(self, conn: AsyncConnection, tenant_id: UUID, connection_id: UUID) -> Mapping[str, Any]:
        row = await repository.find(conn, tenant_id, connection_id, lock=True)
        if row is None:
            raise NotFound()
        return row

    # -- looking --------------------------------------------------------------------------------------------------------

    async def get(self, tenant_id: UUID, connection_id: UUID) -> Connection:
        """One connection, its secrets as set or not set."""
        async with self.store.transaction(tenant_id) as conn:
            row = await repository.find(conn, tenant_id, connection_id)
        if row is None:
            raise NotFound()
        return self._view(row)

    async def list(
        self, tenant_id: UUID, kind: str | None = None, *, cursor: str | None = None, limit: int = 50
    ) -> Page[Connection]:
        """A page of connections, oldest first."""
        if kind is not None and kind not in KINDS:
            raise InvalidInput(f"The kind must be one of {', '.join(KINDS)}.", field="kind")
        async with self.store.transaction(tenant_id) as conn:
            rows, following = await repository.page(conn, tenant_id, kind, cursor, limit)
        return Page([self._view(row) for row in rows], following)

    def _view(self, row: Mapping[str, Any]) -> Connection:
        readable, stored = True, {}
        try:
            stored = self._vault.open(row)
        except SecretUnreadable:
            log.error("the secrets of connection %s do not decrypt", row["id"])
            readable = False
        found = self.host.of_kind(row["kind"]).get(row["plugin"])
        fields = secret_fields(found.obj.Config) if found and hasattr(found.obj, "Config") else frozenset(stored)
        shown = {key: row[key] for key in ("id", "kind", "plugin", "name", "config", "status", "health", "revision")}
        return Connection(
            **shown,
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            secrets={name: name in stored for name in sorted(fields)},
            readable=readable,
        )

    # -- using ----------------------------------------------------------------------------------------------------------

    async def bound(
        self, tenant: TenantInfo, connection_id: UUID, revision: int | None = None, principal: Principal | None = None
    ) -> Bound:
        """The connection's object and a context for one call.

        ``revision``: the present revision of an active connection, if the caller's own statement has just read it; when
        this process knows that one, the database is not asked.

        Raises:
            NotFound, ConnectionDisabled, PluginOff, ConnectionInvalid, SecretUnreadable.
        """
        key = (tenant.id, connection_id)
        loaded = self._cache.get(key)
        if loaded is None or loaded.revision != revision:
            async with self.store.transaction(tenant.id) as conn:
                row = await repository.find(conn, tenant.id, connection_id)
                await self.contexts.clock.observe(conn)
            if row is None:
                raise NotFound()
            if row["status"] != "active":
                raise ConnectionDisabled()
            if loaded is None or loaded.revision != row["revision"]:
                loaded = self._load(row)
                self._cache[key] = loaded
                if len(self._cache) > CACHED:
                    self._cache.popitem(last=False)
        if principal is not None:
            return self._bind(loaded, Caller(tenant, principal))
        return self._bound_to(tenant, loaded)

    def at_hand(self, tenant: TenantInfo, connection_id: UUID, revision: int) -> Bound | None:
        """The same if this process knows this revision of it; nothing is asked for."""
        loaded = self._cache.get((tenant.id, connection_id))
        return self._bound_to(tenant, loaded) if loaded is not None and loaded.revision == revision else None

    def _bound_to(self, tenant: TenantInfo, loaded: _Loaded) -> Bound:
        TENANT.set(tenant.id)
        bound = loaded.bound
        if bound is None or (bound.ctx.tenant is not tenant and bound.ctx.tenant != tenant):
            bound = loaded.bound = self._bind(loaded, Caller(tenant, None))
        return bound

    def _bind(self, loaded: _Loaded, caller: Caller) -> Bound:
        TENANT.set(caller.tenant.id)
        ctx = self.contexts.bind(loaded.around, loaded.config, caller)
        return Bound(loaded.found.plugin, loaded.found.obj, ctx, loaded.revision)

    def _load(self, row: Mapping[str, Any]) -> _Loaded:
        found = self.host.of_kind(row["kind"]).get(row["plugin"])
        if found is None or not hasattr(found.obj, "Config"):
            raise PluginOff()
        secrets = self._vault.open(row)
        try:
            config = parse(found.obj.Config, {**row["config"], **secrets})
        except InvalidInput as error:
            log.error("connection %s is not valid any more: %s", row["id"], [fault.pointer for fault in error.errors])
            raise ConnectionInvalid() from None
        around = self.contexts.surroundings(found.plugin, row["tenant_id"], row["id"])
        return _Loaded(found, config, around, row["revision"])

    async def test(self, tenant: TenantInfo, connection_id: UUID, actor: Actor) -> Health:
        """Try it for real, also while it is switched off, and remember how it went.

        Raises:
            InvalidInput: this kind of connection cannot be tried; or as ``bound``.
        """
        async with self.store.transaction(tenant.id) as conn:
            row = await repository.find(conn, tenant.id, connection_id)
            await self.contexts.clock.observe(conn)
        if row is None:
            raise NotFound()
        bound = self._bind(self._load(row), Caller(tenant, None))
        if not isinstance(bound.obj, Connectable):
            raise InvalidInput("This kind of connection cannot be tried.", field="plugin")
        outcome = await tried(bound, bound.obj)
        health = Health(outcome.ok, self._scrubber.scrub(outcome.detail, tenant.id))
        async with self.store.transaction(tenant.id) as conn:
            moment = await self.contexts.clock.observe(conn)
            kept = {"ok": health.ok, "detail": health.detail, "at": moment.isoformat()}
            await repository.store_health(conn, tenant.id, connection_id, bound.revision, kept)
            data = {"name": row["name"], "ok": health.ok}
            await record(conn, tenant.id, actor, "connection.tested", target=("connection", connection_id), data=data)
        return health


@contextmanager
def _unique_name() -> Iterator[None]:
    """Around a transaction: a second connection of one name is a conflict, not a bug."""
    try:
        yield
    except IntegrityError as error:
        if isinstance(error.orig.__cause__ if error.orig else None, asyncpg.UniqueViolationError):
            raise NameTaken() from None
        raise


def _name(name: str) -> str:
    return " ".join(one_line(name, field="name", longest=100, required=True).split())


def _in_use(what: str) -> ConnectionInUse:
    return ConnectionInUse(f"This connection is in use by {what}; it can be switched off instead.", used_by=what)


def _refuse_redirected(
    before: Mapping[str, Any], after: Mapping[str, Any], kept: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """A secret is sent to no other address than the one it was entered for: else whoever may change it could read it there.

    Raises:
        InvalidInput: an address changed while a secret was left as it is.
    """

    if dict(addresses(before)) == dict(addresses(after)):
        return
    for name in sorted(kept):
        if not values.get(name):
            raise InvalidInput("Enter it again: the address that it is sent to has changed.", field=f"values.{name}")
