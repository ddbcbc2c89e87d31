"""A drain with several workers: one account, one stop, and nothing left in Processing."""

import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import create_engine, event, text

from hubspot_sync.clock import Pulse
from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.pace import Pace
from hubspot_sync.hubspot.transport import Transport
from hubspot_sync.report import RunReport
from hubspot_sync.rules.settlement import Delivered, Failed, OutcomeName
from hubspot_sync.run import Plan
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.database import transaction
from hubspot_sync.sync import Sync
from tests.conftest import LEASE, POLICY, TOKEN
from tests.contacts import MAPPING, contacts_client
from tests.messages import said
from tests.oracle import assert_all_delivered
from tests.tables import Contacts

Drain = Callable[..., RunReport]


@pytest.fixture
def drain(queue: ContactQueue, hubspot: Emulator) -> Drain:
    return partial(drain_of, queue, hubspot)


def drain_of(
    queue: ContactQueue,
    hubspot: Emulator,
    workers: int = 4,
    limit: int | None = None,
    pulse: Pulse | None = None,
) -> RunReport:
    """Make a run whose workers have connections of their own, on real clocks."""
    pulse = pulse or Pulse()
    pace = Pace(pulse)

    def open_client() -> HubSpotClient:
        return contacts_client(
            Transport(hubspot.url, TOKEN, timeout_seconds=20, pulse=pulse, pace=pace)
        )

    plan = Plan(MAPPING, LEASE, POLICY.max_retries + 1, limit=limit, workers=workers)
    return Sync(queue, open_client, plan, pulse=pulse).run_queue()


def fill(table: Contacts, count: int) -> None:
    table.add_all([f"c{number}@example.com" for number in range(count)])


def states(table: Contacts) -> set[tuple[str, str]]:
    return {(row["hubspot_sync_status"], row["hubspot_processing_status"]) for row in table.rows()}


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_drain_delivers_all_that_is_due(table: Contacts, drain: Drain, hubspot: Emulator) -> None:
    fill(table, 730)
    report = drain()
    assert (report.state, report.counts) == ("done", {"created": 730})
    assert_all_delivered(table, hubspot)
    assert report.requests == hubspot.request_count <= 2 * 8 + 1


@pytest.fixture
def isolation(request: pytest.FixtureRequest, table: Contacts) -> Iterator[str]:
    """Give the database's transactions this level of isolation, unless they ask for another."""
    with table.engine.begin() as connection:
        alter = f"ALTER DATABASE {table.engine.url.database}"
        level = f"default_transaction_isolation = '{request.param}'"
        connection.execute(text(f"{alter} SET {level}"))
    table.engine.dispose()
    yield request.param
    with table.engine.begin() as connection:
        connection.execute(text(f"{alter} RESET default_transaction_isolation"))
    table.engine.dispose()


@pytest.mark.parametrize("isolation", ["serializable", "repeatable read"], indirect=True)
@pytest.mark.parametrize("shape", ["app"])
def test_drain_asks_for_the_isolation_it_needs(
    table: Contacts, drain: Drain, isolation: str
) -> None:
    others = create_engine(table.engine.url)
    with others.connect() as connection:
        assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == isolation
    others.dispose()
    with transaction(table.engine) as connection:
        asked = connection.execute(text("SHOW transaction_isolation")).scalar_one()
    assert asked == "read committed"
    fill(table, 400)
    report = drain()
    assert (report.state, report.counts) == ("done", {"created": 400})
    assert states(table) == {("Complete", "Complete")}


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_drain_with_several_workers_keeps_to_its_limit(table: Contacts, drain: Drain) -> None:
    fill(table, 450)
    report = drain(limit=350)
    assert (report.claimed, report.due_remaining) == (350, 100)


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_drain_stopped_by_a_401_stops_every_worker(
    table: Contacts, drain: Drain, hubspot: Emulator
) -> None:
    fill(table, 700)
    hubspot.fault(path="/batch/create", status=401, times=None)
    report = drain()
    assert (report.state, report.exit_code) == ("stopped", 3)
    assert states(table) <= {("Queued", "Error"), ("Selected", "Queued")}
    assert {row["retry_count"] for row in table.rows()} == {0}
    assert report.claimed <= 400


