"""tenants apart: each sees its own row of tenants only, and reaches private addresses only where the operator allows it"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from alembic import op

from tollhouse.store.migrations.protect import APP, OPERATOR, TENANT

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Whose a name is: the one thing that is asked before it is known who asks. An id, and nothing else of the row.
BY_SLUG = """
CREATE FUNCTION tenant_by_slug(wanted text) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$ SELECT id FROM tenants WHERE slug = wanted $$
"""
BY_HOST = """
CREATE FUNCTION tenant_by_host(wanted text) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT id FROM tenants WHERE hosts @> ARRAY[wanted] LIMIT 1 $$
"""
# Processes of the version before look names up in the scope of nobody. For an hour they still can; a tenant's scope cannot.
BEFORE = f"""
DO $$
BEGIN
  IF EXISTS (SELECT 1 FROM tenants) THEN
    EXECUTE format('CREATE POLICY version_before ON tenants FOR SELECT TO {APP} USING (%s AND now() < %L::timestamptz)',
      $p${TENANT} = '00000000-0000-0000-0000-000000000000'$p$, now() + interval '1 hour');
  END IF;
END $$
"""


def upgrade() -> None:
    for statement in (BY_SLUG, BY_HOST):
        op.execute(statement)
    op.execute("REVOKE EXECUTE ON FUNCTION tenant_by_slug(text), tenant_by_host(text) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION tenant_by_slug(text), tenant_by_host(text) TO {APP}, {OPERATOR}")
    keep = _who_goes_on()
    # Last, because every request reads this table.
    op.add_column("tenants", sa.Column("private_addresses", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    for tenant_id in keep:
        op.get_bind().execute(sa.text("UPDATE tenants SET private_addresses = true WHERE id = :id"), {"id": tenant_id})
    op.execute("DROP POLICY everybody ON tenants")
    op.execute(f"CREATE POLICY own_row ON tenants FOR SELECT TO {APP} USING (id = {TENANT})")
    op.execute(BEFORE)


def _who_goes_on() -> set[Any]:
    """Until now every tenant could use private addresses: who has a connection that may lead to one goes on, and so does the
    only tenant of an installation, for it is the operator's own."""
    bind = op.get_bind()
    rows = bind.execute(sa.text("SELECT tenant_id, config FROM connections")).all()
    everybody = bind.execute(sa.text("SELECT id FROM tenants LIMIT 2")).scalars().all()
    return {row.tenant_id for row in rows if _may_be_private(row.config)} | set(everybody if len(everybody) == 1 else ())


def _may_be_private(value: Any) -> bool:
    """Whether an address in a configuration is private, or looks like a service inside: plain http, or a port of its own.
    ``api_base`` is litellm's, which goes its own way to any address and from now on needs the permission."""
    if isinstance(value, dict):
        return bool(value.get("api_base")) or any(map(_may_be_private, value.values()))
    if isinstance(value, list):
        return any(map(_may_be_private, value))
    if not isinstance(value, str) or "://" not in value:
        return False
    try:
        parts = urlsplit(value.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host:
        return False
    if parts.scheme == "http" or port not in (None, 443):
        return True
    try:
        return not ip_address(host).is_global
    except ValueError:
        last = host.rstrip(".").rpartition(".")[2].lower()
        return "." not in host or last in ("local", "internal", "lan", "intranet", "corp", "arpa", "localdomain", "localhost")


def downgrade() -> None:
    raise RuntimeError("Tollhouse migrates forwards only; restore a backup to go back")
