"""What one write will do, decided before it, once and for everybody.

Both lanes, the dry run and whatever looks ahead ask `plan`; which record a contact is, is decided
nowhere else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum

from hubspot_sync.rules.grouping import Group, merged
from hubspot_sync.rules.identity import HubSpotRecord, is_record_id, is_same_contact, is_same_moment
from hubspot_sync.rules.mapping import ObjectType, PropertyMapping


class WriteKind(StrEnum):
    """What a write does to HubSpot."""

    CREATE = "create"
    UPDATE = "update"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Change:
    """What a write makes of one property; `before` is None where it is empty."""

    property_name: str
    before: str | None
    after: str


@dataclass(frozen=True, slots=True)
class PlannedWrite:
    """One write.

    Attributes:
        kind: nothing where HubSpot holds all of it already.
        record_id: None for a create.
        changes: what is sent, and what it takes the place of.
        same: how many of our values HubSpot holds already.
    """

    kind: WriteKind
    record_id: str | None
    changes: tuple[Change, ...]
    same: int = 0

    @property
    def properties(self) -> dict[str, str]:
        """What is sent."""
        return {change.property_name: change.after for change in self.changes}


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
    """

    by_email: HubSpotRecord | Absence = Absence.NOT_ASKED
    by_id: HubSpotRecord | Absence = Absence.NOT_ASKED
    may_rename: bool | None = None


class Need(Enum):
    """What has to be found out before a write can be planned."""

    STORED_RECORD = "read the record under the stored id"
    RENAME = "ask whether the record may get a new address"
    CARE = "look the contact up alone, for an answer passed it over"


@dataclass(frozen=True, slots=True)
class Target:
    """The record that a group is.

    Attributes:
        record: as it was read; None where the group gets a new one.
        takes_key: its primary address becomes the group's.
    """

    record: HubSpotRecord | None
    takes_key: bool = False


def plan(
    group: Group, seen: Seen, mapping: PropertyMapping, object_type: ObjectType
) -> PlannedWrite | Need:
    """Return what a write of one group does, or what has to be found out first."""
    target = target_of(group, seen, mapping)
    if isinstance(target, Need):
        return target
    return plan_for([(group, target)], mapping, object_type)


def target_of(group: Group, seen: Seen, mapping: PropertyMapping) -> Target | Need:
    """Decide which record a group is, or what has to be found out first.

    A stored id counts only for a record that was read, and that has the group's address, or proves
    to be ours and no other contact's.
    """
    if isinstance(seen.by_email, HubSpotRecord):
        return Target(seen.by_email)
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
        return Target(record)
    if not any(is_same_contact(record, each, mapping) for each in group.members):
        return Target(None)
    if seen.may_rename is None:
        return Need.RENAME
    return Target(record, takes_key=True) if seen.may_rename else Target(None)


def plan_for(
    entries: Sequence[tuple[Group, Target]], mapping: PropertyMapping, object_type: ObjectType
) -> PlannedWrite:
    """Return the one write for all groups that turned out to be one record.

    Later values count over earlier ones. The address is sent with a create, and to a record that
    gets a new one; else it might be a secondary one there. A stamp travels only with another
    change.
    """
    record = entries[0][1].record
    wanted = merged(
        group.properties if record is None or target.takes_key else _without(group, object_type)
        for group, target in entries
    )
    if record is None:
        return PlannedWrite(WriteKind.CREATE, None, _changes(wanted, {}))
    changes = _changes(wanted, record.properties)
    if all(change.property_name in mapping.stamps for change in changes):
        changes = ()
    kind = WriteKind.UPDATE if changes else WriteKind.NOTHING
    return PlannedWrite(kind, record.id, changes, same=len(wanted) - len(changes))


def _without(group: Group, object_type: ObjectType) -> Mapping[str, str]:
    return {
        name: value for name, value in group.properties.items() if name != object_type.key_property
    }


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
    targets: Iterable[tuple[Group, Target]], mapping: PropertyMapping, object_type: ObjectType
) -> list[RecordPlan]:
    """Plan one write a record, for HubSpot refuses a record that is named twice.

    Two groups meet in one record where one has its primary and the other a secondary address.
    """
    by_record: dict[str, list[tuple[Group, Target]]] = {}
    for group, target in targets:
        key = target.record.id if target.record else f"new {group.email}"
        by_record.setdefault(key, []).append((group, target))
    return [
        RecordPlan(tuple(group for group, _ in entries), plan_for(entries, mapping, object_type))
        for entries in by_record.values()
    ]


def _changes(wanted: Mapping[str, str], held: Mapping[str, str]) -> tuple[Change, ...]:
    return tuple(
        Change(name, held.get(name), value)
        for name, value in wanted.items()
        if not _is_held(value, held.get(name))
    )


def _is_held(value: str, held: str | None) -> bool:
    return held is not None and (value == held or is_same_moment(value, held))
