"""Other programs write at the same time: the app's users, other CRMs, triggers, other zones."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from hubspot_sync.clock import Pulse
from hubspot_sync.hubspot.emulator import Emulator, Fault
from hubspot_sync.report import ContactReport, RunReport
from hubspot_sync.rules.source import Key
from hubspot_sync.store import settling
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.database import make_engine
from tests.conftest import LEASE, POLICY, Runs, Waits
from tests.oracle import assert_all_delivered, assert_nobody_twice, assert_shown
from tests.tables import CONTACTS, Contacts

State = tuple[str | None, str | None]
Keys = dict[str, Key]
MINUTE = timedelta(minutes=1)
COMPLETE = ("Complete", "Complete")
EMAIL, NEW_EMAIL = "ada@example.com", "grace@example.com"
NEW, KNOWN = "new@example.com", "known@example.com"
LOOK_AT_PORTAL = {"path": "/properties/"}
CREATE = {"path": "/batch/create"}


@dataclass(frozen=True)
class Point:
    """Where a contact's sync is held: at which request, and how the contact came there.

    Attributes:
        known: HubSpot has the contact already.
        taken_over: an earlier worker died holding it, so it goes by the careful lane.
        token: what of a row is in the request that is held, and in no other contact's.
    """

    name: str
    where: Mapping[str, Any]
    known: bool = False
    taken_over: bool = False
    token: Callable[[Mapping[str, Any]], str] = lambda row: str(row["email"])

    def where_of(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return which request is that of one contact alone."""
        if self.where.get("method") == "GET":
            # It has no body: the address is in its path.
            return {**self.where, "path": f"/{quote(self.token(row))}[?].*{self.where['path']}"}
        return {**self.where, "contains": self.token(row)}


POINTS = [
    Point("claimed", LOOK_AT_PORTAL),
    Point("looked-up", {"path": "/objects/contacts/batch/read"}),
    Point("create-sent", CREATE),
    Point("created", {**CREATE, "after_write": True}),
    Point("updated", {"path": "/batch/update", "after_write": True}, known=True),
    Point("found", {"method": "GET", "path": "idProperty=email"}, taken_over=True),
    Point(
        "patched",
        {"method": "PATCH", "after_write": True},
        known=True,
        taken_over=True,
        token=lambda row: str(row["domain_id"]),
    ),
]


@dataclass(frozen=True)
class Act:
    """What a user does to a contact that we hold.

    Attributes:
        columns: what is written; None deletes the contact.
        left: what the two status columns come to.
        is_due: the next run delivers it.
    """

    name: str
    columns: Mapping[str, str | None] | None
    left: State | None
    is_due: bool = False
    outcome: str = "superseded"

    def do(self, table: Contacts, key: Key) -> None:
        if self.columns is None:
            table.delete(key)
        else:
            table.change(key, **self.columns)


def statuses(decision: str | None, state: str | None) -> dict[str, str | None]:
    return {"hubspot_sync_status": decision, "hubspot_processing_status": state}


ACTS = [
    Act("withdraws", statuses("New", None), ("New", None)),
    Act("withdraws-decision", {"hubspot_sync_status": "New"}, ("New", None)),
    Act("withdraws-state", {"hubspot_processing_status": None}, ("New", None)),
    Act("skips", {"hubspot_sync_status": "Skipped"}, ("Skipped", None)),
    Act("skips-both", statuses("Skipped", None), ("Skipped", None)),
    Act("requeues", statuses("Queued", "Queued"), ("Queued", "Queued"), is_due=True),
    Act("selects", {"hubspot_sync_status": "Selected"}, ("Selected", None), is_due=True),
    Act(
        "edits",
        {"name": "Grace Hopper", "phone_number": "+1 2"},
        ("Queued", "Queued"),
        is_due=True,
        outcome="requeued",
    ),
    Act("edits-email", {"email": NEW_EMAIL}, ("Queued", "Queued"), is_due=True, outcome="requeued"),
    Act("deletes", None, None),
]
LEAVES_A_STATE = [
    Act("fails-it", {"hubspot_processing_status": "Error"}, ("Error", "Error")),
    Act("completes-it", {"hubspot_processing_status": "Complete"}, COMPLETE),
]


