"""The command line: ``tollhouse``. Thin over the services; every failure that is expected is one line and exit code 1."""

from __future__ import annotations

import signal

# While modules are imported there is nothing to give back yet: a Ctrl-C ends the process at once, and without a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:  # whoever asks for help, or mistypes, need not wait for the whole kernel to be imported
    from tollhouse.settings import Settings
    from tollhouse.wiring.container import Container

log = logging.getLogger(__name__)
T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], *, service: bool = False) -> T:
    """Run a coroutine until it ends or the process is told to stop."""
    from tollhouse.wiring.running import run as run_now

    return run_now(work, service=service)


def in_container(work: Callable[[Container], Awaitable[T]]) -> T:
    """Run ``work`` with the services; a running installation's database is used, else the embedded one is started."""
    from tollhouse.wiring.installation import open_container, open_database

    async def inside() -> T:
        settings = settings_of()
        async with open_database(settings) as dsn, open_container(settings, dsn) as container:
            return await work(container)

    return run(inside())


def settings_of() -> Settings:
    """The settings, with logging set up."""
    from tollhouse.settings import load_settings, refuse_unknown
    from tollhouse.wiring.logs import configure

    settings = load_settings()
    refuse_unknown(settings, os.environ)
    configure(settings)
    return settings


def say(value: Any, as_json: bool = False) -> None:
    """Print a result: text for people, JSON for programs."""
    click.echo(json.dumps(value, default=str) if as_json else value)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tollhouse")
def cli() -> None:
    """Sell access to AI agents: server, worker and administration."""


@cli.command()
@click.option("--prepare", "first", is_flag=True, help="Migrate first, and furnish an empty installation.")
def serve(first: bool) -> None:
    """Serve the API, the pages and the jobs."""
    from tollhouse.serve import serve as serve_now

    run(serve_now(settings_of(), first=first), service=True)


@cli.command()
def worker() -> None:
    """Work on jobs and deliveries, in a process of its own."""
    from tollhouse.wiring.worker_process import build_worker
    from tollhouse.worker import work

    run(work(settings_of(), build_worker), service=True)


@cli.command()
@click.option("--owner-email", required=True, help="E-mail of the first owner, who is an operator too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def init(owner_email: str, as_json: bool) -> None:
    """Set up an installation without a browser: the password comes on standard input; prints an admin API key, once."""
    from tollhouse.wiring.commands import initialise

    password = sys.stdin.readline().rstrip("\n")
    made = run(initialise(settings_of(), owner_email, password))
    say(
        made if as_json else f"owner {made['email']} of tenant {made['tenant']}\nAPI key (shown this once): {made['api_key']}",
        as_json,
    )


@cli.group()
def db() -> None:
    """The database."""


@db.command()
def upgrade() -> None:
    """Migrate to this version's schema."""
    from tollhouse.wiring.commands import upgrade as upgrade_now

    say(f"the schema is {run(upgrade_now(settings_of()))}")


@db.command()
def check() -> None:
    """Check the schema, the master key, and that all processes have enough connections."""
    from tollhouse.wiring.commands import check_database

    for line in run(check_database(settings_of())):
        say(line)


@cli.group()
def tenants() -> None:
    """The businesses on this installation."""


@tenants.command("create")
@click.argument("slug")
@click.option("--name", help="What its users read; the slug by default.")
@click.option("--currency", default="USD", show_default=True, help="What plans are sold and model costs are counted in.")
@click.option("--cost-currency", help="What model costs are counted in, if that is another one: there is no margin then.")
@click.option("--timezone", default="UTC", show_default=True)
@click.option("--json", "as_json", is_flag=True)
def tenants_create(slug: str, name: str | None, currency: str, cost_currency: str | None, timezone: str, as_json: bool) -> None:
    """Create a tenant; prints its owner's one-time link."""
    from tollhouse.wiring.commands import create_tenant

    values = {"currency": currency, "cost_currency": cost_currency, "timezone": timezone}
    made = in_container(lambda c: create_tenant(c, slug, name or slug, **values))
    say(made if as_json else f"tenant {made['slug']} is made; its owner comes in, once, by {made['owner_link']}", as_json)


@tenants.command("list")
@click.option("--json", "as_json", is_flag=True)
def tenants_list(as_json: bool) -> None:
    """List tenants."""
    from tollhouse.wiring.commands import list_tenants

    rows = in_container(list_tenants)
    say(rows if as_json else "\n".join(f"{row['slug']:<24} {row['status']:<10} {row['name']}" for row in rows), as_json)


@tenants.command("suspend")
@click.argument("slug")
def tenants_suspend(slug: str) -> None:
    """Stop everything of a tenant; nothing is lost."""
    from tollhouse.wiring.commands import suspend_tenant

    say(f"tenant {in_container(lambda c: suspend_tenant(c, slug, True))} is suspended")


@tenants.command("resume")
@click.argument("slug")
def tenants_resume(slug: str) -> None:
    """Let a suspended tenant work again."""
    from tollhouse.wiring.commands import suspend_tenant

    say(f"tenant {in_container(lambda c: suspend_tenant(c, slug, False))} works again")


@tenants.command("addresses")
@click.argument("slug")
@click.option("--private/--public", required=True, help="Private ones too, or those of the public internet only.")
def tenants_addresses(slug: str, private: bool) -> None:
    """Say which addresses a tenant's connections may lead to."""
    from tollhouse.wiring.commands import allow_private_addresses

    say(in_container(lambda c: allow_private_addresses(c, slug, private)))


@cli.group()
def users() -> None:
    """The people of a tenant."""


@users.command("link")
@click.argument("email")
@click.option("--tenant", help="The tenant's slug; the default tenant if not given.")
def users_link(email: str, tenant: str | None) -> None:
    """Print a one-time link that signs a user in."""
    from tollhouse.wiring.commands import sign_in_link

    say(in_container(lambda c: sign_in_link(c, email, tenant)))


@cli.group()
def ledger() -> None:
    """The usage ledger."""


@ledger.command("verify")
@click.option("--tenant", help="One tenant's slug; all tenants if not given.")
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d"]), help="Only entries of this day (UTC) and later; says what it leaves out."
)
@click.option("--json", "as_json", is_flag=True)
def ledger_verify(tenant: str | None, since: datetime | None, as_json: bool) -> None:
    """Recompute counters and rollups from the ledger, and name every difference.

    It reads month by month in one snapshot, while turns go on, and tells on standard error how far it is.
    """
    from tollhouse.wiring.commands import unsealed, verify_ledgers
    from tollhouse.wiring.progress import Progress

    sealed: list[Any] = []
    day = since.date() if since else None
    with Progress(sys.stderr) as progress:
        found = in_container(lambda c: verify_ledgers(c, tenant, since=day, progress=progress.of, sealed=sealed))
    for line in unsealed(sealed):
        click.echo(line, err=as_json)
    if as_json:
        say(found, True)
    else:
        for row in found:
            say(f"{row['tenant']}: {row['check']}: {row['detail']} ({row['subject']})")
        say("the ledger adds up" if not found else f"{len(found)} differences")
    sys.exit(1 if found else 0)


