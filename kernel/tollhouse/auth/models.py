"""Tables of users and of their proofs."""

from sqlalchemy import CheckConstraint, Column, LargeBinary, text

from tollhouse.store.tables import big, index, json, ref, tenant_table, texts, txt, unique, uuid, when

users = tenant_table(
    "users",
    txt("email", null=True),  # lower case; null for a guest and for an erased person
    when("email_verified_at"),
    txt("name", default=""),
    txt("language", null=True),
    txt("status", default="active"),
    txt("role", null=True),
    when("created_at", now=True),
    when("last_seen_at"),
    unique("email"),
    CheckConstraint("status in ('active', 'blocked', 'erased')", name="status"),
    CheckConstraint("role in ('owner', 'admin', 'support', 'analyst')", name="role"),
    index("ix_users_created", "created_at"),
    app="riu",
    operator="r",
)

identities = tenant_table(
    "identities",
    uuid("user_id"),
    txt("provider"),
    txt("issuer", default=""),
    txt("subject"),
    txt("secret", null=True),  # the password's hash; null for other providers
    json("data"),
    when("created_at", now=True),
    ref("user_id", "users"),
    unique("provider", "issuer", "subject"),
    index("ix_identities_user", "user_id"),
)

sessions = tenant_table(
    "sessions",
    uuid("user_id"),
    Column("token_hash", LargeBinary, nullable=False),
    txt("kind"),
    txt("auth_provider"),
    txt("user_agent", default=""),
    txt("address", default=""),
    when("created_at", now=True),
    when("last_seen_at", now=True),
    when("expires_at", null=False),
    when("revoked_at"),
    ref("user_id", "users"),
    unique("token_hash"),
    index("ix_sessions_user", "user_id", postgresql_where=text("revoked_at is null")),
    CheckConstraint("kind in ('cookie', 'bearer')", name="kind"),
)

api_keys = tenant_table(
    "api_keys",
    uuid("user_id"),
    txt("name"),
    txt("prefix"),
    Column("token_hash", LargeBinary, nullable=False),
    texts("scopes", null=True),  # null: everything its owner may
    when("created_at", now=True),
    when("expires_at"),
    when("last_used_at"),
    when("revoked_at"),
    uuid("made_by", null=True),  # the key that made it, and with which it ends
    ref("user_id", "users"),
    unique("token_hash"),
    index("ix_api_keys_user", "user_id"),
)

one_time_tokens = tenant_table(
    "one_time_tokens",
    txt("purpose"),
    uuid("user_id", null=True),
    Column("token_hash", LargeBinary, nullable=False),
    json("data"),
    when("created_at", now=True),
    when("expires_at", null=False),
    when("used_at"),
    ref("user_id", "users"),
    unique("token_hash"),
)

# Tries that failed. Kept apart from the audit log, and without its lock: who guesses must not hold up who administers.
sign_in_failures = tenant_table(
    "sign_in_failures",
    uuid("user_id", null=True),  # who has this e-mail, if somebody has
    txt("account", default=""),  # the e-mail that was tried, if somebody has it; else empty
    txt("network"),  # the address; of IPv6 its /64
    txt("reason"),
    when("hour", null=False, server_default=text("date_trunc('hour', app_now())")),
    big("count", default=1),
    when("first_at", now=True),
    when("last_at", now=True),
    ref("user_id", "users"),
    unique("account", "network", "reason", "hour", name="uq_sign_in_failures_repeats"),
    index("ix_sign_in_failures_user", "user_id"),
    index("ix_sign_in_failures_last", "last_at"),
)

# Who runs the installation. The application's role can read it and nothing more: no admin of a tenant can make an operator.
operators = tenant_table("operators", when("created_at", now=True), ref("id", "users"), app="r", operator="rid")
