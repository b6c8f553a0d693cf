"""What the database itself promises, read from its catalogue: isolation, keys, rights, and that it is what the models say."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from tests.conftest import Cluster
from tollhouse.store.migrations.head import HEAD
from tollhouse.store.scope import APP_ROLE, LOGIN_ROLE, OPERATOR_ROLE, OWNER_ROLE
from tollhouse.store.store import Store
from tollhouse.wiring import database
from tollhouse.wiring.schema import include_object, metadata

# The closed list: every other table belongs to tenants. A new name here is a decision, not a detail.
OF_THE_INSTALLATION = {"installation", "runners", "tenants", "watermarks"}
OF_THE_TOOLS = {"alembic_version"}
# Readable in every scope: the schema's version, which processes there are, and how far the sums of all are.
OPEN = {"alembic_version", "runners", "watermarks"}
WITHOUT_ANCHOR = {"entries", "holds", "turns"}  # written beside the rows they name, in one statement: no foreign keys

TABLES = {table.name: table for table in metadata.tables.values()}
TENANT_TABLES = {name: table for name, table in TABLES.items() if table.info["scope"] == "tenant"}
LETTERS = {"r": "SELECT", "i": "INSERT", "u": "UPDATE", "d": "DELETE"}
FOR_THE_TENANT = "(tenant_id = (NULLIF(current_setting('app.tenant'::text, true), ''::text))::uuid)"


@pytest.fixture
async def catalogue(cluster: Cluster) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A look at everything, as the superuser that no service ever is."""
    name = cluster.dsn.split("@/", 1)[1].split("?")[0]
    conn = await asyncpg.connect(cluster.superuser_dsn, database=name)
    yield conn
    await conn.close()


