"""The database goes away or refuses: nothing is lost, nobody pays, the message names the mend."""

import logging
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool, Pool

from hubspot_sync.errors import DatabaseUnavailable, HubSpotSyncError, WrongUsage
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.exchange import Request
from hubspot_sync.report import RunState
from hubspot_sync.rules.reaction import Answer
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.failures import explain
from tests.acceptance.program import Ended, Program, environment
from tests.conftest import LEASE, POLICY, Runs, Waits, Wire, make_database
from tests.oracle import assert_all_delivered
from tests.tables import APP_TABLE, CONTACTS, Contacts

SECRET = "not-to-be-shown"
SHORT_MS = 20
HALF = 6


@dataclass(frozen=True)
class Place:
    """Where the contacts are, for those who break it.

    Attributes:
        path: the file of SQLite.
        on_checkout: statements for every connection of SQLite that is taken out of a pool.
        admin: runs a statement on PostgreSQL from another database, which stays whole.
        role: the user of the program, who is no superuser.
        database: on PostgreSQL.
    """

    table: Contacts
    path: Path
    on_checkout: list[str]
    admin: Callable[[str], None] = print
    role: str = ""
    database: str = ""

    def sql(self, statement: str) -> None:
        """Run a statement as the owner of the table."""
        with self.table.engine.begin() as connection:
            connection.execute(text(statement))

    def disconnect(self) -> None:
        """Break every connection to the database."""
        self.admin(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{self.database}' AND pid <> pg_backend_pid()"
        )


Breaking = Callable[[Place], AbstractContextManager[None]]


@contextmanager
def connections_refused(place: Place) -> Iterator[None]:
    place.admin(f"ALTER DATABASE {place.database} ALLOW_CONNECTIONS false")
    place.disconnect()
    try:
        yield
    finally:
        place.admin(f"ALTER DATABASE {place.database} ALLOW_CONNECTIONS true")


@contextmanager
def connections_used_up(place: Place) -> Iterator[None]:
    place.admin(f"ALTER ROLE {place.role} CONNECTION LIMIT 0")
    place.disconnect()
    try:
        yield
    finally:
        place.admin(f"ALTER ROLE {place.role} CONNECTION LIMIT -1")


@contextmanager
def replica(place: Place) -> Iterator[None]:
    """The address leads to a server that may be read only."""
    place.admin(f"ALTER DATABASE {place.database} SET default_transaction_read_only = on")
    place.disconnect()
    try:
        yield
    finally:
        place.admin(f"ALTER DATABASE {place.database} RESET default_transaction_read_only")
        place.disconnect()


@contextmanager
def privilege_missing(place: Place) -> Iterator[None]:
    place.sql(f"REVOKE UPDATE ON contacts FROM {place.role}")
    try:
        yield
    finally:
        place.sql(f"GRANT UPDATE ON contacts TO {place.role}")


@contextmanager
def statements_timed_out(place: Place) -> Iterator[None]:
    """The app locks the whole table, and the server ends whoever waits."""
    place.admin(f"ALTER DATABASE {place.database} SET statement_timeout = {SHORT_MS}")
    place.disconnect()
    try:
        with place.table.engine.connect() as app:
            app.execute(text("LOCK TABLE contacts IN ACCESS EXCLUSIVE MODE"))
            yield
    finally:
        place.admin(f"ALTER DATABASE {place.database} RESET statement_timeout")
        place.disconnect()


@contextmanager
def column_missing(place: Place) -> Iterator[None]:
    place.sql("ALTER TABLE contacts RENAME COLUMN next_retry_at TO retry_at")
    try:
        yield
    finally:
        place.sql("ALTER TABLE contacts RENAME COLUMN retry_at TO next_retry_at")


@contextmanager
def table_missing(place: Place) -> Iterator[None]:
    place.sql("ALTER TABLE contacts RENAME TO people")
    try:
        yield
    finally:
        place.sql("ALTER TABLE people RENAME TO contacts")


