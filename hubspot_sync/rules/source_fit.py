"""Whether the database has what a mapping reads and writes: every fault, with its place."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields

from hubspot_sync.codes import ErrorCode
from hubspot_sync.rules.mapping import Lookup, PropertyMapping
from hubspot_sync.rules.portal_fit import place_of
from hubspot_sync.rules.source import Source
from hubspot_sync.sentences import Message


@dataclass(frozen=True, slots=True)
class FoundTable:
    """What the database's catalogue says of a table.

    Attributes:
        columns: the names of all its columns.
        readable: those that this user may read.
        unique: those that have a unique index, or are the primary key, alone.
        not_a_table: what it is, in words; None where its rows can be locked.
        folds: capitals make no difference, and all names here are in lower case.
    """

    columns: frozenset[str]
    readable: frozenset[str]
    unique: frozenset[str]
    not_a_table: str | None = None
    folds: bool = False

    def without(self, name: str, names: frozenset[str]) -> bool:
        """Tell whether a column is not among some of this table's."""
        return (name.lower() if self.folds else name) not in names


Found = Mapping[str, FoundTable | Message]
"""By the mapping's name for it: a table, or why there is none."""


def faults_of_tables(source: Source, mapping: PropertyMapping, found: Found) -> list[Message]:
    """Say everything in which the database does not have what a mapping goes by."""
    return [
        *faults_of_source(source, mapping, found[source.table]),
        *(
            fault
            for lookup in mapping.lookups
            for fault in faults_of_lookup(lookup, mapping, found[lookup.table])
        ),
    ]


def faults_of_source(
    source: Source, mapping: PropertyMapping, found: FoundTable | Message
) -> list[Message]:
    """Say what the source's table lacks."""
    place = _place(mapping, "[source]")
    if isinstance(found, Message):
        return [_missing(place, source.table, found)]
    if found.not_a_table:
        kind = found.not_a_table
        return [Message(ErrorCode.TABLE_NOT_LOCKABLE, table=source.table, kind=kind)]
    named = _columns_of_source(source, mapping)
    return [
        *_column_faults(source.table, named, found, source.queue.names),
        *_key_faults(f"{place} key", source.table, source.key, found),
    ]


def faults_of_lookup(
    lookup: Lookup, mapping: PropertyMapping, found: FoundTable | Message
) -> list[Message]:
    """Say what the table of a lookup lacks."""
    place = _place(mapping, f"[lookup.{lookup.name}]")
    if isinstance(found, Message):
        return [_missing(place, lookup.table, found)]
    named = {f"{place} key": lookup.key}
    for line in mapping.fields:
        name, _, column = (line.lookup or "").partition(".")
        if name == lookup.name:
            named[place_of(mapping, line)] = column
    return [
        *_column_faults(lookup.table, named, found),
        *_key_faults(f"{place} key", lookup.table, lookup.key, found),
    ]


def _columns_of_source(source: Source, mapping: PropertyMapping) -> dict[str, str]:
    """Return the columns by the place in which the mapping names them."""
    part = _place(mapping, "[source]")
    named = {f"{part} key": source.key, f"{part} email": source.email}
    for role in fields(source.queue):
        named[f"{_place(mapping, '[queue]')} {role.name}"] = getattr(source.queue, role.name)
    for line in mapping.fields:
        if line.column is not None:
            named[place_of(mapping, line)] = line.column
    for lookup in mapping.lookups:
        named[f"{_place(mapping, f'[lookup.{lookup.name}]')} on"] = lookup.on
    return named


def _column_faults(
    table: str, named: Mapping[str, str], found: FoundTable, of_queue: Collection[str] = ()
) -> Iterator[Message]:
    for place, column in named.items():
        if found.without(column, found.columns):
            yield Message(
                ErrorCode.MAPPING_COLUMN_MISSING,
                place=place,
                table=table,
                column=column,
                is_of_queue=column in of_queue,
            )
        elif found.without(column, found.readable):
            yield Message(ErrorCode.MAPPING_COLUMN_CLOSED, place=place, table=table, column=column)


def _key_faults(place: str, table: str, key: str, found: FoundTable) -> Iterator[Message]:
    is_there = not found.without(key, found.columns)
    if is_there and found.without(key, found.unique):
        yield Message(ErrorCode.MAPPING_KEY_NOT_UNIQUE, place=place, table=table, key=key)


def _missing(place: str, table: str, why: Message) -> Message:
    if why.code is ErrorCode.SCHEMA_CLOSED:
        return why
    return Message(ErrorCode.MAPPING_TABLE_MISSING, place=place, table=table)


def _place(mapping: PropertyMapping, part: str) -> str:
    return f"{mapping.file or 'the built-in mapping'}, {part}"
