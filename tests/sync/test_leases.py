"""Leases: a HubSpot that answers at the last moment, or byte by byte, and a worker suspended."""

import io
import json
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from hubspot_sync.clock import Pulse
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.emulator.server import Handler
from hubspot_sync.hubspot.exchange import Request
from hubspot_sync.hubspot.transport import Transport
from hubspot_sync.report import RunReport
from hubspot_sync.rules.lifecycle import Claim
from hubspot_sync.rules.reaction import Answer
from hubspot_sync.settings import load_settings
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.worker import SETTLE_MARGIN
from tests.acceptance.forked import Forked
from tests.acceptance.program import Program, environment
from tests.conftest import LEASE, TOKEN, Runs, Waits, Wire
from tests.contacts import MAPPING, contacts_client
from tests.tables import Contacts

MINUTE = timedelta(minutes=1)
SHORT = 0.25
DEFAULTS = load_settings({})
TIMEOUT = DEFAULTS.request_timeout.total_seconds()
NEARLY_ALL = TIMEOUT - 0.1
LEASE_SECONDS = DEFAULTS.lease.total_seconds()
LAST_START = LEASE_SECONDS - SETTLE_MARGIN.total_seconds() - TIMEOUT
COMPLETE = ("Complete", "Complete")
INVALID = {"status": "error", "category": "VALIDATION_ERROR", "message": "no"}


def outcomes(report: RunReport) -> dict[str, int]:
    return {str(name): count for name, count in report.counts.items() if count}


def nothing_is_processing(table: Contacts) -> bool:
    return all(
        "Processing" not in (row["hubspot_sync_status"], row["hubspot_processing_status"])
        for row in table.rows()
    )


def emails_held(hubspot: Emulator) -> list[str]:
    return sorted(contact["properties"]["email"] for contact in hubspot.contacts())


def add(table: Contacts, count: int) -> list[str]:
    return [
        table.add(f"c{number}@example.com", age=(count - number) * MINUTE)
        for number in range(count)
    ]


def leave_behind(table: Contacts, queue: ContactQueue, count: int, **columns: Any) -> list[str]:
    """Add contacts that workers have claimed before they died: each is taken over alone."""
    return [
        table.add(
            f"c{number}@example.com",
            age=LEASE + (count - number) * MINUTE,
            hubspot_sync_status="Processing",
            hubspot_processing_status="Processing",
            retry_count=1,
            **columns,
        )
        for number in range(count)
    ]


@dataclass
class Moments:
    """When things happened, by the worker's own clock."""

    claims: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    settled: list[float] = field(default_factory=list)

    def all_within_the_lease(self) -> bool:
        """Whether each request and each settling came in time after the claim before it."""
        return all(self._since_claim(start) <= LAST_START for start in self.starts) and all(
            self._since_claim(moment) < LEASE_SECONDS for moment in self.settled
        )

    def _since_claim(self, moment: float) -> float:
        return moment - max(claim for claim in self.claims if claim <= moment)


@pytest.fixture
def moments(
    runs: Runs,
    queue: ContactQueue,
    hubspot: Emulator,
    waits: Waits,
    pulse: Pulse,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Moments]:
    """What happens in runs with default settings, where each request takes nearly all its time."""
    seen = Moments()
    wire = Wire(hubspot.url, timeout_seconds=TIMEOUT)
    transport = Transport(
        hubspot.url,
        TOKEN,
        timeout_seconds=TIMEOUT,
        custom_properties=[custom.name for custom in MAPPING.custom_properties],
        pulse=pulse,
        exchange=wire,
    )
    claim = queue.claim

    def send_slowly(request: Request) -> Answer:
        seen.starts.append(waits.clock)
        try:
            return wire.send(request)
        finally:
            waits.clock += NEARLY_ALL

    def note_claim(limit: int, **options: Any) -> list[Claim]:
        seen.claims.append(waits.clock)
        return claim(limit, **options)

    wire.exchange = send_slowly
    monkeypatch.setattr(queue, "claim", note_claim)
    runs.client = contacts_client(transport)
    runs.on_settled = lambda _: seen.settled.append(waits.clock)
    yield seen
    transport.close()
    wire.send.close()


def refuse_twice(hubspot: Emulator, status: int, **headers: str) -> None:
    """Refuse each kind of request of the careful lane twice, before it is carried out."""
    for method, path in (
        ("POST", "/properties/"),
        ("GET", "/contacts/"),
        ("PATCH", "/contacts/"),
        ("POST", "/contacts$"),
    ):
        hubspot.fault(method=method, path=path, status=status, times=2, headers=headers)


