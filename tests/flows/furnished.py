"""A process with the real plugins, and tenants that have something in every table.

Each text that a tenant keeps for itself holds its ``secret``, each text that it shows to everybody its ``face``. A table or a
column that is new is filled in too, so nothing has to be remembered.
"""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import tollhouse_api
import tollhouse_manual
import tollhouse_web
from pydantic import SecretStr
from sqlalchemy import LargeBinary, Table, insert, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import UUID as UUID_TYPE

from tests.flows.examples import PASSWORD, PIXEL
from tests.world import KEY, ScriptedModel
from tollhouse import plugin as th
from tollhouse.agents.spec import ModelChoice, VersionSpec
from tollhouse.app import Process
from tollhouse.auth import repository as auth_rows
from tollhouse.auth.keys import issue
from tollhouse.auth.tokens import digest_of, new_token
from tollhouse.policy.rules import RULES, Rule
from tollhouse.settings import Settings
from tollhouse.store import audit
from tollhouse.store.audit import CLI
from tollhouse.store.blobs import blob_key
from tollhouse.store.ids import new_id
from tollhouse.store.secrets import SecretBox
from tollhouse.store.store import Store
from tollhouse.tenants.models import tenants
from tollhouse.testing.fakes import FakeMessenger
from tollhouse.turns.fingerprint import body_hash
from tollhouse.wiring.schema import metadata

MASTER_KEY = SecretStr(base64.b64encode(KEY).decode())
REPLY = "the-model-has-spoken"
"""What the scripted model answers: wherever this is read, a model was called."""


_hashes: dict[str, str] = {}
"""Made once: hashing a password is slow on purpose."""


class SweepPlugin:
    """The scripted model, and a messenger."""

    contract = (1, 0)
    ports = th.PORTS

    def __init__(self) -> None:
        self.model = ScriptedModel()
        self.model.answer = lambda request: th.Completion(
            (th.Text(REPLY),), th.TokenUsage(10, 5), model=request.model, request_id="r"
        )
        self.messenger = FakeMessenger()

    @th.impl
    def register_llm_backends(self, settings: Any) -> list[Any]:
        return [self.model]

    @th.impl
    def register_channels(self, settings: Any) -> list[Any]:
        return [self.messenger]


@dataclass
class House:
    """A process, and the plugin whose model it calls."""

    process: Process
    plugin: SweepPlugin

    @property
    def app(self) -> Any:
        return self.process.app

    @property
    def container(self) -> Any:
        return self.process.container

    @property
    def store(self) -> Store:
        return self.process.store


@asynccontextmanager
async def open_house(dsn: str, folder: Path, *, rules: Sequence[Rule] = RULES, **more: Any) -> AsyncIterator[House]:
    """A serving process with the real channels and payment, and a scripted model."""
    plugin = SweepPlugin()
    given = {
        "sweep": plugin,
        "api": tollhouse_api.plugin,
        "web": tollhouse_web.plugin,
        "manual": tollhouse_manual.plugin,
    }
    limits = {f"rate_limit_{name}": 0 for name in ("anonymous", "principal", "login")}
    settings = Settings(data_dir=folder, enabled=list(given), jobs=False, master_key=MASTER_KEY, **{**limits, **more})
    process = Process(settings, dsn, SecretBox([KEY]), plugins=given, rules=rules)
    await process.start()
    try:
        yield House(process, plugin)
    finally:
        await process.close()


@dataclass
class Furnished:
    """A tenant that has everything, and the credentials of its people."""

    tenant_id: UUID
    slug: str
    secret: str
    face: str
    ids: dict[str, str]
    owner_id: UUID
    plain_id: UUID
    tokens: dict[str, str] = field(default_factory=dict)
    """``owner``, ``plain``: browsers' sessions. ``owner_key``, ``plain_key``: API keys."""


