"""Alembic's entry point: migrates as the owner's role, under a lock, with short lock waits."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text

from tollhouse.store.scope import OWNER_ROLE

LOCK = 7_403_221_019


def run() -> None:
    engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"SET ROLE {OWNER_ROLE}"))
        connection.execute(text("SET lock_timeout = '5s'"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=context.config.attributes["metadata"],
            include_object=context.config.attributes["include_object"],
            compare_type=True,
            compare_server_default=False,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
