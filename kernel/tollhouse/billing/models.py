"""Tables of plans, subscriptions and orders."""

from sqlalchemy import Boolean, CheckConstraint, Column, text

from tollhouse.store.tables import big, index, ref, tenant_table, texts, txt, unique, uuid, when

plans = tenant_table(
    "plans",
    txt("slug"),
    txt("name"),
    txt("description", default=""),
    txt("status", default="active"),
    Column("public", Boolean, nullable=False, server_default=text("true")),
    Column("default", Boolean, nullable=False, server_default=text("false")),  # what a new user is subscribed to
    big("position", default=0),
    when("created_at", now=True),
    unique("slug"),
    index("uq_plans_default", "default", unique=True, postgresql_where=text('"default"')),
    CheckConstraint("status in ('active', 'archived')", name="status"),
    app="riu",
)

# Immutable once written: subscribers keep what they bought. The newest number is what is on offer.
plan_versions = tenant_table(
    "plan_versions",
    uuid("plan_id"),
    big("number"),
    big("price_minor", default=0),
    txt("currency"),
    txt("interval", default="month"),
    big("grace_days", default=3),
    Column("all_agents", Boolean, nullable=False, server_default=text("false")),
    Column("verified_email", Boolean, nullable=False, server_default=text("false")),
    texts("channels", null=True),  # null: every channel
    uuid("created_by", null=True),
    when("created_at", now=True),
    ref("plan_id", "plans"),
    ref("created_by", "users"),
    unique("plan_id", "number"),
    CheckConstraint("interval in ('month', 'year', 'week', 'once')", name="interval"),
    CheckConstraint("price_minor >= 0", name="price"),
    app="ri",
)

plan_agents = tenant_table(
    "plan_agents",
    uuid("plan_version_id"),
    uuid("agent_id"),
    ref("plan_version_id", "plan_versions"),
    ref("agent_id", "agents"),
    unique("plan_version_id", "agent_id"),
    app="ri",
)

limits = tenant_table(
    "limits",
    uuid("plan_version_id"),
    txt("metric"),
    big("amount"),
    txt("window"),
    uuid("agent_id", null=True),
    txt("channel", null=True),
    Column("hard", Boolean, nullable=False, server_default=text("true")),
    ref("plan_version_id", "plan_versions"),
    ref("agent_id", "agents"),
    index("ix_limits_version", "plan_version_id"),
    CheckConstraint("amount >= 0", name="amount"),
    app="ri",
)

subscriptions = tenant_table(
    "subscriptions",
    uuid("user_id"),
    uuid("plan_version_id"),
    txt("status"),
    when("period_start", null=False),
    when("period_end"),  # null: a free plan runs without an end; its windows are still monthly from the anchor
    when("anchor", null=False),
    # Its periods are counted in this zone, fixed when it begins: a tenant that moves renews no allowance.
    txt("timezone", default="UTC"),
    when("grace_until"),
    Column("cancel_at_period_end", Boolean, nullable=False, server_default=text("false")),
    uuid("connection_id", null=True),
    txt("provider", null=True),
    txt("provider_reference", null=True),
    when("created_at", now=True),
    when("ended_at"),
    ref("user_id", "users"),
    ref("plan_version_id", "plan_versions"),
    ref("connection_id", "connections"),
    CheckConstraint("status in ('pending', 'active', 'past_due', 'canceled', 'ended')", name="status"),
    # One current subscription for one person.
    index(
        "uq_subscriptions_current",
        "user_id",
        unique=True,
        postgresql_where=text("status in ('active', 'past_due', 'canceled')"),
    ),
    index("ix_subscriptions_user", "user_id", "created_at"),
    app="riu",
    operator="r",
)

# What an admin gave this one subscriber instead of (or beside) the plan's limit of the same metric, window and scope.
subscription_overrides = tenant_table(
    "subscription_overrides",
    uuid("subscription_id"),
    txt("metric"),
    big("amount"),
    txt("window"),
    uuid("agent_id", null=True),
    txt("channel", null=True),
    Column("hard", Boolean, nullable=False, server_default=text("true")),
    txt("reason", default=""),
    uuid("created_by", null=True),
    when("created_at", now=True),
    ref("subscription_id", "subscriptions"),
    ref("agent_id", "agents"),
    ref("created_by", "users"),
    index("ix_subscription_overrides", "subscription_id"),
)

orders = tenant_table(
    "orders",
    uuid("user_id"),
    uuid("plan_version_id"),
    uuid("subscription_id", null=True),
    big("amount_minor"),
    txt("currency"),
    txt("provider"),
    uuid("connection_id", null=True),
    txt("provider_reference", null=True),
    txt("state", default="pending"),
    txt("instructions", null=True),
    txt("redirect_url", null=True),
    when("created_at", now=True),
    when("paid_at"),
    when("closed_at"),
    uuid("confirmed_by", null=True),
    ref("user_id", "users"),
    ref("plan_version_id", "plan_versions"),
    ref("subscription_id", "subscriptions"),
    ref("connection_id", "connections"),
    ref("confirmed_by", "users"),
    CheckConstraint("state in ('pending', 'paid', 'canceled', 'refunded')", name="state"),
    index("ix_orders_state", "state", "created_at"),
    index("ix_orders_user", "user_id", "created_at"),
    index("ix_orders_paid", "paid_at", postgresql_where=text("state = 'paid'")),
    app="riu",
    operator="r",
)
