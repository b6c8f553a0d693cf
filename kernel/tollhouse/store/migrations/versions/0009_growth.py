"""growth: indexes for what looks for a few rows in tables that only grow"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INDEXES = {
    # Counters of days and months stay for ever; those of minutes and hours are what is pruned each hour.
    "ix_counters_short": "counters (window_end) WHERE \"window\" IN ('minute', 'hour')",
    # What a person was sent, when they are erased: 30 days of it stay.
    "ix_outbox_sent": "outbox (tenant_id, subscriber, key) WHERE kind = 'delivery' AND state <> 'new'",
    # The few that are stuck, for the list of them.
    "ix_inbox_stuck": "inbox (tenant_id, id) WHERE state = 'quarantined'",
    "ix_outbox_stuck": "outbox (tenant_id, id) WHERE state = 'quarantined'",
    # Revenue of a span of days.
    "ix_orders_paid": "orders (tenant_id, paid_at) WHERE state = 'paid'",
}


def upgrade() -> None:
    # Built while everybody goes on; one that was begun and not ended is made again.
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        for name, definition in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {definition}")
        op.execute("SET lock_timeout = '2s'")


def downgrade() -> None:
    raise RuntimeError("Tollhouse migrates forwards only; restore a backup to go back")
