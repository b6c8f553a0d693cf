"""What staff and API keys are for: plain tables.

Roles decide who may see and change a tenant's business on the admin's side. Whether somebody may use an agent is never decided
here: that is the policy engine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, get_args

from tollhouse.auth.errors import SessionRequired
from tollhouse.plugin.access import Principal, Role
from tollhouse.plugin.errors import Forbidden, InvalidInput

Permission = Literal["view", "help", "manage", "own"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

PERMISSIONS: Final[Mapping[Permission, str]] = {
    "view": "See the tenant's agents, plans, users, usage and reports.",
    "help": "Help a customer: block and unblock, end sessions, explain a denial, confirm an order.",
    "manage": "Change agents, plans, connections, prices, settings, users and invitations.",
    "own": "Make, unmake and act on owners.",
}

MAY: Final[Mapping[Role, frozenset[Permission]]] = {
    "owner": frozenset({"view", "help", "manage", "own"}),
    "admin": frozenset({"view", "help", "manage"}),
    "support": frozenset({"view", "help"}),
    "analyst": frozenset({"view"}),
}

SCOPES: Final[Mapping[str, str]] = {
    "turns": "Talk to agents, and upload what is sent to them.",
    "read": "Read what is the owner's: profile, agents, conversations, subscriptions, usage.",
    "write": "Change what is the owner's: profile, conversations, subscriptions, API keys.",
    "admin": "Everything that the owner's role may do on the admin's side, but make others staff or let anybody in.",
    "operator": "Everything that an operator may do, if the owner is one.",
}
"""What an API key can be narrowed to. A key without scopes may do everything that its owner may."""


def may(principal: Principal, permission: Permission) -> bool:
    """Whether this member of staff has the permission, by this credential."""
    return principal.role is not None and permission in MAY[principal.role] and has_scope(principal, "admin")


def require(principal: Principal, permission: Permission) -> None:
    """
    Raises:
        Forbidden: the role does not give the permission, or the API key is not meant for it.
    """
    if not may(principal, permission):
        raise Forbidden()


def require_over(
    principal: Principal | None, permission: Permission, *, role: str | None, operator: bool, is_self: bool = False
) -> None:
    """Whether staff may act on somebody: on customers with ``permission``, on staff with ``manage``, on owners with ``own``.

    ``principal`` None is the command line, which may; so may an operator.

    Raises:
        Forbidden: not on this person.
    """
    if principal is None or (principal.operator and has_scope(principal, "operator")):
        return
    if operator and not is_self:
        raise Forbidden("Only an operator may do that to an operator")
    needed: Permission = "own" if role == "owner" else "manage" if role is not None else permission
    require(principal, needed)


def require_session(principal: Principal | None) -> None:
    """The one rule of what makes a credential for a person, or changes who is what: links, invitations, roles, passwords. All
    of these outlive the key that would ask for them, or can do more, so that no key may; only somebody who has signed in.

    ``principal`` None is the command line.

    Raises:
        SessionRequired: an API key asks, or a messenger.
    """
    if principal is not None and principal.credential_kind != "session":
        raise SessionRequired()


def require_operator(principal: Principal) -> None:
    """
    Raises:
        Forbidden: this is not an operator, or the API key is not meant for it.
    """
    if not (principal.operator and has_scope(principal, "operator")):
        raise Forbidden()


def has_scope(principal: Principal, scope: str) -> bool:
    """Whether the credential is meant for this; a session, or a key without scopes, is meant for everything."""
    return principal.scopes is None or scope in principal.scopes


def require_scope(principal: Principal, *scopes: str) -> None:
    """One of ``scopes`` is enough.

    Raises:
        Forbidden: the API key is not meant for this.
    """
    if not any(has_scope(principal, scope) for scope in scopes):
        raise Forbidden("This API key is not meant for that", scope=scopes[0])


def is_more(role: str | None, than: str | None) -> bool:
    """Whether a role may something that the other may not; None is a customer."""
    rights = {str(name): given for name, given in MAY.items()}
    nothing: frozenset[Permission] = frozenset()
    return not rights.get(str(role), nothing) <= rights.get(str(than), nothing)


def valid_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """The scopes as a set.

    Raises:
        InvalidInput: one of them is not known.
    """
    chosen = frozenset(scopes)
    if unknown := sorted(chosen - SCOPES.keys()):
        raise InvalidInput(f"{unknown[0]!r} is not a scope; known are {', '.join(SCOPES)}", field="scopes")
    return chosen


def valid_role(role: str | None) -> Role | None:
    """The role, or None for a customer.

    Raises:
        InvalidInput: it is not a role.
    """
    if role is None:
        return None
    for known in ROLES:
        if role == known:
            return known
    raise InvalidInput(f"The role must be one of {', '.join(ROLES)}, or none", field="role")
