"""Many runs at once: twenty on one table, some of which die, and the places that they share."""

import os
import select
import signal
import sqlite3
import threading
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.report import RunReport
from hubspot_sync.rules.settlement import OutcomeName
from hubspot_sync.store import run_places
from hubspot_sync.store.contact_queue import ContactQueue
from tests.acceptance.forked import Forked
from tests.acceptance.program import Ended, Program
from tests.conftest import LEASE, Runs
from tests.oracle import assert_all_delivered
from tests.tables import Contacts

PLACES = "HUBSPOT_SYNC_SCHEDULER_MAX_INSTANCES"

CONTACTS = 2_000
VICTIMS_TAKE = 8
"""Few, for takeovers go one by one."""

VICTIMS = (
    ("written", "1"),  # its claim is rolled back
    ("committed", "1"),  # claimed, and not even looked at the portal
    ("answered", "objects/contacts/batch/read$"),  # nothing sent
    ("answered", "batch/(create|update)$"),  # HubSpot has some, nobody knows
    ("written", "2"),  # the first settle is rolled back
    ("committed", "2"),  # settled some and not the others
)
DIE_BEFORE_HUBSPOT = 2
"""The first of them never come to HubSpot."""

TWO_WORKERS = 3
SURVIVORS = 20 - len(VICTIMS)

FILL = """
INSERT INTO contacts (domain_id, page_id, email, name, hubspot_sync_status,
                      hubspot_processing_status, updated_at)
SELECT gen_random_uuid(), gen_random_uuid(), 'c' || n || '@example.com', 'Ada Lovelace',
       'Selected', 'Queued', now() - interval '1 day' + n * interval '1 second'
FROM generate_series(1, {count}) AS n
"""


@dataclass
class HeldRun:
    """A run that has its place and its contacts, and waits for HubSpot's answer."""

    process: Forked
    release: threading.Event

    def finish(self) -> Ended:
        """Let HubSpot answer, and the run go to its end."""
        self.release.set()
        out, err = self.process.communicate(timeout=30)
        return Ended(self.process.code, out, err)

    def kill(self) -> None:
        """End the run without a word."""
        self.process.kill()
        self.process.communicate(timeout=20)


@contextmanager
def held_run(
    program: Program, hubspot: Emulator, *arguments: str, **more: str
) -> Iterator[HeldRun]:
    """Start `sync-queue`, and hold HubSpot's answer to its first write."""
    release = threading.Event()
    fault = hubspot.fault(path="/batch/(create|update)", release=release)
    with program.start("sync-queue", *arguments, **more) as process:
        try:
            assert fault.reached.wait(20)
            yield HeldRun(process, release)
        finally:
            release.set()
            process.kill()


def start_doomed(program: Program, point: tuple[str, str], *arguments: str, **more: str) -> Forked:
    """Start a run that dies by SIGKILL at exactly this point."""
    environment = os.environ | program.environment | more
    return Forked("tests.acceptance.doomed", (*point, "sync-queue", *arguments), environment)


def wait_for_place(table: Contacts, place: int = 0) -> None:
    """Wait until the server has noticed that the process which held a place is dead."""
    if table.shape == "sqlite":
        # The kernel let go of the file before it told that the process had ended.
        return
    with table.engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        connection.execute(
            text("SELECT pg_advisory_xact_lock(:namespace, :place)"),
            {"namespace": run_places._NAMESPACE, "place": place},
        )


def wait_for_rows(table: Contacts) -> None:
    """Wait until the server has rolled back what a dead run had not committed."""
    with table.engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        connection.execute(text("SELECT FROM contacts FOR UPDATE"))


def states(table: Contacts) -> Counter[tuple[str, str]]:
    return Counter(
        (row["hubspot_sync_status"], row["hubspot_processing_status"]) for row in table.rows()
    )


class Crowd:
    """Runs at once on one table, and what they say at their end."""

    def __init__(self, table: Contacts, program: Program, stack: ExitStack) -> None:
        self._table = table
        self._stack = stack
        # A name of its own, by which the server's sessions of these runs are told from ours.
        url = make_url(program.environment["DATABASE_URL"])
        named = url.update_query_dict({"application_name": "crowd"})
        self._program = Program(
            program.environment
            | {
                "DATABASE_URL": named.render_as_string(hide_password=False),
                PLACES: "20",
                # The first to come waits for the last.
                "HUBSPOT_TIMEOUT_SECONDS": "40",
            }
        )

    def start(self, workers: int = 1) -> Forked:
        """Start a run that drains the queue."""
        return self._keep(
            self._program.start("sync-queue", "--drain", "--json", "--workers", str(workers))
        )

    def start_doomed(self, point: tuple[str, str]) -> Forked:
        """Start a run that takes a few and dies."""
        return self._keep(
            start_doomed(self._program, point, "--limit", str(VICTIMS_TAKE), "--workers", "1")
        )

    def _keep(self, process: Forked) -> Forked:
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        return process

    def deadlocks(self) -> int:
        """Ask the server, once the sessions of all runs have told it what they met."""
        for _ in range(400):
            if not self._ask(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE application_name = 'crowd' AND datname = current_database()"
            ):
                break
            select.select([], [], [], 0.05)
        else:
            raise AssertionError("a session outlives its run")
        return self._ask(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )

    def _ask(self, query: str) -> int:
        with self._table.engine.begin() as connection:
            return int(connection.execute(text(query)).scalar_one())


