"""What a tenant is made of, and what is allowed in it."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tollhouse.plugin.errors import InvalidInput
from tollhouse.store.exact import Exact
from tollhouse.store.text import UNSHOWN, one_line

DEFAULT_CURRENCY = "USD"
"""What a new tenant sells in and counts model costs in: what backends suggest prices in, so that there is a margin at once."""

_RESERVED: Final = """
account accounts admin api app assets auth billing console docs favicon health healthz help hooks internal login logout me
metrics openapi operator plugins public readyz register robots root settings sign-in signin signup static status support system
t tenant tenants tollhouse v1 v2 web well-known www
"""
RESERVED_SLUGS: Final = frozenset(_RESERVED.split())
SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?!-)){0,38}[a-z0-9]", re.ASCII)
LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}", re.ASCII)
MAX_HOSTS: Final = 20
MAX_COST_CAP: Final = 10**18  # nano-units: a thousand million


class Brand(Exact):
    """How the tenant's pages look."""

    model_config = ConfigDict(extra="forbid")

    accent: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")] | None = Field(None, description="Accent colour, as #rrggbb.")
    radius: int | None = Field(None, ge=0, le=32, description="Roundness of corners, in pixels.")
    logo_file_id: UUID | None = Field(None, description="An uploaded picture.")
    tagline: str = Field("", max_length=200, description="One sentence under the name.")

    @field_validator("tagline")
    @classmethod
    def _one_line(cls, tagline: str) -> str:
        if UNSHOWN.search(tagline):
            raise ValueError("This is one line of text, without characters that cannot be seen")
        return tagline


class TenantSettings(BaseModel):
    """What ``tenants.settings`` holds. What an older or newer version stored and this one does not know is kept."""

    model_config = ConfigDict(extra="allow")

    brand: Brand = Field(default_factory=Brand)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A business on this installation. ``timezone`` is today's; ``next_timezone`` applies from ``next_timezone_from``.

    ``currency`` is what a new plan begins with; ``cost_currency`` what model costs, cost limits and the daily stop are in.
    ``private_addresses``: whether its connections may lead to private addresses.
    """

    id: UUID
    slug: str
    name: str
    status: Literal["active", "suspended"]
    timezone: str
    next_timezone: str | None
    next_timezone_from: datetime | None
    currency: str
    cost_currency: str
    language: str
    hosts: tuple[str, ...]
    daily_cost_cap: int | None
    created_at: datetime
    settings: TenantSettings = field(default_factory=TenantSettings)
    private_addresses: bool = False

    @property
    def active(self) -> bool:
        """Whether it is in business."""
        return self.status == "active"


def effective_timezone(tenant: Tenant, at: datetime) -> str:
    """The time zone whose windows count at that moment; a new one counts from its first local month on."""
    if tenant.next_timezone is not None and tenant.next_timezone_from is not None and at >= tenant.next_timezone_from:
        return tenant.next_timezone
    return tenant.timezone


def next_month_in(timezone: str, at: datetime) -> datetime:
    """The moment at which the next local month begins."""
    zone = zoneinfo.ZoneInfo(timezone)
    local = at.astimezone(zone)
    following = (local.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0, fold=0)
    return following.astimezone(zoneinfo.ZoneInfo("UTC"))


def valid_slug(slug: str) -> str:
    """
    Raises:
        InvalidInput: not 2 to 40 lower-case letters, digits and single hyphens, or a word that addresses use.
    """
    if not SLUG.fullmatch(slug):
        raise InvalidInput("A short name is 2 to 40 lower-case letters, digits and single hyphens", field="slug")
    if slug in RESERVED_SLUGS:
        raise InvalidInput("This short name is used by the installation itself", field="slug")
    return slug


def valid_name(name: str) -> str:
    """
    Raises:
        InvalidInput: empty, too long, or not one line of text.
    """
    return one_line(name, field="name", longest=120, required=True)


@lru_cache(maxsize=1)
def timezones() -> frozenset[str]:
    """Every time zone of the IANA database, by name."""
    return frozenset(zoneinfo.available_timezones() - {"localtime", "posixrules", "Factory"})


def valid_timezone(name: str) -> str:
    """
    Raises:
        InvalidInput: it is not a zone of the IANA database.
    """
    if name not in timezones():
        raise InvalidInput("That is not a time zone, such as Europe/Berlin or UTC", field="timezone")
    return name


def valid_language(language: str) -> str:
    """
    Raises:
        InvalidInput: it is not a language tag.
    """
    if not LANGUAGE.fullmatch(language):
        raise InvalidInput("A language is a tag such as 'en' or 'pt-BR'", field="language")
    return language


def valid_hosts(hosts: Iterable[str]) -> tuple[str, ...]:
    """Host names in lower case and ASCII form, each once.

    Raises:
        InvalidInput: one of them is not the name of a host (no scheme, no port, no address).
    """
    wanted = tuple(dict.fromkeys(_host(host) for host in hosts))
    if len(wanted) > MAX_HOSTS:
        raise InvalidInput(f"At most {MAX_HOSTS} host names", field="hosts")
    return wanted


def _host(host: str) -> str:
    try:
        name = host.strip().rstrip(".").lower().encode("idna").decode()
    except UnicodeError:
        name = ""
    labels = name.split(".")
    if len(name) > 253 or not all(map(LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise InvalidInput("A host name looks like agents.example.com, without scheme, port or path", field="hosts")
    return name


def valid_cost_cap(cap: int | None) -> int | None:
    """
    Raises:
        InvalidInput: it is not between 0 and 10^18 nano-units.
    """
    if cap is not None and not 0 <= cap <= MAX_COST_CAP:
        raise InvalidInput("The daily stop is an amount from 0 upwards, or none", field="daily_cost_cap")
    return cap
