"""zones and retention: which time zone a tenant had when, whose watermark it is, and who may forget what is done"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from tollhouse.store.migrations.protect import APP, OPERATOR, grant

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# plpgsql, because most tenants never move and then this is two comparisons; SQL with a subquery would run it for every row.
ZONE_AT = """
CREATE OR REPLACE FUNCTION zone_at(tenant tenants, moment timestamptz) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE former jsonb;
BEGIN
  IF tenant.next_timezone_from <= moment THEN
    RETURN tenant.next_timezone;
  END IF;
  IF tenant.former_zones <> '[]' THEN
    FOR former IN SELECT value FROM jsonb_array_elements(tenant.former_zones) LOOP
      IF moment < (former->>'until')::timestamptz THEN
        RETURN former->>'timezone';
      END IF;
    END LOOP;
  END IF;
  RETURN tenant.timezone;
END $$
"""


def upgrade() -> None:
    # Large tables: their indexes are built while everybody goes on, before anything is locked. One that was begun and not ended
    # (it is there, and cannot be used) is made again.
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # building waits for old transactions, and holds up nobody
        for name, definition in (
            ("ix_outbox_done", "outbox (handled_at) WHERE state = 'done'"),
            ("ix_inbox_kept", "inbox (tenant_id, handled_at) WHERE payload <> '{}'"),
        ):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {definition}")
        op.execute("SET lock_timeout = '2s'")
    op.add_column("watermarks", sa.Column("cluster", sa.Text(), server_default=sa.text("''"), nullable=False))
    # What was counted until now was counted on this very server.
    op.execute("UPDATE watermarks SET cluster = (SELECT system_identifier::text FROM pg_control_system())")
    grant("outbox", OPERATOR, "d")
    # Last, because every request reads this table.
    op.add_column("tenants", sa.Column("former_zones", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False))
    op.execute(f"GRANT UPDATE (former_zones) ON tenants TO {APP}")
    op.execute(ZONE_AT)


def downgrade() -> None:
    raise RuntimeError("Tollhouse migrates forwards only; restore a backup to go back")
