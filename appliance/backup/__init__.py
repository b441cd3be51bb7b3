"""Backups: the database and the key files beside it, streamed into an encrypted file and back. All SQL is the store's."""

from appliance.backup.archive import Contents, create_backup, restore_backup, verify_backup
from appliance.backup.keys import read_identities, read_recipients

__all__ = ["Contents", "create_backup", "read_identities", "read_recipients", "restore_backup", "verify_backup"]
