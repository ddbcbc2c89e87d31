"""Who else of the table has a part in a record: asked last before a write, and never for long."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, RowMapping, func, or_, select

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import QueryTimedOut
from hubspot_sync.store.database import retried, transaction
from hubspot_sync.store.source_table import SourceTable

ANSWER_TIMEOUT_MS = 2000
"""How long the database may take to say who has a part in some records."""

MOST_ROWS = 10_000
"""Rows that the answer may have."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The database took too long.

    Attributes:
        is_locked: it waited for another program that keeps the table locked.
    """

    is_locked: bool


def rows_of_records(
    engine: Engine,
    contacts: SourceTable,
    columns: Sequence[ColumnElement[Any]],
    record_ids: Collection[str],
    emails: Collection[str],
) -> Sequence[RowMapping] | NoAnswer:
    """Return the rows with one of these record ids or addresses.

    Args:
        engine: from `make_engine`.
        contacts: the table.
        columns: what is wanted of each row, under the keys that the table gives them.
        record_ids: HubSpot's.
        emails: in lower case.
    """
    began = time.monotonic()
    try:
        found = _ask(engine, contacts, columns, record_ids, emails)
    except QueryTimedOut as slow:
        return NoAnswer(slow.code is ErrorCode.QUERY_WAITED_FOR_LOCK)
    is_late = time.monotonic() - began > ANSWER_TIMEOUT_MS / 1000
    return NoAnswer(is_locked=False) if is_late or len(found) > MOST_ROWS else found


@retried
def _ask(
    engine: Engine,
    contacts: SourceTable,
    columns: Sequence[ColumnElement[Any]],
    record_ids: Collection[str],
    emails: Collection[str],
) -> Sequence[RowMapping]:
    c = contacts.c
    wanted = or_(c.hubspot_contact_id.in_(record_ids), func.lower(func.trim(c.email)).in_(emails))
    query = select(*columns).where(wanted).limit(MOST_ROWS + 1)
    with transaction(engine, read_only=True) as connection:
        if connection.dialect.name == "postgresql":
            # An index on an expression has no statistics before ANALYZE; without them, PostgreSQL
            # expects half of the table, and reads all of it.
            connection.exec_driver_sql(
                f"SET LOCAL statement_timeout = {ANSWER_TIMEOUT_MS}; "
                "SET LOCAL enable_seqscan = off; SET LOCAL jit = off"
            )
        return connection.execute(query).mappings().all()