async def _relations(conn: asyncpg.Connection[Any]) -> dict[str, Any]:
    rows = await conn.fetch(
        "SELECT relname, relrowsecurity, relforcerowsecurity, relispartition, pg_get_userbyid(relowner) AS owner "
        "FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    )
    return {row["relname"]: row for row in rows}


def _ours(relations: dict[str, Any]) -> set[str]:
    return {name for name, row in relations.items() if not row["relispartition"] and not name.startswith("procrastinate_")}


async def test_the_tables_without_a_tenant_are_a_closed_list(catalogue: asyncpg.Connection[Any]) -> None:
    with_tenant = {
        row["relname"]
        for row in await catalogue.fetch(
            "SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid "
            "WHERE attname = 'tenant_id' AND attnotnull"
        )
    }
    names = _ours(await _relations(catalogue))
    assert names - with_tenant == OF_THE_INSTALLATION | OF_THE_TOOLS
    assert {name for name, table in TABLES.items() if table.info["scope"] == "global"} == OF_THE_INSTALLATION
    assert names - OF_THE_TOOLS == set(TABLES)


@pytest.mark.parametrize("name", sorted(TENANT_TABLES))
async def test_a_table_of_tenants_is_walled(catalogue: asyncpg.Connection[Any], name: str) -> None:
    row = (await _relations(catalogue))[name]
    assert (row["relrowsecurity"], row["relforcerowsecurity"], row["owner"]) == (True, True, OWNER_ROLE)
    policies = {
        (tuple(policy["roles"]), policy["cmd"], policy["permissive"]): (policy["qual"], policy["with_check"])
        for policy in await catalogue.fetch("SELECT * FROM pg_policies WHERE schemaname = 'public' AND tablename = $1", name)
    }
    expected = {
        ((APP_ROLE,), "ALL", "PERMISSIVE"): (FOR_THE_TENANT, FOR_THE_TENANT),
        ((OWNER_ROLE,), "ALL", "PERMISSIVE"): ("true", "true"),
    }
    if TENANT_TABLES[name].info["operator"]:
        expected[(OPERATOR_ROLE,), "ALL", "PERMISSIVE"] = ("true", "true")
    assert policies == expected


async def test_tenants_are_read_and_changed_by_their_own(catalogue: asyncpg.Connection[Any]) -> None:
    row = (await _relations(catalogue))["tenants"]
    assert row["relrowsecurity"]
    assert row["relforcerowsecurity"]
    app = await catalogue.fetch(
        "SELECT cmd, qual, with_check FROM pg_policies WHERE tablename = 'tenants' AND roles && $1::name[] ORDER BY cmd",
        [APP_ROLE, "public"],
    )
    own = FOR_THE_TENANT.replace("tenant_id", "id")
    assert [tuple(policy) for policy in app] == [("SELECT", own, None), ("UPDATE", own, own)]


async def test_nothing_that_the_application_may_read_is_open_to_all(catalogue: asyncpg.Connection[Any]) -> None:
    """Of every table that the role may read, a tenant's transaction sees its own rows; the rest is a closed list."""
    readable = await catalogue.fetch(
        "SELECT relname, relrowsecurity AND relforcerowsecurity AS walled FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f') "
        "AND has_table_privilege($1, oid, 'SELECT')",
        APP_ROLE,
    )
    assert {row["relname"] for row in readable if not row["walled"]} == OPEN
    policies = await catalogue.fetch("SELECT tablename, qual FROM pg_policies WHERE roles && $1::name[]", [APP_ROLE, "public"])
    assert {row["tablename"] for row in policies if "app.tenant" not in (row["qual"] or "")} == set()


@pytest.mark.parametrize("name", sorted(TENANT_TABLES))
async def test_every_key_begins_with_the_tenant(catalogue: asyncpg.Connection[Any], name: str) -> None:
    keys = await catalogue.fetch(
        """
        SELECT contype::text AS kind, conname, confrelid::regclass::text AS target,
               array(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS k (n, place)
                     JOIN pg_attribute ON attrelid = conrelid AND attnum = n ORDER BY place) AS columns,
               array(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY AS k (n, place)
                     JOIN pg_attribute ON attrelid = confrelid AND attnum = n ORDER BY place) AS targets
        FROM pg_constraint WHERE conrelid = $1::regclass AND contype IN ('p', 'u', 'f')
        """,
        name,
    )
    assert [key["columns"] for key in keys if key["kind"] == "p"] == [["tenant_id", "id"]]
    assert all(key["columns"][0] == "tenant_id" for key in keys), [dict(key) for key in keys]
    foreign = [key for key in keys if key["kind"] == "f"]
    for key in foreign:
        assert key["targets"][0] == ("id" if key["target"] == "tenants" else "tenant_id"), key["conname"]
        assert len(key["columns"]) == (1 if key["target"] == "tenants" else 2), key["conname"]
    assert foreign or TENANT_TABLES[name].name in WITHOUT_ANCHOR


async def test_unique_indexes_begin_with_the_tenant_too(catalogue: asyncpg.Connection[Any]) -> None:
    rows = await catalogue.fetch(
        "SELECT indrelid::regclass::text AS of, indexrelid::regclass::text AS name, "
        "pg_get_indexdef(indexrelid, 1, false) AS first FROM pg_index WHERE indisunique AND indrelid = any($1::regclass[])",
        sorted(TENANT_TABLES),
    )
    assert {row["of"] for row in rows} >= set(TENANT_TABLES)
    assert [row["name"] for row in rows if row["first"] != "tenant_id"] == []


async def _rights(conn: asyncpg.Connection[Any], table: str, role: str) -> set[str]:
    rows = await conn.fetch(
        "SELECT privilege_type FROM pg_class, aclexplode(relacl) WHERE oid = $1::regclass AND grantee = $2::regrole",
        table,
        role,
    )
    return {row["privilege_type"] for row in rows}


@pytest.mark.parametrize("name", sorted(TABLES))
async def test_rights_are_what_the_models_say(catalogue: asyncpg.Connection[Any], name: str) -> None:
    info = TABLES[name].info
    for role, letters in ((APP_ROLE, info["app"]), (OPERATOR_ROLE, info["operator"])):
        assert await _rights(catalogue, name, role) == {LETTERS[letter] for letter in letters}, role
    assert await _rights(catalogue, name, LOGIN_ROLE) == set()


@pytest.mark.parametrize("name", ["entries", "audit"])
async def test_what_is_written_for_ever_cannot_be_changed(catalogue: asyncpg.Connection[Any], name: str) -> None:
    for role in (APP_ROLE, OPERATOR_ROLE, LOGIN_ROLE):
        for right in ("UPDATE", "DELETE", "TRUNCATE"):
            assert not await catalogue.fetchval("SELECT has_table_privilege($1, $2, $3)", role, name, right), (role, right)
        changeable = await catalogue.fetchval("SELECT has_any_column_privilege($1, $2, 'UPDATE')", role, name)
        assert not changeable, role


async def test_the_application_changes_only_what_is_a_tenants_own(catalogue: asyncpg.Connection[Any]) -> None:
    rows = await catalogue.fetch(
        "SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid, aclexplode(attacl) "
        "WHERE grantee = any($1::regrole[])",
        [APP_ROLE, OPERATOR_ROLE, LOGIN_ROLE],
    )
    assert {row["relname"] for row in rows} == {"tenants"}
    assert {"id", "slug", "status", "private_addresses"}.isdisjoint(row["attname"] for row in rows)


async def test_partitions_are_reached_through_their_table_only(catalogue: asyncpg.Connection[Any]) -> None:
    partitions = {name: row for name, row in (await _relations(catalogue)).items() if row["relispartition"]}
    assert len(partitions) >= 12
    for name, row in partitions.items():
        assert row["relrowsecurity"], name
        assert row["relforcerowsecurity"], name
        for role in (APP_ROLE, OPERATOR_ROLE, LOGIN_ROLE, "public"):
            assert not await catalogue.fetchval(
                "SELECT has_table_privilege($1, $2, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')", role, name
            ), (name, role)


async def test_no_role_can_go_round_the_wall(catalogue: asyncpg.Connection[Any]) -> None:
    rows = await catalogue.fetch(
        "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, rolinherit, rolcanlogin "
        "FROM pg_roles WHERE rolname = any($1::text[])",
        [OWNER_ROLE, APP_ROLE, OPERATOR_ROLE, LOGIN_ROLE],
    )
    assert len(rows) == 4
    for row in rows:
        able = {key for key, value in row.items() if value is True}
        assert able == ({"rolcanlogin"} if row["rolname"] == LOGIN_ROLE else set()), row["rolname"]


async def test_the_login_sees_nothing_as_itself(cluster: Cluster) -> None:
    conn = await asyncpg.connect(cluster.dsn)
    try:
        for name in TABLES:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.fetchval(f'SELECT count(*) FROM "{name}"')
    finally:
        await conn.close()


async def test_functions_that_act_for_others_are_granted_by_name(catalogue: asyncpg.Connection[Any]) -> None:
    rows = await catalogue.fetch(
        "SELECT proname, proconfig, proacl::text AS acl FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
    )
    assert {row["proname"] for row in rows} == {
        "defer_job",
        "ensure_entry_partitions",
        "raise_price_revision",
        "tenant_by_host",
        "tenant_by_slug",
    }
    for row in rows:
        assert any(setting.startswith("search_path=") for setting in row["proconfig"]), row["proname"]
        assert "{=X" not in row["acl"], row["proname"]
        assert ",=X" not in row["acl"], row["proname"]


async def test_the_database_is_what_the_models_say(cluster: Cluster) -> None:
    assert await asyncio.to_thread(_differences, cluster.dsn) == []


def _differences(dsn: str) -> list[Any]:
    engine = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://", 1))
    try:
        with engine.connect() as conn:
            conn.execute(text(f"SET ROLE {OWNER_ROLE}"))
            options = {"include_object": include_object, "compare_type": True}
            return list(compare_metadata(MigrationContext.configure(conn, opts=options), metadata))
    finally:
        engine.dispose()


async def test_the_code_needs_the_newest_migration(store: Store) -> None:
    folder = Path(database.__file__).parent.parent / "store" / "migrations" / "versions"
    newest = max(path.name.split("_", 1)[0] for path in folder.glob("[0-9]*_*.py"))
    assert newest == HEAD == await store.schema_revision()


def test_every_table_is_loaded_by_the_wiring() -> None:
    kernel = Path(database.__file__).parent.parent
    schema = (kernel / "wiring" / "schema.py").read_text(encoding="utf-8")
    for models in kernel.glob("*/models.py"):
        assert f"import tollhouse.{models.parent.name}.models" in schema, models


def test_jobs_carry_ids_and_never_content() -> None:
    """Arguments of a job are readable in the queue's table, by everybody who may look at the queue."""
    kernel = Path(database.__file__).parent.parent
    arguments = {
        argument.arg
        for path in kernel.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
        and any(isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith(".task") for mark in node.decorator_list)
        for argument in node.args.args
    }
    assert arguments == {"tenant_id", "connection_id", "key", "timestamp"}
