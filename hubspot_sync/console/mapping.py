"""The mapping in force, and what was found in a mapping file."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from hubspot_sync.console.streams import Guarded
from hubspot_sync.console.terminal import (
    counted,
    is_seen,
    make_console,
    new_table,
    print_json,
    say,
    say_rows,
)
from hubspot_sync.report import SCHEMA_VERSION
from hubspot_sync.rules.mapping import CustomProperty, PropertyMapping
from hubspot_sync.rules.mapping_lines import MappingLine
from hubspot_sync.rules.source import Source
from hubspot_sync.rules.words import visible
from hubspot_sync.sentences import Message

_HEADINGS = ("From", "Shaped", "Property", "In HubSpot", "Write", "Null")


def show_mapping(
    source: Source,
    mapping: PropertyMapping,
    lines: Sequence[MappingLine],
    not_asked: Message | None,
    *,
    as_json: bool,
) -> None:
    """Show the mapping in force.

    Args:
        source: the table that contacts come from.
        mapping: how they become HubSpot's records.
        lines: its lines in words.
        not_asked: why HubSpot could not be asked for its types; None where it was.
        as_json: print its document to standard output instead of a table.
    """
    if as_json:
        print_json(_to_json(source, mapping, lines, not_asked))
        return
    rows = [
        (each.origin, each.shaped, each.field.property_name, each.portal_type, each.write, null)
        for each in lines
        for null in [str(each.field.null)]
    ]
    if is_seen():
        table = new_table()
        for heading in _HEADINGS:
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*(Text(visible(text)) for text in row))
        make_console().print(table)
    else:
        say_rows([_HEADINGS, *rows])
    for sentence in _about(source, mapping):
        say(sentence)
    if not_asked is not None:
        say(f"HubSpot was not asked for its types: {not_asked}")


def _about(source: Source, mapping: PropertyMapping) -> list[str]:
    origin = mapping.file or "The built-in mapping (HUBSPOT_SYNC_MAPPING is empty)"
    properties = counted(len(mapping.fields), "property")
    of_table = f"from the table {source.table}, key {source.key}, address {source.email}"
    told = [f"{origin}: {properties} {of_table}; our name among CRMs is {source.crm_name}."]
    if mapping.reject_emails:
        told.append(f"Rejected addresses: {', '.join(mapping.reject_emails)}.")
    if mapping.proof:
        told.append(f"A record under a stored id is proved by {' and '.join(mapping.proof)}.")
    return told


def _to_json(
    source: Source,
    mapping: PropertyMapping,
    lines: Sequence[MappingLine],
    not_asked: Message | None,
) -> Mapping[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "mapping",
        "file": mapping.file,
        "source": {
            "table": source.table,
            "key": source.key,
            "email": source.email,
            "reject_emails": list(mapping.reject_emails),
        },
        "queue": {**asdict(source.queue), "crm_name": source.crm_name},
        "proof": list(mapping.proof),
        "lookups": [{**asdict(each), "columns": list(each.columns)} for each in mapping.lookups],
        "not_asked": not_asked,
        "fields": [_line_to_json(each) for each in lines],
    }


def _line_to_json(each: MappingLine) -> Mapping[str, object]:
    line, found = each.field, each.found
    constant = line.constant
    is_plain = constant is None or isinstance(constant, bool | int | str)
    return {
        "property": line.property_name,
        "column": line.column,
        "constant": constant if is_plain else str(constant),
        "value": line.generated,
        "lookup": line.lookup,
        "transform": list(map(str, line.transform)),
        "type": line.type.type,
        "on_invalid": line.on_invalid,
        "write": line.write,
        "null": line.null,
        "stamp": line.stamp,
        "create": _created_to_json(line.create),
        "hubspot_type": found.type if found else None,
        "hubspot_field_type": found.field_type if found else None,
        "is_in_hubspot": found is not None if each.is_asked else None,
        "line": line.line or None,
    }


def _created_to_json(made: CustomProperty | None) -> Mapping[str, object] | None:
    if made is None:
        return None
    return {
        "type": made.type,
        "field_type": made.field_type,
        "label": made.label,
        "options": dict(made.options),
    }


def show_default_mapping(text: str, *, as_json: bool) -> None:
    """Print the built-in mapping as the file that it could be."""
    if as_json:
        print_json({"schema_version": SCHEMA_VERSION, "command": "mapping", "default": text})
        return
    output = Guarded(sys.stdout)
    output.write(text)
    output.flush()


def show_checked_mapping(
    path: Path, source: Source, mapping: PropertyMapping, *, as_json: bool
) -> None:
    """Say that a mapping file has no fault, and what it is for."""
    if as_json:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "command": "mapping",
                "file": str(path),
                "table": source.table,
                "properties": [each.property_name for each in mapping.fields],
                "faults": [],
            }
        )
        return
    names = ", ".join(each.property_name for each in mapping.fields)
    say(f"{path} has no fault. The table {source.table} fills {names}.")
    say("HubSpot and the database were not asked; 'hubspot-sync doctor' asks both.")
