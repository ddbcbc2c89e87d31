"""The mapping file: from TOML to frozen values, or all its faults at once.

To add a key, start here for the source, the queue and the lookups, and at `field_lines` for a line
of `[fields]`; `default_mapping.toml` is the built-in mapping as such a file.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from datetime import tzinfo
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

from hubspot_sync.codes import ErrorCode
from hubspot_sync.config.field_lines import NEEDS_HISTORY, Around, read_fields
from hubspot_sync.config.toml_page import Page, Table, hint_for, shown
from hubspot_sync.errors import SettingsError
from hubspot_sync.rules.mapping import Field, Lookup, NullPolicy, PropertyMapping, WritePolicy
from hubspot_sync.rules.source import QueueColumns, Source
from hubspot_sync.sentences import Message

VERSION = 1
"""Of the file's format."""

_PROBES = ("a@b.cd", "zoe.quux+1@mail.example.org")
_TABLE = "the name of a table, or schema.table"
_COLUMN = "the name of a column"


@dataclass(frozen=True, slots=True)
class MappingFile:
    """What a mapping file says.

    Attributes:
        source: the table that contacts come from.
        mapping: how they become HubSpot's records.
    """

    source: Source
    mapping: PropertyMapping


def default_text() -> str:
    """Return the built-in mapping as a file."""
    found = resources.files("hubspot_sync.config").joinpath("default_mapping.toml")
    return found.read_text(encoding="utf-8")


def load_mapping(
    path: Path, *, has_history: bool = False, property_settings: Collection[str] = ()
) -> MappingFile:
    """Read a mapping file.

    Args:
        path: where it is.
        has_history: whether what we wrote is kept, which `if-ours` goes by.
        property_settings: the names of those settings that are set and rename properties of the
            built-in mapping.

    Raises:
        SettingsError: with one sentence for each fault, with its place.
    """
    try:
        # With or without the mark that some editors put before the first line.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        unreadable = Message(ErrorCode.MAPPING_UNREADABLE, path=path, why=why)
        raise SettingsError([unreadable]) from error
    beside = [
        Message(ErrorCode.MAPPING_WITH_PROPERTY_SETTING, name=name, path=path)
        for name in property_settings
    ]
    return read_mapping(text, str(path), has_history=has_history, beside=beside)


def read_mapping(
    text: str, file: str, *, has_history: bool = False, beside: Iterable[Message] = ()
) -> MappingFile:
    """Read the text of a mapping file.

    Args:
        text: what it holds.
        file: its name, for messages.
        has_history: as above.
        beside: faults that were found before.

    Raises:
        SettingsError: as above.
    """
    page = Page(file, text)
    # What is no TOML has no keys to be missed.
    read = None if page.faults and not page.top.keys else _read(page, has_history=has_history)
    faults = [
        *beside,
        *(Message(ErrorCode.MAPPING_FAULT, fault=fault) for fault in page.faults),
    ]
    if faults or read is None:
        raise SettingsError(faults)
    return read


def _read(page: Page, *, has_history: bool) -> MappingFile:
    top = page.top
    _read_version(top)
    source, queue = top.table("source"), top.table("queue")
    columns, crm_name = _read_queue(queue)
    table = source.text("table", "contacts", check=_is_table, may_be=_TABLE)
    key = source.text("key", "id", may_be=_COLUMN)
    email = source.text("email", "email", may_be=_COLUMN)
    zone, patterns = _read_zone(source), _read_patterns(source)
    source.end("[source]")
    for each, column in (("key", key), ("email", email)):
        if column in columns.names:
            source.fault(each, f"is {shown(column)}, which is a column of the queue.")
    write, null = _read_defaults(top.table("defaults"), has_history=has_history)
    lookups = _read_lookups(top.table("lookup"), columns)
    around = Around(write, null, columns.names, zone, frozenset(lookups), has_history)
    lines = read_fields(top.table("fields"), around)
    proof = _read_proof(top.table("identity"), lines)
    top.end("the file")
    used = _with_columns(top, lookups, lines)
    return MappingFile(
        Source(table, key, email, _columns_read(lines, used), columns, crm_name),
        PropertyMapping(lines, proof, frozenset(), patterns, used, page.file),
    )


