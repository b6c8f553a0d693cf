"""Replacing the master key while everything runs.

Give every process the new key first and the old one after a comma; when all run with both, re-encrypt; then take the old away.
"""

from __future__ import annotations

from uuid import UUID

from tollhouse.host import repository
from tollhouse.host.vault import PURPOSE
from tollhouse.store.secrets import SecretBox, SecretUnreadable, renew_check
from tollhouse.store.store import Store


async def reencrypt(store: Store, box: SecretBox) -> int:
    """Put every connection's secrets, and the installation's check value, under the first key; how many were not yet.

    Each row is a transaction of its own, so it can be stopped and run again.

    Raises:
        SecretUnreadable: names the connections that no key opens; the rest is done, and the old key stays good until then.
    """
    async with store.operator() as conn:
        rows = await repository.ids_with_secrets(conn)
    done, unreadable = 0, []
    for tenant_id, connection_id in rows:
        try:
            done += await _reencrypt_one(store, box, tenant_id, connection_id)
        except SecretUnreadable:
            unreadable.append(str(connection_id))
    if unreadable:
        raise SecretUnreadable(
            f"no key decrypts the secrets of connections {', '.join(unreadable)}; enter them again, then repeat"
        )
    await renew_check(store, box)
    return done


async def _reencrypt_one(store: Store, box: SecretBox, tenant_id: UUID, connection_id: UUID) -> bool:
    async with store.transaction(tenant_id) as conn:
        row = await repository.find(conn, tenant_id, connection_id, lock=True)
        if row is None or row["secrets"] is None or box.is_current(row["secrets"]):
            return False
        plain = box.decrypt(row["secrets"], tenant_id=tenant_id, row_id=connection_id, purpose=PURPOSE)
        envelope = box.encrypt(plain, tenant_id=tenant_id, row_id=connection_id, purpose=PURPOSE)
        await repository.replace_envelope(conn, tenant_id, connection_id, envelope)
    return True