def test_defaults_are_those_that_these_tests_stand_on() -> None:
    assert DEFAULTS.lease == LEASE
    assert LAST_START > 0


@pytest.mark.parametrize("shape", ["app"])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("status", [423, 429, 503])
def test_careful_lane_at_its_slowest_delivers_within_each_lease(
    table: Contacts,
    queue: ContactQueue,
    runs: Runs,
    hubspot: Emulator,
    moments: Moments,
    status: int,
    known: bool,
) -> None:
    keys = leave_behind(table, queue, 3)
    if known:
        for number in range(3):
            hubspot.add_contact({"email": f"c{number}@example.com"})
    refuse_twice(hubspot, status)
    report = runs.queue()
    assert outcomes(report) == {"updated" if known else "created": 3}
    assert len(moments.claims) > len(moments.settled) == 3
    assert moments.all_within_the_lease()
    assert [table.state(key) for key in keys] == [COMPLETE] * 3


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_careful_lane_gives_back_what_the_lease_is_too_short_for(
    table: Contacts, queue: ContactQueue, runs: Runs, hubspot: Emulator, moments: Moments
) -> None:
    (key,) = leave_behind(table, queue, 1, hubspot_contact_id="901")
    refuse_twice(hubspot, 423, **{"Retry-After": "55"})
    report = runs.queue(1)
    assert outcomes(report) == {"released": 1}
    assert moments.all_within_the_lease()
    assert table.state(key) == ("Queued", "Queued")
    assert hubspot.contacts() == []
    hubspot.clear_faults()
    assert outcomes(runs.queue(1)) == {"created": 1}


@pytest.mark.parametrize("shape", ["app"])
@pytest.mark.parametrize("after_write", [False, True])
def test_careful_lane_whose_writes_are_never_answered_ends_within_the_lease(
    table: Contacts,
    queue: ContactQueue,
    runs: Runs,
    hubspot: Emulator,
    moments: Moments,
    after_write: bool,
) -> None:
    leave_behind(table, queue, 2)
    hubspot.add_contact({"email": "c1@example.com"})
    for method, path in (("POST", "/contacts$"), ("PATCH", "/contacts/")):
        hubspot.fault(method=method, path=path, status=502, times=None, after_write=after_write)
    report = runs.queue(2)
    delivered = {"created": 1, "updated": 1}
    assert outcomes(report) == (delivered if after_write else {"failed": 2})
    assert moments.all_within_the_lease()
    assert nothing_is_processing(table)


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_careful_lane_behind_a_refused_batch_delivers_some_and_gives_back_the_rest(
    table: Contacts, runs: Runs, hubspot: Emulator, moments: Moments
) -> None:
    keys = add(table, 6)
    hubspot.fault(path="/batch/create", status=400, body=INVALID, times=None)
    report = runs.queue(6)
    counts = outcomes(report)
    assert counts["created"] >= 1
    assert counts["released"] >= 1
    assert sum(counts.values()) == counts["created"] + counts["released"] == 6
    assert moments.all_within_the_lease()
    delivered = [key for key in keys if table.state(key) == COMPLETE]
    assert len(delivered) == len(hubspot.contacts()) == counts["created"]
    assert [table.state(key) for key in keys[len(delivered) :]] == [("Selected", "Queued")] * (
        6 - len(delivered)
    )


@pytest.mark.parametrize("shape", ["app"])
@pytest.mark.parametrize("bad", ["c7@", "@example"], ids=["one", "all"])
@pytest.mark.parametrize("path", ["/batch/create", "/objects/contacts/batch/read"])
@pytest.mark.parametrize(
    "trouble",
    [{"status": 400}, {"status": 423}, {"status": 429}, {"status": 500}, {"drop": True}],
    ids=["400", "423", "429", "500", "no-answer"],
)
def test_batch_lane_at_its_slowest_writes_nothing_past_the_lease(
    table: Contacts,
    runs: Runs,
    hubspot: Emulator,
    moments: Moments,
    trouble: dict[str, Any],
    path: str,
    bad: str,
) -> None:
    add(table, 10)
    hubspot.fault(path=path, contains=bad, times=None, **trouble)
    report = runs.queue(10)
    counts = outcomes(report)
    assert sum(counts.values()) == 10
    assert moments.all_within_the_lease()
    assert nothing_is_processing(table)
    delivered = sorted(
        row["email"] for row in table.rows() if row["hubspot_sync_status"] == "Complete"
    )
    assert delivered == emails_held(hubspot)
    assert len(delivered) == counts.get("created", 0)


