"""The container: every service of one process, made once and passed to whoever needs it. No globals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.accounts.ports import AccountsPort
from tollhouse.accounts.service import AccountService
from tollhouse.agents.repository import connection_in_use
from tollhouse.agents.service import AgentService
from tollhouse.agents.split import bucket, choose
from tollhouse.agents.versions import VersionCache
from tollhouse.auth import devices
from tollhouse.auth.authenticator import Authenticator
from tollhouse.auth.devices import Devices
from tollhouse.auth.keys import KeyService
from tollhouse.auth.links import OneTimeLinks
from tollhouse.auth.passwords import Passwords
from tollhouse.auth.ports import KeysPort, SessionsPort
from tollhouse.auth.sessions import SessionService
from tollhouse.auth.throttle import LoginThrottle
from tollhouse.auth.trail import AuditTrail
from tollhouse.auth.users import UserService
from tollhouse.billing.admin import SubscriptionAdmin
from tollhouse.billing.orders import Emit
from tollhouse.billing.plan_service import PlanService
from tollhouse.billing.plans import PlanCache
from tollhouse.billing.ports import SubscriptionsPort
from tollhouse.billing.repository import cost_limit_in_use
from tollhouse.billing.service import SubscriptionService
from tollhouse.billing.subscriptions import starts_default
from tollhouse.border.calls import ask_now
from tollhouse.conversations.files import FileLimits, FileService
from tollhouse.conversations.ports import ConversationsPort, FilesPort
from tollhouse.conversations.service import ConversationService
from tollhouse.delivery.service import QueueService
from tollhouse.host.caller import Caller
from tollhouse.host.connections import Connections
from tollhouse.host.context import Contexts
from tollhouse.host.host import Host
from tollhouse.host.http import Http
from tollhouse.host.loader import load_plugins
from tollhouse.plugin import ports
from tollhouse.plugin.access import Principal
from tollhouse.plugin.errors import TollhouseError
from tollhouse.plugin.events import Event, EventName
from tollhouse.plugin.llm import ModelPrice, SuggestsPrices
from tollhouse.policy.engine import PolicyEngine, WorstPrices, refusal
from tollhouse.policy.facts import Facts
from tollhouse.policy.rules import RULES, AccessRequest, Rule
from tollhouse.reports.sealing import Sealer
from tollhouse.reports.service import ReportService
from tollhouse.runtime.media import sniff
from tollhouse.runtime.run import Runtime
from tollhouse.settings import Settings
from tollhouse.store import outbox
from tollhouse.store.anchor import Anchor
from tollhouse.store.blobs import BlobStore
from tollhouse.store.hops import Hops
from tollhouse.store.ids import new_id
from tollhouse.store.rates import Rates
from tollhouse.store.secrets import SecretBox
from tollhouse.store.signing import Marker, Signer
from tollhouse.store.store import Store
from tollhouse.tenants.directory import TenantDirectory
from tollhouse.tenants.logos import Logos
from tollhouse.tenants.service import TenantService
from tollhouse.turns.admit import Admission
from tollhouse.turns.catalog import AgentCatalog
from tollhouse.turns.forget import forget_replies
from tollhouse.turns.media import MediaLoader
from tollhouse.turns.offer import Caches
from tollhouse.turns.outbound import Outbound
from tollhouse.turns.ports import CatalogPort, TurnsPort, UsagePort
from tollhouse.turns.service import TurnService
from tollhouse.turns.settle import Settlement
from tollhouse.usage.price_repository import cost_is_counted
from tollhouse.usage.prices import PriceBook
from tollhouse.usage.runners import Runner
from tollhouse.usage.watch import AlarmService, DenialService
from tollhouse.wiring.currencies import repricer
from tollhouse.wiring.ourselves import Ourselves
from tollhouse.wiring.personal_data import EXPORTS, erases

WEB = "web"


log = logging.getLogger(__name__)


@dataclass
class Container:
    """The services of one process. ``build`` makes it; ``close`` gives back what it holds."""

    settings: Settings
    store: Store
    host: Host
    runner: Runner
    http: Http
    hops: Hops
    rates: Rates
    blobs: BlobStore
    directory: TenantDirectory
    tenants: TenantService
    logos: Logos
    authenticator: Authenticator
    passwords: Passwords
    sessions: SessionService
    keys: KeyService
    links: OneTimeLinks
    users: UserService
    accounts: AccountService
    contexts: Contexts
    connections: Connections
    agents: AgentService
    plans: PlanService
    subscriptions: SubscriptionService
    subscription_admin: SubscriptionAdmin
    prices: PriceBook
    policy: PolicyEngine
    turns: TurnService
    catalog: AgentCatalog
    conversations: ConversationService
    files: FileService
    reports: ReportService
    queues: QueueService
    audit: AuditTrail
    sealer: Sealer
    alarms: AlarmService
    denials: DenialService
    ports: dict[type[Any], Callable[[Caller], Any]] = field(default_factory=dict)

    async def close(self) -> None:
        """Give back connections, threads and the lease."""
        await self.authenticator.aclose()
        await self.http.close()
        await self.rates.close()
        self.passwords.close()
        await self.runner.stop()
        await self.store.close()


def build(
    settings: Settings,
    store: Store,
    box: SecretBox,
    *,
    plugins: Mapping[str, Any] | None = None,
    rules: Sequence[Rule] = RULES,
    outbound: Outbound | None = None,
) -> Container:
    """Wire everything. ``plugins`` and ``rules`` replace the installed plugins and the policy's rules, for tests.

    Raises:
        ConfigError: one line that names the plugin or setting that is wrong.
    """
    host = load_plugins(settings, plugins=plugins)
    runner, rates, directory, hops = Runner(store), Rates(settings.rate_limit_storage), TenantDirectory(store), Hops(box)
    own = Ourselves(settings, directory)
    http = Http(private=settings.allow_private_model_urls, own=own, hop_headers=hops.headers)
    signer, store.marker = Signer(box), Marker(box)
    port_factories: dict[type[Any], Callable[[Caller], Any]] = {}
    contexts = Contexts(host, store, http, port_factories)
    connections = Connections(store, host, box, contexts, in_use=(connection_in_use,))
    emit = emitter(host)
    throttle = LoginThrottle(settings, rates, Devices(box.mac_keys(devices.PURPOSE)))
    passwords, authenticator = Passwords(), Authenticator(store, settings)
    cache = PlanCache(store)
    plans = PlanService(store, cache)
    prices, versions = PriceBook(store, lambda: suggested_prices(host)), VersionCache(store)
    policy = PolicyEngine(
        store,
        cache,
        tuple(host.channels),
        rules=rules,
        upgrade=upgrade_links(settings, host),
        prices=worst_prices(versions, prices, connections),
    )
    blobs = BlobStore(settings.data_dir / "blobs")
    files = FileService(store, blobs, file_limits(settings), sniff)
    agents = AgentService(store)
    users = UserService(store, passwords, throttle, authenticator)
    turns = TurnService(
        store,
        policy,
        Admission(policy, Caches(cache, versions, connections, prices), lambda: runner.id, settings.model_timeout),
        Runtime(connections.bound),
        Settlement(store, host.subscribers("turn.finished"), runner.busy),
        MediaLoader(files, (outbound or Outbound()).fetch),
        runner.busy,
        denial_subscribers=host.subscribers("turn.denied"),
    )
    container = Container(
        settings=settings,
        store=store,
        host=host,
        runner=runner,
        http=http,
        rates=rates,
        blobs=blobs,
        directory=directory,
        hops=hops,
        tenants=TenantService(store, cost_in_use=(cost_limit_in_use, cost_is_counted), reprice=repricer(prices)),
        logos=Logos(blobs, sniff),
        authenticator=authenticator,
        passwords=passwords,
        sessions=SessionService(store, settings, passwords, throttle, authenticator),
        keys=KeyService(store, authenticator),
        links=OneTimeLinks(store, throttle),
        users=users,
        accounts=AccountService(
            store,
            users,
            passwords,
            authenticator,
            starts_default(emit),
            exports=EXPORTS,
            erases=erases(files, emit),
            emit=emit,
        ),
        contexts=contexts,
        connections=connections,
        agents=agents,
        plans=plans,
        subscriptions=SubscriptionService(store, plans, connections, emit),
        subscription_admin=SubscriptionAdmin(store, plans, emit),
        prices=prices,
        policy=policy,
        turns=turns,
        catalog=AgentCatalog(agents, policy),
        conversations=ConversationService(store, blobs, forget=forget_replies),
        files=files,
        reports=ReportService(store),
        queues=QueueService(store, blobs),
        audit=AuditTrail(store),
        sealer=Sealer(store, signer, store.marker, Anchor(settings.data_dir, signer)),
        alarms=AlarmService(store),
        denials=DenialService(store),
        ports=port_factories,
    )
    port_factories.update(factories(container))
    return container


def file_limits(settings: Settings) -> FileLimits:
    """What there is room for, as the operator set it."""
    names = ("user_bytes", "user_files", "tenant_bytes", "tenant_files")
    return FileLimits(settings.upload_limit, **{name: getattr(settings, f"upload_{name}") for name in names})


def factories(container: Container) -> dict[type[Any], Callable[[Caller], Any]]:
    """How each port is made for a caller."""
    c = container

    async def offered_plans(caller: Caller) -> Sequence[ports.PlanInfo]:
        return await c.plans.public_plans(caller.tenant, caller.principal)

    async def usable_agent(principal: Principal, agent: str) -> UUID:
        request = AccessRequest(principal, agent, principal.channel)
        case = await c.policy.read_case(request)
        denial = c.policy.gate(case)
        if denial is not None:
            raise refusal(denial)
        assert case.facts.agent is not None
        return case.facts.agent.id

    return {
        ports.Accounts: lambda caller: AccountsPort(c.accounts, caller),
        ports.Sessions: lambda caller: SessionsPort(c.sessions, caller),
        ports.Keys: lambda caller: KeysPort(c.keys, caller),
        ports.Catalog: lambda caller: CatalogPort(c.catalog, offered_plans, caller),
        ports.Turns: lambda caller: TurnsPort(c.turns, caller),
        ports.Usage: lambda caller: UsagePort(c.policy, caller),
        ports.Subscriptions: lambda caller: SubscriptionsPort(c.subscriptions, caller),
        ports.Conversations: lambda caller: ConversationsPort(c.conversations, usable_agent, caller),
        ports.Files: lambda caller: FilesPort(c.files, caller),
    }


def upgrade_links(settings: Settings, host: Host) -> Callable[[str], str | None]:
    """Where a tenant's users see its plans: a page of the web channel, if that is on."""
    if WEB not in host.channels:
        return lambda tenant_slug: None

    def link(tenant_slug: str) -> str:
        prefix = "" if tenant_slug == settings.default_tenant else f"/t/{tenant_slug}"
        return f"{settings.base_url}{prefix}/plans"

    return link


