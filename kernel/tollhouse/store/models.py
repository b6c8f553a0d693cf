"""Tables of the store itself: what came in, and what must go out."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, DateTime, Index, LargeBinary, text

from tollhouse.store.tables import big, global_table, index, json, ref, tenant_table, txt, unique, uuid, uuids, when

# One row: proof that the master key in use is the one that the stored secrets were encrypted with.
installation = global_table("installation", Column("key_check", LargeBinary, nullable=False), when("created_at", now=True))

# Stored before it is answered, handled once in effect, replayable. The row is kept for ever, so that nothing is handled twice;
# its content for 30 days.
inbox = tenant_table(
    "inbox",
    uuid("connection_id"),
    txt("external_id"),
    txt("kind"),
    txt("key"),  # the order: rows of one key are handled one after the other
    json("payload"),
    txt("state", default="new"),
    big("attempts", default=0),
    txt("error", null=True),
    when("received_at", now=True),
    when("handled_at"),
    ref("connection_id", "connections"),
    unique("connection_id", "kind", "external_id"),
    index("ix_inbox_waiting", "connection_id", "key", "id", postgresql_where=text("state = 'new'")),
    index("ix_inbox_kept", "handled_at", postgresql_where=text("payload <> '{}'")),
    index("ix_inbox_stuck", "id", postgresql_where=text("state = 'quarantined'")),
    CheckConstraint("state in ('new', 'done', 'quarantined')", name="state"),
    app="riu",
    operator="ru",
)

# One row per (event, subscriber) or per message to deliver; drained by the relay. What is done is kept for 30 days.
outbox = tenant_table(
    "outbox",
    txt("kind"),  # event, delivery
    txt("subscriber"),  # a plugin's name, or a connection's id
    txt("key", default=""),
    json("payload"),
    txt("state", default="new"),
    big("attempts", default=0),
    txt("error", null=True),
    when("created_at", now=True),
    when("next_at", now=True),
    when("handled_at"),
    Index("ix_outbox_waiting", "next_at", postgresql_where=text("state = 'new'")),
    Index("ix_outbox_done", "handled_at", postgresql_where=text("state = 'done'")),
    # What is to be delivered to one chat, in its order.
    Index(
        "ix_outbox_order", "tenant_id", "subscriber", "key", "id", postgresql_where=text("state = 'new' and kind = 'delivery'")
    ),
    index("ix_outbox_sent", "subscriber", "key", postgresql_where=text("kind = 'delivery' AND state <> 'new'")),
    index("ix_outbox_stuck", "id", postgresql_where=text("state = 'quarantined'")),
    CheckConstraint("state in ('new', 'done', 'quarantined')", name="state"),
    app="riu",
    operator="rud",
)

# Append-only, and chained with the ledger (see ``seals``). What may have to be blanked is bound by a hash of its own with a
# salt of its own, which goes with it: the chain stays whole. ``mark`` is made with a key that is not in the database.
audit = tenant_table(
    "audit",
    uuid("actor_id", null=True),
    txt("actor_kind"),
    txt("action"),
    txt("target_kind", default=""),
    txt("target_id", default=""),
    json("data"),
    txt("address", default=""),
    when("at", now=True),
    Column(
        "previous", LargeBinary, nullable=False, server_default=text("''")
    ),  # until 0.1 each row was chained to the one before
    Column("digest", LargeBinary, nullable=False, server_default=text("''")),
    Column("xid", BigInteger, nullable=False, server_default=text("(pg_current_xact_id()::text)::bigint")),
    Column("mark", LargeBinary, nullable=False, server_default=text("''")),
    Column("address_salt", LargeBinary, nullable=True, server_default=text("uuid_send(gen_random_uuid())")),
    Column("data_salt", LargeBinary, nullable=True, server_default=text("uuid_send(gen_random_uuid())")),
    json("blanked"),  # by field: the hash of what stood there
    index("ix_audit_at", "at"),
    Index("ix_audit_xid", "xid", postgresql_using="brin"),
    app="ri",
    operator="r",
)

# The chains over the ledger and the audit log: each link holds the hashes of the rows that committed between two watermarks,
# the digest of the link before, and a signature by a key that is not in the database.
seals = tenant_table(
    "seals",
    txt("log"),  # entries, audit
    big("number"),
    txt("kind"),  # rows; or what is said about them: reanchor, key, blanked, retired
    txt("cluster"),  # the server whose transactions are counted
    big("low"),
    big("high"),
    Column("partial", Boolean, nullable=False),  # more of these transactions follow, beginning after last_id
    uuid("first_id", null=True),
    uuid("last_id", null=True),
    big("count"),
    big("total"),
    uuids("ids"),
    uuids("leaves"),
    json("note"),
    Column("previous", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    unique("log", "number"),
    CheckConstraint("kind in ('rows', 'reanchor', 'key', 'blanked', 'retired')", name="kind"),
    app="r",
    operator="ri",
)
