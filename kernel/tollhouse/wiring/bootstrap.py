"""The first start: a tenant that can be tried at once, on the demo model and without any account elsewhere."""

from __future__ import annotations

import logging

from sqlalchemy import func, select

from tollhouse.accounts.service import first_operator_link
from tollhouse.agents.models import agents
from tollhouse.agents.spec import ModelChoice, VersionSpec
from tollhouse.auth.models import operators, users
from tollhouse.billing.models import plans
from tollhouse.billing.terms import LimitTerms, Terms
from tollhouse.host.caller import Caller
from tollhouse.host.models import connections
from tollhouse.plugin.errors import NotFound
from tollhouse.store.audit import SYSTEM
from tollhouse.store.store import Store
from tollhouse.tenants.models import tenants
from tollhouse.tenants.values import Tenant
from tollhouse.wiring.container import Container

log = logging.getLogger(__name__)

DEMO = "demo"
TEMPLATE = """\
You are {{ agent.name }}, the guide of {{ tenant.name }}. You help {{ user.name }} to find out what the agents here can do.
Answer briefly and in the language that you are asked in. Today is {{ date }}.
"""


async def is_furnished(store: Store) -> bool:
    """Whether the first start is long over: there is an operator. Cheaper to ask than to make all services for nothing."""
    async with store.operator() as conn:
        return bool((await conn.execute(select(func.count()).select_from(operators))).scalar())


async def bootstrap(container: Container) -> str | None:
    """Make the default tenant and what it needs, if this is the first start; the operator's claim token, until it is used."""
    try:
        tenant = await container.directory.by_slug(container.settings.default_tenant)
    except NotFound:
        async with container.store.operator() as conn:
            if (await conn.execute(select(func.count()).select_from(tenants))).scalar():
                return None  # an installation that has other tenants and wants none of this name
        # The operator's own: a model on this very machine is the first that many try.
        slug = container.settings.default_tenant
        tenant = await container.tenants.create(slug, "My agents", private_addresses=True, actor=SYSTEM)
        container.directory.forget()
    await _furnish(container, tenant)
    async with container.store.transaction(tenant.id) as conn:
        return await first_operator_link(conn, tenant.id)


async def _furnish(container: Container, tenant: Tenant) -> None:
    """Agent, plans and connections, for a tenant in which nobody has been yet; a start that was cut short is finished."""
    async with container.store.transaction(tenant.id) as conn:
        used = [(await conn.execute(select(func.count()).select_from(table))).scalar() for table in (users, plans)]
        known = {row.plugin: row.id for row in await conn.execute(select(connections.c.plugin, connections.c.id))}
        agent = (await conn.execute(select(agents.c.id).where(agents.c.slug == "guide"))).scalar()
    if any(used):
        return
    caller = Caller(container.directory.info(tenant, container.settings.base_url), None)
    if DEMO not in container.host.llm_backends:
        log.warning("the demo model is not enabled: connect a model and make an agent in the console")
        return
    model = known.get(DEMO)
    if model is None:
        model = (await container.connections.create(SYSTEM, tenant.id, "llm", DEMO, "Demo model", {})).id
    if agent is None:
        made = await container.agents.create(
            tenant.id,
            SYSTEM,
            slug="guide",
            name="Guide",
            description="Shows what an agent can do here. It runs on the demo model, which needs no account anywhere.",
            welcome="Hello. Ask me what I can do, send me a picture, or see what happens at the end of your allowance.",
        )
        agent = made.id
        spec = VersionSpec(
            template=TEMPLATE,
            primary=ModelChoice(connection_id=model, model=DEMO),
            max_output_tokens=600,
            modalities=frozenset({"text", "image", "audio", "file"}),
        )
        draft = await container.agents.create_draft(tenant.id, SYSTEM, agent, spec=spec, note="The first version")
        await container.agents.activate(tenant.id, SYSTEM, draft.id)
        await container.agents.publish(tenant.id, SYSTEM, agent)
    # The plans come last: while there is none, this was not finished.
    await container.plans.create(
        caller,
        "pro",
        "Pro",
        Terms(
            price_minor=1900,
            currency=tenant.currency,
            all_agents=True,
            limits=(LimitTerms("calls", 2_000, "month"), LimitTerms("concurrent", 5, "now")),
        ),
        description="For people who use it every day.",
        position=2,
    )
    await container.plans.create(
        caller,
        "free",
        "Free",
        Terms(currency=tenant.currency, agents=frozenset({agent}), limits=(LimitTerms("calls", 20, "day"),)),
        description="To find out whether it is for you.",
        default=True,
        position=1,
    )
