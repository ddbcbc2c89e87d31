"""Other tables that fields take values from: read after a claim, and never locked."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

from sqlalchemy import Column, Engine, MetaData, Table, select

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import DatabaseUnavailable, HubSpotSyncError, WrongUsage
from hubspot_sync.rules.mapping import Contact, Lookup
from hubspot_sync.rules.shaping import looked_up
from hubspot_sync.rules.source import Value
from hubspot_sync.store.database import about_table, retried, transaction
from hubspot_sync.store.expressions import KeyType, ValueType

MOST_KEYS = 1_000
"""Rows that one query asks for."""

_KEY = "key of the lookup"

Rows = dict[str, Mapping[str, Value]]


def look_up(
    engine: Engine, contacts: Sequence[Contact], lookups: Iterable[Lookup]
) -> list[Contact]:
    """Return the contacts with what the other tables hold of them, which may be nothing.

    One query for each table, for up to a thousand keys.

    Raises:
        DatabaseUnavailable: a table cannot be read; the message names its lookup.
    """
    tables = tuple(lookups)
    if not tables or not contacts:
        return list(contacts)
    found = {}
    for table in tables:
        values = {value for each in contacts if (value := each.value(table.on)) not in (None, "")}
        found[table.name] = _by_value(values, _rows(engine, table, sorted(map(str, values))))
    return looked_up(contacts, tables, found)


def lookup_table(lookup: Lookup) -> Table:
    """Return another table as statements name it."""
    schema, _, name = lookup.table.rpartition(".")
    columns = (Column(each, ValueType, key=f"value of {each}") for each in lookup.columns)
    key = Column(lookup.key, KeyType, key=_KEY)
    return Table(name, MetaData(), key, *columns, schema=schema or None)


def _by_value(values: Collection[Value], rows: Rows) -> dict[object, Mapping[str, Value]]:
    """Return the rows by what the contacts have; a text may spell a UUID otherwise."""
    plain = {_plain(key): row for key, row in rows.items()}
    found = {value: rows.get(str(value)) or plain.get(_plain(str(value))) for value in values}
    return {value: row for value, row in found.items() if row is not None}


def _plain(key: str) -> str:
    try:
        return str(UUID(key))
    except ValueError:
        return key


def _rows(engine: Engine, lookup: Lookup, keys: Sequence[str]) -> Rows:
    found: Rows = {}
    for start in range(0, len(keys), MOST_KEYS):
        found |= _readable_rows(engine, lookup, keys[start : start + MOST_KEYS])
    return found


def _readable_rows(engine: Engine, lookup: Lookup, keys: Sequence[str]) -> Rows:
    """Return rows by key; what is no key of the table's type has none."""
    try:
        return _read(about_table(engine, lookup.table), lookup, keys)
    except WrongUsage as fault:
        if fault.code is not ErrorCode.CONTACT_ID_MALFORMED:
            raise _unusable(lookup, fault) from fault
    except DatabaseUnavailable as fault:
        if fault.code is not ErrorCode.DATABASE_READ_ONLY:
            raise
        raise _unusable(lookup, fault) from fault
    if len(keys) == 1:
        return {}
    middle = len(keys) // 2
    return _readable_rows(engine, lookup, keys[:middle]) | _readable_rows(
        engine, lookup, keys[middle:]
    )


@retried
def _read(engine: Engine, lookup: Lookup, keys: Sequence[str]) -> Rows:
    table = lookup_table(lookup)
    # As texts, which PostgreSQL reads as the column's own type.
    query = select(*(column.label(key) for key, column in table.c.items())).where(
        table.c[_KEY].in_(keys)
    )
    with transaction(engine, read_only=True) as connection:
        found = connection.execute(query).mappings().all()
    return {
        str(row[_KEY]): {name: row[f"value of {name}"] for name in lookup.columns} for row in found
    }


def _unusable(lookup: Lookup, fault: HubSpotSyncError) -> DatabaseUnavailable:
    words = fault.message.data.get("words") or fault.message.what
    return DatabaseUnavailable(
        ErrorCode.LOOKUP_UNUSABLE, lookup=lookup.name, table=lookup.table, words=words
    )
