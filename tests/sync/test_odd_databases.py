"""Databases set up in odd ways: what works goes on working, and what cannot is said before."""

import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from hubspot_sync.errors import Refused
from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.report import CheckState
from hubspot_sync.store import settling
from hubspot_sync.store.check_up import look_at_database
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.indexes import create_indexes, has_index, wanted_indexes
from tests.acceptance.program import Program, environment
from tests.conftest import LEASE, POLICY, Runs, Waits, make_database
from tests.sync.test_drain import drain_of
from tests.sync.test_odd_rows import outcomes
from tests.tables import APP_TABLE, CONTACTS, PLAIN_TABLE, Contacts

NAMES = [each.name for each in wanted_indexes(CONTACTS)]
KNOWN = "known@example.com"
TABLES = {"plain": PLAIN_TABLE, "app": APP_TABLE}
SOON_MS = 5


@dataclass(frozen=True)
class Place:
    """An odd database, and the program's user in it.

    Attributes:
        table: as its owner sees it.
        role: the user's name.
        url: the user's DATABASE_URL.
        sql: runs statements as the owner; `{role}` stands for the user.
    """

    table: Contacts
    role: str
    url: str
    sql: Callable[..., None]

    def connect(self) -> Engine:
        """Return an engine of the user's."""
        return engine_of(self.url)


Make = Callable[..., Place]


def engine_of(url: str) -> Engine:
    return make_engine(url.replace("postgresql:", "postgresql+psycopg2:"), pool_size=8)


@pytest.fixture(scope="module")
def url(postgres_url: str) -> str:
    """A database of our own, whose table these tests replace."""
    return make_database(postgres_url, "odd", PLAIN_TABLE)


@pytest.fixture
def make(url: str) -> Iterator[Make]:
    """Makes the table anew, in one of the shapes, and then odd by the statements given."""
    role = f"{make_url(url).database}_user"
    owner = engine_of(url)

    def sql(*statements: str) -> None:
        with owner.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.replace("{role}", role))

    def do(shape: str, *statements: str) -> Place:
        sql(
            "DROP SCHEMA IF EXISTS crm CASCADE",
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public",
            "GRANT USAGE ON SCHEMA public TO public",
            TABLES[shape],
            "GRANT SELECT, UPDATE ON contacts TO {role}",
            *statements,
        )
        user = make_url(url).set(username=role, password="r")
        return Place(Contacts(owner, shape), role, user.render_as_string(hide_password=False), sql)

    sql("DROP ROLE IF EXISTS {role}", "CREATE ROLE {role} LOGIN PASSWORD 'r'")
    yield do
    sql("DROP PUBLICATION IF EXISTS odd", "DROP OWNED BY {role} CASCADE", "DROP ROLE {role}")
    owner.dispose()


@pytest.fixture
def runs_in(client: HubSpotClient, pulse: Any) -> Iterator[Callable[[Place], Runs]]:
    """Returns what makes runs as a place's user."""
    engines: list[Engine] = []

    def make_runs(place: Place) -> Runs:
        engines.append(place.connect())
        return Runs(ContactQueue(engines[-1], CONTACTS, policy=POLICY, lease=LEASE), client, pulse)

    yield make_runs
    for engine in engines:
        engine.dispose()


RunsIn = Callable[[Place], Runs]


@contextmanager
def program_in(place: Place, hubspot: Emulator) -> Iterator[Program]:
    handlers = list(logging.getLogger().handlers)
    yield Program(environment(place.url, hubspot.url))
    logging.getLogger().handlers[:] = handlers


def faults_told_in(place: Place) -> dict[str, str]:
    """Return what `doctor` wants corrected in the database."""
    engine = place.connect()
    checks = look_at_database(engine, CONTACTS)
    engine.dispose()
    return {check.about: check.words for check in checks if check.state is not CheckState.OK}


def emails_in(hubspot: Emulator) -> list[str]:
    return sorted(contact["properties"]["email"] for contact in hubspot.contacts())


def trigger(when: str, body: str) -> tuple[str, str]:
    return (
        f"CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$",
        f"CREATE TRIGGER odd {when} UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION odd()",
    )


PUBLISHED = "CREATE PUBLICATION odd FOR TABLE contacts"
ALLOWED = "('New', 'Selected', 'Queued', 'Processing', 'Complete', 'Error', 'Skipped')"

