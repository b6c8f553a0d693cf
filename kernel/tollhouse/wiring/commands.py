"""What the commands of ``tollhouse`` do. Each returns plain data; printing is the command line's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import Any

import asyncpg
from sqlalchemy import select

from tollhouse.accounts.service import new_owner_link
from tollhouse.border.calls import guarded
from tollhouse.border.errors import PluginFault
from tollhouse.host.checks import miss
from tollhouse.host.host import Host
from tollhouse.host.loader import inspect_installed, load_plugins
from tollhouse.host.rotation import reencrypt
from tollhouse.plugin.access import Principal
from tollhouse.plugin.errors import ConfigError, InvalidInput, NotFound
from tollhouse.reports.chain import Sealed, look_outside
from tollhouse.reports.rollup import rebuild
from tollhouse.reports.sealing import NotSealed
from tollhouse.reports.verify import verify_all
from tollhouse.settings import Settings
from tollhouse.store.audit import CLI
from tollhouse.store.migrations.head import HEAD
from tollhouse.store.pieces import Tell, untold
from tollhouse.store.secrets import KEY_BYTES, SecretBox, load_master_key, open_secrets
from tollhouse.store.store import Store
from tollhouse.tenants.models import tenants
from tollhouse.tenants.values import Tenant
from tollhouse.usage.verify import Difference
from tollhouse.wiring.bootstrap import bootstrap
from tollhouse.wiring.container import Container
from tollhouse.wiring.installation import open_container, open_database, prepare, upgrade_database

FEW = 10
"""So many names are shown to whoever mistyped one."""
COMMAND_SECONDS = 30 * 86_400
"""No limit, for somebody sits in front of it."""
JOB_CONNECTIONS = 6
"""What the job worker of one process opens: its pool, and one that listens."""


def page_of(container: Container, tenant: Tenant, path: str) -> str:
    """The address of one of a tenant's pages."""
    prefix = "" if tenant.slug == container.settings.default_tenant else f"/t/{tenant.slug}"
    return f"{container.settings.base_url}{prefix}{path}"


async def initialise(settings: Settings, email: str, password: str) -> dict[str, Any]:
    """Prepare everything, make the first owner (an operator too), and give an admin API key of theirs.

    Raises:
        ConfigError: there is an operator already.
        InvalidInput: the e-mail or the password is not acceptable.
    """
    async with open_database(settings, prepares=True) as dsn:
        await prepare(settings, dsn)
        async with open_container(settings, dsn) as container:
            if await bootstrap(container) is None:
                raise ConfigError("this installation has an operator already; `tollhouse users link <email>` signs them in")
            tenant = await container.directory.by_slug(settings.default_tenant)
            user = await container.accounts.make_owner(tenant.id, email, password, operator=True, actor=CLI)
            owner = Principal(tenant.id, user.id, "password", "api", email=user.email, role="owner", operator=True)
            _, key = await container.keys.create(owner, "Made by tollhouse init", actor=CLI)
            return {
                "tenant": tenant.slug,
                "email": user.email,
                "user_id": str(user.id),
                "api_key": key,
                "url": settings.base_url,
            }


async def upgrade(settings: Settings) -> str:
    """Migrate; the revision that the schema is at now."""
    async with open_database(settings, prepares=True) as dsn:
        await upgrade_database(settings, dsn)
        store = Store(dsn, pool_size=1, hot_pool_size=1)
        try:
            return await store.schema_revision() or "empty"
        finally:
            await store.close()


async def check_database(settings: Settings) -> list[str]:
    """What a start would check, and whether the connections of all processes fit.

    Raises:
        ConfigError: something does not.
    """
    async with open_database(settings) as dsn:
        store = Store(dsn, pool_size=1, hot_pool_size=1)
        try:
            await open_secrets(store, settings)
        finally:
            await store.close()
        conn = await asyncpg.connect(dsn)
        try:
            available = int(await conn.fetchval("SHOW max_connections")) - int(
                await conn.fetchval("SHOW superuser_reserved_connections")
            )
        finally:
            await conn.close()
    needed = settings.workers * (
        settings.database_pool + settings.database_hot_pool + (JOB_CONNECTIONS if settings.jobs else 0)
    )
    if needed > available:
        raise ConfigError(f"{settings.workers} processes need {needed} connections, the database allows {available}")
    return [f"the schema is {HEAD}", "the master key fits", f"connections: {needed} needed, {available} available"]


