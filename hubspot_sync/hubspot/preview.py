"""What a run would do with contacts, found out by reading alone: a hundred in one request."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from uuid import UUID

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import Conflict, ContactRejected, NotFound, Unavailable
from hubspot_sync.hubspot.client import MOST_INPUTS, HubSpotClient
from hubspot_sync.hubspot.portal import explained
from hubspot_sync.report import PlannedAction, PlannedContact, PropertyChange
from hubspot_sync.rules.grouping import (
    Group,
    Properties,
    group_by_email,
    halves,
    merge_updates,
    read_look_up,
)
from hubspot_sync.rules.identity import AskRenames, HubSpotRecord, is_record_id, is_same_contact
from hubspot_sync.rules.mapping import Contact, PropertyMap, email_fault, to_properties
from hubspot_sync.rules.retry import REQUEST_TRIES
from hubspot_sync.sentences import Message

log = logging.getLogger(__name__)

_NOT_TOLD = Message(ErrorCode.CONTACT_NOT_MENTIONED)

Update = tuple[HubSpotRecord, Group, Properties]
Told = tuple[list[HubSpotRecord], frozenset[str]]


def preview(
    client: HubSpotClient,
    mapping: PropertyMap,
    contacts: Sequence[Contact],
    today: date,
    faults: Mapping[UUID, Message] | None = None,
    *,
    may_be_renamed: AskRenames,
) -> list[PlannedContact]:
    """Return of each contact what a run would do, in the order given.

    Args:
        client: speaks to HubSpot.
        mapping: how this portal's properties are filled.
        contacts: in the order of their claims.
        today: the date in UTC.
        faults: why some contacts would fail before anything is sent.
        may_be_renamed: asked where a contact's record would get its new address.

    Raises:
        HubSpotDown: HubSpot does not answer, or not as it should.
    """
    plans: dict[UUID, PlannedContact] = {}
    mapped: list[tuple[Contact, Properties]] = []
    for contact in contacts:
        notice, fault = (faults or {}).get(contact.id), email_fault(contact.email)
        if notice or fault:
            action = PlannedAction.FAIL if notice else PlannedAction.REJECT
            plans[contact.id] = PlannedContact(
                contact.id, contact.email, action, message=notice or fault
            )
        else:
            mapped.append((contact, to_properties(contact, mapping, today)))
    groups = group_by_email(mapped)
    names = sorted(
        {name for group in groups for name in group.properties}
        | {client.names.domain_id, client.names.page_id}
    )
    looked = _Looked(client, names, may_be_renamed)
    with explained():
        for start in range(0, len(groups), MOST_INPUTS):
            looked.look(groups[start : start + MOST_INPUTS])
    for planned in looked.plans():
        plans[planned.id] = planned
    return [plans[contact.id] for contact in contacts]


class _Looked:
    """What was found of the groups so far."""

    def __init__(
        self, client: HubSpotClient, names: Sequence[str], may_be_renamed: AskRenames
    ) -> None:
        self._client = client
        self._may_be_renamed = may_be_renamed
        self._names = names
        self._updates: list[Update] = []
        self._creates: list[Group] = []
        self._unknown: list[Group] = []

    def look(self, groups: Sequence[Group]) -> None:
        """Look up to a hundred groups up, by email and then by the ids that were stored."""
        by_email = {group.email: group for group in groups}
        records, missing = self._read(list(by_email), by_email=True)
        look_up = read_look_up(groups, records, missing)
        self._updates += [(record, group, group.without_email) for group, record in look_up.found]
        self._unknown += look_up.undecided
        self._look_by_id(look_up.unknown)

    def _look_by_id(self, groups: Sequence[Group]) -> None:
        stored_ids = {group.contact.hubspot_contact_id or "" for group in groups}
        records, gone = self._read(sorted(filter(is_record_id, stored_ids)), by_email=False)
        by_id = {record.id: record for record in records}
        renames: list[tuple[HubSpotRecord, Group]] = []
        for group in groups:
            stored_id = group.contact.hubspot_contact_id or ""
            record = by_id.get(stored_id)
            if record and group.email in record.emails:
                self._updates.append((record, group, group.without_email))
            elif record and any(
                is_same_contact(record, each, self._client.names) for each in group.members
            ):
                renames.append((record, group))
            elif record or stored_id in gone or not is_record_id(stored_id):
                self._creates.append(group)
            else:
                # An id that the answer passes over is not known to be gone.
                self._unknown.append(group)
        self._ask_renames(renames)

    def _ask_renames(self, renames: Sequence[tuple[HubSpotRecord, Group]]) -> None:
        """A contact's new address would go to its record, if that is the contact's alone."""
        if not renames:
            return
        free = self._may_be_renamed([group.rename_of(record) for record, group in renames])
        for record, group in renames:
            if record.id in free:
                self._updates.append((record, group, group.properties))
            else:
                self._creates.append(group)

    def _read(self, keys: Sequence[str], *, by_email: bool, tries: int = REQUEST_TRIES) -> Told:
        """Read keys; where HubSpot refuses the request as a whole, in halves."""
        if not keys:
            return [], frozenset()
        try:
            return self._client.read_batch(keys, self._names, by_email=by_email, tries=tries)
        except Unavailable:
            # HubSpot itself is away where even a small read gets no answer.
            self._client.probe()
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
        records = {record.id: record for record, _, _ in self._updates}
        merged = merge_updates(
            (record.id, group, properties) for record, group, properties in self._updates
        )
        for update in merged:
            record = records[update.record_id]
            yield from _planned(update.groups, record, update.properties, PlannedAction.UPDATE)
        for group in self._creates:
            yield from _planned([group], None, group.properties, PlannedAction.CREATE)
        for group in self._unknown:
            yield from _planned([group], None, {}, PlannedAction.UNKNOWN, _NOT_TOLD)


def _planned(
    groups: Collection[Group],
    record: HubSpotRecord | None,
    sent: Properties,
    action: PlannedAction,
    message: Message | None = None,
) -> Iterator[PlannedContact]:
    held: Mapping[str, str] = record.properties if record else {}
    changes = tuple(
        PropertyChange(name, held.get(name), value)
        for name, value in sent.items()
        if held.get(name) != value
    )
    for group in groups:
        for member in group.members:
            yield PlannedContact(
                member.id,
                member.email,
                action,
                hubspot_contact_id=record.id if record else None,
                message=message,
                changes=changes,
                unchanged=len(sent) - len(changes),
                shared_with=group.shared_with(member.id),
            )
