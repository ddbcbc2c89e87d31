"""The copy that `reset` keeps of what it erases: one JSON document a line, for this user alone."""

import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import WrongUsage
from hubspot_sync.rules.lifecycle import Row


class ResetCopy:
    """A file that is on disk before what it holds is erased.

    Args:
        path: must not exist yet.

    Raises:
        WrongUsage: the file exists, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise WrongUsage(ErrorCode.COPY_NOT_MADE, path=path, why=error.strerror) from error
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")

    def keep(self, rows: Sequence[Row]) -> None:
        """Write the rows, and return when the disk has them."""
        for row in rows:
            self._file.write(json.dumps(_to_json(row), default=str) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _to_json(row: Row) -> dict[str, object]:
    return {
        "id": str(row.contact.id),
        "email": row.contact.email,
        "hubspot_sync_status": row.sync_status,
        "hubspot_processing_status": row.processing_status,
        "hubspot_processing_error": row.error,
        "hubspot_contact_id": row.contact.hubspot_contact_id,
        "retry_count": row.retry_count,
        "next_retry_at": _instant(row.next_retry_at),
        "last_retry_at": _instant(row.last_retry_at),
        "last_failed_crm": row.last_failed_crm,
    }


def _instant(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