async def create_tenant(container: Container, slug: str, name: str, **terms: Any) -> dict[str, Any]:
    """A new tenant and the one-time link of its owner; ``terms`` are its currencies and its time zone."""
    links: list[str] = []

    async def fill(conn: Any, tenant: Tenant) -> None:
        links.append(await new_owner_link(conn, tenant.id, by=None))

    tenant = await container.tenants.create(slug, name, actor=CLI, fill=fill, **terms)
    return {"id": str(tenant.id), "slug": tenant.slug, "owner_link": page_of(container, tenant, f"/claim/{links[0]}")}


async def _tenant(container: Container, slug: str) -> Tenant:
    """A tenant by its short name.

    Raises:
        NotFound: there is no such tenant; with those that there are.
    """
    try:
        return await container.directory.by_slug(slug)
    except NotFound:
        known = [row["slug"] for row in await list_tenants(container)]
        raise NotFound(f"there is no tenant {slug!r}; {miss(slug, known, at_most=FEW)}") from None


async def list_tenants(container: Container) -> list[dict[str, Any]]:
    """Every tenant."""
    async with container.store.operator() as conn:
        columns = (tenants.c.id, tenants.c.slug, tenants.c.name, tenants.c.status, tenants.c.created_at)
        rows = (await conn.execute(select(*columns).order_by(tenants.c.slug))).mappings()
        return [dict(row) for row in rows]


async def suspend_tenant(container: Container, slug: str, suspended: bool) -> str:
    """Suspend or resume a tenant; its slug."""
    tenant = await _tenant(container, slug)
    change = container.tenants.suspend if suspended else container.tenants.resume
    return (await change(tenant.id, actor=CLI)).slug


async def allow_private_addresses(container: Container, slug: str, allowed: bool) -> str:
    """Let a tenant's connections lead to private addresses, or no longer; what holds now, in words."""
    tenant = await container.tenants.allow_private_addresses((await _tenant(container, slug)).id, allowed, actor=CLI)
    where = "private addresses too" if tenant.private_addresses else "addresses of the public internet only"
    return f"connections of tenant {tenant.slug} may lead to {where}"


async def sign_in_link(container: Container, email: str, slug: str | None) -> str:
    """A one-time link that signs a user in.

    Raises:
        NotFound: there is no such tenant or user.
    """
    tenant = await _tenant(container, slug or container.settings.default_tenant)
    try:
        user = await container.users.find(tenant.id, email)
    except NotFound:
        known = [one.email for one in (await container.users.list(tenant.id, limit=FEW + 1)).items if one.email]
        raise NotFound(f"tenant {tenant.slug!r} has no user {email!r}; {miss(email, known, at_most=FEW)}") from None
    token = await container.links.create(tenant.id, "sign_in", user.id, by=None, actor=CLI)
    return page_of(container, tenant, f"/link/{token}")


async def verify_ledgers(
    container: Container,
    slug: str | None,
    *,
    since: date | None = None,
    progress: Callable[[str], Tell] | None = None,
    sealed: list[Sealed] | None = None,
) -> list[dict[str, Any]]:
    """Every difference between the ledger, its projections and its chains. ``progress``: what hears how far a tenant's check
    is; ``sealed`` is told what each chain holds."""
    chosen: list[dict[str, Any]] = await list_tenants(container)
    if slug is not None:
        chosen = [{"id": (await _tenant(container, slug)).id, "slug": slug}]
    outside = await look_outside(container.sealer)
    found = [_told("-", one) for one in outside.differences()]
    for tenant in chosen:
        tell = progress(tenant["slug"]) if progress else untold
        differences = await verify_all(container.store, tenant["id"], outside, since=since, tell=tell, into=sealed)
        found += [_told(tenant["slug"], one) for one in differences]
    return found


def _told(slug: str, one: Difference) -> dict[str, Any]:
    return {"tenant": slug, "check": one.check, "subject": str(one.subject), "detail": one.detail}