async def furnish(house: House, name: str, *, operator: bool = False, outcome: str = "ok") -> Furnished:
    """Make a tenant, and one row at least of everything that a tenant can have."""
    tenant_id = new_id()
    slug = f"{name}{tenant_id.hex[-8:]}"
    secret, face = f"secret{name}{tenant_id.hex[-12:]}", f"face{name}{tenant_id.hex[-12:]}"
    async with house.store.operator() as conn:
        brand = {"brand": {"tagline": face}}
        row = {"id": tenant_id, "slug": slug, "name": face, "settings": brand, "hosts": [f"{secret}.example"]}
        await conn.execute(tenants.insert().values(row))
    filler = Filler(tenant_id, secret, face, outcome)
    async with house.store.transaction(tenant_id) as conn:
        await filler.fill(conn)
    async with house.store.operator() as conn:
        await filler.fill(conn, beside=True)
    made = Furnished(tenant_id, slug, secret, face, filler.known(slug), filler.owner, filler.ids["users"])
    await house.container.blobs.put(blob_key(tenant_id, filler.ids["files"]), PIXEL + secret.encode())
    await _furnish_people(house, made, operator)
    return made


async def _furnish_people(house: House, made: Furnished, operator: bool) -> None:
    if operator:
        async with house.store.operator() as conn:
            await auth_rows.add_operator(conn, made.tenant_id, made.owner_id)
    hashed = _hashes.get(PASSWORD) or _hashes.setdefault(PASSWORD, await house.container.passwords.hash(PASSWORD))
    async with house.store.transaction(made.tenant_id) as conn:
        for name, user_id in (("owner", made.owner_id), ("plain", made.plain_id)):
            row = await auth_rows.get_user(conn, made.tenant_id, user_id)
            assert row is not None
            await auth_rows.set_password(conn, made.tenant_id, user_id, hashed)
            made.tokens[name] = (await house.container.sessions.open(conn, row, "password", "cookie")).token
            _, made.tokens[f"{name}_key"] = await issue(conn, made.tenant_id, user_id, f"Key {made.secret}", actor=CLI)
        data = {"note": made.secret}
        await audit.record(conn, made.tenant_id, CLI, f"sweep.{made.secret}", target=("user", made.plain_id), data=data)