@ledger.command("seal")
def ledger_seal() -> None:
    """Seal what is new in the ledger and the audit log now, as a job does every five minutes."""
    from tollhouse.wiring.commands import seal_ledgers

    say(in_container(seal_ledgers))


@ledger.command("reanchor")
@click.option(
    "--reason", required=True, help="What was restored, from when, by whom: it stays in every chain, and in the audit log."
)
def ledger_reanchor(reason: str) -> None:
    """Go on after a restore: chains that are shorter than the anchor says, or of another server, continue from what is here."""
    from tollhouse.wiring.commands import reanchor_ledgers

    say(in_container(lambda c: reanchor_ledgers(c, reason)))


@ledger.command("rebuild")
def ledger_rebuild() -> None:
    """Make the daily sums anew from the ledger; reports go on with the old ones until it is done."""
    from tollhouse.wiring.commands import rebuild_sums
    from tollhouse.wiring.progress import Progress

    with Progress(sys.stderr) as progress:
        in_container(lambda c: rebuild_sums(c, progress.of))
    say("the daily sums are those of the ledger")


@cli.group()
def keys() -> None:
    """The master key."""


@keys.command("rotate")
def keys_rotate() -> None:
    """Encrypt every connection's secrets anew with the first of the keys in TOLLHOUSE_MASTER_KEY."""
    from tollhouse.wiring.commands import rotate_keys

    say(f"{in_container(rotate_keys)} connections are encrypted with the new key")


@cli.group()
def plugins() -> None:
    """Plugins: what is installed, and what is switched on."""


@plugins.command("list")
def plugins_list() -> None:
    """Every installed plugin; nothing is imported."""
    from tollhouse.host.loader import inspect_installed

    for one in inspect_installed(settings_of().enabled):
        say(f"{one.name:<16} {'on ' if one.enabled else 'off'} {one.distribution} {one.version}")


@plugins.command("check")
def plugins_check() -> None:
    """Load every plugin that is switched on, with all checks of a start."""
    from tollhouse.wiring.commands import check_plugins

    host = check_plugins(settings_of())
    say(f"{len(host.plugins)} plugins are in order: {', '.join(host.plugins)}")


@plugins.command("show")
@click.argument("name")
def plugins_show(name: str) -> None:
    """What a plugin offers and needs, as JSON."""
    from tollhouse.wiring.commands import describe_plugin

    say(json.dumps(describe_plugin(settings_of(), name), indent=2, default=str))


@cli.command("run", context_settings={"ignore_unknown_options": True})
@click.argument("plugin")
@click.argument("command")
@click.argument("arguments", nargs=-1)
def run_command(plugin: str, command: str, arguments: tuple[str, ...]) -> None:
    """Run a command that a plugin brings: ``tollhouse run PLUGIN COMMAND …``."""
    from tollhouse.wiring.commands import plugin_command

    sys.exit(run(plugin_command(settings_of(), plugin, command, arguments)))


def main() -> None:
    """The entry point; an expected failure is one line."""
    code = outcome()
    from tollhouse.wiring.running import end

    end(code)


def outcome() -> int:
    """Run the command that was asked for; the exit code."""
    try:
        result = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SystemExit as error:
        return int(error.code or 0)
    except Exception as error:
        from tollhouse.plugin.errors import TollhouseError

        if not isinstance(error, TollhouseError):
            raise
        click.echo(f"tollhouse: {error.detail}", err=True)
        return 1
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    main()
