"""What the database's catalogue says of the tables of a mapping; no row is read."""

from collections.abc import Iterable

from sqlalchemy import Connection, Engine, text

from hubspot_sync.errors import SettingsError
from hubspot_sync.rules.mapping import PropertyMapping
from hubspot_sync.rules.source import Source
from hubspot_sync.rules.source_fit import Found, FoundTable, faults_of_tables
from hubspot_sync.sentences import Message
from hubspot_sync.store.database import retried, transaction
from hubspot_sync.store.relation import kind_of, no_table, quoted_name


def require_tables(engine: Engine, source: Source, mapping: PropertyMapping) -> None:
    """Find out whether the database has what a mapping file goes by.

    The built-in mapping is left to the errors of its statements.

    Raises:
        SettingsError: with one sentence for each fault, with its place in the file.
        DatabaseUnavailable: the database cannot be asked.
    """
    if mapping.file is None:
        return
    faults = faults_of_tables(source, mapping, look_at_tables(engine, source, mapping))
    if faults:
        raise SettingsError(faults)


@retried
def look_at_tables(engine: Engine, source: Source, mapping: PropertyMapping) -> Found:
    """Look up the tables that a mapping names."""
    names = [source.table, *(lookup.table for lookup in mapping.lookups)]
    with transaction(engine, read_only=True) as connection:
        return {name: found_table(connection, name) for name in dict.fromkeys(names)}


def found_table(connection: Connection, table: str) -> FoundTable | Message:
    """Return what the catalogue says of a table; where it is not there, what is said of that."""
    kind = kind_of(connection, table)
    if kind is None:
        return no_table(connection, table)
    is_sqlite = connection.dialect.name == "sqlite"
    found = (_sqlite if is_sqlite else _postgresql)(connection, table)
    return FoundTable(*found, None if kind.is_table else str(kind), is_sqlite)


def _postgresql(
    connection: Connection, table: str
) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    name = {"table": quoted_name(connection, table)}
    columns = connection.execute(
        text(
            "SELECT attname, has_column_privilege(attrelid, attnum, 'SELECT') FROM pg_attribute "
            "WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped"
        ),
        name,
    ).all()
    unique = connection.scalars(
        text(
            "SELECT attname FROM pg_index JOIN pg_attribute "
            "ON attrelid = indrelid AND attnum = indkey[0] "
            "WHERE indrelid = to_regclass(:table) AND indisunique AND indisvalid "
            "AND indpred IS NULL AND indnkeyatts = 1"
        ),
        name,
    )
    readable = (column for column, may_read in columns if may_read)
    return _names(column for column, _ in columns), _names(readable), _names(unique)


def _sqlite(
    connection: Connection, table: str
) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    schema, _, name = table.rpartition(".")
    values = {"table": name, "schema": schema or "main"}
    columns = connection.execute(
        text("SELECT lower(name), pk FROM pragma_table_xinfo(:table, :schema)"), values
    ).all()
    unique = connection.scalars(
        text(
            "SELECT lower(max(part.name)) FROM pragma_index_list(:table, :schema) AS whole "
            "JOIN pragma_index_info(whole.name, :schema) AS part "
            'WHERE whole."unique" AND NOT whole.partial '
            "GROUP BY whole.name HAVING count(*) = 1 AND max(part.name) IS NOT NULL"
        ),
        values,
    )
    keys = [column for column, place in columns if place]
    names = _names(column for column, _ in columns)
    return names, names, _names(unique) | _names(keys if len(keys) == 1 else ())


def _names(found: Iterable[str]) -> frozenset[str]:
    return frozenset(found)