class Filler:
    """One row in every table of a tenant."""

    def __init__(self, tenant_id: UUID, secret: str, face: str, outcome: str) -> None:
        self.tenant_id, self.secret, self.face = tenant_id, secret, face
        self.tables = [table for table in metadata.sorted_tables if table.info.get("scope") == "tenant"]
        self.ids = {table.name: new_id() for table in self.tables}
        self.ids["model"] = self.ids["connections"]
        self.ids["entries"] = self.ids["holds"]  # a turn's entry takes its hold's id
        self.owner, self.draft, self.messenger, self.payment, self.failed = (new_id() for _ in range(5))
        self.link = new_token("link", tenant_id)
        self.now = datetime.now(UTC)
        self.special = self._special(outcome)

    def known(self, slug: str) -> dict[str, str]:
        """The ids as examples need them."""
        found = {name: str(value) for name, value in self.ids.items()}
        found |= {
            "slug": slug,
            "address": slug,
            "fresh": new_id().hex[-12:],
            "link": self.link,
            "agent": f"guide-{self.face}",
            "plan": f"free-{self.face}",
        }
        found |= {"draft": str(self.draft), "messenger": str(self.messenger), "tenants": str(self.tenant_id)}
        found["failed"] = str(self.failed)
        return found | {"email": self.email("plain"), "search": self.secret, "model_name": f"m-{self.secret}"}

    def email(self, name: str) -> str:
        return f"{name}-{self.secret}@example.test"

    async def fill(self, conn: Any, *, beside: bool = False) -> None:
        """``beside``: what the application may only read, in the scope of the operator."""
        for table in self.tables:
            if table.name in ("audit", "operators", "seals"):
                continue  # logs and their seals have writers of their own; who runs the installation is decided by the test
            if ("i" not in table.info["app"]) is not beside:
                continue
            await conn.execute(insert(table).values(self.row(table)))
            for more in self.more.get(table.name, ()):
                await conn.execute(insert(table).values({"tenant_id": self.tenant_id, **more}))

    def row(self, table: Table) -> dict[str, Any]:
        """Every column filled: by what is said of it, else by what its type and its foreign keys say."""
        given = self.special.get(table.name, {})
        row: dict[str, Any] = {"tenant_id": self.tenant_id, "id": self.ids[table.name]}
        for column in table.columns:
            if column.name in row or column.name in given:
                continue
            pointed = next((key for key in column.foreign_keys if key.column.name == "id"), None)
            if pointed is not None:
                row[column.name] = self.ids[pointed.column.table.name]
            elif isinstance(column.type, UUID_TYPE):
                row[column.name] = self.ids.get({"plan_version_id": "plan_versions"}.get(column.name, ""), new_id())
            elif isinstance(column.type, LargeBinary):
                row[column.name] = os.urandom(16) + self.secret.encode()
            elif isinstance(column.type, JSONB):
                row[column.name] = {"note": self.secret}
            elif isinstance(column.type, ARRAY) or column.type.python_type is not str:
                continue
            else:
                row[column.name] = f"{self.secret} {table.name}.{column.name}"
        return {**row, **given}

    def _failed_turn(self, agent: str, i: Mapping[str, UUID]) -> dict[str, Any]:
        """A turn that can be tried again: its body is what the message beside it says."""
        request = th.TurnRequest(agent, (th.Text(f"asked {self.secret}"),), conversation=str(i["conversations"]))
        return {
            "id": self.failed,
            "source_id": i["users"],
            "external_id": f"key {self.secret}",
            "body_hash": body_hash(request, request.parts),
            "user_id": i["users"],
            "agent_id": i["agents"],
            "version_id": i["prompt_versions"],
            "conversation_id": i["conversations"],
            "channel": "web",
            "state": "failed",
            "attempt": 1,
            "runner_id": new_id(),
            "error": {"code": "model_busy", "status": 503, "detail": f"Busy {self.secret}"},
            "finished_at": self.now,
        }

    def _special(self, outcome: str) -> Mapping[str, Mapping[str, Any]]:
        i, later = self.ids, self.now + timedelta(days=10)
        spec = VersionSpec(
            template=f"You are {self.secret}.",
            primary=ModelChoice(connection_id=i["model"], model="m"),
            modalities=frozenset({"text", "image", "audio", "file"}),
        ).model_dump(mode="json")
        said = [{"type": "text", "text": f"said {self.secret}"}]
        agent = {"slug": f"guide-{self.face}", "name": self.face, "description": self.face, "welcome": self.face}
        plan = {"slug": f"free-{self.face}", "name": self.face, "description": self.face, "status": "active", "default": True}
        self.more: Mapping[str, Sequence[Mapping[str, Any]]] = {
            "users": [{"id": self.owner, "email": self.email("owner"), "role": "owner", "name": self.secret}],
            "agents": [{"id": new_id(), "slug": f"draft-{self.secret}", "name": self.secret, "description": self.secret}],
            "prompt_versions": [
                {"id": self.draft, "agent_id": i["agents"], "number": 2, "spec": spec, "note": self.secret},
            ],
            "connections": [
                {"id": self.messenger, "kind": "channel", "plugin": "fakechat", "name": f"chat {self.secret}", "config": {}},
                {
                    "id": self.payment,
                    "kind": "payment",
                    "plugin": "manual",
                    "name": f"pay {self.secret}",
                    "config": {"instructions": "Pay {reference}", "payee": self.secret},
                },
            ],
            "turns": [self._failed_turn(agent["slug"], i)],
            "messages": [
                {
                    "id": new_id(),
                    "conversation_id": i["conversations"],
                    "turn_id": self.failed,
                    "role": "user",
                    "parts": [{"type": "text", "text": f"asked {self.secret}"}],
                }
            ],
            "plans": [{"id": (hidden := new_id()), "slug": f"hidden-{self.secret}", "name": self.secret, "public": False}],
            "plan_versions": [
                {"id": new_id(), "plan_id": hidden, "number": 1, "currency": "EUR", "all_agents": True, "price_minor": 77}
            ],
        }
        no_secrets = {"secrets": None, "health": {"ok": True, "detail": self.secret, "at": self.now.isoformat()}}
        began = {"period_start": self.now, "period_end": later, "anchor": self.now}
        paid = {"provider": "manual", "connection_id": self.payment}
        counter = {"metric": "calls", "window": "day", "channel": None}
        times = {"window_start": self.now, "window_end": later, "user_id": i["users"]}
        return {
            "users": {"email": self.email("plain"), "status": "active", "role": None, "language": "en"},
            "sessions": {"kind": "cookie", "expires_at": later},
            "api_keys": {"expires_at": later, "scopes": None},
            "one_time_tokens": {"purpose": "sign_in", "token_hash": digest_of(self.link), "expires_at": later},
            "agents": {**agent, "status": "published"},
            "prompt_versions": {"number": 1, "status": "active", "weight": 10_000, "spec": spec, "activated_at": self.now},
            "plans": plan,
            "plan_versions": {"number": 1, "currency": "EUR", "interval": "month", "all_agents": True, "channels": None},
            "limits": {**counter, "amount": 1000},
            "subscriptions": {"status": "active", "timezone": "UTC", **began, **paid},
            "subscription_overrides": {**counter, "amount": 900, "created_by": self.owner},
            "orders": {"amount_minor": 500, "currency": "EUR", "state": "pending", "confirmed_by": None, **paid},
            "conversations": {"channel": "web"},
            "messages": {"role": "assistant", "parts": said, "turn_id": i["turns"]},
            "files": {"type": "image", "media_type": "image/png", "size": len(PIXEL)},
            "connections": {"kind": "llm", "plugin": "scripted", "config": {}, "status": "active"} | no_secrets,
            "inbox": {"kind": "message", "state": "quarantined", "connection_id": self.messenger},
            "outbox": {"kind": "delivery", "state": "quarantined", "subscriber": str(self.messenger)},
            "turns": {
                "source_id": i["users"],
                "conversation_id": i["conversations"],
                "version_id": i["prompt_versions"],
                "channel": "web",
                "state": "done",
                "reply": {"parts": said, "finish": "stop"},
                "usage": {"input": 1, "output": 1},
                "error": None,
                "finished_at": self.now,
            },
            "counters": {**counter, **times},
            "holds": {"state": "settled", "attempt": 1, "turn_id": i["turns"], "user_id": i["users"]},
            "entries": {
                "kind": "turn",
                "outcome": outcome,
                "certainty": "exact",
                "turn_id": i["turns"],
                "user_id": i["users"],
                "agent_id": i["agents"],
                "version_id": i["prompt_versions"],
                "plan_version_id": i["plan_versions"],
                "price": None,
                "cost": 1,
                "cost_currency": "USD",
            },
            "prices": {
                "backend": "scripted",
                "model": f"m-{self.secret}",
                "currency": "USD",
                "input_per_million": 1,
                "output_per_million": 1,
                "converted": {"currency": "EUR", "rate": 10**9, "input_per_million": 1, "output_per_million": 1},
            },
            "usage_totals": {"generation": 1, "grain": "user", "day": date(2026, 1, 1), "user_id": i["users"]},
            "usage_sums": {"generation": 1, "grain": "full", "day": date(2026, 1, 1), "user_id": i["users"]},
            "usage_daily": {"day": date.today(), "user_id": i["users"], "agent_id": i["agents"], "cost_currency": "USD"},  # noqa: DTZ011
            "denials": {"reason": "limit_reached", "minute": self.now},
            "alarms": {"code": "unknown_price", "subject": f"scripted/{self.secret}"},
        }


async def digest(store: Store, tenant_id: UUID) -> dict[str, str]:
    """Of each table the hash of the tenant's rows."""
    found = {}
    async with store.operator() as conn:
        whole = text("SELECT md5(row(t.*)::text) FROM tenants t WHERE id = :id")
        found["tenants"] = str((await conn.execute(whole, {"id": tenant_id})).scalar_one())
    async with store.transaction(tenant_id) as conn:
        for table in metadata.sorted_tables:
            if table.info.get("scope") == "tenant":
                rows = text(
                    f"SELECT md5(string_agg(md5(row(t.*)::text), '' ORDER BY id)) FROM {table.name} t WHERE tenant_id = :id"
                )
                found[table.name] = str((await conn.execute(rows, {"id": tenant_id})).scalar_one())
    return found