def outcomes(report: RunReport) -> dict[str, int]:
    return {str(name): count for name, count in report.counts.items() if count}


def states(table: Contacts) -> list[State]:
    return [(row["hubspot_sync_status"], row["hubspot_processing_status"]) for row in table.rows()]


def nothing_is_processing(table: Contacts) -> bool:
    return all("Processing" not in state for state in states(table))


def run_held(
    runs: Runs,
    hubspot: Emulator,
    where: Mapping[str, Any],
    act: Callable[[], object],
    limit: int = 3,
) -> RunReport:
    """Run while something else happens, between a request and its answer."""
    return run_with_holds(runs, hubspot, [(where, act)], limit)


def run_with_holds(
    runs: Runs,
    hubspot: Emulator,
    holds: Sequence[tuple[Mapping[str, Any], Callable[[], object]]],
    limit: int,
) -> RunReport:
    """Run while something else happens at each of some requests, in their order."""
    held = [(hubspot.fault(**where, release=threading.Event()), act) for where, act in holds]
    reports: list[RunReport] = []
    thread = threading.Thread(target=lambda: reports.append(runs.queue(limit)))
    thread.start()
    try:
        for fault, act in held:
            assert fault.reached.wait(20)
            act()
            let_go(fault)
    finally:
        for fault, _ in held:
            let_go(fault)
        thread.join(20)
    (report,) = reports
    return report


def let_go(fault: Fault) -> None:
    assert fault.release is not None
    fault.release.set()


def leave_behind(table: Contacts, queue: ContactQueue, key: Key) -> None:
    """Have a worker claim a contact and die."""
    assert [claim.contact.id for claim in queue.claim(1)] == [key]
    table.move(key, "updated_at", LEASE + MINUTE)


def add_two_others(table: Contacts, hubspot: Emulator) -> list[Key]:
    hubspot.add_contact({"email": KNOWN})
    return [table.add(NEW), table.add(KNOWN)]


def email_of(act: Act) -> str:
    return f"{act.name}@example.com"


def add_one_for_each(table: Contacts, acts: Sequence[Act], age: timedelta = MINUTE) -> Keys:
    """Add a contact for each act, the first to be claimed first."""
    ages = [age + (len(acts) - place) * MINUTE for place in range(len(acts))]
    return {
        act.name: table.add(email_of(act), name="Ada Lovelace", age=each)
        for act, each in zip(acts, ages, strict=True)
    }


def states_of(table: Contacts, keys: Keys) -> dict[str, State]:
    """Return the states of the contacts that are still there."""
    found = {str(UUID(str(row["id"]))) for row in table.rows()}
    return {name: table.state(key) for name, key in keys.items() if key in found}


def expected(acts: Sequence[Act], *, once_delivered: bool) -> dict[str, State]:
    """Return the states that these acts come to, before or after the next run."""
    return {
        act.name: COMPLETE if once_delivered and act.is_due else act.left
        for act in acts
        if act.left is not None
    }


def holds_at(
    table: Contacts, point: Point, acts: Sequence[Act], keys: Keys
) -> list[tuple[Mapping[str, Any], Callable[[], object]]]:
    """Return where the run is held: all contacts at one request, or each at its own."""

    def do_all() -> None:
        for act in acts:
            act.do(table, keys[act.name])

    if not point.taken_over:
        return [(point.where, do_all)]
    return [
        (
            point.where_of(table.row(keys[act.name])),
            partial(act.do, table, keys[act.name]),
        )
        for act in acts
    ]


