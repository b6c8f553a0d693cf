"""seals: the signed chains over the ledger and the audit log"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from tollhouse.store.migrations.protect import OPERATOR, grant, protect_tenant_table

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BYTES = sa.LargeBinary


def upgrade() -> None:
    op.create_table(
        "seals",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("log", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("low", sa.BigInteger(), nullable=False),
        sa.Column("high", sa.BigInteger(), nullable=False),
        sa.Column("partial", sa.Boolean(), nullable=False),
        sa.Column("first_id", sa.UUID(), nullable=True),
        sa.Column("last_id", sa.UUID(), nullable=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("ids", postgresql.ARRAY(sa.UUID()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("leaves", postgresql.ARRAY(sa.UUID()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("note", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("previous", BYTES(), nullable=False),
        sa.Column("digest", BYTES(), nullable=False),
        sa.Column("public_key", BYTES(), nullable=False),
        sa.Column("signature", BYTES(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind in ('rows', 'reanchor', 'key', 'blanked', 'retired')", name=op.f("ck_seals_kind")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_seals_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_seals")),
        sa.UniqueConstraint("tenant_id", "log", "number", name=op.f("uq_seals_tenant_id_log_number")),
    )
    protect_tenant_table("seals", "r", "ri")
    # What is there is older than any transaction that is counted from now on; each new row names its own.
    op.add_column("audit", sa.Column("xid", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("audit", sa.Column("mark", BYTES(), server_default=sa.text("''"), nullable=False))
    op.add_column("audit", sa.Column("address_salt", BYTES(), nullable=True))
    op.add_column("audit", sa.Column("data_salt", BYTES(), nullable=True))
    op.add_column("audit", sa.Column("blanked", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False))
    op.execute("ALTER TABLE audit ALTER xid SET DEFAULT (pg_current_xact_id()::text)::bigint")
    op.execute("ALTER TABLE audit ALTER previous SET DEFAULT '', ALTER digest SET DEFAULT ''")
    for salt in ("address_salt", "data_salt"):
        op.execute(f"ALTER TABLE audit ALTER {salt} SET DEFAULT uuid_send(gen_random_uuid())")
    op.create_index("ix_audit_xid", "audit", ["xid"], postgresql_using="brin")
    op.execute(f"CREATE POLICY operator ON audit TO {OPERATOR} USING (true) WITH CHECK (true)")
    grant("audit", OPERATOR, "r")
    op.execute("UPDATE audit SET address_salt = uuid_send(gen_random_uuid()), data_salt = uuid_send(gen_random_uuid())")


def downgrade() -> None:
    raise RuntimeError("Tollhouse migrates forwards only; restore a backup to go back")
