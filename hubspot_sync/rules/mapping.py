"""What a contact is, and what HubSpot is told about it.

To add a custom property, start at `CustomProperty` and `custom_properties`: the one table there
drives the mapping, `create-properties` and the checks of a run.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

from hubspot_sync.codes import ErrorCode
from hubspot_sync.sentences import Message

MAX_EMAIL_LENGTH = 254
"""The longest address that mail itself can carry (RFC 5321)."""

_WHITE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")
# What Python takes for white space (\x0b, \x0c, \x1c to \x1f, \x85) separates words, so it stays.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")

PROPERTY_GROUP = "contactinformation"


@dataclass(frozen=True, slots=True)
class Contact:
    """One row of the contacts table, as far as HubSpot is concerned.

    Attributes:
        id: the row's key, which no other system knows.
        hubspot_contact_id: HubSpot's record id from an earlier sync; unproven until it is read.
    """

    id: UUID
    email: str | None = None
    name: str | None = None
    phone_number: str | None = None
    domain_id: str | None = None
    page_id: str | None = None
    hubspot_contact_id: str | None = None

    @property
    def sent_values(self) -> tuple[str | None, ...]:
        """The values that a delivery carries; an edit of one of them needs another delivery."""
        return (self.email, self.name, self.phone_number, self.domain_id, self.page_id)


@dataclass(frozen=True, slots=True)
class CustomProperty:
    """A HubSpot property of our own, as `create-properties` makes it.

    Attributes:
        role: which value of the contact fills it: `domain_id`, `page_id` or `sync_date`.
        name: its internal name in HubSpot, from the settings.
        type: HubSpot's type of the values.
        field_type: HubSpot's form field.
        label: what people see in HubSpot.
    """

    role: str
    name: str
    type: str
    field_type: str
    label: str


@dataclass(frozen=True, slots=True)
class PropertyNames:
    """The internal names of the custom properties in this portal."""

    domain_id: str = "scrapersky_domain_id"
    page_id: str = "scrapersky_page_id"
    sync_date: str = "scrapersky_sync_date"


def custom_properties(names: PropertyNames) -> tuple[CustomProperty, ...]:
    """Return the table of our custom properties under the names of this portal."""
    return (
        CustomProperty("domain_id", names.domain_id, "string", "text", "ScraperSky Domain ID"),
        CustomProperty("page_id", names.page_id, "string", "text", "ScraperSky Page ID"),
        CustomProperty("sync_date", names.sync_date, "date", "date", "ScraperSky Sync Date"),
    )


@dataclass(frozen=True, slots=True)
class PropertyDefinition:
    """What HubSpot says about a property that it has."""

    name: str
    type: str
    field_type: str
    read_only: bool = False


def differences(wanted: CustomProperty, found: PropertyDefinition) -> list[str]:
    """Name what HubSpot's property has otherwise than `create-properties` would make it."""
    told = []
    if found.type != wanted.type:
        told.append(f"type is {found.type}, not {wanted.type}")
    if found.field_type != wanted.field_type:
        told.append(f"field type is {found.field_type}, not {wanted.field_type}")
    if found.read_only:
        told.append("it is read-only, so it is not filled")
    return told


@dataclass(frozen=True, slots=True)
class PropertyMap:
    """How this run fills the custom properties, learnt from the portal once a run.

    Attributes:
        names: the internal names.
        sync_date_type: HubSpot's type of the sync date, which decides how a date is written.
        read_only: internal names that HubSpot would refuse to have written.
    """

    names: PropertyNames = field(default_factory=PropertyNames)
    sync_date_type: str = "date"
    read_only: frozenset[str] = frozenset()


def property_map(names: PropertyNames, found: Mapping[str, PropertyDefinition]) -> PropertyMap:
    """Fit the mapping to the property definitions that the portal really has."""
    return PropertyMap(
        names=names,
        sync_date_type=found[names.sync_date].type,
        read_only=frozenset(name for name, definition in found.items() if definition.read_only),
    )


def normalise_email(email: str) -> str:
    """Return the address as HubSpot keeps it: trimmed and in lower case."""
    return email.strip().lower()


def email_fault(email: str | None) -> Message | None:
    """Say why HubSpot need not even be asked about this address; None if it could be an email.

    Deliberately lenient: what only might be wrong is for HubSpot to judge.
    """
    if email is None or not email.strip():
        return Message(ErrorCode.NO_EMAIL)
    address = normalise_email(email)
    local, at, domain = address.rpartition("@")
    if not at or not local or not domain:
        fault = "an address has one @ with something on either side"
    elif _WHITE_OR_CONTROL.search(address):
        fault = "an address has no blanks or control characters"
    elif "." not in domain.strip("."):
        fault = "the part after the @ has a dot"
    elif len(address) > MAX_EMAIL_LENGTH:
        fault = f"an address has {MAX_EMAIL_LENGTH} characters at most"
    else:
        return None
    return Message(ErrorCode.EMAIL_CANNOT_BE_ONE, fault=fault)


def split_name(name: str | None) -> tuple[str | None, str | None]:
    """Split a name at its first run of white space into first and last name."""
    parts = _clean(name).split(maxsplit=1)
    first = parts[0] if parts else None
    last = parts[1] if len(parts) > 1 else None
    return first, last


STANDARD_PROPERTIES = ("email", "firstname", "lastname", "phone")
"""HubSpot's own properties that the mapping fills."""


def to_properties(contact: Contact, mapping: PropertyMap, today: date) -> dict[str, str]:
    """Map a contact with a usable email to HubSpot's properties.

    What the contact does not have is left out: an empty string would clear what HubSpot holds.

    Args:
        contact: its email must have passed `email_fault`.
        mapping: how this portal's custom properties are filled.
        today: the date in UTC.
    """
    first, last = split_name(contact.name)
    values = {
        "email": normalise_email(contact.email or ""),
        "firstname": first,
        "lastname": last,
        "phone": _clean(contact.phone_number),
        mapping.names.domain_id: _clean(contact.domain_id),
        mapping.names.page_id: _clean(contact.page_id),
        mapping.names.sync_date: _sync_date(today, mapping.sync_date_type),
    }
    return {
        name: value for name, value in values.items() if value and name not in mapping.read_only
    }


def _sync_date(today: date, hubspot_type: str) -> str:
    # A date property takes the bare date only; a datetime property wants the time spelt out.
    if hubspot_type == "datetime":
        return f"{today.isoformat()}T00:00:00.000Z"
    return today.isoformat()


def _clean(text: str | None) -> str:
    return _CONTROL.sub("", text or "").strip()
