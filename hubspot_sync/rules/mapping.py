"""The mapping: which HubSpot property is filled from what, and how its value is shaped.

To add a property to the built-in mapping, start at `built_in_mapping`: the one table there drives
what is sent, `create-properties` and the checks of a run.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

from hubspot_sync.codes import EmailFault, ErrorCode
from hubspot_sync.rules.source import Key, Value
from hubspot_sync.sentences import Message

MAX_EMAIL_LENGTH = 254
"""The longest address that mail itself can carry (RFC 5321)."""

_WHITE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")
# What Python takes for white space (\x0b, \x0c, \x1c to \x1f, \x85) separates words, so it stays.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")


@dataclass(frozen=True, slots=True)
class ObjectType:
    """A kind of HubSpot record, as its API names it.

    Attributes:
        path: in the paths of the API.
        type_id: HubSpot's number of it.
        key_property: the property that records are looked up by.
        more_keys_property: the property that lists the other values of that key.
        group: the property group that new properties go into.
    """

    path: str
    type_id: str
    key_property: str
    more_keys_property: str
    group: str


CONTACTS = ObjectType(
    path="contacts",
    type_id="0-1",
    key_property="email",
    more_keys_property="hs_additional_emails",
    group="contactinformation",
)
"""HubSpot's contacts (HubSpot docs, "Contacts"); handed in by whoever builds the parts."""


@dataclass(frozen=True, slots=True)
class Contact:
    """One row of the source, as far as HubSpot is concerned.

    Attributes:
        id: the row's key, which no other system knows.
        values: what the mapped columns hold, by column.
        hubspot_contact_id: HubSpot's record id from an earlier sync; unproven until it is read.
    """

    id: Key
    email: str | None = None
    values: tuple[tuple[str, Value], ...] = ()
    hubspot_contact_id: str | None = None

    def value(self, column: str) -> Value:
        """Return what a column holds; None where it is empty or not mapped."""
        return dict(self.values).get(column)

    @property
    def sent_values(self) -> tuple[object, ...]:
        """The raw values that a delivery carries; an edit of one needs another delivery."""
        return (self.email, *self.values)


@dataclass(frozen=True, slots=True)
class CustomProperty:
    """A HubSpot property of our own, as `create-properties` makes it.

    Attributes:
        name: its internal name in HubSpot.
        type: HubSpot's type of the values.
        field_type: HubSpot's form field.
        label: what people see in HubSpot.
    """

    name: str
    type: str
    field_type: str
    label: str


class Transform(StrEnum):
    """How a column's text is shaped; the white space around it is always taken off."""

    FIRST_WORD = "first-word"
    AFTER_FIRST_WORD = "after-first-word"


@dataclass(frozen=True, slots=True)
class Field:
    """One line of the mapping.

    Attributes:
        property_name: HubSpot's internal name.
        column: the source's column; None for the date of the run.
        transform: how the column's text is shaped, in this order.
        stamp: it travels with another change or with a create, and never by itself.
        create: what `create-properties` makes; None where HubSpot has it.
        is_datetime: HubSpot has it as a point in time, which wants a date spelt out.
    """

    property_name: str
    column: str | None = None
    transform: tuple[Transform, ...] = ()
    stamp: bool = False
    create: CustomProperty | None = None
    is_datetime: bool = False


@dataclass(frozen=True, slots=True)
class PropertyMapping:
    """How contacts become HubSpot's records.

    Attributes:
        fields: a line for each property.
        proof: properties that show whose a record is which was found under a stored id.
        read_only: properties that HubSpot would refuse to have written.
    """

    fields: tuple[Field, ...]
    proof: tuple[str, ...] = ()
    read_only: frozenset[str] = frozenset()

    @property
    def property_names(self) -> tuple[str, ...]:
        """The properties that it fills or proves by, each once."""
        return tuple(dict.fromkeys([*(each.property_name for each in self.fields), *self.proof]))

    @property
    def custom_properties(self) -> tuple[CustomProperty, ...]:
        """What `create-properties` makes."""
        return tuple(each.create for each in self.fields if each.create)

    @property
    def stamps(self) -> frozenset[str]:
        """The properties that never travel by themselves."""
        return frozenset(each.property_name for each in self.fields if each.stamp)

    def field_of(self, property_name: str) -> Field | None:
        """Return the line of a property."""
        return next((each for each in self.fields if each.property_name == property_name), None)


@dataclass(frozen=True, slots=True)
class PropertyNames:
    """The internal names that the settings give the built-in mapping's custom properties."""

    domain_id: str = "scrapersky_domain_id"
    page_id: str = "scrapersky_page_id"
    sync_date: str = "scrapersky_sync_date"


