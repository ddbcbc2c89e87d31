"""Whether a record may get a new address: who else of the table has a part in it."""

import logging
import time
from collections.abc import Sequence

from sqlalchemy import Engine, func, or_, select

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import QueryTimedOut
from hubspot_sync.rules.identity import Bearer, Rename, free_to_rename
from hubspot_sync.rules.mapping import normalise_email
from hubspot_sync.sentences import Message
from hubspot_sync.store.database import retried, transaction
from hubspot_sync.store.source_table import SourceTable

log = logging.getLogger(__name__)

RENAME_TIMEOUT_MS = 2000
"""How long the database may take to say whether a record is a contact's alone."""

MOST_BEARERS = 10_000
"""Rows that the answer may have."""


def may_be_renamed(
    engine: Engine, contacts: SourceTable, renames: Sequence[Rename]
) -> frozenset[str]:
    """Return the ids of the records that no other row of the table has a part in.

    Asked last before the write: what rows do between question and write, it cannot know. Where the
    database takes too long over the answer, no record may be renamed.
    """
    began, is_locked = time.monotonic(), False
    try:
        bearers = _bearers(engine, contacts, renames)
    except QueryTimedOut as slow:
        bearers, is_locked = None, slow.code is ErrorCode.QUERY_WAITED_FOR_LOCK
    if bearers is None or time.monotonic() - began > RENAME_TIMEOUT_MS / 1000:
        count = len(renames)
        log.warning(Message(ErrorCode.RENAMES_TOO_SLOW, count=count, is_locked=is_locked))
        return frozenset()
    return free_to_rename(renames, bearers)


@retried
def _bearers(
    engine: Engine, contacts: SourceTable, renames: Sequence[Rename]
) -> list[Bearer] | None:
    """Return the rows with one of these record ids or addresses; None if they are too many."""
    c = contacts.c
    ids = [rename.record_id for rename in renames]
    emails = [rename.primary_email for rename in renames if rename.primary_email]
    wanted = or_(c.hubspot_contact_id.in_(ids), func.lower(func.trim(c.email)).in_(emails))
    query = select(c.id, c.hubspot_contact_id, c.email).where(wanted)
    with transaction(engine, read_only=True) as connection:
        if connection.dialect.name == "postgresql":
            # An index on an expression has no statistics before ANALYZE; without them, PostgreSQL
            # expects half of the table, and reads all of it.
            connection.exec_driver_sql(
                f"SET LOCAL statement_timeout = {RENAME_TIMEOUT_MS}; "
                "SET LOCAL enable_seqscan = off; SET LOCAL jit = off"
            )
        found = connection.execute(query.limit(MOST_BEARERS + 1)).all()
    if len(found) > MOST_BEARERS:
        return None
    return [Bearer(key, stored, normalise_email(email or "")) for key, stored, email in found]
