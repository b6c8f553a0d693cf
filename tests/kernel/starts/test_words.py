"""What the command line says to whoever mistyped a name: what is missing, and what there is."""

from __future__ import annotations

import json

import pytest

from tests.kernel.starts.conftest import Databases, Program

CLASHES = """
    @th.impl
    def register_routes(self, settings):
        from fastapi import APIRouter
        router = APIRouter()
        @router.get("/healthz")
        async def mine():
            return {}
        return [th.Mount("", router)]
"""
COMMANDS = """
    @th.impl
    def register_commands(self, settings):
        async def run(arguments):
            return 0
        return [th.Command("sync", "Syncs.", run)]
"""


@pytest.fixture
async def house(program: Program, databases: Databases) -> Program:
    """An installation with two tenants, and one user in the first."""
    program.env["DATABASE_URL"] = databases.address(await databases.current())
    made = await program.run("init", "--owner-email", "ada@example.test", typed="a long enough password\n")
    assert made.code == 0, made.err
    assert (await program.run("tenants", "create", "acme")).code == 0
    return program


async def test_a_tenant_counts_model_costs_in_a_currency_that_exists(house: Program) -> None:
    refused = await house.run("tenants", "create", "other", "--cost-currency", "EURO")
    assert "not a currency of ISO 4217" in refused.line()
    assert (await house.run("tenants", "create", "other", "--cost-currency", "eur")).code == 0


async def test_a_name_that_nobody_has(house: Program) -> None:
    tenants = "Known are acme, default"
    for command in (("tenants", "suspend", "acmee"), ("tenants", "resume", "acmee"), ("ledger", "verify", "--tenant", "acmee")):
        assert (await house.run(*command)).line() == f"there is no tenant 'acmee'; did you mean 'acme'? {tenants}"
    assert (await house.run("users", "link", "x@y.z", "--tenant", "q")).line() == f"there is no tenant 'q'; {tenants}"
    assert (await house.run("users", "link", "adaa@example.test")).line() == (
        "tenant 'default' has no user 'adaa@example.test'; did you mean 'ada@example.test'? Known are ada@example.test"
    )
    assert (await house.run("users", "link", "x@y.z", "--tenant", "acme")).line() == (
        "tenant 'acme' has no user 'x@y.z'; there are none"
    )


async def test_a_plugin_that_is_not_there(program: Program) -> None:
    program.add("shop", COMMANDS)
    known = "did you mean 'shop'? Known are api, demo, shop"
    for command in (("plugins", "show", "shopp"), ("run", "shopp", "sync")):
        assert (await program.run(*command)).line() == f"plugin 'shopp' is not enabled; {known}"
    assert (await program.run("run", "shop", "snyc")).line() == (
        "plugin 'shop' brings no command 'snyc'; did you mean 'sync'? Known are sync"
    )
    assert (await program.run("plugins", "show", "web")).line() == (
        "plugin 'web' is installed and not switched on: add it to 'enabled' in plugins.toml"
    )
    shown = await program.run("plugins", "show", "shop")
    assert json.loads(shown.out)["commands"] == ["sync"]


async def test_the_check_of_plugins_finds_what_would_stop_the_start(program: Program) -> None:
    assert (await program.run("plugins", "check")).out == "2 plugins are in order: api, demo\n"
    program.add("greedy", CLASHES)
    refusal = (await program.run("plugins", "check")).line()
    assert refusal == "plugin 'greedy': GET /healthz is taken already by the kernel (/healthz)"


@pytest.mark.parametrize("command", [("serve",), ("worker",), ("db", "check"), ("plugins", "list")], ids=" ".join)
async def test_a_variable_that_is_no_setting_stops_every_command(program: Program, command: tuple[str, ...]) -> None:
    line = (await program.run(*command, TOLLHOUSE_LOG_LEVLE="debug")).line()
    assert line == "TOLLHOUSE_LOG_LEVLE: there is no such setting; did you mean TOLLHOUSE_LOG_LEVEL?"
