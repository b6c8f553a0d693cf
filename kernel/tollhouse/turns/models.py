"""The table of turns."""

from sqlalchemy import CheckConstraint, Column, Index, LargeBinary, text

from tollhouse.store.tables import big, json, tenant_table, txt, uuid, when

turns = tenant_table(
    "turns",
    uuid("source_id"),  # the connection or the user: together with external_id it makes a turn idempotent
    txt("external_id", null=True),
    Column("body_hash", LargeBinary, nullable=False),
    uuid("user_id"),
    uuid("agent_id"),
    uuid("version_id", null=True),
    uuid("conversation_id", null=True),
    txt("channel"),
    txt("state", default="running"),
    big("attempt", default=1),  # the fence: settling is conditional on it
    uuid("runner_id"),
    json("reply", null=True),
    json("usage", null=True),
    json("error", null=True),
    txt("model", null=True),
    when("created_at", now=True),
    when("finished_at"),
    CheckConstraint("state in ('running', 'done', 'failed')", name="state"),
    Index(
        "uq_turns_external",
        "tenant_id",
        "source_id",
        "external_id",
        unique=True,
        postgresql_where=text("external_id is not null"),
    ),
    app="riu",
    operator="ru",
    loose=True,  # written with ids that the facts of the same transaction were read by; users and agents are never deleted
    postgresql_with={"fillfactor": "80"},
)
