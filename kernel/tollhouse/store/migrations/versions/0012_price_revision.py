"""price revision: says with the facts of an admission that a tenant's prices are others than a process remembers"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# Whoever writes a price, in whatever way: nobody can forget it. It runs as the owner, for the application may not write the column.
RAISE = """
CREATE FUNCTION raise_price_revision() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  UPDATE public.tenants SET price_revision = price_revision + 1
  WHERE id = CASE WHEN TG_OP = 'DELETE' THEN OLD.tenant_id ELSE NEW.tenant_id END;
  RETURN NULL;
END $$
"""


def upgrade() -> None:
    op.execute(RAISE)
    op.execute("REVOKE EXECUTE ON FUNCTION raise_price_revision() FROM PUBLIC")
    op.execute(
        "CREATE TRIGGER price_revision AFTER INSERT OR UPDATE OR DELETE ON prices "
        "FOR EACH ROW EXECUTE FUNCTION raise_price_revision()"
    )
    # Last, because every request reads this table.
    op.add_column("tenants", sa.Column("price_revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False))


def downgrade() -> None:
    raise RuntimeError("Tollhouse migrates forwards only; restore a backup to go back")
