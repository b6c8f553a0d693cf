"""Migrations: upgrade the schema, and refuse to start on another one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from tollhouse.store.errors import SchemaMismatch
from tollhouse.store.migrations.head import HEAD
from tollhouse.store.scope import OPERATOR_ROLE

MONTHS_AHEAD = 12
"""For how many months the ledger has partitions at least."""
LOCK_TRIES = 60
LOCK_PAUSE = 1.0

if TYPE_CHECKING:
    from alembic.config import Config

    from tollhouse.store.store import Store


def alembic_config(dsn: str) -> Config:
    """Alembic's configuration for the database at ``dsn``; imported late, because serving does not need Alembic."""
    from alembic.config import Config

    from tollhouse.wiring.schema import include_object, metadata

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "store" / "migrations"))
    config.attributes["url"] = dsn.replace("postgresql://", "postgresql+psycopg://", 1)
    config.attributes["metadata"] = metadata
    config.attributes["include_object"] = include_object
    return config


def upgrade(dsn: str) -> None:
    """Migrate to this code's schema. Idempotent; concurrent calls wait for each other. Synchronous: not for the event loop."""
    import psycopg
    from alembic import command
    from sqlalchemy.exc import OperationalError

    for left in reversed(range(LOCK_TRIES)):
        try:
            command.upgrade(alembic_config(dsn), "head")
            break
        except OperationalError as error:  # somebody holds a table; nobody is to wait behind us for long
            if left == 0 or not isinstance(error.orig, psycopg.errors.LockNotAvailable):
                raise
            time.sleep(LOCK_PAUSE)
    # The daily job does this too; a machine that is off at that hour has at least this.
    with psycopg.connect(dsn) as conn:
        conn.execute(f"SET ROLE {OPERATOR_ROLE}")
        conn.execute("SELECT ensure_entry_partitions(%s)", [MONTHS_AHEAD])


async def check_schema(store: Store) -> None:
    """Refuse a schema that is older or newer than this code.

    Raises:
        SchemaMismatch: one line that says what to do.
    """
    if fault := schema_fault(await store.schema_revision()):
        raise SchemaMismatch(fault)


def schema_fault(found: str | None) -> str | None:
    """Why this code cannot work with the schema ``found``, and what to do; None if it can."""
    if found == HEAD:
        return None
    if found is None:
        return "the database has no schema yet; run: tollhouse db upgrade"
    if found in known_revisions():
        return f"the database's schema is {found}, this version needs {HEAD}; run: tollhouse db upgrade"
    return f"the database's schema {found} is newer than this version knows ({HEAD}); install the newer version"


def known_revisions() -> set[str]:
    """The migrations that this version brings, the newest among them."""
    folder = Path(__file__).parent.parent / "store" / "migrations" / "versions"
    return {path.name.split("_", 1)[0] for path in folder.glob("*_*.py")}