@pytest.mark.parametrize("shape", ["sqlite", "app"])
@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_what_users_do_to_contacts_that_we_hold_stands(
    table: Contacts, queue: ContactQueue, runs: Runs, hubspot: Emulator, point: Point
) -> None:
    keys = add_one_for_each(table, ACTS)
    if point.taken_over:
        assert len(queue.claim(len(ACTS))) == len(ACTS)
        table.age_all(LEASE + MINUTE)
        for place, key in enumerate(keys.values()):
            table.change(key, retry_count=1)
            table.move(key, "updated_at", LEASE + (len(ACTS) - place) * MINUTE)
    others = add_two_others(table, hubspot)
    if point.known:
        for act in ACTS:
            hubspot.add_contact({"email": email_of(act)})
    holds = holds_at(table, point, ACTS, keys)
    report = run_with_holds(runs, hubspot, holds, len(ACTS) + len(others))
    outcome_of = {each.id: each.outcome for each in report.contacts}
    assert {act.name: outcome_of[keys[act.name]] for act in ACTS} == {
        act.name: act.outcome for act in ACTS
    }
    assert states_of(table, keys) == expected(ACTS, once_delivered=False)
    assert [table.state(other) for other in others] == [COMPLETE] * 2
    check_next_run(table, runs, hubspot, keys)


