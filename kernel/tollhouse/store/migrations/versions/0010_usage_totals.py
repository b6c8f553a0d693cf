"""usage totals: the coarse sums in a table of their own, where the few rows of a report lie together"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tollhouse.store.migrations.protect import protect_tenant_table

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

KEY = (
    "tenant_id", "generation", "grain", "day", "user_id", "agent_id", "version_id", "plan_version_id", "channel", "model",
    "cost_currency",
)
MEASURES = ("calls", "errors", "input_tokens", "output_tokens", "cost", "unknown_cost", "latency_ms")


def upgrade() -> None:
    op.create_table(
        "usage_totals",
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
        sa.CheckConstraint("grain in ('offer', 'user')", name=op.f("ck_usage_totals_grain")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_usage_totals_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_usage_totals")),
        sa.UniqueConstraint(*KEY, name="uq_usage_totals_key", postgresql_nulls_not_distinct=True),
        postgresql_with={"fillfactor": "80"},
    )
    protect_tenant_table("usage_totals", "r", "riud")
    op.execute("LOCK TABLE usage_sums IN EXCLUSIVE MODE")
    columns = ", ".join(("id", *KEY, *MEASURES))
    op.execute(f"INSERT INTO usage_totals ({columns}) SELECT {columns} FROM usage_sums WHERE grain <> 'full'")
    op.execute("DELETE FROM usage_sums WHERE grain <> 'full'")
    op.create_index("ix_usage_sums_user", "usage_sums", ["tenant_id", "user_id", "day"], unique=False)


def downgrade() -> None:
    raise RuntimeError("Tollhouse migrates forwards only; restore a backup to go back")
