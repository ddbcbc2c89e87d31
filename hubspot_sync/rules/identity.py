"""Which HubSpot record is this contact: answered from a record that was read, never from memory."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hubspot_sync.rules.mapping import Contact, PropertyMapping, normalise_email
from hubspot_sync.rules.shaping import value_of
from hubspot_sync.rules.source import Key
from hubspot_sync.rules.value_types import TypeSpec, is_equal, is_same_moment

_RECORD_ID = re.compile(r"[0-9]{1,20}")
_NOT_DIALLED = re.compile(r"\(0\)|[^0-9]")

# So many digits of a phone number tell it from others; a country's code has no more than these.
_FEWEST_DIGITS = 5
_MOST_COUNTRY_DIGITS = 3

_AS_IT_IS = TypeSpec()


def is_record_id(text: str) -> bool:
    """Tell whether HubSpot could have given this id to a record."""
    return _RECORD_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class HubSpotRecord:
    """A HubSpot contact as an answer showed it.

    Attributes:
        id: the record id that the answer named, which can differ from the one asked for.
        properties: the properties asked for, without those that are empty.
    """

    id: str
    properties: Mapping[str, str]

    @property
    def primary_email(self) -> str | None:
        """The address that HubSpot shows for the contact."""
        email = self.properties.get("email")
        return normalise_email(email) if email else None

    @property
    def emails(self) -> frozenset[str]:
        """The primary and the secondary addresses, in lower case."""
        secondary = self.properties.get("hs_additional_emails", "").split(";")
        return frozenset(
            normalise_email(email) for email in (self.primary_email, *secondary) if email
        )


def is_same_contact(record: HubSpotRecord, contact: Contact, mapping: PropertyMapping) -> bool:
    """Tell whether a record read under a stored id is still this contact's.

    A stored id alone proves nothing: the database may have been restored from elsewhere, the token
    may open another portal, the record may have been merged into another. What the mapping names as
    proof, and what we wrote there, does prove it.
    """
    if record.id != contact.hubspot_contact_id:
        return False
    pairs = [
        (mapping.spec_of(name), ours, record.properties.get(name, ""))
        for name in mapping.proof
        if (ours := _proof(contact, mapping, name))
    ]
    return bool(pairs) and all(is_equal(spec, ours, theirs) for spec, ours, theirs in pairs)


def _proof(contact: Contact, mapping: PropertyMapping, name: str) -> str:
    line = mapping.field_of(name)
    # A date is no proof of anything, and neither is what all contacts share.
    value = value_of(contact, line) if line and (line.column or line.lookup) else ""
    return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class Rename:
    """A record, found under a stored id, whose primary address would become another one.

    Attributes:
        primary_email: the address that it would lose; None where it has none.
        members: the contacts of ours that ask for it.
    """

    record_id: str
    primary_email: str | None
    members: frozenset[Key]


@dataclass(frozen=True, slots=True)
class Bearer:
    """A row of the table with a record's id, or with an address.

    Attributes:
        email: normalised.
    """

    contact_id: Key
    hubspot_contact_id: str | None
    email: str | None


AskRenames = Callable[[Sequence[Rename]], frozenset[str]]
"""Returns the ids of those records that may be renamed, as the table has it now."""


def free_to_rename(renames: Iterable[Rename], bearers: Iterable[Bearer]) -> frozenset[str]:
    """Return the ids of the records that no other contact of ours has a part in.

    The ScraperSky ids tell which page a contact comes from, not who it is: two people on one page
    bear the same ones, and one email on two domains is two contacts with one record. So a record is
    renamed only where no other row stores its id, and none has the address that it would lose.

    Args:
        renames: what is asked.
        bearers: all rows of the table with one of these record ids or addresses.
    """
    rows = list(bearers)

    def is_free(rename: Rename) -> bool:
        return not any(
            row.contact_id not in rename.members
            and (
                row.hubspot_contact_id == rename.record_id
                or (row.email is not None and row.email == rename.primary_email)
            )
            for row in rows
        )

    return frozenset(rename.record_id for rename in renames if is_free(rename))


def holds_what_was_sent(
    record: HubSpotRecord, properties: Mapping[str, str], mapping: PropertyMapping
) -> bool:
    """Tell whether a record that was read shows every property that was sent to it.

    This is for writes whose answer was lost. The email counts where it is among the addresses, and
    a value where HubSpot writes it otherwise than we do.
    """
    return all(
        value in record.emails
        if name == "email"
        else is_same_value(name, value, record.properties.get(name, ""), mapping.spec_of(name))
        for name, value in properties.items()
    )


def is_same_value(name: str, sent: str, held: str, spec: TypeSpec = _AS_IT_IS) -> bool:
    """Tell whether HubSpot holds a value that was sent, perhaps in a form of its own.

    It may complete a phone number by the country's code, and write a moment with fewer digits.
    """
    if is_equal(spec, sent, held):
        return True
    if name == "phone":
        return _is_same_number(sent, held)
    return is_same_moment(sent, held)


def _is_same_number(sent: str, held: str) -> bool:
    """Tell whether one number's digits, the zeros it is dialled with left out, end the other's."""
    ours, theirs = (_NOT_DIALLED.sub("", text).lstrip("0") for text in (sent, held))
    shorter, longer = sorted((ours, theirs), key=len)
    return (
        longer.endswith(shorter)
        and len(shorter) >= _FEWEST_DIGITS
        and len(longer) - len(shorter) <= _MOST_COUNTRY_DIGITS
    )
