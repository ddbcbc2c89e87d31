"""The mapping: which HubSpot property is filled from what, how it is shaped and when it is written.

To add a property to the built-in mapping, start at `built_in_mapping`: the one table there drives
what is sent, `create-properties` and the checks of a run. `config/default_mapping.toml` says the
same as a file, and a test holds the two together.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from hubspot_sync.codes import EmailFault, ErrorCode
from hubspot_sync.rules.source import Key, Value
from hubspot_sync.rules.transforms import Transform, TransformName
from hubspot_sync.rules.value_types import TypeSpec
from hubspot_sync.sentences import Message

MAX_EMAIL_LENGTH = 254
"""The longest address that mail itself can carry (RFC 5321)."""

_WHITE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")


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
        looked_up: what columns of other tables hold, by `lookup.column`.
    """

    id: Key
    email: str | None = None
    values: tuple[tuple[str, Value], ...] = ()
    hubspot_contact_id: str | None = None
    looked_up: tuple[tuple[str, Value], ...] = ()

    def value(self, column: str) -> Value:
        """Return what a column holds; None where it is empty or not mapped."""
        return dict(self.values).get(column)

    @property
    def sent_values(self) -> tuple[object, ...]:
        """The raw values that a delivery carries; an edit of one needs another delivery.

        What is looked up in other tables is not among them, and neither is what is generated.
        """
        return (self.email, *self.values)


@dataclass(frozen=True, slots=True)
class CustomProperty:
    """A HubSpot property of our own, as `create-properties` makes it.

    Attributes:
        name: its internal name in HubSpot.
        type: HubSpot's type of the values.
        field_type: HubSpot's form field.
        label: what people see in HubSpot.
        options: of an enumeration or a bool: internal values, each with its label.
    """

    name: str
    type: str
    field_type: str
    label: str
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PropertyDefinition:
    """What HubSpot says about a property that it has.

    Attributes:
        options: the internal values of its options.
        archived: it is in the portal's bin.
    """

    name: str
    type: str
    field_type: str
    read_only: bool = False
    options: tuple[str, ...] = ()
    archived: bool = False


class WritePolicy(StrEnum):
    """When a value of ours is sent to a record that exists."""

    ALWAYS = "always"
    IF_EMPTY = "if-empty"
    CREATE_ONLY = "create-only"
    IF_OURS = "if-ours"


class NullPolicy(StrEnum):
    """What becomes of HubSpot's value where ours is empty."""

    KEEP = "keep"
    CLEAR = "clear"


class OnInvalid(StrEnum):
    """What becomes of a contact with a value that its property cannot take."""

    REJECT = "reject"
    DROP = "drop"


class Generated(StrEnum):
    """Values that no column holds."""

    TODAY = "today"
    NOW = "now"
    RUN_ID = "run-id"


CLEARING_POLICIES = (WritePolicy.ALWAYS, WritePolicy.IF_OURS)
"""The write policies under which an empty value of ours may clear HubSpot's."""


@dataclass(frozen=True, slots=True)
class Field:
    """One line of the mapping. The value comes from exactly one of the first four places.

    Attributes:
        property_name: HubSpot's internal name.
        column: the source's column.
        constant: one value for all contacts.
        generated: the date, the time or the name of the run.
        lookup: a column of another table, as `lookup.column`.
        transform: how the value's text is shaped, in this order.
        type: how it is written.
        on_invalid: what becomes of a contact whose value the type cannot take.
        write: when it is sent to a record that exists.
        null: what becomes of HubSpot's value where there is none of ours.
        stamp: it travels with another change or with a create, and never by itself.
        create: what `create-properties` makes; None where HubSpot has it.
        fitted: the type with what the portal says of it; None before the portal was asked.
        line: where the mapping file has it; 0 where there is no file.
    """

    property_name: str
    column: str | None = None
    transform: tuple[Transform, ...] = ()
    constant: Value = None
    generated: Generated | None = None
    lookup: str | None = None
    type: TypeSpec = field(default_factory=TypeSpec)
    on_invalid: OnInvalid = OnInvalid.REJECT
    write: WritePolicy = WritePolicy.ALWAYS
    null: NullPolicy = NullPolicy.KEEP
    stamp: bool = False
    create: CustomProperty | None = None
    fitted: TypeSpec | None = None
    line: int = field(default=0, compare=False)

    @property
    def spec(self) -> TypeSpec:
        """How it is written, as far as that is known."""
        return self.fitted or self.type

    @property
    def origin(self) -> str:
        """Where the value comes from, in a word."""
        return str(self.column or self.generated or self.lookup or self.constant)


