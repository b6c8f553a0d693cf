"""Who may: by role and by the API key's scopes. Checked here, before a service is called."""

from __future__ import annotations

from fastapi import Request

from tollhouse.auth.roles import Permission, require, require_operator
from tollhouse.gateway.exchange import caller_of
from tollhouse.host.caller import Caller
from tollhouse.plugin.errors import Forbidden


async def team_only(request: Request) -> None:
    """Turns everybody else away before a body is even validated; what exactly is allowed, each route says.

    Raises:
        Forbidden: neither staff nor operator.
    """
    who = caller_of(request).user
    if who.role is None and not who.operator:
        raise Forbidden()


def staff(request: Request, permission: Permission) -> Caller:
    """The caller, who is staff with this permission.

    Raises:
        Forbidden: not staff, or the role or key does not give it.
    """
    caller = caller_of(request)
    require(caller.user, permission)
    return caller


def operator(request: Request) -> Caller:
    """The caller, who runs the installation.

    Raises:
        Forbidden: anybody else.
    """
    caller = caller_of(request)
    require_operator(caller.user)
    return caller