@contextmanager
def file_locked(place: Place) -> Iterator[None]:
    with closing(sqlite3.connect(place.path, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def file_overwritten(place: Place) -> Iterator[None]:
    with place.path.open("r+b") as file:
        before = file.read(100)
        file.seek(0)
        file.write(b"no database" * 9)
    try:
        yield
    finally:
        with place.path.open("r+b") as file:
            file.write(before)


@contextmanager
def disk_full(place: Place) -> Iterator[None]:
    """The app keeps an account of changes, for which there is no room."""
    place.sql("CREATE TABLE changes (what blob)")
    place.sql(
        "CREATE TRIGGER keep_changes AFTER UPDATE ON contacts "
        "BEGIN INSERT INTO changes VALUES (randomblob(20000)); END"
    )
    # Less than the file has already means as much as it has.
    place.on_checkout[:] = ["PRAGMA max_page_count = 1"]
    try:
        yield
    finally:
        place.on_checkout[:] = ["PRAGMA max_page_count = 1073741823"]


@contextmanager
def file_read_only(place: Place) -> Iterator[None]:
    place.on_checkout[:] = ["PRAGMA query_only = 1"]
    try:
        yield
    finally:
        place.on_checkout[:] = ["PRAGMA query_only = 0"]


@dataclass(frozen=True)
class Fault:
    """A way to fail, and what the program must say of it.

    Attributes:
        words: what happened, and how to mend it.
        code: what the program ends with where it meets the fault first of all.
    """

    shape: str
    breaking: Breaking
    words: tuple[str, ...]
    code: int = 3

    def __str__(self) -> str:
        return f"{self.shape}-{self.breaking.__name__}"


CHECK = "Check DATABASE_URL, the server, and the network between"
WRITE = ("does not let this user write", "SELECT and UPDATE", "on the primary server")
COLUMN = ("lacks a column", "next_retry_at", "or add the column")
TABLE = ("no table 'contacts'", "init-db")

FAULTS = [
    Fault("app", connections_refused, ("not currently accepting connections", CHECK)),
    Fault("app", connections_used_up, ("too many connections for role", "Raise its limit")),
    Fault(
        "app",
        statements_timed_out,
        ("statement timeout", "another program's lock", "holds a transaction"),
    ),
    Fault("app", replica, WRITE),
    Fault("app", privilege_missing, ("permission denied", *WRITE)),
    Fault("sqlite", file_locked, ("kept the database locked", "which one holds a transaction")),
    Fault("sqlite", file_overwritten, ("not a database", CHECK)),
    Fault("sqlite", file_read_only, WRITE),
    Fault("sqlite", disk_full, ("no room left", "Free space")),
]
"""What an operator can mend while the program runs."""

WRONG_TABLES = [
    Fault(shape, breaking, words, code=2)
    for shape in ("sqlite", "app")
    for breaking, words in ((column_missing, COLUMN), (table_missing, TABLE))
]


def each(faults: list[Fault]) -> pytest.MarkDecorator:
    """Run a test with each fault, on the database that has it."""
    return pytest.mark.parametrize(
        ("shape", "fault"), [pytest.param(fault.shape, fault, id=str(fault)) for fault in faults]
    )


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubspot_sync.store.database.SQLITE_BUSY_SECONDS", SHORT_MS / 1000)


@pytest.fixture(scope="module")
def app_url(postgres_url: str) -> str:
    """A database of our own, which the other tests do not find broken."""
    return make_database(postgres_url, "broken", APP_TABLE)


@pytest.fixture(scope="module")
def admin(postgres_url: str) -> Iterator[Callable[[str], None]]:
    """Run statements on the server, from a database that stays whole."""
    url = make_url(postgres_url.format(database="app"))
    url = url.set(drivername="postgresql+psycopg2", database="postgres")
    made = create_engine(url, isolation_level="AUTOCOMMIT")

    def execute(statement: str) -> None:
        with made.connect() as connection:
            connection.execute(text(statement))

    yield execute
    made.dispose()


@pytest.fixture(scope="module")
def role(app_url: str, admin: Callable[[str], None]) -> Iterator[str]:
    """The program's user, who may do what the program needs."""
    database = make_url(app_url).database
    name = f"{database}_sync"
    admin(f"DROP ROLE IF EXISTS {name}")
    admin(f"CREATE ROLE {name} LOGIN PASSWORD '{SECRET}'")
    # Connections do not outlive what the tests do to the database.
    owner_url = f"postgresql+psycopg2://{app_url.partition('://')[2]}"
    owner = create_engine(owner_url, poolclass=NullPool)
    with owner.begin() as connection:
        connection.execute(text(f"GRANT SELECT, UPDATE ON contacts TO {name}"))
    yield name
    with owner.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {name}"))
    admin(f"DROP ROLE {name}")


@pytest.fixture
def url(request: pytest.FixtureRequest, shape: str, database_url: str) -> str:
    """DATABASE_URL, as the program gets it."""
    if shape == "sqlite":
        return database_url
    user = make_url(database_url).set(username=request.getfixturevalue("role"), password=SECRET)
    return user.render_as_string(hide_password=False)


@pytest.fixture
def place(request: pytest.FixtureRequest, table: Contacts, tmp_path: Path) -> Iterator[Place]:
    """The place of the contacts."""
    on_checkout: list[str] = []

    def prepare(connection: Any, *_: object) -> None:
        for statement in on_checkout:
            connection.execute(statement)

    if table.shape == "sqlite":
        event.listen(Pool, "checkout", prepare)
        yield Place(table, tmp_path / "contacts.db", on_checkout)
        event.remove(Pool, "checkout", prepare)
        return
    admin, role = request.getfixturevalue("admin"), request.getfixturevalue("role")
    database = str(table.engine.url.database)
    yield Place(table, tmp_path, on_checkout, admin=admin, role=role, database=database)


@pytest.fixture
def queue(table: Contacts, url: str) -> Iterator[ContactQueue]:
    """The queue, as the program's user meets it."""
    scheme, _, rest = url.partition("://")
    driver = "sqlite" if scheme == "sqlite" else "postgresql+psycopg2"
    engine = make_engine(f"{driver}://{rest}", pool_size=4)
    yield ContactQueue(engine, CONTACTS, policy=POLICY, lease=LEASE)
    engine.dispose()


@pytest.fixture
def program(url: str, hubspot: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    """The program, on that table and that HubSpot, which waits for nobody."""
    monkeypatch.setattr("hubspot_sync.clock.Ending.sleep", lambda *_: None)
    handlers = list(logging.getLogger().handlers)
    yield Program(environment(url, hubspot.url))
    logging.getLogger().handlers[:] = handlers


@pytest.fixture
def broken() -> Iterator[ExitStack]:
    """What is broken, and made whole again at the end at the latest."""
    with ExitStack() as stack:
        yield stack


def fill(table: Contacts, hubspot: Emulator) -> list[str]:
    """Half of them new: creates are sent before updates, so there is a point between the two."""
    emails = [f"c{number:02}@example.com" for number in range(2 * HALF)]
    for number, email in enumerate(emails):
        table.add(email, age=timedelta(minutes=30 - number))
        if number >= HALF:
            hubspot.add_contact({"email": email})
    return emails


@contextmanager
def while_an_answer_is_held(hubspot: Emulator, act: Callable[[], object]) -> Iterator[None]:
    """Act when HubSpot has created contacts, and before it says so."""
    release, is_over = threading.Event(), threading.Event()
    fault = hubspot.fault(path="/batch/create", after_write=True, release=release)

    def watch() -> None:
        try:
            if fault.reached.wait(20) and not is_over.is_set():
                act()
        finally:
            release.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        fault.reached.set()
        watcher.join()


def after_the_create(wire: Wire, act: Callable[[], object]) -> None:
    """Act once, when HubSpot's answer to a create has come, and nothing of it is written."""
    left = [act]

    def then_act(request: Request) -> Answer:
        answer = wire.send(request)
        if request.path.endswith("/batch/create") and left:
            left.pop()()
        return answer

    wire.exchange = then_act


def assert_said(ended: Ended, fault: Fault, *, code: int) -> None:
    """One line for the operator: what happened, what to do; no traceback, no secret."""
    assert ended.code == code, ended
    (line,) = ended.err.splitlines()
    for word in fault.words:
        assert word in line
    assert "Traceback" not in ended.out + ended.err
    assert SECRET not in ended.out + ended.err


@each(FAULTS + WRONG_TABLES)
@pytest.mark.parametrize("command", ["sync-queue", "sync-one"])
def test_fault_met_at_the_claim_is_said_in_one_line_and_changes_nothing(
    place: Place,
    program: Program,
    hubspot: Emulator,
    broken: ExitStack,
    fault: Fault,
    command: str,
) -> None:
    fill(place.table, hubspot)
    before = place.table.rows()
    arguments = [str(before[0]["id"])] if command == "sync-one" else ["--limit", "100"]
    broken.enter_context(fault.breaking(place))
    ended = program.run(command, *arguments)
    broken.close()
    assert_said(ended, fault, code=fault.code)
    assert place.table.rows() == before
    assert hubspot.request_count == 0
    assert program.run("sync-queue", "--limit", "100").code == 0
    assert_all_delivered(place.table, hubspot)


@each(FAULTS + WRONG_TABLES)
def test_outcomes_that_are_known_are_written_once_the_database_is_back(
    place: Place,
    program: Program,
    hubspot: Emulator,
    broken: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
) -> None:
    emails = fill(place.table, hubspot)
    waits: list[float] = []

    def mend_at_the_second(_: object, seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            broken.close()

    monkeypatch.setattr("hubspot_sync.clock.Ending.sleep", mend_at_the_second)
    with while_an_answer_is_held(hubspot, lambda: broken.enter_context(fault.breaking(place))):
        ended = program.run("sync-queue", "--limit", "100")
    assert waits[:2] == [2.0, 4.0]
    assert_said(ended, fault, code=3)
    assert f"{HALF} created, {HALF} released" in ended.out
    states = {row["email"]: row["hubspot_sync_status"] for row in place.table.rows()}
    assert list(states.values()) == ["Complete"] * HALF + ["Selected"] * HALF
    assert list(states) == emails
    assert program.run("sync-queue", "--limit", "100").code == 0
    assert_all_delivered(place.table, hubspot)


@each(FAULTS + WRONG_TABLES)
def test_outcomes_of_a_database_that_stays_away_are_taken_over(
    place: Place,
    runs: Runs,
    wire: Wire,
    hubspot: Emulator,
    waits: Waits,
    broken: ExitStack,
    fault: Fault,
) -> None:
    fill(place.table, hubspot)
    after_the_create(wire, lambda: broken.enter_context(fault.breaking(place)))
    report = runs.queue()
    broken.close()
    assert (report.state, report.exit_code) == (RunState.STOPPED, 3)
    assert fault.words[0] in str(report.reason)
    assert waits.clock >= LEASE.total_seconds()
    assert report.counts == {"superseded": 2 * HALF}
    assert {row["hubspot_sync_status"] for row in place.table.rows()} == {"Processing"}
    place.table.age_all(LEASE + timedelta(seconds=1))
    assert runs.queue().state is RunState.DONE
    assert_all_delivered(place.table, hubspot)


@pytest.mark.parametrize("shape", ["app"])
def test_connections_cut_while_hubspot_answers_are_made_anew(
    place: Place, program: Program, hubspot: Emulator
) -> None:
    fill(place.table, hubspot)
    with while_an_answer_is_held(hubspot, place.disconnect):
        ended = program.run("sync-queue", "--limit", "100")
    assert (ended.code, ended.err) == (0, "")
    assert_all_delivered(place.table, hubspot)


@pytest.mark.parametrize("shape", ["app"])
def test_connections_cut_by_an_idle_time_out_between_batches_are_made_anew(
    place: Place, runs: Runs, hubspot: Emulator
) -> None:
    place.table.add_all([f"c{number}@example.com" for number in range(250)])
    cut: list[int] = []

    def cut_once_a_batch(_: object) -> None:
        cut.append(0)
        if len(cut) % 100 == 1:
            place.disconnect()

    runs.on_settled = cut_once_a_batch
    report = runs.queue(None)
    assert (report.state, report.claimed, len(cut)) == (RunState.DONE, 250, 250)
    assert_all_delivered(place.table, hubspot)


@pytest.mark.parametrize("shape", ["sqlite"])
def test_file_put_back_from_an_older_copy_is_delivered_again_and_nobody_twice(
    place: Place,
    runs: Runs,
    wire: Wire,
    program: Program,
    hubspot: Emulator,
    tmp_path: Path,
) -> None:
    fill(place.table, hubspot)
    place.table.engine.dispose()
    copy = Path(shutil.copy(place.path, tmp_path / "older.db"))
    after_the_create(wire, lambda: copy.replace(place.path))
    report = runs.queue()
    assert (report.state, report.exit_code) == (RunState.STOPPED, 3)
    assert {row["hubspot_sync_status"] for row in place.table.rows()} == {"Selected"}
    assert program.run("sync-queue", "--limit", "100").code == 0
    assert_all_delivered(place.table, hubspot)


@pytest.mark.parametrize("shape", ["sqlite"])
def test_file_that_cannot_be_opened_is_not_taken_for_one_that_is_missing(
    place: Place, program: Program, tmp_path: Path
) -> None:
    place.table.engine.dispose()
    place.path.rename(tmp_path / "aside.db")
    place.path.mkdir()
    ended = program.run("sync-queue")
    assert ended.code in (2, 3)
    assert len(ended.err.splitlines()) == 1
    assert "init-db" not in ended.err


class DriverError(Exception):
    """What psycopg2 raises, for what cannot be brought about here."""

    def __init__(self, pgcode: str, words: str) -> None:
        super().__init__(words)
        self.pgcode = pgcode


@pytest.mark.parametrize(
    ("pgcode", "words", "error", "mend"),
    [
        (
            "53100",
            "could not extend file: No space left on device\nHINT:  Check free disk space.",
            DatabaseUnavailable,
            "has no room left (could not extend file: No space left on device). Free space",
        ),
        (
            "57P03",
            "the database system is starting up",
            DatabaseUnavailable,
            "cannot be used now: the database system is starting up. Check DATABASE_URL",
        ),
        (
            "25006",
            "cannot execute UPDATE in a read-only transaction",
            DatabaseUnavailable,
            "on the primary server",
        ),
        ("42703", 'column "x" does not exist', WrongUsage, "lacks a column that the sync needs"),
    ],
)
def test_explanation_names_the_mend(
    pgcode: str, words: str, error: type[HubSpotSyncError], mend: str
) -> None:
    explained = explain(
        OperationalError("UPDATE contacts", {}, DriverError(pgcode, words)), "contacts"
    )
    assert type(explained) is error
    assert mend in str(explained)
    assert "HINT" not in str(explained)
