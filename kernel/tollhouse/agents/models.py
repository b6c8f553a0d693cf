"""Tables of agents and their prompt versions."""

from sqlalchemy import CheckConstraint

from tollhouse.store.tables import big, index, json, ref, tenant_table, txt, unique, uuid, when

agents = tenant_table(
    "agents",
    txt("slug"),
    txt("name"),
    txt("description", default=""),
    txt("welcome", default=""),
    txt("status", default="draft"),
    big("position", default=0),
    when("created_at", now=True),
    when("updated_at", now=True),
    unique("slug"),
    CheckConstraint("status in ('draft', 'published', 'archived')", name="status"),
    app="riu",
)

prompt_versions = tenant_table(
    "prompt_versions",
    uuid("agent_id"),
    big("number"),
    txt("status", default="draft"),
    # Basis points of the agent's traffic; the weights of its active versions sum to 10,000.
    big("weight", default=0),
    json("spec"),
    txt("note", default=""),
    uuid("created_by", null=True),
    when("created_at", now=True),
    when("updated_at", now=True),
    uuid("activated_by", null=True),
    when("activated_at"),  # the first activation: from then on the version never changes
    ref("agent_id", "agents"),
    ref("created_by", "users"),
    ref("activated_by", "users"),
    unique("agent_id", "number"),
    index("ix_prompt_versions_active", "agent_id", "status"),
    CheckConstraint("status in ('draft', 'active', 'archived')", name="status"),
    CheckConstraint("weight between 0 and 10000", name="weight"),
    CheckConstraint("(status = 'active') = (weight > 0)", name="active_has_weight"),
    app="riud",
)
