"""Who calls, from where, in which tenant: what a port is bound to."""

from __future__ import annotations

from dataclasses import dataclass

from tollhouse.plugin.access import Principal
from tollhouse.plugin.context import TenantInfo
from tollhouse.plugin.errors import Unauthenticated
from tollhouse.records import record
from tollhouse.store.audit import Actor


@dataclass(slots=True, eq=False)
class Browser:
    """The cookie by which a browser is known at a later sign-in: as it was sent, and as it is to be kept from now on."""

    sent: str = ""
    kept: str = ""


@record(frozen=True, slots=True)
class Caller:
    """One request's (or job's) surroundings. ``address`` is the real one, behind trusted proxies. ``remembered``: the
    credential may have been looked up too long ago to answer by it; what admits turns reads it again."""

    tenant: TenantInfo
    principal: Principal | None
    address: str = ""
    user_agent: str = ""
    remembered: bool = False
    browser: Browser | None = None

    @property
    def user(self) -> Principal:
        """The principal.

        Raises:
            Unauthenticated: nobody is signed in.
        """
        if self.principal is None:
            raise Unauthenticated()
        return self.principal

    @property
    def actor(self) -> Actor:
        """The same, as the audit log names it."""
        if self.principal is None:
            return Actor("system", None, self.address)
        return Actor("operator" if self.principal.operator else "user", self.principal.user_id, self.address)
