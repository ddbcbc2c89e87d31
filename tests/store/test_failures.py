"""What the database refuses for what a row holds, and what is said of it."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from hubspot_sync.store.failures import explain, is_data_fault
from tests.tables import Contacts

POSTGRES = pytest.mark.parametrize("shape", ["app"])
SQLITE = pytest.mark.parametrize("shape", ["sqlite"])
EMAIL = "ada@example.com"
STATE = "UPDATE contacts SET hubspot_processing_error = 'x'"
TRIGGER = (
    "CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN RAISE EXCEPTION ''ours since May: %% '', OLD.email{using}; END';"
    "CREATE TRIGGER refuse BEFORE UPDATE ON contacts FOR EACH ROW "
    "EXECUTE FUNCTION pg_temp.refuse()"
)

SQLITE_TRIGGER = (
    "CREATE TRIGGER refuse BEFORE UPDATE ON contacts "
    "BEGIN SELECT RAISE(ABORT, 'ours since May'); END"
)
VIEW = "CREATE VIEW pg_temp.mine AS SELECT * FROM contacts WHERE retry_count < 5 WITH CHECK OPTION"


@pytest.fixture
def connection(table: Contacts) -> Iterator[Connection]:
    """A transaction with one contact, of which nothing stays."""
    table.add(EMAIL)
    with table.engine.connect() as opened:
        yield opened
        opened.rollback()


def refusal(connection: Connection, *statements: str) -> SQLAlchemyError:
    *preparing, last = statements
    for statement in preparing:
        connection.exec_driver_sql(statement)
    with pytest.raises(SQLAlchemyError) as refused:
        connection.execute(text(last))
    return refused.value


@POSTGRES
@pytest.mark.parametrize(
    ("prepared", "statement", "words"),
    [
        (
            "ALTER TABLE contacts ADD CONSTRAINT no_errors CHECK (retry_count < 5) NOT VALID",
            "UPDATE contacts SET retry_count = 9",
            "no_errors",
        ),
        (
            "ALTER TABLE contacts ALTER hubspot_processing_error TYPE varchar(3)",
            "UPDATE contacts SET hubspot_processing_error = 'long'",
            "value too long",
        ),
        (VIEW, "UPDATE pg_temp.mine SET retry_count = 9", "check option"),
        (TRIGGER.format(using=""), STATE, "ours since May"),
        (TRIGGER.format(using=" USING ERRCODE = ''45000''"), STATE, "ours since May"),
        (TRIGGER.format(using=" USING ERRCODE = ''U0042''"), STATE, "ours since May"),
    ],
)
def test_row_that_postgresql_refuses_is_told_from_a_database_that_is_away(
    connection: Connection, prepared: str, statement: str, words: str
) -> None:
    error = refusal(connection, prepared, statement)
    assert is_data_fault(error)
    said = str(explain(error, "contacts"))
    assert words in said
    assert "constraints and triggers" in said
    assert "network" not in said
    assert EMAIL not in said


@POSTGRES
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM no_such_table",
        "SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)",
        "DO 'BEGIN RAISE deadlock_detected; END'",
        "DO 'BEGIN RAISE serialization_failure; END'",
        "DO 'BEGIN RAISE insufficient_privilege; END'",
        "DO 'BEGIN RAISE disk_full; END'",
        "DO 'BEGIN RAISE admin_shutdown; END'",
        "DO 'BEGIN RAISE lock_not_available; END'",
    ],
)
def test_what_no_row_is_to_blame_for_is_no_data_fault(
    connection: Connection, statement: str
) -> None:
    assert not is_data_fault(refusal(connection, statement))


@SQLITE
@pytest.mark.parametrize(
    ("prepared", "statement", "words"),
    [
        ("SELECT 1", "UPDATE contacts SET retry_count = NULL", "contacts.retry_count"),
        (SQLITE_TRIGGER, STATE, "ours since May"),
    ],
)
def test_row_that_sqlite_refuses_is_told_from_a_database_that_is_away(
    connection: Connection, prepared: str, statement: str, words: str
) -> None:
    error = refusal(connection, prepared, statement)
    assert is_data_fault(error)
    assert words in str(explain(error, "contacts"))
    assert "network" not in str(explain(error, "contacts"))