def check_next_run(table: Contacts, runs: Runs, hubspot: Emulator, keys: Keys) -> None:
    """Check that the next run does what users want now, with the same HubSpot contacts."""
    delivered = {act.name: hubspot.contact_by_email(email_of(act)) for act in ACTS}
    again = outcomes(runs.queue())
    assert again.keys() <= {"updated", "unchanged"}
    assert sum(again.values()) == sum(act.is_due for act in ACTS)
    assert states_of(table, keys) == expected(ACTS, once_delivered=True)
    assert len(hubspot.contacts()) == len(ACTS) + 2
    assert_nobody_twice(hubspot)
    for name in states_of(table, keys):
        before = delivered[name]
        assert before is not None
        assert table.row(keys[name])["hubspot_contact_id"] == before["id"]
        assert_shown(hubspot, table.row(keys[name]))


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_what_users_do_to_contacts_just_settled_stands(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    keys = add_one_for_each(table, ACTS)
    act_on = {keys[act.name]: act for act in ACTS}
    others = add_two_others(table, hubspot)

    def do_at_once(contact: ContactReport) -> None:
        if contact.id in act_on:
            act_on[contact.id].do(table, contact.id)

    runs.on_settled = do_at_once
    report = runs.queue(len(ACTS) + 2)
    assert outcomes(report) == {"created": len(ACTS) + 1, "updated": 1}
    wanted = {
        act.name: statuses(*COMPLETE) | dict(act.columns) for act in ACTS if act.columns is not None
    }
    left: dict[str, State] = {
        name: (columns["hubspot_sync_status"], columns["hubspot_processing_status"])
        for name, columns in wanted.items()
    }
    assert states_of(table, keys) == left
    runs.on_settled = None
    assert outcomes(runs.queue()) == {"unchanged": 1}
    assert states_of(table, keys) == left | {"requeues": COMPLETE}
    assert [table.state(other) for other in others] == [COMPLETE] * 2


def test_what_users_do_to_contacts_of_a_worker_that_dies_stands(
    table: Contacts, queue: ContactQueue, runs: Runs, hubspot: Emulator
) -> None:
    acts = ACTS + LEAVES_A_STATE
    keys = add_one_for_each(table, acts)
    assert len(queue.claim(len(acts))) == len(acts)
    for act in acts:
        act.do(table, keys[act.name])
    table.age_all(LEASE + MINUTE)
    due = [act.name for act in acts if act.is_due]
    assert outcomes(runs.queue()) == {"created": len(due)}
    assert states_of(table, keys) == expected(acts, once_delivered=True)
    assert len(hubspot.contacts()) == len(due)
    for name in due:
        assert_shown(hubspot, table.row(keys[name]))


def test_what_users_withdraw_is_left_to_its_worker_while_the_lease_runs(
    table: Contacts, queue: ContactQueue, runs: Runs, hubspot: Emulator
) -> None:
    acts = [act for act in ACTS + LEAVES_A_STATE if act.columns is not None]
    acts = [act for act in acts if act.name != "requeues"]
    keys = add_one_for_each(table, acts)
    assert len(queue.claim(len(acts))) == len(acts)
    for act in acts:
        act.do(table, keys[act.name])
    table.age_all(LEASE - MINUTE)
    before = table.rows()
    assert runs.queue().claimed == 0
    assert table.rows() == before


@contextmanager
def locked(table: Contacts, key: Key) -> Iterator[Callable[[], None]]:
    """Hold a row's lock, as the app does in a transaction; yield what lets it go."""
    connection = table.engine.connect()
    try:
        lock = text("SELECT id FROM contacts WHERE id = :id FOR UPDATE")
        connection.execute(lock, {"id": str(key)})
        yield connection.rollback
    finally:
        connection.close()


@pytest.mark.parametrize("shape", ["plain", "app"])
def test_row_that_the_app_holds_keeps_nobody_waiting(
    table: Contacts, runs: Runs, hubspot: Emulator, pulse: Pulse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "ROW_LOCK_TIMEOUT_MS", 5)
    key = table.add(EMAIL, age=5 * MINUTE)
    others = add_two_others(table, hubspot)
    settled: list[Key] = []
    settled_before: list[Key] = []
    runs.on_settled = lambda contact: settled.append(contact.id)
    with ExitStack() as stack:
        unlock: list[Callable[[], None]] = []

        def unlock_after_a_while(seconds: float) -> None:
            settled_before.extend(settled)
            unlock[0]()

        runs.pulse = replace(pulse, sleep=unlock_after_a_while)
        report = run_held(
            runs, hubspot, CREATE, lambda: unlock.append(stack.enter_context(locked(table, key)))
        )
    assert sorted(settled_before) == sorted(others)
    assert outcomes(report) == {"created": 2, "updated": 1}
    assert_all_delivered(table, hubspot)


@pytest.mark.parametrize("shape", ["plain", "app"])
@pytest.mark.parametrize("left_behind", [False, True])
def test_due_row_that_the_app_holds_is_passed_over_until_it_is_let_go(
    table: Contacts, queue: ContactQueue, runs: Runs, hubspot: Emulator, left_behind: bool
) -> None:
    key = table.add(EMAIL)
    if left_behind:
        leave_behind(table, queue, key)
    others = add_two_others(table, hubspot)
    before = table.row(key)
    with locked(table, key):
        assert outcomes(runs.queue()) == {"created": 1, "updated": 1}
        assert [table.state(other) for other in others] == [COMPLETE] * 2
        assert table.row(key) == before
    assert outcomes(runs.queue()) == {"created": 1}
    assert table.state(key) == COMPLETE


@pytest.mark.parametrize("shape", ["plain", "app"])
def test_row_that_the_app_holds_for_longer_than_the_lease_is_not_lost(
    table: Contacts,
    runs: Runs,
    hubspot: Emulator,
    waits: Waits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settling, "ROW_LOCK_TIMEOUT_MS", 1)
    key = table.add(EMAIL, age=5 * MINUTE)
    others = add_two_others(table, hubspot)
    with ExitStack() as stack:
        report = run_held(runs, hubspot, CREATE, lambda: stack.enter_context(locked(table, key)))
        assert outcomes(report) == {"created": 1, "updated": 1, "superseded": 1}
        assert report.exit_code == 0
        assert [table.state(other) for other in others] == [COMPLETE] * 2
    # Only the worker's clock has moved so far; now the database's has too.
    assert waits.clock >= LEASE.total_seconds()
    assert table.state(key) == ("Processing", "Processing")
    table.age_all(LEASE + MINUTE)
    assert outcomes(runs.queue()) == {"unchanged": 1}
    assert_all_delivered(table, hubspot)


@dataclass(frozen=True)
class End:
    """A way in which our part ends, and what HubSpot does for it."""

    name: str
    fault: Mapping[str, Any]
    outcome: str


DELIVERED = End("success", CREATE, "created")
STOPPED = End("stop", {**CREATE, "status": 401}, "stopped")
RELEASED = End("release", {**LOOK_AT_PORTAL, "status": 401}, "released")
INVALID = {"status": "error", "category": "VALIDATION_ERROR", "message": "no"}
FAILED = End(
    "failure",
    {"path": r"/contacts(/batch/create)?$", "status": 400, "body": INVALID, "times": None},
    "failed",
)
ENDS = [DELIVERED, STOPPED, RELEASED]
SHARED = ("retry_count", "next_retry_at", "last_retry_at", "last_failed_crm")


def write_brevos_own(table: Contacts, key: Key) -> None:
    """Write the columns that are Brevo's alone."""
    table.change(
        key,
        brevo_sync_status="Queued",
        brevo_processing_status="Error",
        brevo_processing_error="Brevo said no",
        brevo_contact_id="b-1",
    )


def fail_in_brevo(table: Contacts, key: Key, count: int = 2) -> None:
    """Write the shared columns as Brevo does when it has failed."""
    table.change(key, retry_count=count, last_failed_crm="brevo")
    table.move(key, "last_retry_at", MINUTE)
    table.move(key, "next_retry_at", -60 * MINUTE)


def brevos_own(table: Contacts, key: Key) -> dict[str, Any]:
    return {name: value for name, value in table.row(key).items() if name.startswith("brevo_")}


def shared(table: Contacts, key: Key) -> dict[str, Any]:
    return {name: table.row(key)[name] for name in SHARED}


@pytest.mark.parametrize("shape", ["app"])
@pytest.mark.parametrize("meanwhile", [False, True], ids=["before", "meanwhile"])
@pytest.mark.parametrize("end", [*ENDS, FAILED], ids=lambda end: end.name)
def test_columns_of_another_crm_stay_as_it_left_them(
    table: Contacts, runs: Runs, hubspot: Emulator, end: End, meanwhile: bool
) -> None:
    key = table.add()
    written: list[dict[str, Any]] = []

    def write() -> None:
        write_brevos_own(table, key)
        written.append(brevos_own(table, key))

    if not meanwhile:
        write()
    report = run_held(runs, hubspot, end.fault, write if meanwhile else lambda: None)
    assert outcomes(report) == {end.outcome: 1}
    assert brevos_own(table, key) == written[0]
    assert written[0]["brevo_processing_error"] == "Brevo said no"


@pytest.mark.parametrize("shape", ["sqlite", "app"])
@pytest.mark.parametrize("meanwhile", [False, True], ids=["before", "meanwhile"])
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.name)
def test_retry_values_of_another_crm_stay_as_it_left_them(
    table: Contacts, runs: Runs, hubspot: Emulator, end: End, meanwhile: bool
) -> None:
    key = table.add()
    written: list[dict[str, Any]] = []

    def write() -> None:
        fail_in_brevo(table, key)
        written.append(shared(table, key))

    if not meanwhile:
        write()
    report = run_held(runs, hubspot, end.fault, write if meanwhile else lambda: None)
    assert outcomes(report) == {end.outcome: 1}
    assert shared(table, key) == written[0]


