"""What a run would do with contacts, found out by reading alone: a hundred in one request."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import Conflict, ContactRejected, NotFound, Unavailable
from hubspot_sync.hubspot.careful_lane import Lanes
from hubspot_sync.hubspot.client import MOST_INPUTS
from hubspot_sync.hubspot.portal import explained
from hubspot_sync.report import PlannedAction, PlannedContact, PropertyChange
from hubspot_sync.rules.grouping import Group, group_by_email, halves
from hubspot_sync.rules.identity import HubSpotRecord
from hubspot_sync.rules.mapping import Contact, email_fault
from hubspot_sync.rules.plan import (
    Absence,
    Need,
    RecordPlan,
    Seen,
    Target,
    WriteKind,
    plan_records,
    target_of,
)
from hubspot_sync.rules.rejection import rejection_of
from hubspot_sync.rules.retry import REQUEST_TRIES
from hubspot_sync.rules.settlement import Rejected
from hubspot_sync.rules.shaping import RunContext, Shaped, to_properties
from hubspot_sync.rules.source import Key
from hubspot_sync.sentences import Message

log = logging.getLogger(__name__)

_NOT_TOLD = Message(ErrorCode.CONTACT_NOT_MENTIONED)

_ACTIONS = {
    WriteKind.CREATE: PlannedAction.CREATE,
    WriteKind.UPDATE: PlannedAction.UPDATE,
    WriteKind.NOTHING: PlannedAction.UNCHANGED,
}

Told = tuple[list[HubSpotRecord], frozenset[str]]


def preview(
    lanes: Lanes,
    contacts: Sequence[Contact],
    context: RunContext,
    faults: Mapping[Key, Message] | None = None,
) -> list[PlannedContact]:
    """Return of each contact what a run would do, in the order given.

    Args:
        lanes: what a run's lanes go by.
        contacts: in the order of their claims.
        context: what generated values are made of.
        faults: why some contacts would fail before anything is sent.

    Raises:
        HubSpotDown: HubSpot does not answer, or not as it should.
    """
    plans: dict[Key, PlannedContact] = {}
    mapped: list[tuple[Contact, Shaped]] = []
    for contact in contacts:
        notice = (faults or {}).get(contact.id)
        fault = email_fault(contact.email, lanes.mapping.reject_emails)
        if notice or fault:
            action = PlannedAction.FAIL if notice else PlannedAction.REJECT
            plans[contact.id] = PlannedContact(
                contact.id, contact.email, action, message=notice or fault
            )
        else:
            shaped = to_properties(contact, lanes.mapping, context, lanes.object_type)
            mapped.append((contact, shaped))
    groups: list[Group] = []
    for group in group_by_email(mapped):
        if rejection := rejection_of(group, lanes.mapping):
            plans |= {each.id: _rejected(each, group, rejection) for each in group.members}
        else:
            groups.append(group)
    looked = _Looked(lanes)
    with explained():
        for start in range(0, len(groups), MOST_INPUTS):
            looked.look(groups[start : start + MOST_INPUTS])
    for planned in looked.plans():
        plans[planned.id] = planned
    return [plans[contact.id] for contact in contacts]


class _Looked:
    """What was found of the groups so far."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._targets: list[tuple[Group, Target]] = []
        self._unknown: list[Group] = []

    def look(self, groups: Sequence[Group]) -> None:
        """Look up to a hundred groups up, by email and then by the ids that were stored."""
        seen = self._by_email(groups)
        seen |= self._by_stored_id(self._in_need_of(Need.STORED_RECORD, groups, seen), seen)
        seen |= self._renamed(self._in_need_of(Need.RENAME, groups, seen), seen)
        targets: list[tuple[Group, Target]] = []
        for group in groups:
            target = target_of(group, seen[group.email], self._lanes.mapping)
            if isinstance(target, Target):
                targets.append((group, target))
            else:
                self._unknown.append(group)
        freed = self._lanes.freed(targets)
        self._targets += [
            (group, replace(target, may_clear=freed.get(group.email, target.may_clear)))
            for group, target in targets
        ]

    def _in_need_of(
        self, need: Need, groups: Sequence[Group], seen: Mapping[str, Seen]
    ) -> list[Group]:
        return [
            group
            for group in groups
            if target_of(group, seen[group.email], self._lanes.mapping) is need
        ]

    def _by_email(self, groups: Sequence[Group]) -> dict[str, Seen]:
        records, missing = self._read([group.email for group in groups], by_email=True)
        found = {email: record for record in records for email in record.emails}
        return {
            group.email: Seen(
                by_email=found.get(group.email)
                or (Absence.GONE if group.email in missing else Absence.UNKNOWN)
            )
            for group in groups
        }

    def _by_stored_id(self, groups: Sequence[Group], seen: Mapping[str, Seen]) -> dict[str, Seen]:
        ids = {group.email: group.contact.hubspot_contact_id or "" for group in groups}
        records, gone = self._read(sorted(set(ids.values())), by_email=False)
        by_id = {record.id: record for record in records}
        # An id that the answer passes over is not known to be gone.
        return {
            email: replace(
                seen[email],
                by_id=by_id.get(key) or (Absence.GONE if key in gone else Absence.UNKNOWN),
            )
            for email, key in ids.items()
        }

    def _renamed(self, groups: Sequence[Group], seen: Mapping[str, Seen]) -> dict[str, Seen]:
        """A contact's new address would go to its record, if that is the contact's alone."""
        renames = {
            group.email: group.rename_of(record)
            for group in groups
            if isinstance(record := seen[group.email].by_id, HubSpotRecord)
        }
        free = self._lanes.may_be_renamed(list(renames.values())) if renames else ()
        return {
            email: replace(seen[email], may_rename=rename.record_id in free)
            for email, rename in renames.items()
        }

    def _read(self, keys: Sequence[str], *, by_email: bool, tries: int = REQUEST_TRIES) -> Told:
        """Read keys; where HubSpot refuses the request as a whole, in halves."""
        if not keys:
            return [], frozenset()
        client = self._lanes.client
        try:
            return client.read_batch(
                keys, self._lanes.read_properties, by_email=by_email, tries=tries
            )
        except Unavailable:
            # HubSpot itself is away where even a small read gets no answer.
            client.probe()
            tries = 1
        except (ContactRejected, Conflict, NotFound):
            log.debug("HubSpot refuses to look %d contacts up", len(keys))
        if len(keys) == 1:
            return [], frozenset()
        first, second = (
            self._read(keys[half], by_email=by_email, tries=tries) for half in halves(keys)
        )
        return first[0] + second[0], first[1] | second[1]

    def plans(self) -> Iterator[PlannedContact]:
        """Return the plan of every contact; those that meet in one record share it."""
        for each in plan_records(self._targets, self._lanes.mapping, self._lanes.object_type):
            yield from _planned(each)
        for group in self._unknown:
            for member in group.members:
                yield PlannedContact(
                    member.id,
                    member.email,
                    PlannedAction.UNKNOWN,
                    message=_NOT_TOLD,
                    shared_with=group.shared_with(member.id),
                )


def _rejected(contact: Contact, group: Group, rejection: Rejected) -> PlannedContact:
    return PlannedContact(
        contact.id,
        contact.email,
        PlannedAction.REJECT,
        message=rejection.message,
        shared_with=group.shared_with(contact.id),
    )


def _planned(record: RecordPlan) -> Iterator[PlannedContact]:
    write = record.write
    changes = tuple(
        PropertyChange(each.property_name, each.before, each.after) for each in write.changes
    )
    for group in record.groups:
        for member in group.members:
            yield PlannedContact(
                member.id,
                member.email,
                _ACTIONS[write.kind],
                hubspot_contact_id=write.record_id,
                changes=changes,
                unchanged=write.same,
                shared_with=group.shared_with(member.id),
                kept=write.kept,
                dropped=write.dropped,
            )
