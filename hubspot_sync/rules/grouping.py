"""Contacts that share an email, and groups that turn out to be one HubSpot contact.

HubSpot refuses a request that names one contact twice, and the app's table has one row a domain and
email; so what shares an email is delivered once, and shares the outcome.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from hubspot_sync.rules.identity import HubSpotRecord, Rename
from hubspot_sync.rules.mapping import Contact

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

    def shared_with(self, contact_id: UUID) -> tuple[UUID, ...]:
        """Return the other contacts of the group."""
        return tuple(each.id for each in self.members if each.id != contact_id)

    def rename_of(self, record: HubSpotRecord) -> Rename:
        """Return what it would mean to give a record this group's address."""
        return Rename(record.id, record.primary_email, frozenset(each.id for each in self.members))

    @property
    def without_email(self) -> Properties:
        """What an update is told: never the email, which might be a secondary one there."""
        return {name: value for name, value in self.properties.items() if name != "email"}


def group_by_email(mapped: Iterable[tuple[Contact, Properties]]) -> list[Group]:
    """Group contacts, each with the properties it was mapped to, in the order of their claims."""
    by_email: dict[str, list[tuple[Contact, Properties]]] = {}
    for contact, properties in mapped:
        by_email.setdefault(properties["email"], []).append((contact, properties))
    return [
        Group(
            email=email,
            members=tuple(contact for contact, _ in sharing),
            properties=_merged(properties for _, properties in sharing),
        )
        for email, sharing in by_email.items()
    ]


@dataclass(frozen=True, slots=True)
class RecordUpdate:
    """One HubSpot record to update, for every group that turned out to be it.

    Attributes:
        record_id: proven by an answer of this run.
        groups: two of them where a primary and a secondary address of one contact meet.
        properties: merged; the email only where the contact itself has a new one.
    """

    record_id: str
    groups: tuple[Group, ...]
    properties: Properties

    @property
    def trace_id(self) -> str:
        """What HubSpot is asked to name this input by."""
        return self.groups[0].trace_id


def merge_updates(updates: Iterable[tuple[str, Group, Properties]]) -> list[RecordUpdate]:
    """Merge updates of one record into one, for HubSpot refuses a record that is named twice."""
    by_record: dict[str, list[tuple[Group, Properties]]] = {}
    for record_id, group, properties in updates:
        by_record.setdefault(record_id, []).append((group, properties))
    return [
        RecordUpdate(
            record_id=record_id,
            groups=tuple(group for group, _ in entries),
            properties=_merged(properties for _, properties in entries),
        )
        for record_id, entries in by_record.items()
    ]


@dataclass(frozen=True, slots=True)
class LookUp:
    """What a look-up by email told.

    Attributes:
        found: groups with the record that has their address.
        unknown: groups that HubSpot said it does not have.
        undecided: groups of which the answer said nothing.
    """

    found: list[tuple[Group, HubSpotRecord]]
    unknown: list[Group]
    undecided: list[Group]


def read_look_up(
    groups: Sequence[Group], records: Iterable[HubSpotRecord], missing: Collection[str]
) -> LookUp:
    """Place groups by what HubSpot answered; an address that is another's secondary one counts."""
    by_email = {email: record for record in records for email in record.emails}
    look_up = LookUp([], [], [])
    for group in groups:
        if group.email in by_email:
            look_up.found.append((group, by_email[group.email]))
        elif group.email in missing:
            look_up.unknown.append(group)
        else:
            look_up.undecided.append(group)
    return look_up


def halves(items: Sequence[object]) -> tuple[slice, slice]:
    """Return where to cut a request in two."""
    middle = len(items) // 2
    return slice(middle), slice(middle, None)


def _merged(properties: Iterable[Properties]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for each in properties:
        merged |= each
    return merged