def _read_version(top: Table) -> None:
    version = top.take("version")
    if version is None:
        top.fault("", f"version is missing; the first line must be version = {VERSION}.")
    elif version != VERSION or isinstance(version, bool):
        top.fault("version", f"is {shown(version)}; it must be {VERSION}.")


def _read_zone(source: Table) -> tzinfo | None:
    may_be = "the name of a time zone, such as Europe/Berlin or UTC"
    name = source.text("timezone", may_be=may_be)
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        source.fault("timezone", f"is {shown(name)}; it must be {may_be}.")
        return None


def _read_patterns(source: Table) -> tuple[str, ...]:
    patterns = source.texts(
        "reject_emails", may_be="a list of patterns of addresses, such as '*@example.com'"
    )
    for pattern in patterns:
        if all(fnmatchcase(probe, pattern.lower()) for probe in _PROBES):
            source.fault(
                "reject_emails", f"has {shown(pattern)}, which every address matches; narrow it."
            )
    return tuple(pattern.strip().lower() for pattern in patterns)


def _read_queue(queue: Table) -> tuple[QueueColumns, str]:
    prefix = queue.text("prefix", may_be="what the columns' names begin with")
    named = {
        each.name: queue.text(each.name, f"{prefix}{each.default}", may_be=_COLUMN)
        for each in fields(QueueColumns)
    }
    crm_name = queue.text("crm_name", "hubspot", may_be="our name in failed_crm")
    queue.end("[queue]")
    for role, column in named.items():
        other = next(each for each, name in named.items() if name == column)
        if other != role:
            queue.fault(role, f"is {shown(column)}, and so is {other}; each needs its own column.")
    return QueueColumns(**named), crm_name


def _read_defaults(table: Table, *, has_history: bool) -> tuple[WritePolicy, NullPolicy]:
    write = table.word("write", WritePolicy) or WritePolicy.ALWAYS
    null = table.word("null", NullPolicy) or NullPolicy.KEEP
    table.end("[defaults]")
    if write is WritePolicy.IF_OURS and not has_history:
        table.fault("write", NEEDS_HISTORY)
    return write, null


def _read_lookups(tables: Table, queue: QueueColumns) -> dict[str, Lookup]:
    found = {}
    for name in tables.keys:
        table = tables.table(name)
        for needed in ("table", "key", "on"):
            if needed not in table:
                table.fault("", f"lacks {needed}; a lookup has table, key and on.")
        on = table.text("on", may_be=f"{_COLUMN} of the source")
        found[name] = Lookup(
            name,
            table.text("table", check=_is_table, may_be=_TABLE),
            table.text("key", may_be=f"{_COLUMN} of that table"),
            on,
            (),
        )
        table.end(f"[lookup.{name}]")
        if "." in name:
            table.fault("", "has a dot in its name; choose another name.")
        if on in queue.names:
            table.fault("on", f"is {shown(on)}, which is a column of the queue.")
    return found


def _with_columns(
    top: Table, lookups: dict[str, Lookup], lines: Iterable[Field]
) -> tuple[Lookup, ...]:
    """Give each lookup the columns that fields read of it."""
    read = [each.lookup.partition(".") for each in lines if each.lookup]
    found = []
    for name, table in lookups.items():
        columns = tuple(dict.fromkeys(column for lookup, _, column in read if lookup == name))
        if not columns:
            top.page.fault(("lookup", name), "is read by no field; remove it.")
        found.append(Lookup(name, table.table, table.key, table.on, columns))
    return tuple(found)


def _read_proof(identity: Table, lines: tuple[Field, ...]) -> tuple[str, ...]:
    proof = identity.texts("proof", may_be="a list of properties of [fields]")
    identity.end("[identity]")
    by_name = {each.property_name: each for each in lines}
    for name in proof:
        line = by_name.get(name)
        if line is None:
            hint = hint_for(name, by_name)
            identity.fault("proof", f"names {shown(name)}, which is not in [fields].{hint}")
        elif line.column is None and line.lookup is None:
            identity.fault(
                "proof", f"names {name}, which all contacts share; it must come from a column."
            )
    return proof


def _columns_read(lines: Iterable[Field], lookups: Iterable[Lookup]) -> tuple[str, ...]:
    read = [each.column for each in lines if each.column is not None]
    return tuple(dict.fromkeys([*read, *(each.on for each in lookups)]))


def _is_table(name: str) -> bool:
    parts = name.split(".")
    return len(parts) <= 2 and all(part.strip() for part in parts)
