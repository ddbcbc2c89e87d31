"""What one write will do, decided before it, once and for everybody.

Both lanes, the dry run and whatever looks ahead ask `plan`; which record a contact is, is decided
nowhere else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum

from hubspot_sync.rules.clearing import Clearing
from hubspot_sync.rules.grouping import Group, invalid_ones, merged, valid_ones
from hubspot_sync.rules.identity import HubSpotRecord, is_record_id, is_same_contact
from hubspot_sync.rules.mapping import Field, NullPolicy, ObjectType, PropertyMapping
from hubspot_sync.rules.policies import Change, Dropped, Kept, LastWritten, cleared, decided
from hubspot_sync.rules.shaping import Shaped


class WriteKind(StrEnum):
    """What a write does to HubSpot."""

    CREATE = "create"
    UPDATE = "update"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class PlannedWrite:
    """One write.

    Attributes:
        kind: nothing where HubSpot holds all of it already.
        record_id: None for a create.
        changes: what is sent, and what it takes the place of.
        same: how many of our values HubSpot holds already.
        kept: what of HubSpot's a policy keeps from being overwritten or cleared.
        dropped: values that their properties cannot take, which are left out.
    """

    kind: WriteKind
    record_id: str | None
    changes: tuple[Change, ...]
    same: int = 0
    kept: tuple[Kept, ...] = ()
    dropped: tuple[Dropped, ...] = ()

    @property
    def properties(self) -> dict[str, str]:
        """What is sent."""
        return {change.property_name: change.sent for change in self.changes}

    @property
    def cleared(self) -> tuple[str, ...]:
        """The properties that it empties."""
        return tuple(change.property_name for change in self.changes if change.clears)


class Absence(Enum):
    """Why there is no record to look at."""

    GONE = "HubSpot said that it has none"
    UNKNOWN = "HubSpot's answer did not speak of it"
    NOT_ASKED = "HubSpot was not asked yet"


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a group's record so far.

    Attributes:
        by_email: the record that has the group's address.
        by_id: the record under the id that an earlier sync stored.
        may_rename: whether that one may get the address; None where it was not asked yet.
        may_clear: the properties that may be cleared; None where it was not asked yet.
        last_written: what we last wrote to the record; None where there is no history.
    """

    by_email: HubSpotRecord | Absence = Absence.NOT_ASKED
    by_id: HubSpotRecord | Absence = Absence.NOT_ASKED
    may_rename: bool | None = None
    may_clear: frozenset[str] | None = None
    last_written: LastWritten | None = None


class Need(Enum):
    """What has to be found out before a write can be planned."""

    STORED_RECORD = "read the record under the stored id"
    RENAME = "ask whether the record may get a new address"
    CLEARING = "ask whether another row has a value for what would be cleared"
    CARE = "look the contact up alone, for an answer passed it over"


@dataclass(frozen=True, slots=True)
class Target:
    """The record that a group is.

    Attributes:
        record: as it was read; None where the group gets a new one.
        takes_key: its primary address becomes the group's.
        may_clear: as in `Seen`.
        last_written: as in `Seen`.
    """

    record: HubSpotRecord | None
    takes_key: bool = False
    may_clear: frozenset[str] | None = None
    last_written: LastWritten | None = None


def plan(
    group: Group, seen: Seen, mapping: PropertyMapping, object_type: ObjectType
) -> PlannedWrite | Need:
    """Return what a write of one group does, or what has to be found out first."""
    target = target_of(group, seen, mapping)
    if isinstance(target, Need):
        return target
    entry = (group, target)
    return Need.CLEARING if clearings([entry], mapping) else plan_for([entry], mapping, object_type)


def target_of(group: Group, seen: Seen, mapping: PropertyMapping) -> Target | Need:
    """Decide which record a group is, or what has to be found out first.

    A stored id counts only for a record that was read, and that has the group's address, or proves
    to be ours and no other contact's.
    """
    if isinstance(seen.by_email, HubSpotRecord):
        return _target(seen.by_email, seen)
    if seen.by_email is not Absence.GONE:
        return Need.CARE
    if not is_record_id(group.contact.hubspot_contact_id or ""):
        return Target(None)
    if seen.by_id is Absence.NOT_ASKED:
        return Need.STORED_RECORD
    if seen.by_id is Absence.UNKNOWN:
        return Need.CARE
    if isinstance(seen.by_id, HubSpotRecord):
        return _target_by_id(group, seen.by_id, seen, mapping)
    return Target(None)


def _target_by_id(
    group: Group, record: HubSpotRecord, seen: Seen, mapping: PropertyMapping
) -> Target | Need:
    if group.email in record.emails:
        return _target(record, seen)
    if not any(is_same_contact(record, each, mapping) for each in group.members):
        return Target(None)
    if seen.may_rename is None:
        return Need.RENAME
    return _target(record, seen, takes_key=True) if seen.may_rename else Target(None)


def _target(record: HubSpotRecord, seen: Seen, *, takes_key: bool = False) -> Target:
    return Target(record, takes_key, seen.may_clear, seen.last_written)


