"""From a contact to the values of HubSpot's properties, by the mapping."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from hubspot_sync.rules.invalid import Invalid
from hubspot_sync.rules.mapping import (
    CONTACTS,
    Contact,
    Field,
    Generated,
    Lookup,
    ObjectType,
    PropertyMapping,
    normalise_email,
)
from hubspot_sync.rules.source import Value
from hubspot_sync.rules.value_types import ValueType, moment_text, written

Shaped = Mapping[str, str | Invalid]
"""A contact's values by property, without those that are empty."""

LookedUp = Mapping[str, Mapping[object, Mapping[str, Value]]]
"""By the lookup's name and the row's key: what the row's columns hold."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """What generated values are made of.

    Attributes:
        now: with its zone; the date of the run is that in UTC.
        run_id: the run's name.
    """

    now: datetime
    run_id: str = ""


def to_properties(
    contact: Contact,
    mapping: PropertyMapping,
    context: RunContext,
    object_type: ObjectType = CONTACTS,
) -> dict[str, str | Invalid]:
    """Map a contact with a usable email to HubSpot's properties.

    What the contact does not have is left out: an empty string would clear what HubSpot holds. So
    is what the portal has read-only.

    Args:
        contact: its email must have passed `email_fault`.
        mapping: fitted to the portal.
        context: what generated values are made of.
        object_type: the kind of record that it becomes.
    """
    found: dict[str, str | Invalid] = {
        object_type.key_property: normalise_email(contact.email or "")
    }
    columns, looked_up = dict(contact.values), dict(contact.looked_up)
    for line in mapping.fields:
        if line.generated:
            value: str | Invalid = _generated(line, line.generated, context)
        else:
            value = written(_raw(line, columns, looked_up), line.spec, line.transform)
        if value:
            found[line.property_name] = value
    return {name: value for name, value in found.items() if name not in mapping.read_only}


def value_of(contact: Contact, line: Field) -> str | Invalid:
    """Return the value that a line gives a contact; empty where it has none, or is generated."""
    raw = _raw(line, dict(contact.values), dict(contact.looked_up))
    return written(raw, line.spec, line.transform)


def looked_up(
    contacts: Iterable[Contact], lookups: Iterable[Lookup], found: LookedUp
) -> list[Contact]:
    """Return the contacts with what other tables have for them.

    Args:
        contacts: with the columns that hold the other tables' keys.
        lookups: the other tables.
        found: their rows.
    """
    tables = tuple(lookups)
    return [
        replace(
            contact,
            looked_up=tuple(
                (f"{table.name}.{column}", row.get(column))
                for table in tables
                if (row := found.get(table.name, {}).get(contact.value(table.on))) is not None
                for column in table.columns
            ),
        )
        for contact in contacts
    ]


def _raw(line: Field, columns: Mapping[str, Value], looked_up: Mapping[str, Value]) -> Value:
    if line.column is not None:
        return columns.get(line.column)
    return looked_up.get(line.lookup) if line.lookup is not None else line.constant


def _generated(line: Field, generated: Generated, context: RunContext) -> str:
    now = context.now.astimezone(UTC)
    day = now.date().isoformat()
    match generated:
        case Generated.RUN_ID:
            return context.run_id
        case Generated.TODAY if line.spec.type is ValueType.DATETIME:
            # A date property takes the bare date only; a datetime property wants the time too.
            return f"{day}T00:00:00.000Z"
        case Generated.NOW if line.spec.type is not ValueType.DATE:
            return moment_text(now)
    return day