@pytest.fixture
def crowd(table: Contacts, program: Program) -> Iterator[Crowd]:
    """A crowd of runs, all of which have ended when the test has."""
    with ExitStack() as stack:
        yield Crowd(table, program, stack)


def claimed_by(processes: Sequence[Forked]) -> int:
    """Wait for runs that end well, and add up what they claimed and delivered."""
    claimed = 0
    for process in processes:
        out, err = process.communicate(timeout=50)
        assert (process.returncode, "deadlock" in err) == (0, False), err
        counts = Ended(0, out, err).document["counts"]
        delivered = sum(counts[name] for name in ("created", "updated", "unchanged"))
        assert counts["claimed"] == delivered, counts
        claimed += counts["claimed"]
    return claimed


def fill_and_tell_hubspot_half(table: Contacts, hubspot: Emulator) -> None:
    with table.engine.begin() as connection:
        connection.execute(text(FILL.format(count=CONTACTS)))
    for number in range(1, CONTACTS + 1):
        email = f"c{number}@example.com"
        if zlib.crc32(email.encode()) % 2:
            hubspot.add_contact({"email": email})


def start_all_at_once(table: Contacts, crowd: Crowd, hubspot: Emulator) -> list[Forked]:
    """Start twenty, let none of them past its first question before all have claimed."""
    release = threading.Event()
    coming = 20 - DIE_BEFORE_HUBSPOT
    # One each, for a fault says only once that it was reached.
    faults = [hubspot.fault(path="/properties/", release=release) for _ in range(coming)]
    try:
        victims = [crowd.start_doomed(point) for point in VICTIMS]
        survivors = [crowd.start(workers=1 + (n < TWO_WORKERS)) for n in range(SURVIVORS)]
        assert all(fault.reached.wait(40) for fault in faults)
        for victim in victims[:DIE_BEFORE_HUBSPOT]:
            victim.communicate(timeout=20)
        wait_for_rows(table)
    finally:
        release.set()
    for victim in victims:
        victim.communicate(timeout=40)
    assert [victim.returncode for victim in victims] == [-signal.SIGKILL] * len(victims)
    return survivors


