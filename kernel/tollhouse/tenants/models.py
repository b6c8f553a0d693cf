"""Tables of tenants."""

from sqlalchemy import Boolean, CheckConstraint, Column, Index, UniqueConstraint, text

from tollhouse.store.tables import big, global_table, json, texts, txt, when

tenants = global_table(
    "tenants",
    txt("slug"),
    txt("name"),
    txt("status", default="active"),
    txt("timezone", default="UTC"),
    # A new time zone applies from the next local month, so that no window is counted twice.
    txt("next_timezone", null=True),
    when("next_timezone_from"),
    # The zones before: [{"timezone", "until"}], oldest first. With them a moment stays on the local day that it was on.
    json("former_zones", default="[]"),
    txt("currency", default="EUR"),
    # What models cost, cost limits and the daily stop are counted in it, and in no other.
    txt("cost_currency", default="USD"),
    txt("language", default="en"),
    texts("hosts"),
    # The tenant's own daily stop: nano-units of model cost per local day; null for none.
    big("daily_cost_cap", null=True),
    # Raised by the database whenever one of its prices is written: what a process remembers of them is of one number.
    big("price_revision", default=0),
    # Whether its connections may lead to this machine and the networks behind it: the operator's to say.
    Column("private_addresses", Boolean, nullable=False, server_default=text("false")),
    json("settings"),
    when("created_at", now=True),
    UniqueConstraint("slug"),
    CheckConstraint("status in ('active', 'suspended')", name="status"),
    Index("ix_tenants_hosts", "hosts", postgresql_using="gin"),
    app="r",
    operator="riud",
)