def worst_prices(versions: VersionCache, book: PriceBook, connections: Connections) -> WorstPrices:
    """The dearest prices of the models of the version that this person would get."""

    async def find(facts: Facts) -> tuple[int, int, bool]:
        agent, tenant = facts.agent, facts.tenant
        if agent is None or not agent.versions:
            return 0, 0, True
        chosen = choose(agent.versions, bucket(tenant.id, agent.id, facts.user.id))
        spec = (await versions.get(tenant.id, chosen)).spec
        found, prices = [], await book.of(tenant.id, tenant.price_revision, tenant.cost_currency)
        for choice in spec.choices:
            if choice.connection_id in facts.connections:
                connection = await connections.get(tenant.id, choice.connection_id)
                found.append(prices.price(connection.plugin, choice.model, facts.now))
        known = [price for price in found if price is not None]
        most_in = max((price.input_per_million for price in known), default=0)
        return most_in, max((price.output_per_million for price in known), default=0), len(known) == len(found)

    return find


def suggested_prices(host: Host) -> Iterable[tuple[str, ModelPrice]]:
    """Every price that an installed backend suggests, with the backend's name."""
    for name, registered in host.llm_backends.items():
        if isinstance(registered.obj, SuggestsPrices):
            try:
                reads = SimpleNamespace(suggest_prices=partial(_all_prices, registered.obj))
                prices = ask_now(registered.plugin, "suggest_prices", reads)
            except TollhouseError as error:  # the prices of the others are there all the same
                log.error("no prices are suggested by %s: %s", name, error.detail)
                continue
            for price in prices:
                yield name, price


def _all_prices(backend: SuggestsPrices) -> list[ModelPrice]:
    return list(backend.suggest_prices())


def emitter(host: Host) -> Emit:
    """Writes an event for each plugin that wants it, in the transaction of what happened."""

    async def emit(conn: AsyncConnection, tenant_id: UUID, name: EventName, data: Mapping[str, Any]) -> None:
        subscribers = host.subscribers(name)
        if subscribers:
            now = (await conn.exec_driver_sql("SELECT app_now()")).scalar_one()
            await outbox.add_event(conn, Event(new_id(), name, tenant_id, now, data), subscribers)

    return emit
