"""Write policies: whether a value of ours is sent to a record, beside what the record holds.

What people typed into HubSpot is theirs: a value of ours that is not sent is on record with the
reason, so that a person can see what a mapping keeps from being overwritten.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256

from hubspot_sync.rules.invalid import Invalid
from hubspot_sync.rules.mapping import Field, NullPolicy, WritePolicy
from hubspot_sync.rules.value_types import SEPARATOR, ValueType, is_equal, options_of

LastWritten = Mapping[str, str]
"""What we last wrote to a record: by property, the `value_hash` of what HubSpot held afterwards."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a write makes of one property.

    Attributes:
        before: None where it is empty.
        after: empty where the write clears it.
        appends: options are added to those that are there.
    """

    property_name: str
    before: str | None
    after: str
    appends: bool = False

    @property
    def clears(self) -> bool:
        """Whether it empties the property."""
        return not self.after

    @property
    def sent(self) -> str:
        """What HubSpot is sent; options that are added stand behind a semicolon (HubSpot docs)."""
        if not self.appends or self.before is None:
            return self.after
        held = options_of(self.before)
        added = [each for each in self.after.split(SEPARATOR) if each not in held]
        return SEPARATOR.join(["", *added])


class WhyKept(Enum):
    """Why a record's property stays as it is, though ours differs."""

    HELD = "HubSpot has {held}"
    EXISTS = "the record exists, and only a new one gets a value here; HubSpot has {held}"
    EMPTIED = "it was filled by us once, and emptied in HubSpot since"
    NOT_OURS = "HubSpot has {held}, which is not what was last written"
    OTHER_ROW = "HubSpot has {held}, and another row of the same contact has a value"


@dataclass(frozen=True, slots=True)
class Kept:
    """A value of HubSpot's that a policy keeps from being overwritten or cleared.

    Attributes:
        ours: empty where HubSpot's would have been cleared.
        held: None where HubSpot has none.
    """

    property_name: str
    ours: str
    held: str | None
    why: WhyKept

    def __str__(self) -> str:
        held = "nothing" if self.held is None else self.held
        return f"kept: {self.why.value.format(held=held)}"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A value that its property cannot take, and that is left out."""

    property_name: str
    invalid: Invalid

    def __str__(self) -> str:
        return f"dropped: {self.invalid}"


def value_hash(value: str) -> str:
    """Return what is kept of a value that was written, in place of the value."""
    return sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def decided(
    line: Field, ours: str, held: str | None, last_written: LastWritten | None
) -> Change | Kept | None:
    """Decide about one value of ours for a record that exists.

    Args:
        line: its line of the mapping.
        ours: merged from all rows of the contact.
        held: what the record has, as it was just read; None where it has nothing.
        last_written: None where there is no history.

    Returns:
        None where HubSpot holds it already.
    """
    name = line.property_name
    if held is not None and is_equal(line.spec, ours, held):
        return None
    why = _why_kept(line, held, last_written)
    if why is not None:
        return Kept(name, ours, held, why)
    if held is not None and line.spec.appends and line.spec.type is ValueType.MULTI_CHECKBOX:
        together = dict.fromkeys([*held.split(SEPARATOR), *ours.split(SEPARATOR)])
        return Change(name, held, SEPARATOR.join(filter(None, together)), appends=True)
    return Change(name, held, ours)


def cleared(
    line: Field, held: str | None, last_written: LastWritten | None, *, is_free: bool
) -> Change | Kept | None:
    """Decide what becomes of a record's value where ours is empty.

    Args:
        line: as above.
        held: as above.
        last_written: as above.
        is_free: no other row of the contact has a value here.

    Returns:
        None where there is nothing to clear, or the mapping does not ask for it.
    """
    if held is None or line.null is not NullPolicy.CLEAR:
        return None
    name = line.property_name
    why = _why_kept(line, held, last_written)
    if why is None and not is_free:
        why = WhyKept.OTHER_ROW
    return Change(name, held, "") if why is None else Kept(name, "", held, why)


def _why_kept(line: Field, held: str | None, last_written: LastWritten | None) -> WhyKept | None:
    name, memory = line.property_name, last_written or {}
    match line.write:
        case WritePolicy.CREATE_ONLY:
            return WhyKept.EXISTS
        case WritePolicy.IF_EMPTY if held is not None:
            return WhyKept.HELD
        case WritePolicy.IF_EMPTY if name in memory:
            return WhyKept.EMPTIED
        case WritePolicy.IF_OURS if held is not None and memory.get(name) != value_hash(held):
            return WhyKept.NOT_OURS
    return None
