"""entries by transaction: what is newer than a watermark is found wherever it lies"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# As it was before the index of ranges was kept up here, which there is no more.
PARTITIONS = """
CREATE OR REPLACE FUNCTION ensure_entry_partitions(ahead int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  first timestamptz; following timestamptz; part text; made int := 0;
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
  RETURN made;
END $$
"""
NEW, OLD = "ix_entries_written", "ix_entries_xid"
LEFT = f"""
SELECT relid::text FROM pg_partition_tree('entries') WHERE isleaf AND NOT EXISTS (
    SELECT 1 FROM pg_partition_tree('{NEW}') own JOIN pg_index i ON i.indexrelid = own.relid WHERE i.indrelid = pg_partition_tree.relid)
ORDER BY 1
"""


def upgrade() -> None:
    # A row goes wherever an older page has room for it, so ranges of pages say little of transactions: each row is in this one.
    # Built month by month while everybody goes on; one that was begun and not ended is made again.
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        op.execute(f"CREATE INDEX IF NOT EXISTS {NEW} ON ONLY entries (xid)")
        for (part,) in op.get_bind().exec_driver_sql(LEFT).fetchall():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {part}_written_idx")
            op.execute(f"CREATE INDEX CONCURRENTLY {part}_written_idx ON {part} (xid)")
            op.execute(f"ALTER INDEX {NEW} ATTACH PARTITION {part}_written_idx")
        op.execute("SET lock_timeout = '2s'")
    op.execute(PARTITIONS)
    op.execute(f"DROP INDEX IF EXISTS {OLD}")


def downgrade() -> None:
    raise RuntimeError("Tollhouse migrates forwards only; restore a backup to go back")
