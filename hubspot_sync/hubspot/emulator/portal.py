"""What one HubSpot account holds: contacts, properties, and which address or old id leads where."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from hubspot_sync.hubspot.emulator.answers import Json, iso
from hubspot_sync.hubspot.emulator.definitions import full_definition
from hubspot_sync.hubspot.emulator.standard_properties import standard_definitions
from hubspot_sync.hubspot.emulator.values import normal_email


@dataclass(frozen=True, slots=True)
class Contact:
    """A record; a write replaces it, so that a refused batch is undone by putting it back."""

    id: str
    properties: dict[str, str]
    additional_emails: tuple[str, ...]
    created_at: float
    updated_at: float
    searchable_at: float

    def emails(self) -> tuple[str, ...]:
        """Return all its addresses, the primary one first."""
        primary = self.properties.get("email")
        return (primary, *self.additional_emails) if primary else self.additional_emails

    def value(self, name: str) -> str | None:
        """Return what a property shows, those included that HubSpot itself fills in."""
        match name:
            case "createdate":
                return iso(self.created_at)
            case "lastmodifieddate":
                return iso(self.updated_at)
            case "hs_object_id":
                return self.id
            case "hs_additional_emails":
                return ";".join(self.additional_emails) or None
        return self.properties.get(name)

    def plain(self) -> Json:
        """Return what `Account.contacts` shows of it."""
        emails = list(self.additional_emails)
        return {"id": self.id, "properties": dict(self.properties), "additional_emails": emails}


class Portal:
    """What one HubSpot account holds."""

    def __init__(self, now: float) -> None:
        self.contacts: dict[str, Contact] = {}
        self.ids_by_email: dict[str, str] = {}
        self.merged_into: dict[str, str] = {}
        self.properties = standard_definitions(now)
        self.archived: dict[str, Json] = {}
        self.required: set[str] = set()
        self.blocked: set[str] = set()
        self._ids = count(20_001)

    def find(self, contact_id: str) -> Contact | None:
        """Return the live record of an id, or of the record that it was merged into."""
        while contact_id in self.merged_into:
            contact_id = self.merged_into[contact_id]
        return self.contacts.get(contact_id)

    def find_by_email(self, email: str) -> Contact | None:
        """Return the owner of an address, primary or additional."""
        return self.contacts.get(self.ids_by_email.get(normal_email(email), ""))

    def add(
        self, values: Mapping[str, str], emails: Iterable[str], now: float, *, searchable_at: float
    ) -> Contact:
        """Store a new contact under an id of its own."""
        kept = {name: value for name, value in values.items() if value}
        additional = tuple(email for email in dict.fromkeys(emails) if email != kept.get("email"))
        contact_id = str(next(self._ids))
        return self.put(Contact(contact_id, kept, additional, now, now, searchable_at))

    def put(self, contact: Contact) -> Contact:
        """Store a contact in place of the one that has its id."""
        self._free_emails(contact.id)
        self.contacts[contact.id] = contact
        self.ids_by_email |= dict.fromkeys(contact.emails(), contact.id)
        return contact

    def remove(self, contact_id: str) -> None:
        """Delete a contact, if it is there, and free its addresses."""
        self._free_emails(contact_id)
        self.contacts.pop(contact_id, None)

    def merge(self, primary: Contact, other: Contact, now: float) -> Contact:
        """Make one new contact of two; where both have a value, the primary one's stays."""
        self.remove(primary.id)
        self.remove(other.id)
        values = other.properties | primary.properties
        emails = (*primary.emails(), *other.emails())
        merged = self.add(values, emails, now, searchable_at=now)
        self.merged_into |= {primary.id: merged.id, other.id: merged.id}
        return merged

    def define(self, given: Mapping[str, Any], now: float) -> Json:
        """Create a property; an archived name comes back, and with it the contacts' old values."""
        archived = self.archived.pop(given["name"], {})
        definition = full_definition(given, now)
        definition["createdAt"] = archived.get("createdAt", definition["createdAt"])
        self.properties[given["name"]] = definition
        return definition

    def archive(self, name: str, now: float) -> None:
        """Hide a property; contacts keep its values."""
        definition = self.properties.pop(name)
        self.archived[name] = definition | {"archived": True, "archivedAt": iso(now)}

    def snapshot(self) -> tuple[dict[str, Contact], dict[str, str]]:
        """Return what `restore` needs to undo the writes that follow."""
        return dict(self.contacts), dict(self.ids_by_email)

    def restore(self, snapshot: tuple[dict[str, Contact], dict[str, str]]) -> None:
        """Undo what was written since the snapshot."""
        self.contacts, self.ids_by_email = snapshot

    def _free_emails(self, contact_id: str) -> None:
        if contact_id in self.contacts:
            for email in self.contacts[contact_id].emails():
                del self.ids_by_email[email]