def unsealed(sealed: Sequence[Sealed]) -> list[str]:
    """What of the ledger nobody could tell if it was changed, and where the chains began anew; a line for each."""
    lines = []
    for log, name in (("entries", "ledger entries"), ("audit", "entries of the audit log")):
        chains = [one for one in sealed if one.chain.log == log]
        pending, held = sum(one.pending for one in chains), sum(one.rows for one in chains)
        until = max((one.until for one in chains if one.until), default=None)
        since = f"since {until:%Y-%m-%d %H:%M} UTC" if until else "nothing was sealed yet"
        lines.append(f"{name}: {held} were sealed; {pending} are not yet ({since}), so a change of them may not show")
    blanked, retired = sum(one.blanked for one in sealed), sum(one.retired for one in sealed)
    if blanked or retired:
        lines.append(f"of the audit log {blanked} fields were blanked and {retired} entries given up, in order")
    again = sorted({entry for one in sealed for entry in one.reanchored})
    return lines + [f"re-anchored on {at:%Y-%m-%d %H:%M} UTC: {reason}" for at, reason in again]


async def seal_ledgers(container: Container) -> str:
    """Seal what is new, now; one line.

    Raises:
        NotSealed: what is here does not fit what was written down outside.
    """
    done = await container.sealer.run(wait=True)
    assert done is not None
    faults = [*done.anchor_faults, *(f"{chain.log} of tenant {chain.tenant_id}: {why}" for chain, why in done.refused.items())]
    if faults:
        raise NotSealed(f"not everything could be sealed: {'; '.join(faults[:FEW])}; see tollhouse ledger verify")
    return f"{done.rows} rows were sealed in {done.links} links"


async def reanchor_ledgers(container: Container, reason: str) -> str:
    """Go on after a restore, with a signed link in every chain that says why; one line."""
    if not (reason := reason.strip()):
        raise InvalidInput("Say why: what was restored, from when, by whom.", field="reason")
    return f"the chains of {await container.sealer.reanchor(reason)} tenants go on from here"


async def rebuild_sums(container: Container, progress: Callable[[str], Tell]) -> None:
    """Sum up the ledger anew, beside what is read meanwhile."""
    await rebuild(container.store, tell=progress)


async def rotate_keys(container: Container) -> int:
    """Encrypt everything anew with the first key, and let it vouch for the chains that another one has signed."""
    await container.sealer.resign()
    return await reencrypt(container.store, load_master_key(container.settings))


def check_plugins(settings: Settings) -> Host:
    """Load every plugin that is switched on, and put the application together, as a start does; nothing is connected.

    Raises:
        ConfigError: one line that names the plugin.
    """
    from tollhouse.app import Process

    return Process(settings, "postgresql://nobody@localhost/none", SecretBox([bytes(KEY_BYTES)])).container.host


def describe_plugin(settings: Settings, name: str) -> dict[str, Any]:
    """Everything there is to know of a plugin that is switched on.

    Raises:
        NotFound: it is not; what to do.
    """
    installed = {one.name for one in inspect_installed()}
    if name in installed and name not in settings.enabled:
        raise NotFound(f"plugin {name!r} is installed and not switched on: add it to 'enabled' in {settings.config}")
    return load_plugins(settings).describe(name)


async def plugin_command(settings: Settings, plugin: str, command: str, arguments: Sequence[str]) -> int:
    """Run a plugin's command; its exit code.

    Raises:
        NotFound: no such plugin is enabled, or it brings no such command.
    """
    host = load_plugins(settings)
    if plugin not in host.plugins:
        raise NotFound(f"plugin {plugin!r} is not enabled; {miss(plugin, host.plugins)}")
    found = host.commands.get(command)
    if found is None or found.plugin != plugin:
        known = [name for name, one in host.commands.items() if one.plugin == plugin]
        raise NotFound(f"plugin {plugin!r} brings no command {command!r}; {miss(command, known)}")
    code = await guarded(plugin, f"command {command!r}", partial(found.obj.run, arguments), COMMAND_SECONDS)
    if type(code) is not int:
        raise PluginFault(plugin, f"command {command!r}", f"gave a {type(code).__name__} for its exit code")
    return code
