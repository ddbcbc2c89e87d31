"""What one HubSpot account holds: contacts, properties, and which address or old id leads where."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from hubspot_sync.hubspot.emulator.answers import Json, iso
from hubspot_sync.hubspot.emulator.definitions import full_definition
from hubspot_sync.hubspot.emulator.history import Source, Write, bounded, changing, entries
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
    created_by: Source
    # Without the create, which the values themselves tell: a new contact needs no history.
    changes: tuple[Write, ...] = ()

    def history(self, name: str, limit: int) -> list[Json]:
        """Return the newest `limit` entries of a property's history, newest first."""
        value = self.properties.get(name, "")
        return entries((self.creation(), *self.changes), name, value, limit)

    def creation(self) -> Write:
        """Return the write that made it."""
        first = dict(self.properties)
        for write in reversed(self.changes):
            first |= zip(write.names, write.before, strict=True)
        names = tuple(name for name, value in first.items() if value)
        return Write(self.created_at, self.created_by, names, ("",) * len(names))

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
        self,
        values: Mapping[str, str],
        emails: Iterable[str],
        now: float,
        source: Source,
        *,
        searchable_at: float,
        changes: tuple[Write, ...] = (),
    ) -> Contact:
        """Store a new contact under an id of its own."""
        kept = {name: value for name, value in values.items() if value}
        additional = tuple(email for email in dict.fromkeys(emails) if email != kept.get("email"))
        contact_id = str(next(self._ids))
        return self.put(
            Contact(contact_id, kept, additional, now, now, searchable_at, source, changes)
        )

    def change(
        self, contact: Contact, values: Mapping[str, str], now: float, source: Source, limit: int
    ) -> Contact:
        """Write values into a contact; an empty one clears, and what stays equal makes no history.

        A history keeps the newest `limit` entries of each property.
        """
        held, additional = contact.properties, contact.additional_emails
        write = changing(held, values, now, source)
        if write and "email" in write.names and values["email"] in additional:
            # Not documented: taken to swap the two addresses rather than lose one.
            additional = tuple(each for each in contact.emails() if each != values["email"])
        changes = bounded((*contact.changes, write), limit) if write else contact.changes
        kept = {name: value for name, value in {**held, **values}.items() if value}
        return self.put(
            Contact(
                contact.id,
                kept,
                additional,
                contact.created_at,
                now,
                contact.searchable_at,
                contact.created_by,
                changes,
            )
        )

    def put(self, contact: Contact) -> Contact:
        """Store a contact in place of the one that has its id."""
        emails, before = contact.emails(), self.contacts.get(contact.id)
        if before is None or emails != before.emails():
            self._free_emails(contact.id)
            self.ids_by_email |= dict.fromkeys(emails, contact.id)
        self.contacts[contact.id] = contact
        return contact

    def remove(self, contact_id: str) -> None:
        """Delete a contact, if it is there, and free its addresses."""
        self._free_emails(contact_id)
        self.contacts.pop(contact_id, None)

    def merge(self, primary: Contact, other: Contact, now: float, source: Source) -> Contact:
        """Make one new contact of two; where both have a value, the primary one's stays.

        Its history is a guess: the primary one's, and the merge for what came from the other.
        """
        self.remove(primary.id)
        self.remove(other.id)
        values = other.properties | primary.properties
        write = changing(primary.properties, values, now, source)
        changes = (primary.creation(), *primary.changes, *((write,) if write else ()))
        emails = (*primary.emails(), *other.emails())
        merged = self.add(values, emails, now, source, searchable_at=now, changes=changes)
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
