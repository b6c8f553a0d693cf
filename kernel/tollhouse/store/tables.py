"""How tables are declared, so that every tenant-owned one is protected the same way.

``tenant_table`` gives a table its key ``(tenant_id, id)`` and records who may do what with it; ``ref`` makes a foreign key that
carries the tenant, so that a row cannot point into another tenant. A test compares all of it with the catalogue.
"""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID
from sqlalchemy.schema import SchemaItem

NOW = text("app_now()")
"""The database's time, which tests can set; see ``Store.at``."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Grant = Literal["r", "ri", "riu", "riud", "rid", "ru", "rd", "rud", ""]


def uuid(name: str, *, null: bool = False, **kw: Any) -> Column[Any]:
    return Column(name, UUID(as_uuid=True), nullable=null, **kw)


def txt(name: str, *, null: bool = False, default: str | None = None, **kw: Any) -> Column[Any]:
    if default is not None:
        kw["server_default"] = text("'" + default.replace("'", "''") + "'")
    return Column(name, Text, nullable=null, **kw)


def big(name: str, *, null: bool = False, default: int | None = None, **kw: Any) -> Column[Any]:
    if default is not None:
        kw["server_default"] = text(str(default))
    return Column(name, BigInteger, nullable=null, **kw)


def when(name: str, *, null: bool = True, now: bool = False, **kw: Any) -> Column[Any]:
    if now:
        kw["server_default"] = NOW
    return Column(name, DateTime(timezone=True), nullable=null and not now, **kw)


def json(name: str, *, null: bool = False, default: str | None = "{}", **kw: Any) -> Column[Any]:
    if default is not None and not null:
        kw["server_default"] = text(f"'{default}'")
    return Column(name, JSONB(none_as_null=True), nullable=null, **kw)


def texts(name: str, *, null: bool = False, **kw: Any) -> Column[Any]:
    if not null:
        kw["server_default"] = text("'{}'")
    return Column(name, ARRAY(Text), nullable=null, **kw)


def uuids(name: str, **kw: Any) -> Column[Any]:
    return Column(name, ARRAY(UUID(as_uuid=True)), nullable=False, server_default=text("'{}'"), **kw)


def bigs(name: str, **kw: Any) -> Column[Any]:
    return Column(name, ARRAY(BigInteger), nullable=False, server_default=text("'{}'"), **kw)


def ref(column: str, target: str, **kw: Any) -> ForeignKeyConstraint:
    """A foreign key to another tenant-owned table that carries the tenant."""
    return ForeignKeyConstraint(["tenant_id", column], [f"{target}.tenant_id", f"{target}.id"], **kw)


def unique(*columns: str, **kw: Any) -> UniqueConstraint:
    """Unique within the tenant."""
    return UniqueConstraint("tenant_id", *columns, **kw)


def index(name: str, *columns: str, **kw: Any) -> Index:
    """An index that begins with the tenant."""
    return Index(name, "tenant_id", *columns, **kw)


def tenant_table(
    name: str, *items: SchemaItem, app: Grant = "riud", operator: Grant = "", loose: bool = False, **kw: Any
) -> Table:
    """A table that belongs to tenants. ``app`` and ``operator``: what these roles may do (read, insert, update, delete).

    ``loose``: no foreign keys, for rows of the hot path whose ids are written beside the rows they name, in one statement.
    """
    keyed = loose or any(isinstance(item, ForeignKeyConstraint) for item in items)
    anchor = () if keyed else (ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),)
    return Table(
        name,
        metadata,
        uuid("tenant_id"),
        uuid("id"),
        *items,
        PrimaryKeyConstraint("tenant_id", "id"),
        *anchor,
        info={"scope": "tenant", "app": app, "operator": operator},
        **kw,
    )


def global_table(name: str, *items: SchemaItem, app: Grant = "", operator: Grant = "riud", **kw: Any) -> Table:
    """A table of the installation. The list of these is closed: a test holds it."""
    return Table(
        name, metadata, uuid("id", primary_key=True), *items, info={"scope": "global", "app": app, "operator": operator}, **kw
    )
