"""Plans: versions that never change, validation that names fields, and two tenants that never meet."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from tollhouse.billing.errors import PlanExists, PlanIsDefault
from tollhouse.billing.plans import PlanCache, PlanLimit, limit_text
from tollhouse.billing.repository import cost_limit_in_use
from tollhouse.billing.terms import LimitTerms, Terms, check_terms
from tollhouse.plugin import InvalidInput, NotFound
from tollhouse.store.ids import new_id

from .conftest import FREE, PRO, Shop


async def test_a_change_of_the_terms_is_a_new_version_and_subscribers_keep_theirs(shop: Shop, tenant_id: UUID) -> None:
    admin = await shop.open(tenant_id)
    user = await shop.user(tenant_id)
    await shop.service.subscribe(user, "free")
    old = await shop.plans.get(tenant_id, "free")
    new = await shop.plans.update(admin, old.id, terms=replace(FREE, limits=(LimitTerms("calls", 5, "day"),)), name="Gratis")
    assert (new.name, new.version.number, new.version.limits[0].amount) == ("Gratis", 2, 5)
    assert (await PlanCache(shop.store).get(tenant_id, old.version.id)).limits[0].amount == 20
    assert [(one.number, one.subscribers) for one in await shop.plans.subscribers(tenant_id, old.id)] == [(2, 0), (1, 1)]
    again = await shop.plans.update(admin, old.id, terms=Terms.of(new.version), description="same terms")
    assert again.version.number == 2
    assert await shop.audited(tenant_id, "plan.updated") == 2
    assert await shop.audited(tenant_id, "plan.created") == 2


async def test_a_version_is_loaded_whole_and_then_remembered(shop: Shop, tenant_id: UUID) -> None:
    admin, guide, other = await shop.user(tenant_id), await shop.agent(tenant_id), await shop.agent(tenant_id, "other")
    limits = (LimitTerms("total_tokens", 100_000, "month", guide), LimitTerms("calls", 3, "hour", None, "api", hard=False))
    terms = Terms(500, "USD", "year", 7, False, frozenset({guide, other}), frozenset({"web", "api"}), True, limits)
    plan = await shop.plans.create(admin, "team", "Team", terms, channels=["web", "api"])
    cache = PlanCache(shop.store, size=1)
    assert cache.peek(tenant_id, plan.version.id) is None
    version = await cache.get(tenant_id, plan.version.id)
    assert version == plan.version
    assert cache.peek(tenant_id, plan.version.id) is version
    assert Terms.of(version) == terms
    assert [limit_text(one, "USD", {guide: "Guide"}) for one in version.limits] == [
        "100,000 tokens a month with Guide",
        "3 messages an hour on api",
    ]
    assert (await shop.plans.public_plans(shop.caller(tenant_id, new_id()).tenant, None))[0].limits[0].agent == "guide"


async def test_another_tenants_plan_does_not_exist(shop: Shop, tenant_id: UUID, other_tenant_id: UUID) -> None:
    await shop.open(tenant_id)
    stranger = await shop.open(other_tenant_id)
    mine = await shop.plans.get(tenant_id, "pro")
    foreign_agent = await shop.agent(tenant_id, "secret")
    for call in (
        shop.plans.get(other_tenant_id, mine.id),
        shop.plans.update(stranger, mine.id, name="Stolen"),
        shop.plans.archive(stranger, mine.id),
        shop.plans.subscribers(other_tenant_id, mine.id),
        PlanCache(shop.store).get(other_tenant_id, mine.version.id),
    ):
        with pytest.raises(NotFound):
            await call
    with pytest.raises(InvalidInput) as refused:
        await shop.plans.create(stranger, "x", "X", Terms(agents=frozenset({foreign_agent})))
    assert refused.value.errors[0].pointer == "#/agents"
    assert (await shop.plans.get(tenant_id, "pro")).name == "Pro"


async def test_names_are_unique_within_a_tenant_and_the_default_is_always_free(shop: Shop, tenant_id: UUID) -> None:
    admin = await shop.open(tenant_id)
    with pytest.raises(PlanExists):
        await shop.plans.create(admin, "pro", "Again", PRO)
    with pytest.raises(InvalidInput):
        await shop.plans.create(admin, "rich", "Rich", PRO, default=True)
    free = await shop.plans.get(tenant_id, "free")
    with pytest.raises(InvalidInput):
        await shop.plans.update(admin, free.id, terms=PRO)
    with pytest.raises(PlanIsDefault):
        await shop.plans.archive(admin, free.id)
    with pytest.raises(PlanIsDefault):
        await shop.plans.update(admin, free.id, default=False)
    other = await shop.plans.create(admin, "basic", "Basic", FREE, default=True)
    assert [plan.slug for plan in await shop.plans.list(tenant_id) if plan.default] == ["basic"]
    assert other.default
    await shop.plans.archive(admin, free.id)
    assert [plan.slug for plan in await shop.plans.public_plans(admin.tenant, None)] == ["basic", "pro"]


async def test_a_cost_limit_counts_while_it_is_on_offer_or_somebody_has_it(
    shop: Shop, tenant_id: UUID, other_tenant_id: UUID
) -> None:
    admin = await shop.open(tenant_id)
    await shop.open(other_tenant_id)

    async def used_by(tenant: UUID = tenant_id) -> str | None:
        async with shop.store.transaction(tenant) as conn:
            return await cost_limit_in_use(conn, tenant)

    assert await used_by() is None
    dear = replace(FREE, limits=(LimitTerms("cost", 10**9, "month"),))
    plan = await shop.plans.create(admin, "dear", "Dear", dear)
    assert (await used_by(), await used_by(other_tenant_id)) == ("a limit of the plan Dear", None)
    ada = await shop.user(tenant_id)
    subscription = await shop.service.subscribe(ada, "dear")
    await shop.plans.update(admin, plan.id, terms=FREE)
    assert await used_by() == "a limit of the plan Dear", "who bought it keeps it"
    await shop.admin.end(admin, UUID(subscription.subscription.id), "Over")
    assert await used_by() is None
    again = await shop.service.subscribe(ada, "dear")
    await shop.admin.set_overrides(admin, UUID(again.subscription.id), dear.limits, "A gift", channels=())
    assert await used_by() == "a subscriber's own limit"


WRONG = [
    (Terms(price_minor=-1), "#/price_minor"),
    (Terms(currency="EURO"), "#/currency"),
    (Terms(interval="fortnight"), "#/interval"),
    (Terms(grace_days=-1), "#/grace_days"),
    (Terms(channels=frozenset()), "#/channels"),
    (Terms(channels=frozenset({"fax"})), "#/channels"),
    (Terms(limits=(LimitTerms("calls", 1, "now"),)), "#/limits/0/window"),
    (Terms(limits=(LimitTerms("concurrent", 1, "day"),)), "#/limits/0/window"),
    (Terms(limits=(LimitTerms("calls", -1, "day"),)), "#/limits/0/amount"),
    (Terms(limits=(LimitTerms("words", 1, "day"),)), "#/limits/0/metric"),
    (Terms(limits=(LimitTerms("calls", 1, "decade"),)), "#/limits/0/window"),
    (Terms(limits=(LimitTerms("calls", 1, "day"), LimitTerms("calls", 2, "day"))), "#/limits/1"),
    (Terms(limits=(LimitTerms("calls", 1, "day", new_id()),)), "#/limits/0/agent_id"),
    (Terms(limits=(LimitTerms("calls", 1, "day", None, "fax"),)), "#/limits/0/channel"),
]


@pytest.mark.parametrize(("terms", "pointer"), WRONG)
def test_terms_that_cannot_be_sold_are_refused_by_field(terms: Terms, pointer: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_terms(terms, (), ("web", "api"))
    assert [error.pointer for error in refused.value.errors] == [pointer]


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (("calls", 20, "day"), "20 messages a day"),
        (("calls", 1, "minute"), "1 message a minute"),
        (("concurrent", 2, "now"), "2 at the same time"),
        (("cost", 1_500_000_000, "month"), "1.50 USD of model cost a month"),
        (("output_tokens", 1_000, "lifetime"), "1,000 output tokens in total"),
        (("calls", 3, "period"), "3 messages in each billing period"),
    ],
)
def test_a_limit_in_the_readers_words(limit: tuple[str, int, str], text: str) -> None:
    assert limit_text(PlanLimit(new_id(), *limit), "USD") == text  # type: ignore[arg-type]
