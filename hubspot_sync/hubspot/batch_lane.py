"""The batch lane: a hundred contacts in two requests, and every one of them accounted for.

Look up, create the unknown, update the known; what an answer leaves open goes through the careful
lane, one by one. Outcomes are handed out as soon as they are certain.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import (
    Conflict,
    ContactRejected,
    EveryoneRefused,
    Interrupted,
    NotFound,
    PropertyMissing,
    QuotaSpent,
    Unavailable,
)
from hubspot_sync.hubspot.careful_lane import CarefulLane
from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.rules.accounting import Account, Input, account
from hubspot_sync.rules.grouping import (
    Group,
    LookUp,
    Properties,
    RecordUpdate,
    halves,
    merge_updates,
    read_look_up,
)
from hubspot_sync.rules.identity import (
    AskRenames,
    HubSpotRecord,
    holds_what_was_sent,
    is_record_id,
    is_same_contact,
)
from hubspot_sync.rules.reaction import account_full, is_unexplained, not_confirmed
from hubspot_sync.rules.retry import REQUEST_TRIES
from hubspot_sync.rules.settlement import Delivered, Outcome, Released, Stopped
from hubspot_sync.rules.verdict import EVERYONE, outcome_of

Ends = list[tuple[Group, Outcome]]
Item = TypeVar("Item", Group, RecordUpdate)
Told = TypeVar("Told")


class BatchLane:
    """Upserts up to a hundred groups at a time, for one worker.

    Args:
        client: speaks to HubSpot.
        careful: takes what a batch cannot place.
        may_be_renamed: asked last before an update that sends a new address.

    Attributes:
        in_request: the groups of the request under way; after a stop, of the request refused.
        unconfirmed: groups that a write without an answer may have changed.
    """

    def __init__(
        self, client: HubSpotClient, careful: CarefulLane, may_be_renamed: AskRenames
    ) -> None:
        self.client = client
        self._careful = careful
        self._may_be_renamed = may_be_renamed
        self._refusals_in_a_row = 0
        self._left: list[Group] = []
        self._updates: list[tuple[str, Group, Properties]] = []
        self._renames: list[tuple[HubSpotRecord, Group]] = []
        self._property_missing: PropertyMissing | None = None
        self.in_request: list[Group] = []
        self.unconfirmed: list[Group] = []

    def begin(self) -> None:
        """Forget the last batch."""
        self._left, self._updates, self._renames = [], [], []
        self._property_missing = None
        self.in_request, self.unconfirmed = [], []

    def deliver(self, groups: Sequence[Group]) -> Iterator[Ends]:
        """Upsert groups, and yield what is certain as it becomes so; each group once.

        Raises:
            RunStopped: nothing can be delivered to anyone now; groups not yielded have no outcome.
            Interrupted: no further request may start.
        """
        yield from self._create(self._look_up(groups))
        others = self._ask_renames()
        yield from self._update_all()
        if others:
            yield from self._create(others)
            yield from self._update_all()
        for group in self._left:
            yield [(group, self.deliver_one(group))]

    def deliver_one(self, group: Group) -> Outcome:
        """Upsert one group through the careful lane."""
        self.in_request = [group]
        outcome = self._careful.deliver(group.contact, group.properties, group.members)
        self.in_request = []
        if isinstance(outcome, Released) and group in self.unconfirmed:
            return Stopped(not_confirmed(Interrupted(ErrorCode.RUN_ENDING)))
        return outcome

    def _look_up(self, groups: Sequence[Group]) -> list[Group]:
        """Find out which groups HubSpot has, and return those that it must be given."""

        def read(part: Sequence[Group], tries: int) -> LookUp:
            emails = [group.email for group in part]
            records, missing = self.client.read_batch(emails, by_email=True, tries=tries)
            return read_look_up(part, records, missing)

        unknown: list[Group] = []
        for part, look_up in self._in_parts(groups, read):
            if look_up is None:
                self._left += part
                continue
            unknown += look_up.unknown
            self._left += look_up.undecided
            self._updates += [
                (record.id, group, group.without_email) for group, record in look_up.found
            ]
        return self._look_up_stored_ids(unknown)

    def _look_up_stored_ids(self, unknown: list[Group]) -> list[Group]:
        """Find contacts whose address is new, under the ids that earlier syncs stored."""
        names = self.client.names

        def read(
            part: Sequence[Group], tries: int
        ) -> tuple[dict[str, HubSpotRecord], frozenset[str]]:
            stored_ids = sorted({group.contact.hubspot_contact_id or "" for group in part})
            ours = (names.domain_id, names.page_id)
            records, gone = self.client.read_batch(stored_ids, ours, by_email=False, tries=tries)
            return {record.id: record for record in records}, gone

        creates = [group for group in unknown if not _may_be_stored(group)]
        stored = [group for group in unknown if _may_be_stored(group)]
        for part, told in self._in_parts(stored, read):
            if told is None:
                self._left += part
                continue
            records, gone = told
            for group in part:
                record = records.get(group.contact.hubspot_contact_id or "")
                if record and group.email in record.emails:
                    self._updates.append((record.id, group, group.without_email))
                elif record and any(is_same_contact(record, each, names) for each in group.members):
                    self._renames.append((record, group))
                elif record or group.contact.hubspot_contact_id in gone:
                    creates.append(group)
                else:
                    # An id that the answer passes over is not known to be gone.
                    self._left.append(group)
        return creates

    def _ask_renames(self) -> list[Group]:
        """Send a new address to records that are the contact's alone; return the other groups.

        Those get a record of their own.
        """
        if not self._renames:
            return []
        free = self._may_be_renamed([group.rename_of(record) for record, group in self._renames])
        self._updates += [
            (record.id, group, group.properties)
            for record, group in self._renames
            if record.id in free
        ]
        return [group for record, group in self._renames if record.id not in free]

    def _update_all(self) -> Iterator[Ends]:
        updates, self._updates = self._updates, []
        yield from self._update(merge_updates(updates))

    def _create(self, groups: Sequence[Group]) -> Iterator[Ends]:
        for part, told in self._in_parts(groups, self._send_creates, writes=True):
            by_trace = {group.trace_id: group for group in part}
            yield self._read_account(told, by_trace, created=True)
            self._stop_if_property_missing()

    def _send_creates(self, part: Sequence[Group], tries: int) -> Account:
        """Send creates; where the answer is lost, look before they are sent again."""
        inputs = [Input(group.trace_id, email=group.email) for group in part]
        for failed_tries in range(1, tries + 1):
            try:
                sent = [(group.trace_id, group.properties) for group in part]
                return account(inputs, self.client.create_batch(sent, tries=tries))
            except Unavailable as trouble:
                if not trouble.outcome_unknown:
                    raise
                try:
                    seen = self._what_was_created(part)
                    if seen.confirmed or seen.refused:
                        return seen
                    if failed_tries == tries:
                        raise
                    self.client.transport.wait(trouble.wait_seconds, failed_tries)
                except (Interrupted, Unavailable) as end:
                    # What the create did is still not known, whatever kept us from looking.
                    end.outcome_unknown = True
                    raise
                except QuotaSpent as spent:
                    spent.kept_back = False
                    raise
        raise AssertionError("the last try returns or raises")

    def _what_was_created(self, part: Sequence[Group]) -> Account:
        """Ask the record store what a create whose answer was lost has done."""
        names = sorted({name for group in part for name in group.properties})
        emails = [group.email for group in part]
        records, missing = self.client.read_batch(emails, names, by_email=True)
        look_up = read_look_up(part, records, missing)
        seen = Account(unnamed=[group.trace_id for group in look_up.unknown + look_up.undecided])
        for group, record in look_up.found:
            if holds_what_was_sent(record, group.properties):
                seen.confirmed[group.trace_id] = record
            else:
                there = Conflict(
                    ErrorCode.HOLDS_IT_ALREADY, words="the email", existing_id=record.id
                )
                seen.refused[group.trace_id] = there
        return seen

    def _update(self, updates: Sequence[RecordUpdate]) -> Iterator[Ends]:
        def send(part: Sequence[RecordUpdate], tries: int) -> Account:
            inputs = [Input(each.trace_id, record_id=each.record_id) for each in part]
            sent = [(each.trace_id, each.record_id, each.properties) for each in part]
            return account(inputs, self.client.update_batch(sent, tries=tries))

        for part, told in self._in_parts(updates, send, writes=True):
            by_trace = {each.trace_id: each for each in part}
            yield self._read_account(told, by_trace, created=False)
            self._stop_if_property_missing()

    def _stop_if_property_missing(self) -> None:
        # Only once the good ones of the answer have been handed out.
        if self._property_missing is not None:
            raise self._property_missing

    def _read_account(
        self,
        told: Account | None,
        by_trace: dict[str, Item],
        *,
        created: bool,
    ) -> Ends:
        """Turn an account into outcomes; keep for later what it leaves open."""
        told = told or Account(unnamed=list(by_trace))
        ends: Ends = []
        for trace_id, record in told.confirmed.items():
            delivered = Delivered(record.id, created=created)
            ends += [(group, delivered) for group in _groups([by_trace[trace_id]])]
        for trace_id in told.unnamed:
            self._left += _groups([by_trace[trace_id]])
        is_full = created and self._account_is_full(told)
        for trace_id, error in told.refused.items():
            groups = _groups([by_trace[trace_id]])
            if isinstance(error, PropertyMissing):
                self._property_missing = error
                self.in_request += groups
            elif isinstance(error, ContactRejected):
                is_limit = is_full and is_unexplained(error)
                outcome = outcome_of(account_full(error) if is_limit else error)
                ends += [(group, outcome) for group in groups]
            elif created and isinstance(error, Conflict) and error.existing_id:
                self._updates += [
                    (error.existing_id, group, group.without_email) for group in groups
                ]
            else:
                self._left += groups
        return ends

    def _account_is_full(self, told: Account) -> bool:
        """Look, once an answer, whether creates are refused because there are too many contacts."""
        return any(map(is_unexplained, told.refused.values())) and self.client.account_is_full()

    def _in_parts(
        self,
        items: Sequence[Item],
        send: Callable[[Sequence[Item], int], Told],
        *,
        writes: bool = False,
        tries: int = REQUEST_TRIES,
    ) -> Iterator[tuple[Sequence[Item], Told | None]]:
        """Send items in one request; where it is refused as a whole, in halves.

        Yields:
            Each part with what was told of it; None for a single item that is refused, which the
            careful lane then explains.
        """
        if not items:
            return
        self.in_request = _groups(items)
        try:
            told = send(items, tries)
        except Interrupted as end:
            self._note_write(writes and end.outcome_unknown)
            raise
        except Unavailable as trouble:
            self._note_write(writes and trouble.outcome_unknown)
            self._count_refusal(trouble)
            tries = 1
        except (ContactRejected, Conflict, NotFound):
            # HubSpot does not say which one it is; halving finds out.
            self._refusals_in_a_row = 0
        else:
            self._refusals_in_a_row = 0
            self.in_request = []
            yield items, told
            return
        self.in_request = []
        if len(items) == 1:
            yield items, None
            return
        for half in halves(items):
            yield from self._in_parts(items[half], send, writes=writes, tries=tries)

    def _note_write(self, may_be_done: bool) -> None:
        # A write without an answer may have been carried out.
        if may_be_done:
            self.unconfirmed += self.in_request

    def _count_refusal(self, trouble: Unavailable) -> None:
        """Tell a request that HubSpot cannot take from a HubSpot that takes none."""
        self._careful.require_hubspot(trouble)
        self._refusals_in_a_row += 1
        if self._refusals_in_a_row < EVERYONE:
            return
        if trouble.rate_limited:
            raise EveryoneRefused(ErrorCode.RATE_LIMIT, trouble=trouble.message) from trouble
        raise EveryoneRefused(
            ErrorCode.HUBSPOT_TAKES_NO_WRITES, what="request", refusal=trouble.message
        ) from trouble


def _may_be_stored(group: Group) -> bool:
    return is_record_id(group.contact.hubspot_contact_id or "")


def _groups(items: Sequence[Group] | Sequence[RecordUpdate]) -> list[Group]:
    return list(
        chain.from_iterable(
            each.groups if isinstance(each, RecordUpdate) else (each,) for each in items
        )
    )
