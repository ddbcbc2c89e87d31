"""Whether a record may get a new address: who else of the table has a part in it."""

import logging
from collections.abc import Sequence

from sqlalchemy import Engine

from hubspot_sync.codes import ErrorCode
from hubspot_sync.rules.identity import Bearer, Rename, free_to_rename
from hubspot_sync.rules.mapping import normalise_email
from hubspot_sync.sentences import Message
from hubspot_sync.store.shared_rows import NoAnswer, rows_of_records
from hubspot_sync.store.source_table import SourceTable

log = logging.getLogger(__name__)


def may_be_renamed(
    engine: Engine, contacts: SourceTable, renames: Sequence[Rename]
) -> frozenset[str]:
    """Return the ids of the records that no other row of the table has a part in.

    Asked last before the write: what rows do between question and write, it cannot know. Where the
    database takes too long over the answer, no record may be renamed.
    """
    c = contacts.c
    found = rows_of_records(
        engine,
        contacts,
        [column.label(column.key) for column in (c.id, c.hubspot_contact_id, c.email)],
        [rename.record_id for rename in renames],
        [rename.primary_email for rename in renames if rename.primary_email],
    )
    if isinstance(found, NoAnswer):
        count, is_locked = len(renames), found.is_locked
        log.warning(Message(ErrorCode.RENAMES_TOO_SLOW, count=count, is_locked=is_locked))
        return frozenset()
    bearers = [
        Bearer(row["id"], row["hubspot_contact_id"], normalise_email(row["email"] or ""))
        for row in found
    ]
    return free_to_rename(renames, bearers)
