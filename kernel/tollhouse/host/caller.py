"""Who calls, from where, in which tenant: what a port is bound to."""

from __future__ import annotations

from tollhouse.plugin.access import Principal
from tollhouse.plugin.context import TenantInfo
from tollhouse.plugin.errors import Unauthenticated
from tollhouse.records import record
from tollhouse.store.audit import Actor


@record(frozen=True, slots=True)
class Caller:
    """One request's (or job's) surroundings. ``address`` is the real one, behind trusted proxies. ``remembered``: the
    credential may have been looked up too long ago to answer by it; what admits turns reads it again."""

    tenant: TenantInfo
    principal: Principal | None
    address: str = ""
    user_agent: str = ""
    remembered: bool = False

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