@pytest.mark.timeout(120)
@pytest.mark.parametrize("shape", ["app"])
def test_twenty_runs_at_once_some_of_which_die_deliver_each_contact_once(
    table: Contacts, crowd: Crowd, program: Program, hubspot: Emulator
) -> None:
    fill_and_tell_hubspot_half(table, hubspot)
    # A contact that was created and not settled is found by its takeover all the same.
    hubspot.search_lag = 3600
    deadlocks = crowd.deadlocks()
    survivors = start_all_at_once(table, crowd, hubspot)
    claimed = claimed_by(survivors)
    left = states(table)
    complete, held = left.pop(("Complete", "Complete")), left.pop(("Processing", "Processing"))
    # Four victims left all that they held, the last one a part of it.
    assert not left
    assert 4 * VICTIMS_TAKE <= held < 5 * VICTIMS_TAKE
    assert (
        claimed
        == CONTACTS - (len(VICTIMS) - 1) * VICTIMS_TAKE
        == complete - (5 * VICTIMS_TAKE - held)
    )
    table.age_all(LEASE + timedelta(minutes=1))
    assert claimed_by([crowd.start(workers=n) for n in (1, 2)]) == held
    assert program.run("sync-queue").out == "Nothing is due.\n"
    assert_all_delivered(table, hubspot)
    assert len(hubspot.contacts()) == CONTACTS
    assert crowd.deadlocks() == deadlocks


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_third_run_of_two_is_busy_until_one_of_them_dies(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    for minutes in (9, 8):
        table.add(f"c{minutes}@example.com", age=timedelta(minutes=minutes))
    two = {PLACES: "2"}
    with (
        held_run(program, hubspot, "--limit", "1", **two) as first,
        held_run(program, hubspot, "--limit", "1", **two) as second,
    ):
        requests_before = hubspot.request_count
        busy = program.run("sync-queue", "--json", **two)
        first.kill()
        wait_for_place(table)
        after = program.run("sync-queue", **two)
        ended = second.finish()
    assert (busy.code, busy.err) == (0, "")
    assert (busy.document["state"], busy.document["counts"]["claimed"]) == ("busy", 0)
    assert hubspot.request_count - requests_before <= 1
    assert (after.code, after.out, after.err) == (0, "Nothing is due.\n", "")
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_sync_one_is_never_busy(table: Contacts, program: Program, hubspot: Emulator) -> None:
    held = table.add("ada@example.com", age=timedelta(minutes=9))
    other = table.add("bob@example.com", age=timedelta(minutes=8))
    with held_run(program, hubspot, "--limit", "1") as run:
        ended = program.run("sync-one", str(other))
        refused = program.run("sync-one", str(held))
        assert run.finish().code == 0
    assert (ended.code, ended.err) == (0, "")
    assert table.state(other) == table.state(held) == ("Complete", "Complete")
    # Its contact may be held, which is another answer.
    assert refused.code != 0
    assert "a run holds it, or died holding it, until" in refused.err


@contextmanager
def database_setting(table: Contacts, name: str, value: str) -> Iterator[None]:
    """Give every session to come a setting of the database's."""
    database = table.engine.url.database
    with table.engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {database} SET {name} = '{value}'")
    try:
        yield
    finally:
        with table.engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {database} RESET {name}")


def wait_out_an_idle_transaction(url: str) -> None:
    """Idle in a transaction of our own until it is ended from the other side."""
    connection = psycopg2.connect(url)
    try:
        connection.cursor().execute("SELECT 1")
        readable, _, _ = select.select([connection], [], [], 20)
        assert readable, "nobody ends idle transactions"
    finally:
        connection.close()


def knows_setting(table: Contacts, name: str) -> bool:
    with table.engine.begin() as connection:
        query = "SELECT 1 FROM pg_settings WHERE name = %s"
        return connection.exec_driver_sql(query, (name,)).first() is not None


@pytest.mark.parametrize("shape", ["app"])
@pytest.mark.parametrize("time_out", ["idle_in_transaction_session_timeout", "transaction_timeout"])
def test_place_is_kept_where_the_server_ends_idle_transactions(
    table: Contacts, database_url: str, program: Program, hubspot: Emulator, time_out: str
) -> None:
    if not knows_setting(table, time_out):
        pytest.skip(f"this server has no {time_out}")
    key = table.add()
    with (
        database_setting(table, time_out, "500ms"),
        held_run(program, hubspot) as run,
    ):
        wait_out_an_idle_transaction(database_url)
        busy = program.run("sync-queue", "--json")
        ended = run.finish()
    assert busy.document["state"] == "busy"
    assert (ended.code, ended.err) == (0, "")
    assert table.state(key) == ("Complete", "Complete")


def take_places_away(table: Contacts) -> None:
    """Do to the places what an administrator with a broom does."""
    if table.shape == "sqlite":
        locks = list(Path(str(table.engine.url.database or "")).parent.glob("*.lock"))
        assert locks
        for lock in locks:
            lock.unlink()
        return
    with table.engine.begin() as connection:
        ended = connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks "
                "WHERE locktype = 'advisory' AND granted AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )
        assert [row[0] for row in ended] == [True]


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_run_whose_place_is_lost_goes_on_to_its_end(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    table.add_all([f"c{number}@example.com" for number in range(120)])
    with held_run(program, hubspot, "--drain", "--workers", "1") as run:
        take_places_away(table)
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    assert states(table) == {("Complete", "Complete"): 120}


def edit_without_waiting(table: Contacts, database_url: str, keys: Sequence[str]) -> None:
    """Edit contacts as the app would, and fail where one of them is locked."""
    if table.shape == "sqlite":
        path = make_url(database_url).database or ""
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as app:
            for key in keys:
                app.execute("UPDATE contacts SET name = 'Edited' WHERE id = ?", (str(key),))
        return
    for key in keys:
        with table.engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
            connection.execute(
                text("UPDATE contacts SET name = 'Edited' WHERE id = :id"), {"id": str(key)}
            )


@pytest.mark.parametrize("shape", ["sqlite", "app"])
@pytest.mark.parametrize(
    "held_at",
    [
        "/properties/",
        "/objects/contacts/batch/read",
        "/batch/create",
        "/batch/update",
        "idProperty=email",
    ],
)
def test_app_never_waits_for_a_run_that_waits_for_hubspot(
    table: Contacts,
    database_url: str,
    queue: ContactQueue,
    runs: Runs,
    hubspot: Emulator,
    held_at: str,
) -> None:
    keys = [table.add(f"c{number}@example.com") for number in range(12)]
    for number in range(0, 12, 2):
        hubspot.add_contact({"email": f"c{number}@example.com"})
    if held_at == "idProperty=email":
        # Takeovers, which are delivered one by one.
        queue.claim(100)
        for key in keys:
            table.change(key, retry_count=1)
        table.age_all(LEASE + timedelta(minutes=1))
    release = threading.Event()
    fault = hubspot.fault(path=held_at, release=release)
    reports: list[RunReport] = []
    thread = threading.Thread(target=lambda: reports.append(runs.queue(None)))
    thread.start()
    try:
        assert fault.reached.wait(20)
        held = [key for key in keys if table.state(key) == ("Processing", "Processing")]
        edit_without_waiting(table, database_url, held)
    finally:
        release.set()
        thread.join(20)
    (report,) = reports
    # Creates are settled before updates are sent.
    assert len(held) == (6 if held_at == "/batch/update" else 12)
    assert report.counts[OutcomeName.REQUEUED] >= 1
    assert states(table) == {("Complete", "Complete"): 12}
    # What the app wrote has come to HubSpot too.
    names = [each["properties"].get("firstname") for each in hubspot.contacts()]
    assert names.count("Edited") == len(held)