@pytest.mark.parametrize("shape", ["sqlite", "app"])
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.name)
def test_retry_values_that_another_crm_writes_stay_though_our_own_count_had_begun_anew(
    table: Contacts, runs: Runs, hubspot: Emulator, end: End
) -> None:
    key = table.add(retry_count=3, last_failed_crm="hubspot")
    written: list[dict[str, Any]] = []

    def write() -> None:
        fail_in_brevo(table, key, count=1)
        written.append(shared(table, key))

    report = run_held(runs, hubspot, end.fault, write)
    assert outcomes(report) == {end.outcome: 1}
    assert shared(table, key) == written[0]


@pytest.mark.parametrize("shape", ["sqlite", "app"])
@pytest.mark.parametrize("meanwhile", [False, True], ids=["before", "meanwhile"])
@pytest.mark.parametrize(("theirs", "count"), [(0, 1), (1, 1), (3, 3)])
def test_failure_of_ours_takes_the_shared_columns_and_never_lowers_the_count(
    table: Contacts, runs: Runs, hubspot: Emulator, theirs: int, count: int, meanwhile: bool
) -> None:
    key = table.add()
    if not meanwhile:
        fail_in_brevo(table, key, theirs)
    report = run_held(
        runs,
        hubspot,
        FAILED.fault,
        lambda: fail_in_brevo(table, key, theirs) if meanwhile else None,
    )
    assert outcomes(report) == {"failed": 1}
    row = table.row(key)
    assert (row["retry_count"], row["last_failed_crm"]) == (count, "hubspot")
    assert table.state(key) == ("Queued", "Error")


