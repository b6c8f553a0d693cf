"""Tables of the usage ledger. See README.md for what each is and who may write it."""

from sqlalchemy import Boolean, CheckConstraint, Column, Date, DateTime, Index, Table, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.schema import SchemaItem

from tollhouse.store.tables import big, bigs, global_table, index, json, ref, tenant_table, txt, unique, uuid, uuids, when

# One row per serving process: it is alive while its lease is renewed, and its holds are safe.
runners = global_table(
    "runners",
    txt("host"),
    big("pid"),
    when("started_at", now=True),
    Column("lease_until", DateTime(timezone=True), nullable=False),
    app="r",
)

# Projections of holds and entries: what is used and held in one window. The id is derived from the key (see counters.py).
counters = tenant_table(
    "counters",
    uuid("user_id", null=True),  # null: the tenant's own, for its daily cost cap
    txt("metric"),
    Column("agent_id", UUID(as_uuid=True), nullable=True),
    txt("channel", null=True),
    txt("window"),
    when("window_start", null=False),
    Column("window_end", DateTime(timezone=True), nullable=False),
    big("used", default=0),
    big("held", default=0),
    ref("user_id", "users"),
    index("ix_counters_live", "user_id", "window_end"),
    Index("ix_counters_short", "window_end", postgresql_where=text("\"window\" IN ('minute', 'hour')")),
    CheckConstraint("held >= 0", name="held"),
    operator="rud",
    postgresql_with={"fillfactor": "60"},
)

# Units set aside for one attempt of a turn. Resolved once: settled, released or expired.
holds = tenant_table(
    "holds",
    uuid("turn_id"),
    big("attempt"),
    uuid("user_id"),
    uuid("runner_id"),
    txt("state", default="open"),
    uuids("counter_ids"),
    bigs("amounts"),
    json("facts"),  # what an entry will need: agent, version, plan, subscription, channel, model, the price held with
    when("created_at", now=True),
    when("resolved_at"),
    CheckConstraint("state in ('open', 'settled', 'released', 'expired')", name="state"),
    Index("ix_holds_open", "runner_id", postgresql_where=text("state = 'open'")),
    app="riu",
    operator="ru",
    loose=True,
    postgresql_with={"fillfactor": "80"},
)

# The ledger: append-only. A turn's entry takes its hold's id, so one hold can have only one entry.
entries = tenant_table(
    "entries",
    txt("kind"),
    uuid("turn_id", null=True),
    big("attempt", default=1),
    uuid("user_id"),
    uuid("agent_id", null=True),
    uuid("version_id", null=True),
    uuid("plan_version_id", null=True),
    uuid("subscription_id", null=True),
    uuid("connection_id", null=True),
    txt("channel", default=""),
    txt("backend", default=""),
    txt("model", default=""),
    txt("outcome"),
    big("calls", default=0),
    big("input_tokens", null=True),
    big("output_tokens", null=True),
    big("cached_tokens", null=True),
    big("reasoning_tokens", null=True),
    txt("certainty"),
    big("cost", null=True),  # nano-units of cost_currency; null: the price is unknown, which is an alarm and never 0
    txt("cost_currency", default="USD"),
    json("price", null=True),
    big("latency_ms", default=0),
    # What this entry added to which counters: `ledger verify` sums these up again.
    uuids("counter_ids"),
    bigs("amounts"),
    json("detail"),
    when("occurred_at", now=True),
    Column("xid", big("x").type, nullable=False, server_default=text("(pg_current_xact_id()::text)::bigint")),
    CheckConstraint("certainty in ('exact', 'estimated', 'unknown')", name="certainty"),
    CheckConstraint("kind in ('turn', 'retry', 'late', 'test', 'correction')", name="kind"),
    index("ix_entries_user", "user_id", "id"),
    Index("ix_entries_written", "xid"),
    app="ri",
    operator="r",
    loose=True,
    postgresql_partition_by="RANGE (id)",
)

