"""What the routes and the console are given: the container's services under the names that they know."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tollhouse.console.mount import console_mount
from tollhouse.console.parts import ConsoleParts
from tollhouse.plugin.mounts import Mount
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.mounts import RouteServices
from tollhouse.routes.mounts import kernel_mounts as interface_mounts
from tollhouse.store.trouble import Trouble
from tollhouse.wiring.background import Background
from tollhouse.wiring.container import Container


def kernel_mounts(
    container: Container, background: Background, troubles: Callable[[], Sequence[Trouble]] = tuple
) -> Sequence[Mount]:
    """The kernel's own routes: the public API, the admin's, the webhooks, and the console."""
    return [
        *interface_mounts(RouteServices(admin_services(container), background.intake)),
        *console_mount(console_parts(container, troubles)),
    ]


def admin_services(c: Container) -> AdminServices:
    """What ``/api/v1/admin`` stands on."""
    return AdminServices(
        tenants=c.tenants,
        accounts=c.accounts,
        users=c.users,
        sessions=c.sessions,
        keys=c.keys,
        links=c.links,
        agents=c.agents,
        plans=c.plans,
        subscriptions=c.subscription_admin,
        connections=c.connections,
        prices=c.prices,
        reports=c.reports,
        policy=c.policy,
        audit=c.audit,
        alarms=c.alarms,
        denials=c.denials,
        base_url=c.settings.base_url,
        channels=tuple(c.host.channels),
    )


def console_parts(c: Container, troubles: Callable[[], Sequence[Trouble]] = tuple) -> ConsoleParts:
    """What the console stands on."""
    return ConsoleParts(
        settings=c.settings,
        troubles=troubles,
        host=c.host,
        now=c.contexts.clock.now,
        directory=c.directory,
        tenants=c.tenants,
        logos=c.logos,
        users=c.users,
        accounts=c.accounts,
        sessions=c.sessions,
        keys=c.keys,
        links=c.links,
        agents=c.agents,
        plans=c.plans,
        subscription_admin=c.subscription_admin,
        connections=c.connections,
        prices=c.prices,
        policy=c.policy,
        turns=c.turns,
        reports=c.reports,
        queues=c.queues,
        alarms=c.alarms,
        denials=c.denials,
        audit=c.audit,
    )
