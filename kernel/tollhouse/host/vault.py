"""Secrets of connections, to and from their column. Whatever is opened is masked in the log from then on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from tollhouse.host.logs import Scrubber
from tollhouse.store.secrets import SecretBox

PURPOSE: Final = "connection"


class Vault:
    """Seals and opens the secret fields of one row."""

    __slots__ = ("_box", "_scrubber")

    def __init__(self, box: SecretBox, scrubber: Scrubber) -> None:
        self._box = box
        self._scrubber = scrubber

    def seal(self, tenant_id: UUID, connection_id: UUID, secrets: Mapping[str, str]) -> bytes | None:
        """The column's value; None if there is nothing to keep."""
        if not secrets:
            return None
        self._scrubber.remember(tenant_id, secrets.values())
        plain = json.dumps(dict(secrets)).encode()
        return self._box.encrypt(plain, tenant_id=tenant_id, row_id=connection_id, purpose=PURPOSE)

    def open(self, row: Mapping[str, Any]) -> dict[str, str]:
        """The secrets of a row of table connections.

        Raises:
            SecretUnreadable: they were written for another row, or with another key.
        """
        if row["secrets"] is None:
            return {}
        plain = self._box.decrypt(row["secrets"], tenant_id=row["tenant_id"], row_id=row["id"], purpose=PURPOSE)
        secrets: dict[str, str] = json.loads(plain)
        self._scrubber.remember(row["tenant_id"], secrets.values())
        return secrets