prices = tenant_table(
    "prices",
    txt("backend"),
    txt("model"),
    big("input_per_million"),
    big("output_per_million"),
    big("cached_per_million", null=True),
    txt("currency", default="USD"),
    txt("source", default="tenant"),
    when("valid_from", now=True),
    json("converted", null=True),  # what it was made of, if it was converted: currency, rate, amounts
    uuid("created_by", null=True),
    ref("created_by", "users"),
    unique("backend", "model", "valid_from"),
    app="ri",
)


def _sums(name: str, *items: SchemaItem) -> Table:
    """Sums of entries by the local day of their tenant, brought forward by the worker; see the README of ``reports``.

    ``grain``: what a row keeps apart. ``generation``: whoever sums up everything anew does it beside what is read meanwhile.
    """
    keys = ("user_id", "agent_id", "version_id", "plan_version_id")
    return tenant_table(
        name,
        big("generation"),
        txt("grain"),
        Column("day", Date, nullable=False),
        *(uuid(key, null=True) for key in keys),
        txt("channel", default=""),
        txt("model", default=""),
        txt("cost_currency", default="USD"),
        *(big(measure, default=0) for measure in ("calls", "errors", "input_tokens", "output_tokens")),
        *(big(measure, default=0) for measure in ("cost", "unknown_cost", "latency_ms")),  # unknown: entries without a price
        *items,
        unique(
            *("generation", "grain", "day", *keys, "channel", "model", "cost_currency"),
            name=f"uq_{name}_key",
            postgresql_nulls_not_distinct=True,
        ),
        app="r",
        operator="riud",
        postgresql_with={"fillfactor": "80"},
    )


usage_sums = _sums(
    "usage_sums",
    CheckConstraint("grain in ('full', 'offer', 'user')", name="grain"),  # only 'full' is written here
    index("ix_usage_sums_user", "user_id", "day"),
)
# The coarse ones apart: what a report reads lies together, and not among a hundred times as many rows.
usage_totals = _sums("usage_totals", CheckConstraint("grain in ('offer', 'user')", name="grain"))

# The sums of the version before, which may still be running; nobody reads them any more. They go with a later migration.
usage_daily = tenant_table(
    "usage_daily",
    Column("day", Date, nullable=False),
    uuid("user_id"),
    uuid("agent_id", null=True),
    uuid("version_id", null=True),
    uuid("plan_version_id", null=True),
    txt("channel", default=""),
    txt("model", default=""),
    txt("cost_currency", default="USD"),
    big("calls", default=0),
    big("errors", default=0),
    big("input_tokens", default=0),
    big("output_tokens", default=0),
    big("cost", default=0),
    big("unknown_cost", default=0),  # entries without a known price
    big("latency_ms", default=0),
    index("ix_usage_daily_day", "day"),
    operator="riud",
)

# ``cluster``: where the transaction's number comes from; a dump restored elsewhere meets a server that counts anew.
# ``ceiling``: the highest number that restored rows have; ``generation``: which sums it belongs to.
watermarks = global_table(
    "watermarks",
    txt("name"),
    big("xid", default=0),
    when("at", now=True),
    txt("cluster", default=""),
    big("generation", default=0),
    big("ceiling", default=0),
    app="r",
)

# Why somebody was told no: repeats within a minute share a row.
denials = tenant_table(
    "denials",
    uuid("user_id"),
    txt("agent", default=""),
    txt("channel", default=""),
    txt("reason"),
    when("minute", null=False),
    json("decision"),
    big("count", default=1),
    when("first_at", now=True),
    when("last_at", now=True),
    ref("user_id", "users"),
    unique("user_id", "agent", "channel", "reason", "minute"),
    index("ix_denials_at", "last_at"),
    app="riu",
    operator="rd",
)

# Things an admin must see: an unknown price, usage beyond what was held, a broken connection. One row while it lasts.
alarms = tenant_table(
    "alarms",
    txt("code"),
    txt("subject", default=""),
    txt("message"),
    json("data"),
    big("count", default=1),
    Column("resolved", Boolean, nullable=False, server_default=text("false")),
    when("first_at", now=True),
    when("last_at", now=True),
    index("uq_alarms_open", "code", "subject", unique=True, postgresql_where=text("not resolved")),
    app="riu",
    operator="riu",
)
