"""Contacts that share an email, and groups that turn out to be one HubSpot contact.

HubSpot refuses a request that names one contact twice, and the app's table has one row a domain and
email; so what shares an email is delivered once, and shares the outcome.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hubspot_sync.rules.identity import HubSpotRecord, Rename
from hubspot_sync.rules.invalid import Invalid
from hubspot_sync.rules.mapping import Contact
from hubspot_sync.rules.shaping import Shaped
from hubspot_sync.rules.source import Key

Properties = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Group:
    """Contacts with one email: one delivery, one fate.

    Attributes:
        email: normalised.
        members: in the order of their claims; later values win.
        properties: what we have for HubSpot, the email included, without what is empty.
        invalid: by property, the values that it cannot take, where no member has a valid one.
    """

    email: str
    members: tuple[Contact, ...]
    properties: Properties
    invalid: Mapping[str, Invalid] = field(default_factory=dict)

    @property
    def trace_id(self) -> str:
        """What HubSpot is asked to name this input by: a contact id of ours."""
        return str(self.members[0].id)

    @property
    def shaped(self) -> Shaped:
        """All values, valid or not."""
        return {**self.properties, **self.invalid}

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


def group_by_email(mapped: Iterable[tuple[Contact, Shaped]]) -> list[Group]:
    """Group contacts, each with the values it was mapped to, in the order of their claims."""
    by_email: dict[str, list[tuple[Contact, Shaped]]] = {}
    for contact, shaped in mapped:
        by_email.setdefault(str(shaped["email"]), []).append((contact, shaped))
    return [_group(email, sharing) for email, sharing in by_email.items()]


def _group(email: str, sharing: Sequence[tuple[Contact, Shaped]]) -> Group:
    values = merged(shaped for _, shaped in sharing)
    return Group(
        email=email,
        members=tuple(contact for contact, _ in sharing),
        properties=valid_ones(values),
        invalid=invalid_ones(values),
    )


def halves(items: Sequence[object]) -> tuple[slice, slice]:
    """Return where to cut a request in two."""
    middle = len(items) // 2
    return slice(middle), slice(middle, None)


def merged(shaped: Iterable[Shaped]) -> dict[str, str | Invalid]:
    """Return all values: later ones count over earlier ones, and valid ones over invalid ones."""
    found: dict[str, str | Invalid] = {}
    for each in shaped:
        found |= {
            name: value
            for name, value in each.items()
            if isinstance(value, str) or not isinstance(found.get(name), str)
        }
    return found


def valid_ones(shaped: Shaped) -> dict[str, str]:
    """Return the values that can be sent."""
    return {name: value for name, value in shaped.items() if isinstance(value, str)}


def invalid_ones(shaped: Shaped) -> dict[str, Invalid]:
    """Return the values that cannot be sent."""
    return {name: value for name, value in shaped.items() if isinstance(value, Invalid)}
