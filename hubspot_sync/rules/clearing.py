"""Whether a record's value may be cleared: only where no other row of the contact has one.

Several rows can be one contact of HubSpot's. What one of them lacks another may have delivered, so
an empty value of ours clears HubSpot's only once the table was asked, last before the write.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hubspot_sync.rules.mapping import Contact, PropertyMapping, normalise_email
from hubspot_sync.rules.shaping import value_of
from hubspot_sync.rules.source import Key


@dataclass(frozen=True, slots=True)
class Clearing:
    """A record of which values would be cleared.

    Attributes:
        emails: its addresses and the contacts', in lower case.
        properties: those that would be cleared.
        members: the contacts of ours that have no value there.
    """

    record_id: str
    emails: frozenset[str]
    properties: frozenset[str]
    members: frozenset[Key]


AskClearings = Callable[[Sequence[Clearing]], Mapping[str, frozenset[str]]]
"""Returns by record id those properties that may be cleared, as the table has it now.

A record that is left out keeps everything.
"""


def clear_nothing(_: Sequence[Clearing]) -> Mapping[str, frozenset[str]]:
    """Answer that no value may be cleared: nobody can tell what other rows hold."""
    return {}


def free_to_clear(
    clearings: Iterable[Clearing], rows: Iterable[Contact], mapping: PropertyMapping
) -> dict[str, frozenset[str]]:
    """Return by record id the properties for which no other row has a value, be it invalid.

    Args:
        clearings: what is asked.
        rows: all rows of the table with one of these record ids or addresses.
        mapping: fitted to the portal.
    """
    others = [(row, normalise_email(row.email or "")) for row in rows]
    return {
        each.record_id: each.properties
        - {
            name
            for row, email in others
            if row.id not in each.members
            and (row.hubspot_contact_id == each.record_id or email in each.emails)
            for name in each.properties
            if (line := mapping.field_of(name)) is not None and value_of(row, line)
        }
        for each in clearings
    }
