"""sign-ins: tries that failed, and which key made a key"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from tollhouse.store.migrations.protect import protect_tenant_table

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("made_by", postgresql.UUID(as_uuid=True), nullable=True))
    op.create_table(
        "sign_in_failures",
        sa.Column("tenant_id", postgresql.UUID(as_uuid=True), nullable=False),
        sa.Column("id", postgresql.UUID(as_uuid=True), nullable=False),
        sa.Column("user_id", postgresql.UUID(as_uuid=True), nullable=True),
        sa.Column("account", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "hour", sa.DateTime(timezone=True), server_default=sa.text("date_trunc('hour', app_now())"), nullable=False
        ),
        sa.Column("count", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name="fk_sign_in_failures_tenant_id_user_id"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_sign_in_failures"),
        sa.UniqueConstraint("tenant_id", "account", "network", "reason", "hour", name="uq_sign_in_failures_repeats"),
    )
    op.create_index("ix_sign_in_failures_user", "sign_in_failures", ["tenant_id", "user_id"])
    op.create_index("ix_sign_in_failures_last", "sign_in_failures", ["tenant_id", "last_at"])
    protect_tenant_table("sign_in_failures", "riud", "")


def downgrade() -> None:
    raise RuntimeError("Tollhouse migrates forwards only; restore a backup to go back")
