"""Rows and tables that do not take what we write: one keeps nobody else, and none is sent twice."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import DatabaseUnavailable
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.report import RunReport
from hubspot_sync.rules.settlement import Failed
from hubspot_sync.store import passed_over
from hubspot_sync.store.contact_queue import ContactQueue, Held
from hubspot_sync.store.database import make_engine
from tests.acceptance.program import Program
from tests.conftest import LEASE, POLICY, Runs
from tests.messages import LABEL, said
from tests.tables import APP_TABLE, CONTACTS, Contacts

COMPLETE, ERROR = ("Complete", "Complete"), ("Error", "Error")
BAD = "bad@example.com"
REFUSED = "The database refuses to store the result ("

on_postgres = pytest.mark.parametrize("shape", ["plain", "app"])
on_app = pytest.mark.parametrize("shape", ["app"])

Deliver = Callable[[Runs, Sequence[str]], list[RunReport]]


def in_a_batch(runs: Runs, _: Sequence[str]) -> list[RunReport]:
    return [runs.queue(limit=None)]


def one_by_one(runs: Runs, keys: Sequence[str]) -> list[RunReport]:
    return [runs.one(key) for key in keys]


BEFORE = "TRIGGER BEFORE"

each_lane = pytest.mark.parametrize("deliver", [in_a_batch, one_by_one])


@pytest.fixture
def alter(table: Contacts) -> Iterator[Callable[[str, str], None]]:
    """Alters the table, and takes that back."""
    undone: list[str] = []

    def do(statement: str, undo: str) -> None:
        undone.append(undo)
        with table.engine.begin() as connection:
            connection.exec_driver_sql(statement)

    yield do
    with table.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM contacts")
        for undo in reversed(undone):
            connection.exec_driver_sql(undo)


Alter = Callable[[str, str], None]


def add_trigger(alter: Alter, kind: str, when: str, body: str) -> None:
    """Add a trigger of a kind such as 'TRIGGER BEFORE', which runs the body for some updates."""
    what, _, moment = kind.rpartition(" ")
    how = "DEFERRABLE INITIALLY DEFERRED" if what.startswith("CONSTRAINT") else ""
    alter(
        f"CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$",
        "DROP FUNCTION odd()",
    )
    alter(
        f"CREATE {what} odd {moment} UPDATE ON contacts {how} FOR EACH ROW WHEN ({when}) "
        "EXECUTE FUNCTION odd()",
        "DROP TRIGGER odd ON contacts",
    )


def outcomes(reports: Sequence[RunReport]) -> dict[str, int]:
    found: dict[str, int] = {}
    for report in reports:
        for name, count in report.counts.items():
            found[str(name)] = found.get(str(name), 0) + count
    return {name: count for name, count in found.items() if count}


def add_with_a_bad_one(table: Contacts, count: int) -> list[str]:
    return [table.add(f"c{number}@example.com") for number in range(count)] + [table.add(BAD)]


# Settling


@on_postgres
@each_lane
@pytest.mark.parametrize("kind", ["TRIGGER BEFORE", "CONSTRAINT TRIGGER AFTER"])
def test_row_that_cannot_be_settled_is_an_error_at_once_and_keeps_no_other(
    table: Contacts, runs: Runs, hubspot: Emulator, alter: Alter, deliver: Deliver, kind: str
) -> None:
    add_trigger(
        alter,
        kind,
        f"NEW.email = '{BAD}' AND NEW.hubspot_processing_status = 'Complete'",
        "RAISE EXCEPTION 'no %% is ever complete', NEW.email;",
    )
    keys = add_with_a_bad_one(table, 9)
    reports = deliver(runs, keys)
    assert outcomes(reports) == {"created": 9, "rejected": 1}
    (report,) = [each for run in reports for each in run.contacts if each.email == BAD]
    assert report.error is not None
    assert report.error.code is ErrorCode.DATABASE_REFUSED
    assert {table.state(key) for key in keys[:-1]} == {COMPLETE}
    row = table.row(keys[-1])
    assert table.state(keys[-1]) == ERROR
    assert str(row["hubspot_processing_error"]).startswith(f"[DATABASE_REFUSED] {REFUSED}P0001)")
    assert f"HubSpot has the contact as {report.hubspot_contact_id}" in str(report.error)
    assert BAD not in str(row["hubspot_processing_error"])
    assert (row["retry_count"], row["last_failed_crm"]) == (0, "hubspot")
    assert len(hubspot.contacts()) == 10


@on_postgres
def test_unique_record_id_rejects_the_second_of_two_that_share_an_email(
    table: Contacts, runs: Runs, alter: Alter
) -> None:
    alter("CREATE UNIQUE INDEX odd ON contacts (hubspot_contact_id)", "DROP INDEX odd")
    keys = [table.add("Ada@example.com"), table.add("ada@example.com"), table.add("b@example.com")]
    report = runs.queue()
    assert outcomes([report]) == {"created": 2, "rejected": 1}
    assert sorted(table.state(key) for key in keys) == [COMPLETE, COMPLETE, ERROR]
    (error,) = {str(row["hubspot_processing_error"]) for row in table.rows()} - {"None"}
    assert error.startswith(f"[DATABASE_REFUSED] {REFUSED}23505, odd)")


@pytest.fixture
def latin1(postgres_url: str) -> Iterator[Contacts]:
    """The app's table in a database that knows the letters of western Europe alone."""
    url = postgres_url.format(database="latin1")
    admin_url = make_url(url).set(drivername="postgresql+psycopg2", database="postgres")
    admin = create_engine(admin_url, isolation_level="AUTOCOMMIT")
    name = make_url(url).database
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(
            text(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        )
    engine = make_engine(f"postgresql+psycopg2://{url.partition('://')[2]}")
    with engine.begin() as connection:
        connection.exec_driver_sql(APP_TABLE)
    yield Contacts(engine, "app")
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.mark.parametrize("count", [1, 3])
def test_database_of_few_letters_stores_an_error_without_the_others(
    latin1: Contacts, count: int
) -> None:
    keys = [latin1.add(f"c{number}@example.com") for number in range(count)]
    queue = ContactQueue(latin1.engine, CONTACTS, policy=POLICY, lease=LEASE)
    failed = Failed(said("HubSpot refused the contact: Łódź…"))
    settlements = queue.settle([(claim, failed) for claim in queue.claim(10)])
    assert {str(each.name) for each in settlements} == {"failed"}
    for key in keys:
        row = latin1.row(key)
        assert latin1.state(key) == ("Queued", "Error")
        assert row["hubspot_processing_error"] == f"{LABEL}HubSpot refused the contact: ??d??"
        assert row["retry_count"] == 1


@on_app
@pytest.mark.parametrize("state", ["Complete", "Error"])
def test_row_that_a_trigger_keeps_in_processing_is_reported_and_left_to_its_lease(
    table: Contacts, runs: Runs, hubspot: Emulator, alter: Alter, state: str
) -> None:
    add_trigger(
        alter, BEFORE, f"NEW.email = '{BAD}' AND NEW.hubspot_processing_status <> 'Processing'",
        "RETURN NULL;",
    )  # fmt: skip
    if state == "Error":
        hubspot.fault(contains=BAD, status=400, body={"message": "no"}, times=None)
    keys = add_with_a_bad_one(table, 2)
    report = runs.queue(limit=None)
    assert outcomes([report]) == {"created": 2, "rejected": 1}
    assert table.state(keys[-1]) == ("Processing", "Processing")


# Claiming


@on_postgres
def test_rows_that_cannot_be_claimed_keep_no_place_from_the_others(
    table: Contacts, runs: Runs, program: Program, hubspot: Emulator, alter: Alter
) -> None:
    old = [table.add(f"o{number}@example.com", age=timedelta(days=9)) for number in range(10)]
    alter(
        "ALTER TABLE contacts ADD CONSTRAINT odd CHECK (email NOT LIKE 'o%%') NOT VALID",
        "ALTER TABLE contacts DROP CONSTRAINT odd",
    )
    good = [table.add(f"c{number}@example.com") for number in range(10)]
    ended = program.run("sync-queue", "--json")
    assert ended.document["counts"]["created"] == 10
    assert {table.state(key) for key in good} == {COMPLETE}
    assert {table.state(key) for key in old} == {("Selected", "Queued")}
    assert {str(key) in ended.err for key in old[:1]} == {True}
    assert "23514, odd" in ended.err
    assert len(hubspot.contacts()) == 10
    named = [str(key) for key in old]
    assert any(key in program.run("status").out for key in named)
    assert any(key in program.run("doctor").out for key in named)
    refused = program.run("sync-one", named[0])
    assert (refused.code, "23514, odd" in refused.err) == (1, True)


@on_postgres
def test_row_that_does_not_change_is_not_sent(
    table: Contacts, queue: ContactQueue, runs: Runs, hubspot: Emulator, alter: Alter
) -> None:
    add_trigger(alter, BEFORE, f"NEW.email = '{BAD}'", "RETURN NULL;")
    keys = add_with_a_bad_one(table, 3)
    report = runs.queue(limit=None)
    assert outcomes([report]) == {"created": 3}
    assert report.due_remaining == 1
    assert [each["properties"]["email"] for each in hubspot.contacts()].count(BAD) == 0
    assert isinstance(queue.claim_one(keys[-1]), Held)


@pytest.mark.parametrize("shape", ["sqlite"])
def test_sqlite_row_that_does_not_change_is_not_sent_either(
    table: Contacts, runs: Runs, hubspot: Emulator, alter: Alter
) -> None:
    alter(
        "CREATE TRIGGER odd BEFORE UPDATE ON contacts WHEN NEW.email = 'bad@example.com' "
        "BEGIN SELECT RAISE(IGNORE); END",
        "DROP TRIGGER odd",
    )
    add_with_a_bad_one(table, 3)
    assert outcomes([runs.queue(limit=None)]) == {"created": 3}
    assert len(hubspot.contacts()) == 3


@on_app
def test_row_that_a_trigger_keeps_from_being_freed_is_passed_over(
    table: Contacts, queue: ContactQueue, alter: Alter
) -> None:
    dead = {"hubspot_sync_status": "Complete", "hubspot_processing_status": "Processing"}
    key = table.add(age=2 * LEASE, **dead)
    kept = "NEW.hubspot_processing_status := 'Processing'; RETURN NEW;"
    add_trigger(alter, BEFORE, "NEW.hubspot_sync_status = 'Complete'", kept)
    known = passed_over.PassedOver()
    assert queue.claim(10, passed_over=known) == []
    assert known.refused.keys() == {key}


@on_app
def test_table_that_refuses_every_row_stops_the_run(
    table: Contacts, queue: ContactQueue, alter: Alter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passed_over, "MOST_PASSED_OVER", 20)
    add_trigger(alter, BEFORE, "true", "RETURN NULL;")
    table.add_all([f"c{number}@example.com" for number in range(30)])
    with pytest.raises(DatabaseUnavailable, match="row after row"):
        queue.claim(10)


@on_postgres
def test_contact_whose_values_change_after_every_claim_is_sent_twice_at_most(
    table: Contacts, runs: Runs, hubspot: Emulator, alter: Alter
) -> None:
    add_trigger(
        alter,
        "TRIGGER AFTER",
        "pg_trigger_depth() = 0 AND NEW.hubspot_processing_status = 'Processing'",
        "UPDATE contacts SET phone_number = concat(phone_number, '1') WHERE id = NEW.id;"
        " RETURN NEW;",
    )
    key = table.add()
    assert outcomes([runs.queue(limit=None)]) == {"requeued": 2}
    assert table.state(key) == ("Queued", "Queued")
    # The next run does not hold it against the contact.
    assert outcomes([runs.queue(limit=None)]) == {"requeued": 2}


@on_app
def test_email_that_a_trigger_rewrites_is_sent_as_the_table_has_it(
    table: Contacts, runs: Runs, hubspot: Emulator, alter: Alter
) -> None:
    add_trigger(alter, BEFORE, "true", "NEW.email := replace(NEW.email, '(at)', '@'); RETURN NEW;")
    key = table.add("ada(at)example.com")
    assert outcomes([runs.queue()]) == {"created": 1}
    assert table.state(key) == COMPLETE
    assert [each["properties"]["email"] for each in hubspot.contacts()] == ["ada@example.com"]


# What the claim left in updated_at


@on_postgres
@pytest.mark.parametrize(
    ("precision", "clock"), [(3, "clock_timestamp()"), (6, "clock_timestamp()"), (0, None)]
)
def test_contact_that_nobody_marked_is_given_back_as_it_was(
    table: Contacts, runs: Runs, hubspot: Emulator, alter: Alter, precision: int, clock: str | None
) -> None:
    kind = "timestamp" if table.shape == "app" else "timestamptz"
    alter(
        f"ALTER TABLE contacts ALTER updated_at TYPE {kind}({precision})",
        f"ALTER TABLE contacts ALTER updated_at TYPE {kind}",
    )
    if clock:
        add_trigger(alter, BEFORE, "true", f"NEW.updated_at := {clock}; RETURN NEW;")
    marks: dict[str, Any] = {
        "hubspot_sync_status": table.never_synced,
        "hubspot_processing_status": None,
    }
    key = table.add(**marks)
    hubspot.fault(status=401, times=None)
    report = runs.one(key)
    assert report.exit_code == 3
    assert outcomes([report]) == {"released": 1}
    assert table.state(key) == (table.never_synced, None)
    assert runs.queue().claimed == 0