@dataclass(frozen=True, slots=True)
class Lookup:
    """Another table that fields take values from.

    Attributes:
        name: what the fields call it.
        table: its name; `schema.table` where the schema is to be named.
        key: its column that names a row.
        on: the source's column that holds that key.
        columns: its columns that fields read, each once.
    """

    name: str
    table: str
    key: str
    on: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PropertyMapping:
    """How contacts become HubSpot's records.

    Attributes:
        fields: a line for each property.
        proof: properties that show whose a record is which was found under a stored id.
        read_only: properties that HubSpot would refuse to have written.
        reject_emails: patterns of addresses that are placeholders, in lower case.
        lookups: other tables that fields take values from.
        file: the file it was read from; None for the built-in mapping, which is lenient with the
            portal: it leaves out what is read-only there, and takes any type.
    """

    fields: tuple[Field, ...]
    proof: tuple[str, ...] = ()
    read_only: frozenset[str] = frozenset()
    reject_emails: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    file: str | None = field(default=None, compare=False)

    @property
    def property_names(self) -> tuple[str, ...]:
        """The properties that it fills or proves by, each once."""
        return tuple(dict.fromkeys([*(each.property_name for each in self.fields), *self.proof]))

    @property
    def custom_properties(self) -> tuple[CustomProperty, ...]:
        """What `create-properties` makes."""
        return tuple(each.create for each in self.fields if each.create)

    @property
    def checked_properties(self) -> tuple[str, ...]:
        """What the portal is asked about before anything is written."""
        if self.file is None:
            return tuple(each.name for each in self.custom_properties)
        return self.property_names

    @property
    def stamps(self) -> frozenset[str]:
        """The properties that never travel by themselves."""
        return frozenset(each.property_name for each in self.fields if each.stamp)

    def field_of(self, property_name: str) -> Field | None:
        """Return the line of a property."""
        return next((each for each in self.fields if each.property_name == property_name), None)

    def spec_of(self, property_name: str) -> TypeSpec:
        """Return how a property's values are written."""
        line = self.field_of(property_name)
        return line.spec if line else TypeSpec()


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
            Field("firstname", "name", (Transform(TransformName.FIRST_WORD),)),
            Field("lastname", "name", (Transform(TransformName.AFTER_FIRST_WORD),)),
            Field("phone", "phone_number"),
            Field(names.domain_id, "domain_id", create=domain_id),
            Field(names.page_id, "page_id", create=page_id),
            Field(names.sync_date, generated=Generated.TODAY, stamp=True, create=sync_date),
        ),
        proof=(names.domain_id, names.page_id),
    )


def normalise_email(email: str) -> str:
    """Return the address as HubSpot keeps it: trimmed and in lower case."""
    return email.strip().lower()


def email_fault(email: str | None, reject_emails: tuple[str, ...] = ()) -> Message | None:
    """Say why HubSpot need not even be asked about this address; None if it could be an email.

    Deliberately lenient: what only might be wrong is for HubSpot to judge.

    Args:
        email: as the source has it.
        reject_emails: patterns of placeholders, in lower case.
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
        return _placeholder_fault(address, reject_emails)
    return Message(ErrorCode.EMAIL_CANNOT_BE_ONE, fault=fault, most=MAX_EMAIL_LENGTH)


def _placeholder_fault(address: str, reject_emails: tuple[str, ...]) -> Message | None:
    pattern = next((each for each in reject_emails if fnmatchcase(address, each)), None)
    if pattern is None:
        return None
    return Message(ErrorCode.EMAIL_PLACEHOLDER, pattern=pattern)


STANDARD_PROPERTIES = ("email", "firstname", "lastname", "phone")
"""HubSpot's own properties that the built-in mapping fills."""
