"""usage sums: daily sums of the ledger that follow what is new, and what makes them quick to find"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tollhouse.store.migrations.protect import APP, grant, protect_tenant_table

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KEY = (
    "tenant_id", "generation", "grain", "day", "user_id", "agent_id", "version_id", "plan_version_id", "channel", "model",
    "cost_currency",
)
MEASURES = ("calls", "errors", "input_tokens", "output_tokens", "cost", "unknown_cost", "latency_ms")

# As before; and each partition's index of transactions is kept up while rows come in. The newest rows are found only where it has
# summarised them, which must not wait for the next vacuum.
PARTITIONS = """
CREATE OR REPLACE FUNCTION ensure_entry_partitions(ahead int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  first timestamptz; following timestamptz; part text; made int := 0; index regclass;
BEGIN
  PERFORM pg_advisory_xact_lock(7403221020);
  FOR i IN -1..ahead LOOP
    first := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => i)) AT TIME ZONE 'UTC';
    following := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => i + 1)) AT TIME ZONE 'UTC';
    part := 'entries_' || to_char(first AT TIME ZONE 'UTC', 'YYYY_MM');
    IF to_regclass('public.' || part) IS NULL THEN
      EXECUTE format('CREATE TABLE public.%I PARTITION OF public.entries FOR VALUES FROM (%L) TO (%L)',
                     part, public.id_floor(first), public.id_floor(following));
      EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', part);
      EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', part);
      EXECUTE format('CREATE POLICY owner ON public.%I TO tollhouse_owner USING (true) WITH CHECK (true)', part);
      made := made + 1;
    END IF;
  END LOOP;
  FOR index IN SELECT relid FROM pg_partition_tree('public.ix_entries_xid'::regclass) JOIN pg_class ON oid = relid
               WHERE isleaf AND NOT coalesce(reloptions @> ARRAY['autosummarize=on'], false) LOOP
    EXECUTE format('ALTER INDEX %s SET (autosummarize = on)', index);
  END LOOP;
  RETURN made;
END $$
"""


def upgrade() -> None:
    # Beside the sums of the version before, which goes on with them until its last process has ended.
    op.create_table(
        "usage_sums",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("grain", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=True),
        sa.Column("agent_id", sa.UUID(), nullable=True),
        sa.Column("version_id", sa.UUID(), nullable=True),
        sa.Column("plan_version_id", sa.UUID(), nullable=True),
        sa.Column("channel", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("model", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("cost_currency", sa.Text(), server_default=sa.text("'USD'"), nullable=False),
        *(sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False) for name in MEASURES),
        sa.CheckConstraint("grain in ('full', 'offer', 'user')", name=op.f("ck_usage_sums_grain")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_usage_sums_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_usage_sums")),
        sa.UniqueConstraint(*KEY, name="uq_usage_sums_key", postgresql_nulls_not_distinct=True),
        postgresql_with={"fillfactor": "80"},
    )
    protect_tenant_table("usage_sums", "r", "riud")
    op.add_column("watermarks", sa.Column("generation", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("watermarks", sa.Column("ceiling", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    grant("watermarks", APP, "r")
    op.execute(PARTITIONS)
    op.execute("SELECT ensure_entry_partitions(12)")


def downgrade() -> None:
    raise RuntimeError("Tollhouse migrates forwards only; restore a backup to go back")
