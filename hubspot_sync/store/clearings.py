"""Whether a value of a record may be cleared: whether another row of the table has one."""

import logging
from collections.abc import Mapping, Sequence

from sqlalchemy import Engine

from hubspot_sync.codes import ErrorCode
from hubspot_sync.rules.clearing import Clearing, free_to_clear
from hubspot_sync.rules.mapping import PropertyMapping
from hubspot_sync.sentences import Message
from hubspot_sync.store.lookups import look_up
from hubspot_sync.store.rows import to_contact
from hubspot_sync.store.shared_rows import NoAnswer, rows_of_records
from hubspot_sync.store.source_table import SourceTable

log = logging.getLogger(__name__)


def may_be_cleared(
    engine: Engine, contacts: SourceTable, clearings: Sequence[Clearing], mapping: PropertyMapping
) -> Mapping[str, frozenset[str]]:
    """Return by record id the properties for which no other row of the table has a value.

    Asked last before the write, as is whether a record may be renamed; where the database takes too
    long over the answer, nothing may be cleared.
    """
    found = rows_of_records(
        engine,
        contacts,
        contacts.selected_values,
        [each.record_id for each in clearings],
        sorted(frozenset().union(*(each.emails for each in clearings))),
    )
    if isinstance(found, NoAnswer):
        count, is_locked = len(clearings), found.is_locked
        log.warning(Message(ErrorCode.CLEARINGS_TOO_SLOW, count=count, is_locked=is_locked))
        return {}
    rows = look_up(engine, [to_contact(contacts, row) for row in found], mapping.lookups)
    return free_to_clear(clearings, rows, mapping)