def built_in_mapping(names: PropertyNames | None = None) -> PropertyMapping:
    """Return the mapping of ScraperSky's table."""
    names = names or PropertyNames()
    domain_id = CustomProperty(names.domain_id, "string", "text", "ScraperSky Domain ID")
    page_id = CustomProperty(names.page_id, "string", "text", "ScraperSky Page ID")
    sync_date = CustomProperty(names.sync_date, "date", "date", "ScraperSky Sync Date")
    return PropertyMapping(
        fields=(
            Field("firstname", "name", (Transform.FIRST_WORD,)),
            Field("lastname", "name", (Transform.AFTER_FIRST_WORD,)),
            Field("phone", "phone_number"),
            Field(names.domain_id, "domain_id", create=domain_id),
            Field(names.page_id, "page_id", create=page_id),
            Field(names.sync_date, stamp=True, create=sync_date),
        ),
        proof=(names.domain_id, names.page_id),
    )


BUILT_IN_COLUMNS = ("name", "phone_number", "domain_id", "page_id")
"""The columns that the built-in mapping reads."""


@dataclass(frozen=True, slots=True)
class PropertyDefinition:
    """What HubSpot says about a property that it has."""

    name: str
    type: str
    field_type: str
    read_only: bool = False


def differences(wanted: CustomProperty, found: PropertyDefinition) -> list[Message]:
    """Name what HubSpot's property has otherwise than `create-properties` would make it."""
    told = []
    if found.type != wanted.type:
        told.append(Message(ErrorCode.PROPERTY_TYPE, found=found.type, wanted=wanted.type))
    if found.field_type != wanted.field_type:
        told.append(
            Message(ErrorCode.PROPERTY_FIELD_TYPE, found=found.field_type, wanted=wanted.field_type)
        )
    if found.read_only:
        told.append(Message(ErrorCode.PROPERTY_READ_ONLY))
    return told


def fitted(mapping: PropertyMapping, found: Mapping[str, PropertyDefinition]) -> PropertyMapping:
    """Fit a mapping to the property definitions that the portal really has."""
    kinds = {name: definition.type for name, definition in found.items()}
    return replace(
        mapping,
        fields=tuple(
            replace(each, is_datetime=kinds.get(each.property_name) == "datetime")
            for each in mapping.fields
        ),
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
        fault = EmailFault.AT
    elif _WHITE_OR_CONTROL.search(address):
        fault = EmailFault.BLANK
    elif "." not in domain.strip("."):
        fault = EmailFault.DOT
    elif len(address) > MAX_EMAIL_LENGTH:
        fault = EmailFault.LENGTH
    else:
        return None
    return Message(ErrorCode.EMAIL_CANNOT_BE_ONE, fault=fault, most=MAX_EMAIL_LENGTH)


STANDARD_PROPERTIES = ("email", "firstname", "lastname", "phone")
"""HubSpot's own properties that the built-in mapping fills."""


def to_properties(
    contact: Contact, mapping: PropertyMapping, today: date, object_type: ObjectType = CONTACTS
) -> dict[str, str]:
    """Map a contact with a usable email to HubSpot's properties.

    What the contact does not have is left out: an empty string would clear what HubSpot holds.

    Args:
        contact: its email must have passed `email_fault`.
        mapping: fitted to the portal.
        today: the date in UTC.
        object_type: the kind of record that it becomes.
    """
    values = {object_type.key_property: normalise_email(contact.email or "")} | {
        each.property_name: value_of(contact, each, today) for each in mapping.fields
    }
    return {
        name: value for name, value in values.items() if value and name not in mapping.read_only
    }


def value_of(contact: Contact, line: Field, today: date) -> str:
    """Return the value that one line of the mapping gives a contact; empty where it has none."""
    if line.column is None:
        # A date property takes the bare date only; a datetime property wants the time spelt out.
        return f"{today.isoformat()}T00:00:00.000Z" if line.is_datetime else today.isoformat()
    text = _clean(contact.value(line.column))
    for transform in line.transform:
        text = _SHAPES[transform](text)
    return text


def _first_word(text: str) -> str:
    return next(iter(text.split(maxsplit=1)), "")


def _after_first_word(text: str) -> str:
    return next(iter(text.split(maxsplit=1)[1:]), "")


_SHAPES = {
    Transform.FIRST_WORD: _first_word,
    Transform.AFTER_FIRST_WORD: _after_first_word,
}


def _clean(value: Value) -> str:
    return "" if value is None else _CONTROL.sub("", str(value)).strip()
