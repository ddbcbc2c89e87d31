"""The queue as a state machine: workers, users, another CRM and time act in any order.

The machine keeps a small model beside the table: what is asked for, what each worker holds, what
HubSpot has. After every step the table is compared with what the two status columns promise.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import text

from hubspot_sync.rules.lifecycle import Claim, Row
from hubspot_sync.rules.settlement import Delivered, Failed, Outcome, Rejected, Released, Stopped
from hubspot_sync.rules.source import Key
from hubspot_sync.store.contact_queue import ContactQueue, Held
from hubspot_sync.store.marking import Marking
from hubspot_sync.store.selection import Selection
from tests.conftest import LEASE
from tests.messages import LABEL, said
from tests.tables import CONTACTS, Contacts

TableRow = dict[str, Any]
"""A contact as plain SQL shows it, its instants aware and in UTC."""

WORKERS = 3
RETRIES = 3
ATTEMPTS = RETRIES + 1
DELAY = timedelta(minutes=5)
SHARED = ("retry_count", "next_retry_at", "last_retry_at", "last_failed_crm")
CLEARED: TableRow = dict.fromkeys(SHARED) | {"retry_count": 0}
STATUSES = ("hubspot_sync_status", "hubspot_processing_status")
OURS = {*SHARED, *STATUSES, "hubspot_processing_error", "hubspot_contact_id", "updated_at"}
SENT = ("email", "name", "phone_number", "domain_id", "page_id")
INSTANTS = ("updated_at", "created_at", "next_retry_at", "last_retry_at")
DECISIONS = {None, "New", "Selected", "Queued", "Processing", "Complete", "Error", "Skipped"}
STATES = {None, "Queued", "Processing", "Complete", "Error"}

who = st.integers(0, 7)
minutes = st.sampled_from([1, 4, 6, 11, 25])
email = st.sampled_from(["ada@example.com", "bob@example.com", " Ada@Example.com"])
edit = st.fixed_dictionaries({"email": email}) | st.fixed_dictionaries(
    {"name": st.sampled_from(["Ada King", "Ada Byron"])}
)
is_stamped = st.booleans()
"""Whether the app stamps updated_at when it writes."""


def marked(decision: str | None, state: str | None) -> TableRow:
    return {"hubspot_sync_status": decision, "hubspot_processing_status": state}


decision = st.sampled_from(
    [
        marked("Selected", "Queued") | {"hubspot_processing_error": None},
        marked("Queued", "Queued"),
        marked("Selected", None),
        marked("New", None),
        {"hubspot_sync_status": "Selected"},
        {"hubspot_sync_status": "New"},
        {"hubspot_sync_status": "Skipped"},
        {"hubspot_processing_status": "Queued"},
        {"hubspot_processing_status": None},
    ]
)
"""What a user's decision writes, in the app or with plain SQL."""

start = st.sampled_from(
    [
        ("Selected", "Queued", 0),
        ("Queued", None, 0),
        ("New", None, 0),
        ("Skipped", "Queued", 0),
        ("Queued", "Error", 2),
        ("Queued", "Error", 3),
        ("Error", "Error", 3),
    ]
)
"""Decision, state and retry_count that a contact begins with."""

Ending = tuple[Outcome, bool]
ending = st.sampled_from(
    [
        "delivered",
        "failed",
        "failed at length",
        "rejected",
        "stopped",
        "stopped, though HubSpot has it",
    ]
)


@dataclass
class Asked:
    """What is asked for one contact, and what it has cost so far.

    Attributes:
        is_wanted: somebody wants it sent, and it was neither delivered nor given up since.
        spent: attempts of ours since it was asked for.
        other_crm: another CRM has had a hand in the shared columns, so `spent` proves nothing.
        confirmed: the record ids that HubSpot has given for it.
    """

    is_wanted: bool
    spent: int = 0
    other_crm: bool = False
    confirmed: set[str] = field(default_factory=set)


