"""cost currency: the one in which a tenant's model costs, cost limits and daily stop are counted"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tollhouse.store.migrations.protect import APP

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Who set every price in one other currency, and was never charged in dollars, goes on in it.
ADOPT = """
UPDATE tenants SET cost_currency = own.currency
FROM (SELECT tenant_id, min(currency) AS currency FROM prices GROUP BY tenant_id HAVING count(DISTINCT currency) = 1) own
WHERE own.tenant_id = tenants.id AND NOT EXISTS (
    SELECT 1 FROM usage_daily u WHERE u.tenant_id = tenants.id AND u.cost_currency = 'USD' AND u.cost > 0)
"""


def upgrade() -> None:
    op.add_column("tenants", sa.Column("cost_currency", sa.Text(), server_default=sa.text("'USD'"), nullable=False))
    op.execute(f"GRANT UPDATE (cost_currency) ON tenants TO {APP}")
    op.execute(ADOPT)


def downgrade() -> None:
    raise RuntimeError("Tollhouse migrates forwards only; restore a backup to go back")
