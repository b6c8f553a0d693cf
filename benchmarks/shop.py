"""A tenant to measure: one agent on the `openai` plugin, a plan with limits that hold nobody up, and many users with keys."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from tollhouse.agents.spec import ModelChoice, VersionSpec
from tollhouse.billing.terms import LimitTerms, Terms
from tollhouse.host.caller import Caller
from tollhouse.plugin.access import Principal
from tollhouse.settings import load_settings
from tollhouse.store.audit import SYSTEM
from tollhouse.wiring.container import Container
from tollhouse.wiring.installation import open_container, open_database, prepare

MANY = 1_000_000_000
LIMITS = (
    LimitTerms("calls", MANY, "day"),
    LimitTerms("total_tokens", 1_000 * MANY, "month"),
)


async def furnish(container: Container, upstreams: dict[str, str], users: int) -> list[str]:
    """Make everything; the API keys."""
    made = await container.tenants.create("default", "Benchmark", actor=SYSTEM)
    tenant = await container.tenants.allow_private_addresses(made.id, True, actor=SYSTEM)  # the upstream is on this machine
    caller = Caller(container.directory.info(tenant, container.settings.base_url), None)
    for slug, url in upstreams.items():
        connection = await container.connections.create(
            SYSTEM, tenant.id, "llm", "openai", slug, {"base_url": url, "api_key": "upstream"}
        )
        agent = await container.agents.create(tenant.id, SYSTEM, slug=slug, name=slug)
        spec = VersionSpec(
            template="You are {{ agent.name }}.", primary=ModelChoice(connection_id=connection.id, model="gpt-4o-mini")
        )
        draft = await container.agents.create_draft(tenant.id, SYSTEM, agent.id, spec=spec)
        await container.agents.activate(tenant.id, SYSTEM, draft.id)
        await container.agents.publish(tenant.id, SYSTEM, agent.id)
        await container.prices.set_price(
            caller, "openai", "gpt-4o-mini", input_per_million=150_000_000, output_per_million=600_000_000
        )
    await container.plans.create(caller, "bench", "Bench", Terms(all_agents=True, limits=LIMITS), default=True)
    keys = []
    for number in range(users):
        user = await container.accounts.register(tenant.id, f"user{number}@example.com", f"a long enough password {number}")
        principal = Principal(tenant.id, user.id, "password", "api")
        keys.append((await container.keys.create(principal, "bench", actor=SYSTEM))[1])
    return keys


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--keys", type=Path, required=True)
    options = parser.parse_args()
    settings = load_settings()
    upstreams = {"fast": f"{options.upstream}/fast", "slow": f"{options.upstream}/slow"}
    async with open_database(settings, prepares=True) as dsn:
        await prepare(settings, dsn)
        async with open_container(settings, dsn) as container:
            options.keys.write_text(json.dumps(await furnish(container, upstreams, options.users)))


if __name__ == "__main__":
    asyncio.run(main())