def test_retry_time_of_another_crm_does_not_delay_us(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    first = table.add(hubspot_sync_status="Queued", hubspot_processing_status="Error")
    second = table.add("second@example.com")
    fail_in_brevo(table, first)
    fail_in_brevo(table, second)
    assert outcomes(runs.queue()) == {"created": 2}


@dataclass
class Brevo:
    """Another CRM's sync, which fails at every attempt; three retries, then Error.

    One count serves all CRMs, as in the app.
    """

    table: Contacts
    key: Key
    is_over: bool = field(default=False, init=False)

    def fail(self) -> None:
        if self.is_over:
            return
        count = self.table.row(self.key)["retry_count"]
        if count >= 3:
            self.is_over = True
            self.table.change(self.key, last_failed_crm="brevo", next_retry_at=None)
        else:
            fail_in_brevo(self.table, self.key, count + 1)


def fail_in_turn(
    table: Contacts, runs: Runs, hubspot: Emulator, brevo: Brevo, *, brevo_first: bool
) -> None:
    """Let both fail until both have come to an end, or for far longer than that may take."""
    hubspot.fault(**FAILED.fault)

    def sync() -> None:
        assert set(outcomes(runs.queue())) <= {"failed", "exhausted"}

    turns = [brevo.fail, sync] if brevo_first else [sync, brevo.fail]
    for _ in range(10):
        for turn in turns:
            turn()
        table.age_all(61 * MINUTE)
        if brevo.is_over and table.state(brevo.key) == ("Error", "Error"):
            return


@pytest.mark.parametrize("shape", ["sqlite", "app"])
@pytest.mark.parametrize("brevo_first", [False, True])
def test_two_crms_that_both_fail_come_to_an_end(
    table: Contacts, runs: Runs, hubspot: Emulator, brevo_first: bool
) -> None:
    brevo = Brevo(table, table.add())
    fail_in_turn(table, runs, hubspot, brevo, brevo_first=brevo_first)
    assert brevo.is_over
    assert table.state(brevo.key) == ("Error", "Error")


@dataclass
class Stamp:
    """A trigger of the app's that sets `updated_at` whenever a row is written."""

    table: Contacts
    clock: str

    def set(self) -> None:
        if self.table.shape == "sqlite":
            self._do(
                "CREATE TRIGGER stamp AFTER UPDATE ON contacts BEGIN UPDATE contacts SET "
                "updated_at = strftime('%Y-%m-%d %H:%M:%f000', 'now') WHERE id = NEW.id; END"
            )
            return
        self._do(
            "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS "
            f"'BEGIN NEW.updated_at = {self.clock}; RETURN NEW; END'",
            "CREATE TRIGGER stamp BEFORE UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION stamp()",
        )

    def drop(self) -> None:
        if self.table.shape == "sqlite":
            self._do("DROP TRIGGER IF EXISTS stamp")
        else:
            self._do("DROP FUNCTION IF EXISTS stamp CASCADE")

    def age_all(self, ago: timedelta) -> None:
        """Let time pass, which the trigger must not undo."""
        self.drop()
        self.table.age_all(ago)
        self.set()

    def _do(self, *statements: str) -> None:
        with self.table.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)


