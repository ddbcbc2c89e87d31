"""Contacts that share an email, and groups that turn out to be one HubSpot contact.

HubSpot refuses a request that names one contact twice, and the app's table has one row a domain and
email; so what shares an email is delivered once, and shares the outcome.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hubspot_sync.rules.identity import HubSpotRecord, Rename
from hubspot_sync.rules.mapping import Contact
from hubspot_sync.rules.source import Key

Properties = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Group:
    """Contacts with one email: one delivery, one fate.

    Attributes:
        email: normalised.
        members: in the order of their claims; later values win.
        properties: what HubSpot is told, the email included.
    """

    email: str
    members: tuple[Contact, ...]
    properties: Properties

    @property
    def trace_id(self) -> str:
        """What HubSpot is asked to name this input by: a contact id of ours."""
        return str(self.members[0].id)

    @property
    def contact(self) -> Contact:
        """One contact that stands for the group: the last, with the last stored id there is."""
        stored = [each.hubspot_contact_id for each in self.members if each.hubspot_contact_id]
        return replace(self.members[-1], hubspot_contact_id=stored[-1] if stored else None)

    def shared_with(self, contact_id: Key) -> tuple[Key, ...]:
        """Return the other contacts of the group."""
        return tuple(each.id for each in self.members if each.id != contact_id)

    def rename_of(self, record: HubSpotRecord) -> Rename:
        """Return what it would mean to give a record this group's address."""
        return Rename(record.id, record.primary_email, frozenset(each.id for each in self.members))


def group_by_email(mapped: Iterable[tuple[Contact, Properties]]) -> list[Group]:
    """Group contacts, each with the properties it was mapped to, in the order of their claims."""
    by_email: dict[str, list[tuple[Contact, Properties]]] = {}
    for contact, properties in mapped:
        by_email.setdefault(properties["email"], []).append((contact, properties))
    return [
        Group(
            email=email,
            members=tuple(contact for contact, _ in sharing),
            properties=merged(properties for _, properties in sharing),
        )
        for email, sharing in by_email.items()
    ]


def halves(items: Sequence[object]) -> tuple[slice, slice]:
    """Return where to cut a request in two."""
    middle = len(items) // 2
    return slice(middle), slice(middle, None)


def merged(properties: Iterable[Properties]) -> dict[str, str]:
    """Return all properties; later values count over earlier ones."""
    found: dict[str, str] = {}
    for each in properties:
        found |= each
    return found
