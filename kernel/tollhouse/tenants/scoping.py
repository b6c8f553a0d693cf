"""Changing the scope inside one transaction.

Some writes of the operator touch a tenant's rows as well (the audit entry of a tenant's suspension, the first owner of a new
tenant): one transaction takes one scope after the other, so that all of it happens or nothing. There is never more than one at
a time, and the rules of the database hold for each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.store.scope import APP_ROLE, OPERATOR_ROLE, Scope

_SET = text("SELECT set_config('role', :role, true), set_config('app.tenant', :tenant, true)")


@asynccontextmanager
async def within(conn: AsyncConnection, scope: Scope) -> AsyncIterator[AsyncConnection]:
    """The same transaction in another scope, until the end of the block."""
    before = (await conn.execute(text("SELECT current_user::text, coalesce(current_setting('app.tenant', true), '')"))).one()
    role = OPERATOR_ROLE if scope.tenant is None else APP_ROLE
    await conn.execute(_SET, {"role": role, "tenant": "" if scope.tenant is None else str(scope.tenant)})
    yield conn
    # Not in a `finally`: after an error the transaction is over, and its scope with it.
    await conn.execute(_SET, {"role": before[0], "tenant": before[1]})