@pytest.fixture
def stamp(table: Contacts, clock: str) -> Iterator[Stamp]:
    made = Stamp(table, clock)
    made.set()
    yield made
    made.drop()


stamped = pytest.mark.parametrize(
    ("shape", "clock"),
    [
        ("sqlite", "now"),
        ("app", "now()"),
        ("app", "clock_timestamp()"),
    ],
)


@stamped
def test_trigger_that_stamps_rows_ends_no_lease_early(
    table: Contacts, queue: ContactQueue, runs: Runs, hubspot: Emulator, stamp: Stamp
) -> None:
    key = table.add(EMAIL)
    add_two_others(table, hubspot)

    def claim_beside() -> None:
        assert queue.claim(10) == []
        stamp.age_all(LEASE - MINUTE)
        assert queue.claim(10) == []
        table.change(key, phone_number="+1 2")
        assert queue.claim(10) == []

    report = run_held(runs, hubspot, CREATE, claim_beside)
    assert outcomes(report) == {"requeued": 1, "created": 1, "updated": 1}
    assert outcomes(runs.queue()) == {"updated": 1}
    assert_all_delivered(table, hubspot)


@stamped
def test_trigger_that_stamps_rows_leaves_retries_as_they_are(
    table: Contacts, runs: Runs, hubspot: Emulator, stamp: Stamp
) -> None:
    key = table.add()
    hubspot.fault(**FAILED.fault)
    assert outcomes(runs.queue()) == {"failed": 1}
    hubspot.clear_faults()
    assert table.state(key) == ("Queued", "Error")
    stamp.age_all(4 * MINUTE)
    assert runs.queue().claimed == 0
    stamp.age_all(2 * MINUTE)
    assert outcomes(runs.queue()) == {"created": 1}
    assert table.state(key) == COMPLETE
    assert table.row(key)["retry_count"] == 0


@stamped
def test_trigger_that_stamps_rows_leaves_a_released_contact_due(
    table: Contacts, runs: Runs, hubspot: Emulator, stamp: Stamp
) -> None:
    key = table.add()
    hubspot.fault(**RELEASED.fault)
    assert outcomes(runs.queue()) == {"released": 1}
    assert table.state(key) == ("Selected", "Queued")
    assert outcomes(runs.queue()) == {"created": 1}
    assert table.state(key) == COMPLETE


@stamped
def test_trigger_that_stamps_rows_bars_no_takeover(
    table: Contacts, queue: ContactQueue, runs: Runs, hubspot: Emulator, stamp: Stamp
) -> None:
    key = table.add()
    withdrawn = table.add("withdrawn@example.com")
    assert len(queue.claim(10)) == 2
    table.change(withdrawn, hubspot_sync_status="New")
    stamp.age_all(LEASE - MINUTE)
    assert runs.queue().claimed == 0
    stamp.age_all(2 * MINUTE)
    assert outcomes(runs.queue()) == {"created": 1}
    assert (table.state(key), table.state(withdrawn)) == (COMPLETE, ("New", None))


@pytest.fixture
def zone(table: Contacts, request: pytest.FixtureRequest) -> Iterator[str]:
    """The database's default time zone, as its owner has set it."""
    engine, name = table.engine, table.engine.url.database
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET timezone TO '{request.param}'")
    engine.dispose()
    yield str(request.param)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} RESET timezone")
    engine.dispose()


@contextmanager
def queue_elsewhere(database_url: str, session_zone: str) -> Iterator[ContactQueue]:
    """The queue as a worker on another machine has it, whose sessions have another zone."""
    url = make_url(database_url).set(drivername="postgresql+psycopg2")
    engine = make_engine(
        url.update_query_dict({"options": f"-c timezone={session_zone}"}).render_as_string(
            hide_password=False
        )
    )
    try:
        yield ContactQueue(engine, CONTACTS, policy=POLICY, lease=LEASE)
    finally:
        engine.dispose()


