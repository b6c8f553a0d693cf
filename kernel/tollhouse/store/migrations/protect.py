"""Helpers for migrations: the same protection for every table. Frozen: a change of meaning is a new function."""

from __future__ import annotations

from alembic import op

APP, OPERATOR, OWNER = "tollhouse_app", "tollhouse_operator", "tollhouse_owner"
RIGHTS = {"r": "SELECT", "i": "INSERT", "u": "UPDATE", "d": "DELETE"}
TENANT = "nullif(current_setting('app.tenant', true), '')::uuid"


def grant(table: str, role: str, rights: str) -> None:
    """Give ``role`` the rights of the letters in ``rights``: read, insert, update, delete."""
    if rights:
        op.execute(f'GRANT {", ".join(RIGHTS[letter] for letter in rights)} ON "{table}" TO {role}')


def protect_tenant_table(table: str, app: str, operator: str) -> None:
    """FORCE row-level security: a tenant sees its rows, the operator the listed tables, the owner everything."""
    op.execute(f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY')
    op.execute(f'ALTER TABLE "{table}" FORCE ROW LEVEL SECURITY')
    op.execute(f'CREATE POLICY tenant ON "{table}" TO {APP} USING (tenant_id = {TENANT}) WITH CHECK (tenant_id = {TENANT})')
    op.execute(f'CREATE POLICY owner ON "{table}" TO {OWNER} USING (true) WITH CHECK (true)')
    if operator:
        op.execute(f'CREATE POLICY operator ON "{table}" TO {OPERATOR} USING (true) WITH CHECK (true)')
    grant(table, APP, app)
    grant(table, OPERATOR, operator)


def protect_global_table(table: str, app: str, operator: str) -> None:
    """A table of the installation: rights only, no rows of tenants."""
    grant(table, APP, app)
    grant(table, OPERATOR, operator)