@dataclass
class Hold:
    """A claim in a worker's hands.

    Attributes:
        began: the row before the claim.
        retries: retries of ours that the contact had spent when it was claimed.
        minute: when it was claimed, by the machine's clock.
        asked: what was asked before the claim.
        outcome: how its delivery ended, if it did; a hold without one was never sent.
        is_taken_over: its lease ended, and another worker has the contact.
        is_overruled: others have written a status column since.
        is_touched: others have written the row since.
        has_successor: another worker has claimed it since, whether its lease had ended or not.
    """

    worker: int
    claim: Claim
    began: TableRow
    retries: int
    minute: int
    asked: Asked
    outcome: Outcome | None = None
    is_taken_over: bool = False
    is_overruled: bool = False
    is_touched: bool = False
    has_successor: bool = False

    @property
    def key(self) -> Key:
        return self.claim.contact.id

    @property
    def proof(self) -> TableRow:
        """HubSpot's record id, where it has confirmed the contact."""
        if isinstance(self.outcome, Delivered):
            return {"hubspot_contact_id": self.outcome.hubspot_contact_id}
        return {}


class HubSpot:
    """What HubSpot has: one record for each address."""

    def __init__(self) -> None:
        self.records: dict[str, str] = {}

    def upsert(self, address: str) -> Delivered:
        known = address.strip().lower()
        is_new = known not in self.records
        return Delivered(self.records.setdefault(known, str(501 + len(self.records))), is_new)


@dataclass(frozen=True)
class Sight:
    """The whole table at one moment."""

    rows: dict[Key, TableRow]
    now: datetime


def statuses(row: TableRow) -> tuple[str | None, str | None]:
    return row["hubspot_sync_status"], row["hubspot_processing_status"]


def are_ours(row: TableRow) -> bool:
    return row["last_failed_crm"] in (None, "hubspot")


def retries_of(row: TableRow) -> int:
    return int(row["retry_count"]) if are_ours(row) else 0


def is_wanted(row: TableRow) -> bool:
    """Whether the two columns ask for a delivery, now or later."""
    decision, state = statuses(row)
    if decision == "Skipped":
        return False
    by_state: dict[str | None, bool] = {
        "Queued": True,
        "Processing": decision in ("Processing", "Selected", "Queued"),
        "Error": decision == "Queued",
        "Complete": False,
        None: decision in ("Selected", "Queued"),
    }
    return by_state[state]


def is_over(row: TableRow, now: datetime) -> bool:
    return bool(row["updated_at"] <= now - LEASE)


def is_due(row: TableRow, now: datetime) -> bool:
    """The four kinds of due contacts, as the promise lists them."""
    if not is_wanted(row):
        return False
    if row["hubspot_processing_status"] == "Processing":
        return is_over(row, now)
    is_waiting = row["next_retry_at"] is not None and row["next_retry_at"] > now
    return not (is_waiting and are_ours(row))


def is_abandoned(row: TableRow, now: datetime) -> bool:
    """Whether a dead worker's mark is on a contact that nobody wants sent any more."""
    decision, state = statuses(row)
    is_marked = "Processing" in (decision, state)
    return is_marked and not is_wanted(row) and is_over(row, now)


def without_our_mark(row: TableRow) -> TableRow:
    """The row as its user left it: our Processing taken off, wherever they left it standing."""
    decision, state = statuses(row)
    if state == "Processing":
        return row | marked(decision, None)
    if decision == "Processing":
        return row | marked(state or "New", state)
    return row


def sent_values(row: TableRow) -> tuple[Any, ...]:
    return tuple(row[name] for name in SENT)


def foreign(row: TableRow) -> TableRow:
    return {name: value for name, value in row.items() if name not in OURS}


def aged(row: TableRow, ago: timedelta) -> TableRow:
    moved = {name: row[name] - ago for name in ("updated_at", "next_retry_at") if row[name]}
    return row | moved