@pytest.mark.parametrize("shape", ["app"])
@pytest.mark.parametrize("after_write", [False, True])
@pytest.mark.parametrize("status", [423, 502])
def test_batch_lane_at_its_slowest_waits_out_brief_troubles(
    table: Contacts,
    runs: Runs,
    hubspot: Emulator,
    moments: Moments,
    status: int,
    after_write: bool,
) -> None:
    keys = add(table, 4)
    for number in range(2):
        hubspot.add_contact({"email": f"c{number}@example.com"})
    for path in ("/properties/", "/objects/contacts/batch/read"):
        hubspot.fault(path=path, status=status, times=2)
    for path in ("/batch/create", "/batch/update"):
        hubspot.fault(path=path, status=status, times=2, after_write=after_write and status == 502)
    report = runs.queue(4)
    assert outcomes(report) == {"created": 2, "updated": 2}
    assert moments.all_within_the_lease()
    assert [table.state(key) for key in keys] == [COMPLETE] * 4


class Dribbling(io.BufferedIOBase):
    """Sends an answer byte by byte, which takes many times what a request may take."""

    def __init__(self, connection: socket.socket, whole: Any, closing: threading.Event) -> None:
        super().__init__()
        self._connection = connection
        self._whole = whole
        self._closing = closing

    def write(self, content: Any) -> int:
        for byte in bytes(content):
            self._connection.sendall(bytes([byte]))
            if self._closing.wait(0.05):
                raise ConnectionError("the test is over")
        return len(content)

    def close(self) -> None:
        self._whole.close()
        super().close()


Slows = Callable[..., None]


@pytest.fixture
def slows(
    runs: Runs, hubspot: Emulator, pulse: Pulse, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Slows]:
    """Makes HubSpot answer byte by byte where told, to a client that waits for a short time."""
    closing = threading.Event()
    slow_at: list[str] = []
    slow_after: list[str] = []
    answer = Handler.do_POST

    def answer_slowly(handler: Handler) -> None:
        if any(re.search(path, handler.path) for path in slow_at + slow_after):
            slow_at.extend("/" for path in slow_after if re.search(path, handler.path))
            handler.wfile = Dribbling(handler.connection, handler.wfile, closing)
        answer(handler)

    def slow(path: str, *, from_then_on: bool = False) -> None:
        (slow_after if from_then_on else slow_at).append(path)

    for method in ("do_GET", "do_POST", "do_PATCH"):
        monkeypatch.setattr(Handler, method, answer_slowly)
    transport = Transport(hubspot.url, TOKEN, timeout_seconds=SHORT, pulse=pulse)
    runs.client = contacts_client(transport)
    yield slow
    closing.set()
    transport.close()


def requests_to(hubspot: Emulator, path: str) -> int:
    return sum(re.search(path, seen) is not None for _, seen in hubspot.requests)


@pytest.mark.parametrize("shape", ["sqlite", "app"])
@pytest.mark.parametrize(
    ("taken_over", "look_up"),
    [(False, "/objects/contacts/batch/read"), (True, "/contacts/c0%40example.com")],
)
def test_create_answered_byte_by_byte_is_given_up_and_looked_up(
    table: Contacts,
    queue: ContactQueue,
    runs: Runs,
    hubspot: Emulator,
    slows: Slows,
    taken_over: bool,
    look_up: str,
) -> None:
    (key,) = leave_behind(table, queue, 1) if taken_over else add(table, 1)
    create = "/contacts$" if taken_over else "/batch/create"
    slows(create)
    assert outcomes(runs.queue(1)) == {"created": 1}
    assert requests_to(hubspot, create) == 1
    after_the_create = [path for _, path in hubspot.requests][-1]
    assert re.search(look_up, after_the_create)
    assert table.state(key) == COMPLETE
    assert len(hubspot.contacts()) == 1


