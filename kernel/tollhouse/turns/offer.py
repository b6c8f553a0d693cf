"""Which models may answer a turn and what they cost, worked out without asking anybody: an admission has counters locked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from uuid import UUID

from tollhouse.agents.split import bucket, choose
from tollhouse.agents.versions import PromptVersion, VersionCache
from tollhouse.billing.plans import PlanCache, PlanVersion
from tollhouse.host.connections import Connections
from tollhouse.host.values import Bound
from tollhouse.plugin.context import TenantInfo
from tollhouse.plugin.errors import NotFound, TollhouseError
from tollhouse.policy.facts import Facts
from tollhouse.policy.limits import Needs
from tollhouse.policy.rules import Case
from tollhouse.records import record
from tollhouse.runtime.prepare import Candidate, Prepared
from tollhouse.store.ids import parse_id
from tollhouse.turns.abilities import counter, described, refusals
from tollhouse.turns.errors import NoModel
from tollhouse.turns.lookups import Lookups
from tollhouse.usage.prices import Price, PriceBook, TenantPrices


@record(frozen=True, slots=True)
class Offer:
    """The models that may answer for a version now, and what they cost: each, and the dearest of them.

    ``broken`` are connections that cannot be used, with what is wrong with them.
    """

    candidates: Sequence[Candidate]
    prices: Mapping[tuple[str, str], Price | None]
    broken: Mapping[UUID, str]
    input_price: int
    output_price: int
    priced: bool

    @classmethod
    def of(
        cls, candidates: Sequence[Candidate], prices: Mapping[tuple[str, str], Price | None], broken: Mapping[UUID, str]
    ) -> Offer:
        """With the dearest prices found."""
        known = [price for price in prices.values() if price is not None]
        return cls(
            candidates,
            prices,
            broken,
            input_price=max((price.input_per_million for price in known), default=0),
            output_price=max((price.output_per_million for price in known), default=0),
            priced=len(known) == len(prices),
        )

    def needs(self, prepared: Prepared) -> Needs:
        """The worst case of a prepared call."""
        most = prepared.estimate
        return Needs(most.input_tokens, most.max_output_tokens, self.input_price, self.output_price, self.priced)


@record(frozen=True, slots=True)
class Caches:
    """What a process remembers of tenants."""

    plans: PlanCache
    versions: VersionCache
    connections: Connections
    prices: PriceBook


class AtHand:
    """What one admission knows beside its facts. What a cache does not have is wanted of ``lookups``, and is there in the next
    try."""

    def __init__(self, caches: Caches, prices: TenantPrices) -> None:
        self._caches = caches
        self._prices = prices
        self.lookups = Lookups()

    def plan(self, tenant_id: UUID, plan_version_id: UUID) -> PlanVersion:
        """A version of a plan."""
        known = self._caches.plans.peek(tenant_id, plan_version_id)
        load = partial(self._caches.plans.get, tenant_id, plan_version_id)
        return known if known is not None else self.lookups.get(("plan", plan_version_id), load)

    def version(self, case: Case) -> PromptVersion:
        """The version that answers: the one that is tried out, or the person's share of the active ones.

        Raises:
            NotFound: there is none.
        """
        facts = case.facts
        assert facts.agent is not None
        wanted = case.request.metadata.get("version") if case.request.test else None
        if wanted is not None:
            version_id = parse_id(str(wanted))
            version = self._version(facts.tenant.id, version_id) if version_id else None
            if version is None or version.agent_id != facts.agent.id:
                raise NotFound()
            return version
        if not facts.agent.versions:
            raise NotFound("This agent has no active version; name the one to try.")
        if len(facts.agent.versions) == 1:
            return self._version(facts.tenant.id, facts.agent.versions[0][0])
        place = bucket(facts.tenant.id, facts.agent.id, facts.user.id)
        return self._version(facts.tenant.id, choose(facts.agent.versions, place))

    def offer(self, tenant: TenantInfo, facts: Facts, version: PromptVersion) -> Offer:
        """The models that may answer; a connection that is switched off or broken is left out.

        Raises:
            NoModel: none is left.
        """
        found: list[Candidate] = []
        prices: dict[tuple[str, str], Price | None] = {}
        broken: dict[UUID, str] = {}
        for choice in (version.spec.primary, version.spec.fallback):
            revision = facts.connections.get(choice.connection_id) if choice else None
            if choice is None or revision is None:
                continue
            try:
                bound = self._connection(tenant, choice.connection_id, revision)
                info = described(bound, choice.model)
            except TollhouseError as error:
                broken[choice.connection_id] = f"{error.http_code}: {error.detail}"
                continue
            backend, count, refuses = bound.backend, counter(bound, choice.model), refusals(bound, choice.model)
            found.append(Candidate(choice.connection_id, backend.name, choice.model, info, count, revision, refuses))
            prices[backend.name, choice.model] = self._prices_for(facts).price(backend.name, choice.model, facts.now)
        if not found:
            raise NoModel(broken)
        return Offer.of(found, prices, broken)

    def _version(self, tenant_id: UUID, version_id: UUID) -> PromptVersion:
        known = self._caches.versions.peek(tenant_id, version_id)
        load = partial(self._caches.versions.get, tenant_id, version_id)
        return known if known is not None else self.lookups.get(("version", version_id), load)

    def _connection(self, tenant: TenantInfo, connection_id: UUID, revision: int) -> Bound:
        known = self._caches.connections.at_hand(tenant, connection_id, revision)
        load = partial(self._caches.connections.bound, tenant, connection_id, revision)
        return known if known is not None else self.lookups.get(("connection", connection_id, revision), load)

    def _prices_for(self, facts: Facts) -> TenantPrices:
        """Those of now: of the revision, and in the currency, that came with the facts."""
        tenant = facts.tenant
        if (self._prices.revision, self._prices.currency) == (tenant.price_revision, tenant.cost_currency):
            return self._prices
        wanted = (tenant.price_revision, tenant.cost_currency)
        return self.lookups.get(("prices", *wanted), partial(self._caches.prices.of, tenant.id, *wanted))