Entry = tuple[Group, Target]
"""A group, and the record that it is."""


def clearings(entries: Iterable[Entry], mapping: PropertyMapping) -> list[Clearing]:
    """Return what the table has to be asked about before these groups' writes can be planned.

    Args:
        entries: groups whose records are known; those that are one record are asked about as one.
        mapping: fitted to the portal.
    """
    if all(line.null is NullPolicy.KEEP for line in mapping.fields):
        return []
    return [
        clearing
        for sharing in by_record(entries)
        if any(target.may_clear is None for _, target in sharing)
        and (clearing := _clearing(sharing, mapping)) is not None
    ]


def _clearing(sharing: Sequence[Entry], mapping: PropertyMapping) -> Clearing | None:
    record = sharing[0][1].record
    if record is None:
        return None
    ours, memory = merged(group.shaped for group, _ in sharing), _memory(sharing)
    properties = frozenset(
        line.property_name
        for line in mapping.fields
        if _is_empty(line, ours, mapping)
        and isinstance(
            cleared(line, record.properties.get(line.property_name), memory, is_free=True), Change
        )
    )
    emails = record.emails.union(group.email for group, _ in sharing)
    members = frozenset(each.id for group, _ in sharing for each in group.members)
    return Clearing(record.id, emails, properties, members) if properties else None


def by_record(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Put together the groups that turned out to be one record."""
    found: dict[str, list[Entry]] = {}
    for group, target in entries:
        key = target.record.id if target.record else f"new {group.email}"
        found.setdefault(key, []).append((group, target))
    return list(found.values())


def plan_for(
    entries: Sequence[Entry], mapping: PropertyMapping, object_type: ObjectType
) -> PlannedWrite:
    """Return the one write for all groups that turned out to be one record.

    Their values are merged first: later ones count over earlier ones, and valid ones over invalid
    ones. The address is sent with a create, and to a record that gets a new one; else it might be
    a secondary one there. A stamp travels only with another change.
    """
    record = entries[0][1].record
    shaped = merged(
        group.shaped if record is None or target.takes_key else _without(group, object_type)
        for group, target in entries
    )
    ours = valid_ones(shaped)
    dropped = tuple(Dropped(name, each) for name, each in invalid_ones(shaped).items())
    if record is None:
        changes = tuple(Change(name, None, value) for name, value in ours.items())
        return PlannedWrite(WriteKind.CREATE, None, changes, dropped=dropped)
    return _update_of(record, shaped, _free(entries), _memory(entries), mapping, dropped)


def _update_of(
    record: HubSpotRecord,
    shaped: Shaped,
    free: frozenset[str],
    memory: LastWritten | None,
    mapping: PropertyMapping,
    dropped: tuple[Dropped, ...],
) -> PlannedWrite:
    ours, held = valid_ones(shaped), record.properties
    lines = {line.property_name: line for line in mapping.fields}
    ends = [
        decided(lines.get(name) or Field(name), value, held.get(name), memory)
        for name, value in ours.items()
    ]
    same = len(ours) - sum(end is not None for end in ends)
    ends += [
        cleared(line, held.get(name), memory, is_free=name in free)
        for name, line in lines.items()
        if _is_empty(line, shaped, mapping)
    ]
    changes = tuple(end for end in ends if isinstance(end, Change))
    kept = tuple(end for end in ends if isinstance(end, Kept))
    if all(change.property_name in mapping.stamps for change in changes):
        same, changes = same + len(changes), ()
    kind = WriteKind.UPDATE if changes else WriteKind.NOTHING
    return PlannedWrite(kind, record.id, changes, same, kept, dropped)


def _is_empty(line: Field, ours: Shaped, mapping: PropertyMapping) -> bool:
    """Tell whether a line gives no value; a read-only property is none of our business."""
    return line.property_name not in ours and line.property_name not in mapping.read_only


def _free(entries: Sequence[Entry]) -> frozenset[str]:
    """Return what may be cleared; nothing where the table was not asked for each group."""
    return frozenset.intersection(*(target.may_clear or frozenset() for _, target in entries))


def _memory(entries: Sequence[Entry]) -> LastWritten | None:
    memories = (target.last_written for _, target in entries)
    return next((each for each in memories if each is not None), None)


def _without(group: Group, object_type: ObjectType) -> Shaped:
    return {name: value for name, value in group.shaped.items() if name != object_type.key_property}


@dataclass(frozen=True, slots=True)
class RecordPlan:
    """The one write of a record, for every group that turned out to be it."""

    groups: tuple[Group, ...]
    write: PlannedWrite

    @property
    def trace_id(self) -> str:
        """What HubSpot is asked to name this input by."""
        return self.groups[0].trace_id


def plan_records(
    targets: Iterable[Entry], mapping: PropertyMapping, object_type: ObjectType
) -> list[RecordPlan]:
    """Plan one write a record, for HubSpot refuses a record that is named twice.

    Two groups meet in one record where one has its primary and the other a secondary address.
    """
    return [
        RecordPlan(tuple(group for group, _ in entries), plan_for(entries, mapping, object_type))
        for entries in by_record(targets)
    ]
