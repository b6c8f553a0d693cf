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
CREATE FUNCTION zone_at(tenant tenants, moment timestamptz) RETURNS text LANGUAGE plpgsql STABLE AS $$
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
    op.add_column("tenants", sa.Column("former_zones", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False))
    op.execute(f"GRANT UPDATE (former_zones) ON tenants TO {APP}")
    op.execute(ZONE_AT)
    op.add_column("watermarks", sa.Column("cluster", sa.Text(), server_default=sa.text("''"), nullable=False))
    grant("outbox", OPERATOR, "d")
    op.create_index("ix_outbox_done", "outbox", ["handled_at"], postgresql_where=sa.text("state = 'done'"))
    kept = sa.text("state = 'done' and payload <> '{}'")
    op.create_index("ix_inbox_kept", "inbox", ["tenant_id", "handled_at"], postgresql_where=kept)


def downgrade() -> None:
    raise RuntimeError("Tollhouse migrates forwards only; restore a backup to go back")