FINE: dict[str, tuple[str, ...]] = {
    "generated columns beside ours": (
        "plain",
        "ALTER TABLE contacts ADD folded text GENERATED ALWAYS AS (lower(email)) STORED",
        ("ALTER TABLE contacts ADD status text "
        "GENERATED ALWAYS AS (hubspot_sync_status::text) STORED"),
    ),
    "domains": (
        "plain",
        "CREATE DOMAIN address AS text CHECK (VALUE LIKE '%%@%%')",
        f"CREATE DOMAIN decision AS varchar(20) CHECK (VALUE IN {ALLOWED})",
        "CREATE DOMAIN state AS text CHECK (VALUE <> '')",
        "CREATE DOMAIN moment AS timestamptz",
        "CREATE DOMAIN counter AS integer CHECK (VALUE >= 0)",
        ("ALTER TABLE contacts ALTER email TYPE address, ALTER hubspot_sync_status TYPE decision, "
        "ALTER hubspot_processing_status TYPE state, ALTER updated_at TYPE moment, "
        "ALTER next_retry_at TYPE moment, ALTER retry_count TYPE counter"),
    ),
    "a trigger that folds emails": (
        "app", *trigger("BEFORE", "NEW.email := lower(trim(NEW.email)); RETURN NEW;"),
    ),
    "a trigger that notifies, and columns that fill themselves": (
        "app",
        "ALTER TABLE contacts ADD serial bigserial NOT NULL",
        "ALTER TABLE contacts ADD number bigint GENERATED ALWAYS AS IDENTITY",
        *trigger("AFTER", "PERFORM pg_notify('contacts', NEW.id::text); RETURN NULL;"),
    ),
    "replica identity full": ("app", "ALTER TABLE contacts REPLICA IDENTITY FULL", PUBLISHED),
    "replica identity by an index": (
        "app",
        "ALTER TABLE contacts REPLICA IDENTITY USING INDEX uq_contact_domain_email",
        PUBLISHED,
    ),
    "a schema in the user's search_path, which hides another table": (
        "plain",
        "CREATE SCHEMA crm; GRANT USAGE ON SCHEMA crm TO {role}",
        "CREATE TABLE crm.contacts (LIKE contacts INCLUDING ALL)",
        "DROP TABLE contacts; CREATE TABLE contacts (id integer)",
        "GRANT SELECT, UPDATE ON crm.contacts TO {role}",
        "ALTER ROLE {role} SET search_path = crm, public; SET search_path = crm, public",
    ),
    "time-outs for transactions that idle, and locks": (
        "app",
        "ALTER ROLE {role} SET idle_in_transaction_session_timeout = '1s'",
        "ALTER ROLE {role} SET idle_session_timeout = '1s'",
        "ALTER ROLE {role} SET statement_timeout = '1s'",
        "ALTER ROLE {role} SET lock_timeout = '100ms'",
    ),
    "a rule that also writes elsewhere": (
        "app",
        "CREATE TABLE audit (id uuid)",
        "CREATE RULE odd AS ON UPDATE TO contacts DO ALSO INSERT INTO audit VALUES (NEW.id)",
    ),
    "a table with children": (
        "plain", "CREATE TABLE leads (source text) INHERITS (contacts)",
    ),
    "a unique record id that is checked at the end": (
        "app",
        ("ALTER TABLE contacts ADD CONSTRAINT odd UNIQUE (hubspot_contact_id) DEFERRABLE "
        "INITIALLY DEFERRED"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("odd", FINE)
def test_odd_database_works_in_both_lanes(
    make: Make, runs_in: RunsIn, hubspot: Emulator, odd: str
) -> None:
    place = make(*FINE[odd])
    hubspot.add_contact({"email": KNOWN})
    hubspot.fault(contains="bad@", status=400, body={"message": "no"}, times=None)
    emails = ["a@example.com", "B@Example.com ", KNOWN, "bad@example.com", "z@example.com"]
    keys = place.table.add_all(emails)
    runs = runs_in(place)
    assert outcomes([runs.one(keys[-1])]) == {"created": 1}
    assert outcomes([runs.queue(limit=None)]) == {"created": 2, "updated": 1, "failed": 1}
    assert outcomes([runs.queue(limit=None)]) == {}
    states = [place.table.state(key) for key in keys]
    assert states == [("Complete", "Complete")] * 3 + [("Queued", "Error"), ("Complete",) * 2]
    assert emails_in(hubspot) == ["a@example.com", "b@example.com", KNOWN, "z@example.com"]
    assert faults_told_in(place) == {}
    with program_in(place, hubspot) as program:
        ended = program.run("status")
    assert (ended.code, ended.err) == (0, "")
    assert "4 in the last day" in ended.out


def test_emails_whose_letters_are_of_one_case_to_the_database_work(
    make: Make, runs_in: RunsIn, hubspot: Emulator
) -> None:
    place = make("plain")
    try:
        place.sql("CREATE EXTENSION citext", "ALTER TABLE contacts ALTER email TYPE citext")
    except Exception as missing:  # noqa: BLE001 - whatever this server says of it
        pytest.skip(f"this server has no citext: {str(missing).splitlines()[0]}")
    place.table.add_all(["Ada@Example.com", "bob@example.com"])
    assert outcomes([runs_in(place).queue(limit=None)]) == {"created": 2}
    assert emails_in(hubspot) == ["ada@example.com", "bob@example.com"]
    assert faults_told_in(place) == {}


def test_rows_of_a_child_table_are_delivered_with_their_parents(
    make: Make, runs_in: RunsIn, hubspot: Emulator
) -> None:
    place = make("plain", "CREATE TABLE leads (source text) INHERITS (contacts)")
    place.table.add("ada@example.com")
    place.sql(
        "INSERT INTO leads (id, email, hubspot_sync_status, hubspot_processing_status) "
        "VALUES (gen_random_uuid(), 'bob@example.com', 'Selected', 'Queued')"
    )
    assert outcomes([runs_in(place).queue(limit=None)]) == {"created": 2}
    assert {row["hubspot_sync_status"] for row in place.table.rows()} == {"Complete"}


@dataclass(frozen=True)
class Barred:
    """A database in which no contact can be claimed.

    Attributes:
        odd: a shape, and what makes it odd.
        said: by a run.
        told: what `doctor` speaks of, and words of its.
        code: what a run ends with.
    """

    odd: tuple[str, ...]
    said: str
    told: tuple[str, str] = ("table", "takes no update")
    code: int = 2


RULES = "look at its rules, generated columns and publications"
BARRED = {
    "no replica identity": Barred(
        ("app", "ALTER TABLE contacts REPLICA IDENTITY NOTHING", PUBLISHED), RULES
    ),
    "a publication of some rows": Barred(
        ("app", f"{PUBLISHED} WHERE (email <> 'x')"), RULES, ("table", "publication WHERE")
    ),
    "a rule that does nothing instead": Barred(
        ("app", "CREATE RULE odd AS ON UPDATE TO contacts DO INSTEAD NOTHING"), RULES
    ),
    "a rule that updates another table instead": Barred(
        (
            "app",
            "CREATE TABLE audit (id uuid)",
            "CREATE RULE odd AS ON UPDATE TO contacts DO INSTEAD UPDATE audit SET id = NEW.id",
        ),
        RULES,
    ),
    "a rule that does nothing instead for some": Barred(
        ("app", "CREATE RULE odd AS ON UPDATE TO contacts WHERE OLD.email = '' DO INSTEAD NOTHING"),
        RULES,
    ),
    "a generated column among ours": Barred(
        (
            "plain",
            "ALTER TABLE contacts DROP hubspot_processing_error",
            (
                "ALTER TABLE contacts ADD hubspot_processing_error varchar(500) "
                "GENERATED ALWAYS AS (last_failed_crm) STORED"
            ),
        ),
        RULES,
        ("table", "generated column"),
    ),
    "transactions that may only read": Barred(
        ("app", "ALTER ROLE {role} SET default_transaction_read_only = on"),
        "on the primary server",
        ("rights", "read-only"),
        code=3,
    ),
}


@pytest.mark.parametrize("barred", BARRED.values(), ids=list(BARRED))
def test_database_that_takes_no_claim_is_told_by_runs_and_doctor_and_nothing_is_sent(
    make: Make, hubspot: Emulator, barred: Barred
) -> None:
    place = make(*barred.odd)
    key = place.table.add()
    for command in (["sync-queue"], ["sync-one", str(key)]):
        with program_in(place, hubspot) as program:
            ended = program.run(*command)
        assert ended.code == barred.code
        assert barred.said in ended.err
        assert "network" not in ended.err
    assert hubspot.request_count == 0
    assert place.table.state(key) == ("Selected", "Queued")
    about, words = barred.told
    assert words in faults_told_in(place)[about]


@pytest.mark.parametrize(
    ("domain", "refused"),
    [
        ("text CHECK (VALUE IN ('Queued', 'Complete', 'Error'))", "Processing"),
        ("varchar(8)", "Processing"),
    ],
)
def test_domain_that_lacks_a_status_is_told(make: Make, domain: str, refused: str) -> None:
    place = make(
        "plain",
        f"CREATE DOMAIN state AS {domain}",
        "ALTER TABLE contacts ALTER hubspot_processing_status TYPE state",
    )
    assert faults_told_in(place)["table"] == f"hubspot_processing_status does not take {refused}"


# Row security

SECURED = "ALTER TABLE contacts ENABLE ROW LEVEL SECURITY"


def test_rows_that_are_hidden_are_left_alone(
    make: Make, runs_in: RunsIn, hubspot: Emulator
) -> None:
    place = make("plain", SECURED, "CREATE POLICY odd ON contacts TO {role} USING (email < 'm')")
    shown, hidden = place.table.add_all(["ada@example.com", "zoe@example.com"])
    assert outcomes([runs_in(place).queue(limit=None)]) == {"created": 1}
    assert place.table.state(shown) == ("Complete", "Complete")
    assert place.table.state(hidden) == ("Selected", "Queued")
    assert "may hide contacts" in faults_told_in(place)["row security"]


def test_row_that_may_be_seen_and_not_changed_is_not_said_to_be_locked_alone(
    make: Make, runs_in: RunsIn, hubspot: Emulator
) -> None:
    place = make("plain", SECURED, "CREATE POLICY odd ON contacts FOR SELECT USING (true)")
    key = place.table.add()
    with pytest.raises(Refused, match="or row security keeps this user from changing it"):
        runs_in(place).one(key)
    assert hubspot.request_count == 0


@pytest.mark.parametrize("by_id", [False, True])
def test_policy_that_refuses_a_result_rejects_that_contact_alone(
    make: Make, runs_in: RunsIn, hubspot: Emulator, by_id: bool
) -> None:
    place = make(
        "plain",
        SECURED,
        "CREATE POLICY odd ON contacts TO {role} USING (true) WITH CHECK "
        "(email < 'm' OR hubspot_processing_status IS DISTINCT FROM 'Complete')",
    )
    keys = place.table.add_all(["ada@example.com", "zoe@example.com"])
    runs = runs_in(place)
    reports = [runs.one(key) for key in keys] if by_id else [runs.queue(limit=None)]
    assert outcomes(reports) == {"created": 1, "rejected": 1}
    assert [place.table.state(key) for key in keys] == [("Complete",) * 2, ("Error",) * 2]
    error = str(place.table.row(keys[1])["hubspot_processing_error"])
    assert error.startswith(
        "[DATABASE_REFUSED] The database refuses to store the result (42501, row security)"
    )
    assert outcomes([runs.queue(limit=None)]) == {}


# Indexes


def test_indexes_of_a_table_that_is_hidden_are_not_taken_for_ours(make: Make) -> None:
    place = make("plain")
    create_indexes(place.table.engine, CONTACTS)
    place.sql(
        "CREATE SCHEMA crm; GRANT USAGE ON SCHEMA crm TO {role}",
        "CREATE TABLE crm.contacts (LIKE contacts)",
        "ALTER ROLE {role} SET search_path = crm, public",
        "ALTER TABLE crm.contacts OWNER TO {role}; GRANT CREATE ON SCHEMA crm TO {role}",
    )
    user = place.connect()
    assert not has_index(user, CONTACTS, NAMES[0])
    assert create_indexes(user, CONTACTS) == [(name, True) for name in NAMES]
    assert create_indexes(user, CONTACTS) == [(name, False) for name in NAMES]
    assert all(has_index(user, CONTACTS, name) for name in NAMES)
    user.dispose()


# An app that locks rows


@contextmanager
def app_holding(place: Place, keys: Sequence[str]) -> Iterator[None]:
    with place.table.engine.connect() as app:
        named = ", ".join(f"'{key}'" for key in keys)
        app.exec_driver_sql(f"SELECT FROM contacts WHERE id IN ({named}) FOR UPDATE")
        yield


def test_rows_that_the_app_holds_wait_for_another_run_whatever_the_lock_time_out(
    make: Make, runs_in: RunsIn, hubspot: Emulator
) -> None:
    place = make("app", "ALTER ROLE {role} SET lock_timeout = '20ms'")
    keys = place.table.add_all([f"c{number}@example.com" for number in range(6)])
    runs = runs_in(place)
    with app_holding(place, keys[:3]):
        report = runs.queue(limit=None)
        with pytest.raises(Refused, match="another program holds its row"):
            runs.one(keys[0])
    assert (outcomes([report]), report.exit_code, report.due_remaining) == ({"created": 3}, 0, 3)
    assert outcomes([runs.queue(limit=None)]) == {"created": 3}
    assert len(hubspot.contacts()) == 6


@pytest.mark.parametrize("count", [1, 3])
def test_record_id_that_the_app_is_about_to_store_holds_up_no_other_contact(
    make: Make,
    runs_in: RunsIn,
    hubspot: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    waits: Waits,
    count: int,
) -> None:
    monkeypatch.setattr(settling, "ROW_LOCK_TIMEOUT_MS", 5)
    place = make("app", "CREATE UNIQUE INDEX odd ON contacts (hubspot_contact_id)")
    record_id = hubspot.add_contact({"email": KNOWN})
    place.table.add_all([KNOWN, "a@example.com", "b@example.com"][:count])
    with place.table.engine.connect() as app:
        app.exec_driver_sql(
            "INSERT INTO contacts (domain_id, page_id, email, hubspot_contact_id) "
            f"VALUES (gen_random_uuid(), gen_random_uuid(), 'x', '{record_id}')"
        )
        report = runs_in(place).queue(limit=None)
    assert waits.clock >= LEASE.total_seconds()
    created = {"created": count - 1} if count > 1 else {}
    assert outcomes([report]) == {"superseded": 1} | created
    place.table.age_all(2 * LEASE)
    assert outcomes([runs_in(place).queue(limit=None)]) == {"unchanged": 1}
    assert len(hubspot.contacts()) == count


def test_table_that_the_app_keeps_locked_stops_the_run_at_the_lock_time_out(
    make: Make, hubspot: Emulator
) -> None:
    place = make("app", "ALTER ROLE {role} SET lock_timeout = '20ms'")
    key = place.table.add()
    with place.table.engine.connect() as app, program_in(place, hubspot) as program:
        app.exec_driver_sql("LOCK TABLE contacts")
        ended = program.run("sync-queue")
        app.rollback()
    assert ended.code == 3
    assert "Find out which one holds a transaction open" in ended.err
    assert place.table.state(key) == ("Selected", "Queued")
    assert hubspot.request_count == 0


def test_drain_among_an_app_that_locks_rows_in_any_order_sends_each_contact_once(
    make: Make, runs_in: RunsIn, hubspot: Emulator
) -> None:
    place = make("app", f"ALTER ROLE {{role}} SET deadlock_timeout = '{SOON_MS}ms'")
    keys = place.table.add_all([f"c{number}@example.com" for number in range(400)])
    app = App(place, keys)
    with app:
        report = drain_of(runs_in(place).table_queue, hubspot)
    assert outcomes([report]) == {"created": 400}
    assert {row["hubspot_sync_status"] for row in place.table.rows()} == {"Complete"}
    assert len(emails_in(hubspot)) == len(set(emails_in(hubspot))) == 400
    assert app.deadlocks
    assert app.faults == []


class App:
    """Changes pairs of rows in two threads, in any order, for as long as the block runs.

    Attributes:
        deadlocks: transactions that it lost, and begins again.
        faults: what else went wrong.
    """

    def __init__(self, place: Place, keys: Sequence[str]) -> None:
        self.deadlocks = 0
        self.faults: list[Exception] = []
        self._dsn = place.table.engine.url.set(drivername="postgresql").render_as_string(
            hide_password=False
        )
        # Few rows among many, so that the two meet.
        self._keys = keys[::40]
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(2)]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(20)

    def _work(self) -> None:
        connection = psycopg2.connect(self._dsn)
        cursor = connection.cursor()
        cursor.execute(f"SET deadlock_timeout = '{SOON_MS}ms'")
        connection.commit()
        while not (self._is_over.is_set() and self.deadlocks):
            try:
                for key in random.sample(self._keys, 2):
                    cursor.execute(
                        "UPDATE contacts SET source_url = 'seen' WHERE id = %s", (str(key),)
                    )
                connection.commit()
            except psycopg2.errors.DeadlockDetected:
                connection.rollback()
                self.deadlocks += 1
            except psycopg2.Error as fault:
                self.faults.append(fault)
                break
        connection.close()