@pytest.mark.parametrize("shape", ["app"])
def test_update_answered_byte_by_byte_is_given_up_and_confirmed_by_reading(
    table: Contacts, runs: Runs, hubspot: Emulator, slows: Slows
) -> None:
    (key,) = add(table, 1)
    record_id = hubspot.add_contact({"email": "c0@example.com"})
    slows("/batch/update")
    slows(rf"/contacts/{record_id}$")
    assert outcomes(runs.queue()) == {"updated": 1}
    assert table.state(key) == COMPLETE


@pytest.mark.parametrize("shape", ["app"])
@pytest.mark.parametrize(
    ("path", "outcome", "state"),
    [
        ("/properties/", "released", ("Selected", "Queued")),
        ("/objects/", "stopped", ("Queued", "Error")),
    ],
)
def test_hubspot_that_answers_all_byte_by_byte_stops_the_run(
    table: Contacts,
    runs: Runs,
    hubspot: Emulator,
    slows: Slows,
    path: str,
    outcome: str,
    state: tuple[str, str],
) -> None:
    keys = add(table, 3)
    slows(path)
    report = runs.queue()
    assert (outcomes(report), report.exit_code) == ({outcome: 3}, 3)
    assert [table.state(key) for key in keys] == [state] * 3
    assert {row["retry_count"] for row in table.rows()} == {0}
    assert hubspot.contacts() == []


@pytest.mark.parametrize("shape", ["app"])
def test_hubspot_that_answers_byte_by_byte_after_a_create_stops_it_and_creates_none_twice(
    table: Contacts, runs: Runs, hubspot: Emulator, slows: Slows
) -> None:
    keys = add(table, 3)
    slows("/batch/create", from_then_on=True)
    report = runs.queue()
    assert (outcomes(report), report.exit_code) == ({"stopped": 3}, 3)
    assert [table.state(key) for key in keys] == [("Queued", "Error")] * 3
    assert {row["retry_count"] for row in table.rows()} == {0}
    assert len(hubspot.contacts()) == 3


@contextmanager
def suspended_at_create(
    database_url: str, hubspot: Emulator
) -> Iterator[tuple[Forked, threading.Event]]:
    """Start a run of its own, and suspend it when HubSpot has created but not yet answered."""
    release = threading.Event()
    fault = hubspot.fault(path="/batch/create", after_write=True, release=release)
    program = Program(environment(database_url, hubspot.url))
    with program.start("sync-queue", "--json") as process:
        try:
            assert fault.reached.wait(20)
            process.send_signal(signal.SIGSTOP)
            yield process, release
        finally:
            release.set()
            if process.returncode is None:
                process.kill()
                process.communicate(timeout=20)


def wake(process: Forked, release: threading.Event) -> dict[str, Any]:
    """Let a suspended run go on to its end, and return what it says."""
    release.set()
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    return dict(json.loads(out))


def complete(runs: Runs, queue: ContactQueue, hubspot: Emulator) -> tuple[str, str]:
    assert outcomes(runs.queue()) == {"unchanged": 1}
    return COMPLETE


def fail(runs: Runs, queue: ContactQueue, hubspot: Emulator) -> tuple[str, str]:
    for step in ({"path": "/objects/contacts/batch/read"}, {"path": "idProperty=email"}):
        hubspot.fault(**step, status=400, body=INVALID)
    assert outcomes(runs.queue()) == {"failed": 1}
    return "Queued", "Error"


def still_hold(runs: Runs, queue: ContactQueue, hubspot: Emulator) -> tuple[str, str]:
    assert [claim.is_takeover for claim in queue.claim(1)] == [True]
    return "Processing", "Processing"


@pytest.mark.parametrize("shape", ["sqlite", "app"])
@pytest.mark.parametrize("succeed", [complete, fail, still_hold])
def test_worker_suspended_for_longer_than_its_lease_writes_nothing_over_its_successor(
    table: Contacts,
    database_url: str,
    queue: ContactQueue,
    runs: Runs,
    hubspot: Emulator,
    succeed: Callable[[Runs, ContactQueue, Emulator], tuple[str, str]],
) -> None:
    key = table.add()
    with suspended_at_create(database_url, hubspot) as (process, release):
        table.age_all(LEASE + MINUTE)
        state = succeed(runs, queue, hubspot)
        assert table.state(key) == state
        before = table.row(key)
        said = wake(process, release)
    assert table.row(key) == before
    assert {name: count for name, count in said["counts"].items() if count} == {
        "claimed": 1,
        "superseded": 1,
    }
    assert said["state"] == "done"
    assert emails_held(hubspot) == ["ada@example.com"]