def edit_in_zone(table: Contacts, key: Key, session_zone: str, assigned: str) -> None:
    """Edit a contact as an app does whose session has this zone, or the database's own."""
    with table.engine.begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL TIME ZONE {session_zone}")
        edit = text(f"UPDATE contacts SET {assigned} WHERE id = :id")
        connection.execute(edit, {"id": str(key)})


@pytest.mark.parametrize("shape", ["plain", "app"])
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"], indirect=True)
@pytest.mark.parametrize("elsewhere", ["America/New_York", "Pacific/Auckland"])
def test_time_zones_of_database_workers_and_app_end_no_lease_early(
    table: Contacts,
    queue: ContactQueue,
    runs: Runs,
    hubspot: Emulator,
    database_url: str,
    zone: str,
    elsewhere: str,
) -> None:
    with table.engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL TIME ZONE DEFAULT")
        assert connection.exec_driver_sql("SHOW TimeZone").scalar_one() == zone
    key = table.add(EMAIL)
    add_two_others(table, hubspot)

    def edit_and_claim_beside() -> None:
        edit_in_zone(table, key, "DEFAULT", "phone_number = '+1 2'")
        edit_in_zone(table, key, f"'{elsewhere}'", "name = 'Grace Hopper'")
        with queue_elsewhere(database_url, elsewhere) as beside:
            assert queue.claim(10) == beside.claim(10) == []
            table.age_all(LEASE - MINUTE)
            assert queue.claim(10) == beside.claim(10) == []

    report = run_held(runs, hubspot, CREATE, edit_and_claim_beside)
    assert outcomes(report) == {"requeued": 1, "created": 1, "updated": 1}
    assert outcomes(runs.queue()) == {"updated": 1}
    assert_all_delivered(table, hubspot)


@pytest.mark.parametrize("shape", ["plain", "app"])
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"], indirect=True)
def test_time_zone_of_the_database_moves_no_retry_and_no_takeover(
    table: Contacts, queue: ContactQueue, runs: Runs, hubspot: Emulator, zone: str
) -> None:
    left_behind = table.add()
    assert len(queue.claim(1)) == 1
    failing = table.add("failing@example.com", name="x" * 70_000)
    assert outcomes(runs.queue()) == {"failed": 1}
    table.age_all(4 * MINUTE)
    assert runs.queue().claimed == 0
    table.age_all(2 * MINUTE)
    assert outcomes(runs.queue()) == {"failed": 1}
    table.age_all(3 * MINUTE)
    assert runs.queue().claimed == 0
    table.age_all(2 * MINUTE)
    assert outcomes(runs.queue()) == {"created": 1}
    assert (table.state(left_behind), table.state(failing)) == (COMPLETE, ("Queued", "Error"))


@pytest.mark.parametrize("shape", ["plain", "app"])
@pytest.mark.parametrize("session_zone", ["'America/New_York'", "'Asia/Kolkata'"])
def test_app_that_stamps_rows_in_its_own_zone_harms_no_contact(
    table: Contacts, queue: ContactQueue, runs: Runs, hubspot: Emulator, session_zone: str
) -> None:
    """A column without a zone takes New York's time: the lease seems over before it is."""
    key = table.add(EMAIL)

    def edit_and_claim_beside() -> None:
        edit_in_zone(table, key, session_zone, "phone_number = '+1 2', updated_at = now()")
        taken_over = queue.claim(10)
        assert len(taken_over) == (table.shape == "app" and "New_York" in session_zone)

    run_held(runs, hubspot, CREATE, edit_and_claim_beside, limit=1)
    table.age_all(timedelta(hours=12))
    assert outcomes(runs.queue()) == {"updated": 1}
    assert states(table) == [COMPLETE]
    assert table.row(key)["retry_count"] == 0
    (contact,) = hubspot.contacts()
    assert contact["properties"]["phone"] == "+1 2"
