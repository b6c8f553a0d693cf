"""Scopes: in whose name a transaction runs. There is no transaction without one."""

from __future__ import annotations

from uuid import UUID

from tollhouse.records import record

OWNER_ROLE = "tollhouse_owner"
APP_ROLE = "tollhouse_app"
OPERATOR_ROLE = "tollhouse_operator"
LOGIN_ROLE = "tollhouse"


@record(frozen=True, slots=True)
class Scope:
    """One tenant's rows (``tenant``), or the operator's listed tables (``None``); ``owner``: everything, for what only the
    owner of the tables may do, such as blanking what is kept for ever."""

    tenant: UUID | None
    owner: bool = False

    @property
    def sql(self) -> str:
        """What follows BEGIN in the same round trip. Built from a UUID and constants only, so there is nothing to quote."""
        if self.owner:
            return f"SET LOCAL ROLE {OWNER_ROLE}"
        if self.tenant is None:
            return f"SET LOCAL ROLE {OPERATOR_ROLE}"
        return f"SET LOCAL ROLE {APP_ROLE};SET LOCAL app.tenant='{self.tenant}'"


OPERATOR = Scope(None)
OWNER = Scope(None, owner=True)


def tenant_scope(tenant_id: UUID) -> Scope:
    """The scope of one tenant."""
    return Scope(tenant_id)
