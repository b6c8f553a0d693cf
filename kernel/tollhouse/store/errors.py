"""Errors of the store."""

from __future__ import annotations

from tollhouse.plugin.errors import ConfigError, Unavailable


class DatabaseDown(Unavailable):
    """The database cannot be reached, or lost us half-way: nothing of the transaction is known to have happened."""

    code = "database_unavailable"
    title = "The database is not available for a moment; try again shortly"


class LockedTooLong(DatabaseDown):
    """Somebody held a row for longer than anybody waits. The database is well; another row may be free."""


class StorageFull(Unavailable):
    """There is no room for a file. Trying again changes nothing until somebody makes room."""

    code = "storage_full"
    status = 507
    title = "There is no room for files left on this installation; nothing was stored"
    retryable = False


class StorageDown(Unavailable):
    """Files cannot be written or read: the disk, its rights, or a share on the network."""

    code = "storage_unavailable"
    title = "Files cannot be stored or read for a moment; nothing was changed"


class NoScope(RuntimeError):
    """A transaction was begun without saying in whose name: a bug, never an input."""


class SchemaMismatch(ConfigError):
    """The schema of the database is not the one this code was written for."""

    code = "schema_mismatch"


class BadMasterKey(ConfigError):
    """The master key is missing, malformed, or not the one that the secrets were encrypted with."""

    code = "bad_master_key"