@pytest.mark.parametrize("shape", ["sqlite"])
def test_drain_whose_quota_ends_asks_for_the_hour_once(
    table: Contacts, drain: Drain, hubspot: Emulator
) -> None:
    fill(table, 400)
    hubspot.latency = 0.2  # so that all four are in flight when the first one hears of it
    hubspot.fault(path="/contacts/batch/read", status=429, policy="DAILY", times=None)
    report = drain()
    assert "It can go on at 20" in str(report.reason)
    assert sum("/account-info/" in path for _, path in hubspot.requests) == 1
    assert sum("/contacts/batch/read" in path for _, path in hubspot.requests) > 1


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_drain_stopped_by_a_signal_settles_what_is_known(
    table: Contacts, drain: Drain, hubspot: Emulator
) -> None:
    fill(table, 700)
    pulse, release = Pulse(), threading.Event()
    fault = hubspot.fault(path="/batch/create", after_write=True, release=release)
    reports: list[RunReport] = []
    thread = threading.Thread(target=lambda: reports.append(drain(pulse=pulse)))
    thread.start()
    assert fault.reached.wait(20)
    pulse.ending.take(signal.SIGTERM)
    release.set()
    thread.join(20)
    (report,) = reports
    assert report.exit_code == 143
    assert report.counts[OutcomeName.CREATED] >= 100
    assert states(table) <= {("Complete", "Complete"), ("Selected", "Queued")}
    complete = [row for row in table.rows() if row["hubspot_sync_status"] == "Complete"]
    assert len(complete) == len(hubspot.contacts()) == report.counts[OutcomeName.CREATED]


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_two_workers_with_one_new_email_end_with_one_contact(
    table: Contacts, drain: Drain, hubspot: Emulator
) -> None:
    first = table.add("Same@example.com", age=timedelta(minutes=9))
    second = table.add("same@example.com", age=timedelta(minutes=8))
    release = threading.Event()
    # The first has looked it up, and does not get to creating it before the second has.
    fault = hubspot.fault(path="/batch/create", release=release)
    thread = threading.Thread(target=lambda: drain(workers=1, limit=1))
    thread.start()
    assert fault.reached.wait(20)
    drain(workers=1, limit=1)
    release.set()
    thread.join(20)
    (held,) = hubspot.contacts()
    for key in (first, second):
        assert table.state(key) == ("Complete", "Complete")
        assert table.row(key)["hubspot_contact_id"] == held["id"]


def test_drain_claims_nothing_more_when_its_time_is_over(
    table: Contacts, queue: ContactQueue, hubspot: Emulator, client: HubSpotClient, pulse: Pulse
) -> None:
    fill(table, 250)
    plan = Plan(MAPPING, LEASE, POLICY.max_retries + 1, longest=timedelta(minutes=1), workers=1)

    def take_long(_: object) -> None:
        pulse.sleep(0.61)

    run = Sync(queue, lambda: client, plan, pulse=pulse, on_settled=take_long)
    report = run.run_queue()
    assert (report.state, report.claimed, report.due_remaining) == ("done", 100, 150)


def test_settling_a_batch_is_one_statement_a_kind_of_outcome(
    table: Contacts, queue: ContactQueue
) -> None:
    fill(table, 90)
    claims = queue.claim(100)
    ends = [
        (
            claim,
            Delivered(str(number), created=True) if number % 3 else Failed(said(f"no {number}")),
        )
        for number, claim in enumerate(claims)
    ]
    updates: list[str] = []

    @event.listens_for(table.engine, "before_cursor_execute")
    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "UPDATE contacts" in statement:
            updates.append(statement)

    queue.settle(ends)
    assert len(updates) == 2
    assert {row["hubspot_processing_status"] for row in table.rows()} == {"Complete", "Error"}