def aged_claim(claim: Claim, ago: timedelta) -> Claim:
    before, updated_at = claim.before, claim.updated_at
    assert before.updated_at
    assert updated_at
    waits = before.next_retry_at
    earlier = replace(
        before,
        updated_at=before.updated_at - ago,
        next_retry_at=None if waits is None else waits - ago,
    )
    return replace(
        claim, before=earlier, updated_at=updated_at - ago, claimed_at=claim.claimed_at - ago
    )


class QueueMachine(RuleBasedStateMachine):
    """Everybody who has a hand in the table.

    Args:
        table: the contacts, emptied for each example.
        queue: what is tested.
        count_step: told of each step.
    """

    def __init__(
        self, table: Contacts, queue: ContactQueue, count_step: Callable[[], object]
    ) -> None:
        super().__init__()
        self.table = table
        self.queue = queue
        self.count_step = count_step
        self.hubspot = HubSpot()
        self.asked: dict[Key, Asked] = {}
        self.holds: list[Hold] = []
        self.minute = 0
        self.inserted = 0

    @initialize(starts=st.lists(start, min_size=3, max_size=3))
    def begin(self, starts: list[tuple[str, str | None, int]]) -> None:
        self.table.clear()
        for number, (decision, state, retries) in enumerate(starts):
            self._insert(["ada", "bob", "ada"][number] + "@example.com", decision, state, retries)

    # Workers

    @precondition(lambda self: self.idle)
    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        before = self.look()
        claims = self.queue.claim(limit)
        after = self.look()
        claimed = {claim.contact.id for claim in claims}
        self._check_choice(before, claimed, limit)
        for key, row in before.rows.items():
            if key not in claimed:
                freed = without_our_mark(row) if is_abandoned(row, before.now) else row
                # A claim that is full has not looked any further.
                is_left = len(claimed) == limit and after.rows[key] == row
                assert is_left or after.rows[key] == freed, "a claim writes what it claims or frees"
        worker = self.idle[0]
        for claim in claims:
            self._hold(worker, claim, before, after)

    @precondition(lambda self: self.idle and self.asked)
    @rule(who=who, force=st.booleans())
    def claim_one(self, who: int, force: bool) -> None:
        key = self.key(who)
        before = self.look()
        claim = self.queue.claim_one(key, force=force)
        after = self.look()
        row = before.rows[key]
        is_live = row["hubspot_processing_status"] == "Processing" and not is_over(row, before.now)
        is_skipped = row["hubspot_sync_status"] == "Skipped"
        assert isinstance(claim, Held) == (is_live or (is_skipped and not force))
        others = {each: row for each, row in before.rows.items() if each != key}
        assert {each: row for each, row in after.rows.items() if each != key} == others
        if isinstance(claim, Held):
            assert after.rows == before.rows, "who may not claim writes nothing"
        else:
            self._hold(self.idle[0], claim, before, after)
            self.asked[key].is_wanted = True

    @precondition(lambda self: self.unsent)
    @rule(pick=st.integers(0, 5), hows=st.lists(ending, min_size=1, max_size=3))
    def deliver(self, pick: int, hows: list[str]) -> None:
        for how in hows[: len(self.unsent)]:
            self._deliver(self.unsent[pick % len(self.unsent)], how)

    @precondition(lambda self: self.holds)
    @rule(pick=st.integers(0, 2), count=st.integers(1, 4), backwards=st.booleans())
    def settle(self, pick: int, count: int, backwards: bool) -> None:
        busy = sorted({hold.worker for hold in self.holds})
        held = self.held_by(busy[pick % len(busy)])
        self._settle(held[::-1][:count] if backwards else held[:count])

    @precondition(lambda self: self.idle)
    @rule(limit=st.integers(1, 3), hows=st.lists(ending, min_size=3, max_size=3))
    def run(self, limit: int, hows: list[str]) -> None:
        """A worker that nothing comes between."""
        worker = self.idle[0]
        self.claim(limit)
        held = self.held_by(worker)
        for hold, how in zip(held, hows, strict=False):
            self._deliver(hold, how)
        self._settle(held)

    @precondition(lambda self: self.holds)
    @rule(pick=st.integers(0, 2))
    def crash(self, pick: int) -> None:
        busy = sorted({hold.worker for hold in self.holds})
        dead = busy[pick % len(busy)]
        self.holds = [hold for hold in self.holds if hold.worker != dead]

    # Time

    @rule(minutes=minutes)
    def time_passes(self, minutes: int) -> None:
        ago = timedelta(minutes=minutes)
        self.table.age_all(ago)
        self.minute += minutes
        for hold in self.holds:
            hold.claim = aged_claim(hold.claim, ago)
            hold.began = aged(hold.began, ago)

    # Users and operators

    @precondition(lambda self: self.asked)
    @rule(who=who, decision=decision, stamped=is_stamped)
    def user_decides(self, who: int, decision: TableRow, stamped: bool) -> None:
        key = self.key(who)
        self._write(key, stamped, **decision)
        self.asked[key].is_wanted = is_wanted(self.look().rows[key])

    @precondition(lambda self: self.idle and self.holds and self.asked)
    @rule(who=who)
    def user_decides_anew_and_the_next_worker_comes(self, who: int) -> None:
        self.user_decides(who, marked("Selected", "Queued"), stamped=False)
        self.claim(limit=4)

    @precondition(lambda self: self.asked)
    @rule(who=who, edit=edit, stamped=is_stamped)
    def user_edits(self, who: int, edit: TableRow, stamped: bool) -> None:
        self._write(self.key(who), stamped, **edit)

    @precondition(lambda self: self.unsent and self.asked)
    @rule(pick=st.integers(0, 5), edit=edit)
    def user_edits_what_is_being_sent(self, pick: int, edit: TableRow) -> None:
        hold = self.unsent[pick % len(self.unsent)]
        if hold.key in self.asked:
            self._write(hold.key, False, **edit)
            self._deliver(hold, "delivered")

    @precondition(lambda self: len(self.asked) > 1)
    @rule(who=who)
    def user_deletes(self, who: int) -> None:
        key = self.key(who)
        self.table.delete(key)
        del self.asked[key]

    @precondition(lambda self: len(self.asked) < 4)
    @rule(email=email, start=start)
    def user_inserts(self, email: str, start: tuple[str, str | None, int]) -> None:
        self._insert(email, *start)

    @rule(who=st.none() | who)
    def operator_resets(self, who: int | None) -> None:
        named = [] if who is None or not self.asked else [self.key(who)]
        before = self.look()
        copied: list[Row] = []
        wanted = Selection(contact_ids=named, every=not named)
        marking = Marking(self.table.engine, CONTACTS, lease=LEASE)
        count, live = marking.reset(wanted, keep_copy=copied.extend)
        after = self.look()
        held = {row.contact.id for row in live}
        taken = {row.contact.id for row in copied}
        assert count == len(copied)
        assert taken.isdisjoint(held)
        for key, row in before.rows.items():
            if key in taken:
                assert not (is_wanted(row) and self._is_live(row, before.now))
                self._check_reset(key, row, after.rows[key])
            else:
                assert after.rows[key] == row, "what is not reset is left alone"

    # Another CRM

    @precondition(lambda self: self.asked)
    @rule(who=who, fails=st.booleans())
    def other_crm_syncs(self, who: int, fails: bool) -> None:
        key = self.key(who)
        columns: TableRow = {}
        if self.table.shape == "app":
            columns |= {"brevo_contact_id": "b-7", "brevo_sync_status": "Complete"}
        shared = self.table.row(key)
        if fails:
            columns |= {"retry_count": shared["retry_count"] + 1, "last_failed_crm": "brevo"}
            self.asked[key].other_crm = True
        elif shared["last_failed_crm"] == "brevo":
            columns |= CLEARED
        if columns:
            self._write(key, False, **columns)
        if fails:
            self.table.move(key, "next_retry_at", -DELAY)
            self.table.move(key, "last_retry_at", timedelta(0))

    # What holds after every step

    @invariant()
    def promises_hold(self) -> None:
        self.count_step()
        for key, row in self.look().rows.items():
            decision, state = statuses(row)
            asked = self.asked[key]
            assert is_wanted(row) == asked.is_wanted, "what is asked for is what the table says"
            assert decision in DECISIONS
            assert state in STATES
            assert len(row["hubspot_processing_error"] or "") <= 500
            if "Complete" in (decision, state):
                assert row["hubspot_contact_id"] in asked.confirmed, "HubSpot has confirmed it"

    def teardown(self) -> None:
        # After a failure there is nothing left to learn.
        if sys.exc_info()[0] is None and self.asked:
            self._check_that_all_comes_to_an_end()

    # The table and the model

    @property
    def idle(self) -> list[int]:
        return [number for number in range(WORKERS) if not self.held_by(number)]

    @property
    def unsent(self) -> list[Hold]:
        """Holds that can be sent: no request starts once the lease is over."""
        return [hold for hold in self.holds if hold.outcome is None and not self._is_late(hold)]

    def held_by(self, worker: int) -> list[Hold]:
        return [hold for hold in self.holds if hold.worker == worker]

    def key(self, who: int) -> Key:
        """Return a contact, more often one that a worker holds."""
        held = [hold.key for hold in self.holds if hold.key in self.asked]
        keys = held + list(self.asked)
        return keys[who % len(keys)]

    def look(self) -> Sight:
        now = "strftime('%Y-%m-%d %H:%M:%f', 'now')" if self.table.shape == "sqlite" else "now()"
        while True:
            with self.table.engine.begin() as connection:
                moment = _instant(connection.execute(text(f"SELECT {now}")).scalar_one())
                found = connection.execute(text("SELECT * FROM contacts")).mappings().all()
            rows = [_normal(dict(row)) for row in found]
            # SQLite tells time in milliseconds: two writes in one of them would have no order.
            if all(row["updated_at"] < moment for row in rows):
                return Sight({row["id"]: row for row in rows}, moment)

    def _is_late(self, hold: Hold) -> bool:
        return timedelta(minutes=self.minute - hold.minute) >= LEASE

    def _is_live(self, row: TableRow, now: datetime) -> bool:
        return row["hubspot_processing_status"] == "Processing" and not is_over(row, now)

    def _insert(self, email: str, decision: str, state: str | None, retries: int) -> None:
        columns = marked(decision, state) | {"retry_count": retries}
        if retries:
            columns["last_failed_crm"] = "hubspot"
        # Keys in the order of their making, so that an example can be played again.
        self.inserted += 1
        key = str(UUID(int=self.inserted))
        self.table.add(email, name="Ada", id=key, **columns)
        row = self.look().rows[key]
        self.asked[key] = Asked(is_wanted(row), spent=retries)

    def _write(self, key: Key, stamped: bool, **columns: Any) -> None:
        self.table.change(key, **columns)
        if stamped:
            self.table.move(key, "updated_at", timedelta(0))
        for hold in self.holds:
            hold.is_touched |= hold.key == key
            hold.is_overruled |= hold.key == key and not columns.keys().isdisjoint(STATUSES)

    # Claims

    def _check_choice(self, before: Sight, claimed: set[Key], limit: int) -> None:
        due = {key for key, row in before.rows.items() if is_due(row, before.now)}
        left = {key for key in due if before.rows[key]["hubspot_processing_status"] == "Processing"}
        assert claimed <= due
        assert len(claimed) <= limit
        lone = {key for key in left if retries_of(before.rows[key])}
        if lone:
            assert len(claimed) == 1
            assert claimed <= lone, "what may have killed its worker comes first, and alone"
        elif left:
            assert len(claimed) == min(limit, len(left))
            assert claimed <= left, "a batch of takeovers holds nothing else"
        else:
            assert len(claimed) == min(limit, len(due)), "nothing that is due is passed over"

    def _hold(self, worker: int, claim: Claim, before: Sight, after: Sight) -> None:
        key = claim.contact.id
        began, row, asked = before.rows[key], after.rows[key], self.asked[key]
        self._check_claim(claim, began, row, asked, (before.now, after.now))
        for other in self.holds:
            if other.key == key:
                assert other.is_overruled or self._is_late(other), "nobody's contact is claimed"
                other.is_taken_over |= claim.is_takeover
                other.has_successor = True
        hold = Hold(worker, claim, began, retries_of(row), self.minute, replace(asked))
        self.holds.append(hold)
        if claim.is_takeover:
            # What was claimed only to be given up was not sent once more.
            asked.spent = min(asked.spent + 1, ATTEMPTS)
        elif _is_asked_anew(began):
            asked.spent = 0
        is_last = asked.spent == ATTEMPTS
        assert asked.other_crm or is_last == claim.is_out_of_attempts, "no fifth attempt is made"

    def _check_claim(
        self,
        claim: Claim,
        began: TableRow,
        row: TableRow,
        asked: Asked,
        moments: tuple[datetime, datetime],
    ) -> None:
        expected = began | marked("Processing", "Processing") | {"hubspot_processing_error": None}
        expected["updated_at"] = _between(row["updated_at"], *moments)
        is_used_up = retries_of(began) >= RETRIES
        assert claim.is_takeover == (began["hubspot_processing_status"] == "Processing")
        assert claim.is_out_of_attempts == (claim.is_takeover and is_used_up)
        if claim.is_takeover and not is_used_up:
            expected |= {
                "retry_count": max(began["retry_count"], retries_of(began) + 1),
                "last_retry_at": _between(row["last_retry_at"], *moments),
                "last_failed_crm": "hubspot",
                "next_retry_at": None,
            }
        elif _is_asked_anew(began):
            expected["retry_count"] = 0
        assert row == expected

    # Deliveries

    def _deliver(self, hold: Hold, how: str) -> None:
        address = hold.claim.contact.email or ""
        if hold.claim.is_out_of_attempts:
            hold.outcome = Failed(said("its worker died"))
        elif how == "delivered":
            hold.outcome = self._confirmed(hold, self.hubspot.upsert(address))
        elif how.startswith("stopped"):
            if "HubSpot has it" in how:
                self.hubspot.upsert(address)
            hold.outcome = Stopped(said("HubSpot is down"))
        else:
            message = "no\n" * 300 if how == "failed at length" else "HubSpot refused the contact"
            hold.outcome = Rejected(said(message)) if how == "rejected" else Failed(said(message))

    def _confirmed(self, hold: Hold, outcome: Delivered) -> Outcome:
        if hold.key in self.asked:
            self.asked[hold.key].confirmed.add(outcome.hubspot_contact_id)
        return outcome

    # Settlements

    def _settle(self, holds: Sequence[Hold]) -> None:
        before = self.look()
        settlements = self.queue.settle(
            [(hold.claim, hold.outcome or Released()) for hold in holds]
        )
        after = self.look()
        keys = {hold.key for hold in holds}
        assert {settlement.claim.contact.id for settlement in settlements} == keys
        assert after.rows.keys() == before.rows.keys()
        for key, row in before.rows.items():
            if key not in keys:
                assert after.rows[key] == row, "a settle writes its own contacts"
        for hold in holds:
            if hold.key in before.rows:
                row, now = before.rows[hold.key], after.rows[hold.key]
                self._check_end(hold, row, now, (before.now, after.now))
                self._overrule_others(hold, row, now)
        self.holds = [hold for hold in self.holds if hold not in holds]

    def _overrule_others(self, hold: Hold, before: TableRow, after: TableRow) -> None:
        """Two that hold one contact, because it was asked for anew, may both write it."""
        for other in self.holds:
            if other is not hold and other.key == hold.key and after != before:
                other.is_overruled = other.is_touched = True

    def _check_end(
        self, hold: Hold, before: TableRow, after: TableRow, moments: tuple[datetime, datetime]
    ) -> None:
        assert foreign(after) == foreign(before), "what is not ours is never written"
        is_ours = statuses(before) == ("Processing", "Processing")
        theirs = before if is_ours else without_our_mark(before) | hold.proof
        if hold.is_taken_over or self._is_late(hold):
            assert after == before, "who was taken over, or is past the lease, writes nothing"
        elif self._has_moved_on(hold, before) and after == before:
            pass
        elif not is_ours:
            assert after == theirs, "a user's decision stands"
        else:
            self._check_outcome(hold, before, after, moments)

    def _has_moved_on(self, hold: Hold, row: TableRow) -> bool:
        """Whether a successor's count, or a reset, may tell the worker that it is out.

        Another CRM that clears the count is no reason to leave a contact in Processing.
        """
        is_other = are_ours(row) and row["retry_count"] != hold.retries
        return is_other and (hold.has_successor or "Processing" not in statuses(row))

    def _check_outcome(
        self, hold: Hold, before: TableRow, after: TableRow, moments: tuple[datetime, datetime]
    ) -> None:
        outcome = hold.outcome or Released()
        if isinstance(outcome, Released) and hold.claim.is_out_of_attempts:
            # There was nothing to send, so there is nothing to give back.
            outcome = Failed(said("its worker died"))
        if isinstance(outcome, Released):
            self._check_released(hold, before, after)
        elif sent_values(before) != sent_values(hold.began):
            again = before | marked("Queued", "Queued") | hold.proof
            assert after == again, "an edit is sent again"
        elif isinstance(outcome, Delivered):
            self._check_delivered(hold, before, after)
        elif isinstance(outcome, Stopped):
            self._check_stopped(before, after, moments)
        else:
            self._check_failed(hold, outcome, before, after, moments)

    def _check_delivered(self, hold: Hold, before: TableRow, after: TableRow) -> None:
        asked = self.asked[hold.key]
        done = before | marked("Complete", "Complete") | {"hubspot_processing_error": None}
        done |= hold.proof
        if are_ours(before):
            done |= CLEARED
            asked.other_crm, asked.spent = False, 0
        assert after == done
        asked.is_wanted = False

    def _check_stopped(
        self, before: TableRow, after: TableRow, moments: tuple[datetime, datetime]
    ) -> None:
        waits = (
            before
            | marked("Queued", "Error")
            | {"hubspot_processing_error": f"{LABEL}HubSpot is down"}
        )
        if are_ours(before):
            waits["next_retry_at"] = _between(after["next_retry_at"], *moments, DELAY)
        assert after == waits, "who was stopped pays nothing"

    def _check_failed(
        self,
        hold: Hold,
        outcome: Failed | Rejected,
        before: TableRow,
        after: TableRow,
        moments: tuple[datetime, datetime],
    ) -> None:
        asked = self.asked[hold.key]
        is_rejected = isinstance(outcome, Rejected)
        # Neither who is rejected nor who was never sent is counted on.
        asked.spent += not (hold.claim.is_out_of_attempts or is_rejected)
        assert after["hubspot_processing_error"]
        ended = before | {
            "hubspot_processing_error": after["hubspot_processing_error"],
            "last_failed_crm": "hubspot",
        }
        # Who was asked for anew since has a count that began again.
        retries = min(hold.retries, before["retry_count"]) if are_ours(before) else hold.retries
        if is_rejected or retries >= RETRIES:
            assert after == ended | marked("Error", "Error") | {"next_retry_at": None}
            is_fair = asked.spent == ATTEMPTS or asked.other_crm or is_rejected
            assert is_fair, "who is given up has had all attempts of this asking"
            asked.is_wanted = False
        else:
            delay = DELAY * 2**retries
            assert after == ended | marked("Queued", "Error") | {
                "retry_count": max(before["retry_count"], retries + 1),
                "next_retry_at": _between(after["next_retry_at"], *moments, delay),
                "last_retry_at": _between(after["last_retry_at"], *moments),
            }

    def _check_released(self, hold: Hold, before: TableRow, after: TableRow) -> None:
        asked = self.asked[hold.key]
        if hold.claim.is_takeover:
            # Queued with its retries used up would mean that it was asked for anew.
            is_last = hold.retries >= RETRIES
            given_back = before | marked("Queued", "Error" if is_last else "Queued")
            if is_last:
                given_back["hubspot_processing_error"] = after["hubspot_processing_error"]
            assert after == given_back, "its attempt stays spent"
        elif not hold.is_touched:
            assert after == hold.began, "what was never sent is as it was"
            asked.is_wanted, asked.spent = hold.asked.is_wanted, hold.asked.spent
        else:
            self._check_released_meanwhile_touched(hold, before, after)

    def _check_released_meanwhile_touched(
        self, hold: Hold, before: TableRow, after: TableRow
    ) -> None:
        asked = self.asked[hold.key]
        may_move = {*STATUSES, "hubspot_processing_error", "updated_at"}
        if are_ours(before):
            may_move.add("retry_count")
        fixed = before.keys() - may_move
        assert {name: after[name] for name in fixed} == {name: before[name] for name in fixed}
        if not hold.is_overruled:
            assert statuses(after) in (statuses(hold.began), ("Queued", "Queued"))
            asked.is_wanted, asked.spent = is_wanted(after), hold.asked.spent

    # Resets

    def _check_reset(self, key: Key, before: TableRow, after: TableRow) -> None:
        expected = before | marked(self.table.never_synced, None)
        expected |= {"hubspot_processing_error": None, "hubspot_contact_id": None}
        asked = self.asked[key]
        if are_ours(before):
            expected |= CLEARED
            asked.other_crm, asked.spent = False, 0
        assert after == expected
        asked.is_wanted = False
        for hold in self.holds:
            if hold.key == key:
                hold.is_touched = hold.is_overruled = True

    # The end

    def _check_that_all_comes_to_an_end(self) -> None:
        """Some workers settle, the others die, and the next runs find HubSpot well again."""
        for worker in range(WORKERS):
            known = [hold for hold in self.held_by(worker) if hold.outcome]
            if known:
                self._settle(known)
        self.holds = []
        for _ in range(4 * len(self.asked)):
            self.time_passes(25)
            self.claim(limit=4)
            if not self.holds:
                break
            for hold in self.holds:
                self._deliver(hold, "delivered")
            self._settle(self.holds)
            self.promises_hold()
        assert not any(asked.is_wanted for asked in self.asked.values()), "nobody is lost"
        for row in self.look().rows.values():
            assert "Processing" not in statuses(row), "nobody stays in Processing"


def _is_asked_anew(row: TableRow) -> bool:
    decision, state = statuses(row)
    is_retry = (decision, state) == ("Queued", "Error")
    return retries_of(row) >= RETRIES and state != "Processing" and not is_retry


def _between(
    moment: datetime, earliest: datetime, latest: datetime, later: timedelta = timedelta(0)
) -> datetime:
    """Return an instant that the database wrote in between, if it did."""
    assert earliest + later <= moment <= latest + later
    return moment


def _normal(row: TableRow) -> TableRow:
    instants = {name: _instant(row[name]) for name in INSTANTS if row[name] is not None}
    return row | instants | {"id": str(UUID(str(row["id"])))}


def _instant(value: str | datetime) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
