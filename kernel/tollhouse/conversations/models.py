"""Tables of what was said."""

from sqlalchemy import CheckConstraint

from tollhouse.store.tables import big, index, json, ref, tenant_table, txt, uuid, when

conversations = tenant_table(
    "conversations",
    uuid("user_id"),
    uuid("agent_id"),
    txt("title", default=""),
    txt("channel", default=""),
    when("created_at", now=True),
    when("updated_at", now=True),
    ref("user_id", "users"),
    ref("agent_id", "agents"),
    index("ix_conversations_user", "user_id", "updated_at"),
)

messages = tenant_table(
    "messages",
    uuid("conversation_id"),
    uuid("turn_id", null=True),
    txt("role"),
    json("parts", default="[]"),
    when("created_at", now=True),
    ref("conversation_id", "conversations", ondelete="CASCADE"),
    index("ix_messages_conversation", "conversation_id", "id"),
    CheckConstraint("role in ('user', 'assistant')", name="role"),
)

files = tenant_table(
    "files",
    uuid("user_id"),
    txt("name"),
    txt("type"),
    txt("media_type"),
    big("size"),
    txt("sha256"),
    big("width", null=True),
    big("height", null=True),
    when("created_at", now=True),
    ref("user_id", "users"),
    index("ix_files_user", "user_id", "created_at"),
)
