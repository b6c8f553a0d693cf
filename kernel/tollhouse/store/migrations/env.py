"""Alembic's entry point: migrates as the owner's role, under a lock, with short lock waits."""

from __future__ import annotations

import time

from alembic import context
from sqlalchemy import Connection, create_engine, pool, text

from tollhouse.store.scope import OWNER_ROLE

LOCK = 7_403_221_019


def take_turn(connection: Connection) -> None:
    """Wait for whoever migrates now, without holding a snapshot: an index that is built beside others waits for those."""
    while not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK}).scalar_one():
        connection.commit()
        time.sleep(0.2)
    connection.commit()


def run() -> None:
    engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"SET ROLE {OWNER_ROLE}"))
        take_turn(connection)
        connection.execute(text("SET lock_timeout = '2s'"))  # others wait behind us: rather give up, and try again later
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
