"""Tables of connections and of what plugins remember."""

from sqlalchemy import CheckConstraint, Column, LargeBinary
from sqlalchemy.dialects.postgresql import UUID

from tollhouse.store.tables import big, index, json, ref, tenant_table, txt, unique, when

connections = tenant_table(
    "connections",
    txt("kind"),
    txt("plugin"),
    txt("name"),
    json("config"),
    Column("secrets", LargeBinary, nullable=True),  # encrypted; bound to tenant and row
    txt("status", default="active"),
    json("health", null=True),
    big("revision", default=1),
    when("created_at", now=True),
    when("updated_at", now=True),
    unique("name"),
    CheckConstraint("kind in ('channel', 'payment', 'auth', 'llm')", name="kind"),
    CheckConstraint("status in ('active', 'disabled')", name="status"),
    operator="r",
)

plugin_state = tenant_table(
    "plugin_state",
    txt("plugin"),
    Column("connection_id", UUID(as_uuid=True), nullable=True),
    txt("key"),
    json("value"),
    big("revision", default=1),
    when("updated_at", now=True),
    ref("connection_id", "connections"),
    index("uq_plugin_state_key", "plugin", "connection_id", "key", unique=True, postgresql_nulls_not_distinct=True),
)
