"""Columns of any common type: claimed, compared at settle, and an equal value is no edit."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from sqlalchemy import Engine, text

from hubspot_sync.rules.lifecycle import Claim
from hubspot_sync.rules.settlement import Delivered, Failed, OutcomeName
from hubspot_sync.rules.source import QueueColumns, Source, Value
from hubspot_sync.store.check_up import look_at_database
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.marking import Marking
from hubspot_sync.store.selection import Selection
from hubspot_sync.store.source_table import SourceTable
from tests.conftest import LEASE, POLICY
from tests.messages import said

pytestmark = pytest.mark.parametrize("url", ["postgresql"], indirect=True)

SOURCE = Source("leads", "no", "mail", ("a_value",), QueueColumns(), "hubspot")
CONTACTS = SourceTable(SOURCE)
QUEUE = """
    hubspot_sync_status wish NOT NULL DEFAULT 'New', hubspot_processing_status progress,
    hubspot_processing_error text, hubspot_contact_id varchar,
    retry_count integer NOT NULL DEFAULT 0, next_retry_at timestamptz, last_retry_at timestamptz,
    last_failed_crm varchar, updated_at timestamp NOT NULL DEFAULT now()
"""
TYPES = """
CREATE TYPE wish AS ENUM
    ('New', 'Selected', 'Queued', 'Processing', 'Complete', 'Error', 'Skipped');
CREATE TYPE progress AS ENUM ('Queued', 'Processing', 'Complete', 'Error');
CREATE TYPE stage AS ENUM ('cold', 'warm');
"""


NAIVE = datetime(2026, 11, 25, 12, 30)  # noqa: DTZ001 - as the column has it

# A type, what it holds, the same written otherwise, another value, and the first as rules see it.
COLUMNS: dict[str, tuple[str, str, str, Value]] = {
    "stage": ("'cold'", "'cold'", "'warm'", "cold"),
    "text[]": ("'{a,\"b c\"}'", "ARRAY['a', 'b c']", "'{a}'", ("a", "b c")),
    "integer[]": ("'{1,2}'", "ARRAY[1, 2]", "'{2,1}'", ("1", "2")),
    "stage[]": ("'{cold,warm}'", "ARRAY['cold', 'warm']::stage[]", "'{warm}'", "{cold,warm}"),
    "numeric(9, 2)": ("1.5", "1.50", "1.51", Decimal("1.50")),
    "numeric": ("'NaN'", "'NaN'", "0", "NaN"),
    "double precision": ("0.1", "'0.1'", "0.2", Decimal("0.1")),
    "real": ("'NaN'", "'NaN'", "1", "nan"),
    "bigint": ("7", "'7'", "8", 7),
    "boolean": ("true", "'t'", "false", True),
    "date": ("'2026-11-25'", "'Nov 25 2026'", "'2026-11-26'", date(2026, 11, 25)),
    "timestamp": ("'2026-11-25 12:30'", "'2026-11-25T12:30:00'", "'2026-11-25 12:31'", NAIVE),
    "timestamptz": (
        "'2026-11-25 12:30+00'", "'2026-11-25 07:30-05'", "'2026-11-25 12:30-05'",
        NAIVE.replace(tzinfo=UTC),
    ),
    "time": ("'12:30'", "'12:30:00'", "'12:31'", "12:30:00"),
    "interval": ("'90 minutes'", "'1:30:00'", "'2 hours'", "1:30:00"),
    "jsonb": (
        """'{"b": [1, null], "a": "x"}'""",
        """'{"a":"x","b":[1,null]}'""",
        """'{"a":"x","b":[1]}'""",
        '{"a": "x", "b": [1, null]}',
    ),
    "json": ("""'{"b": 1, "a": 2}'""", """'{"a":2,  "b":1}'""", "'{}'", '{"a": 2, "b": 1}'),
    "uuid": (
        "'9B2D6AD2-0000-4000-8000-000000000001'",
        "'9b2d6ad20000400080000000000000 01'".replace(" ", ""),
        "gen_random_uuid()",
        "9b2d6ad2-0000-4000-8000-000000000001",
    ),
    "bytea": (r"'\x00ff'", r"'\000\377'", r"'\x00fe'", "00ff"),
    "inet": ("'10.0.0.1'", "'10.0.0.1/32'", "'10.0.0.2'", "10.0.0.1"),
    "char(4)": ("'ab'", "'ab  '", "'ac'", "ab  "),
}  # fmt: skip


class Leads:
    """A table with one lead that is marked, and a column of some type."""

    def __init__(self, engine: Engine, kind: str) -> None:
        self.engine = engine
        self.queue = ContactQueue(engine, CONTACTS, policy=POLICY, lease=LEASE)
        first = COLUMNS[kind][0]
        self.run(TYPES)
        self.run(
            f"CREATE TABLE leads (no bigint PRIMARY KEY, mail text, a_value {kind}, {QUEUE});"
            f"INSERT INTO leads (no, mail, a_value) VALUES (7, 'a@x.org', {first})"
        )
        Marking(engine, CONTACTS, lease=LEASE).enqueue(Selection(every=True))

    def run(self, sql: str) -> None:
        with self.engine.begin() as connection:
            connection.exec_driver_sql(sql)

    def claim(self) -> Claim:
        (claim,) = self.queue.claim(10)
        return claim

    def delivered(self, claim: Claim) -> OutcomeName:
        (settled,) = self.queue.settle([(claim, Delivered("501", created=True))])
        return settled.name

    def states(self) -> tuple[str, str]:
        query = text("SELECT hubspot_sync_status, hubspot_processing_status FROM leads")
        with self.engine.begin() as connection:
            decision, state = connection.execute(query).one()
        return decision, state


@pytest.fixture
def leads(url: str) -> Iterator[Callable[[str], Leads]]:
    engine = make_engine(url, table="leads", pool_size=4)
    yield lambda kind: Leads(engine, kind)
    engine.dispose()


@pytest.mark.parametrize("kind", COLUMNS)
def test_value_is_claimed_and_an_equal_one_is_no_edit(
    leads: Callable[[str], Leads], kind: str
) -> None:
    _, same, other, value = COLUMNS[kind]
    table = leads(kind)
    claim = table.claim()
    assert dict(claim.contact.values) == {"a_value": value}
    assert hash(claim.contact.values) is not None
    table.run(f"UPDATE leads SET a_value = {same}")
    assert table.delivered(claim) is OutcomeName.CREATED
    assert table.states() == ("Complete", "Complete")
    for edit in (other, "NULL"):
        table.run("UPDATE leads SET hubspot_sync_status = 'Selected',"
                  " hubspot_processing_status = 'Queued'")  # fmt: skip
        claim = table.claim()
        table.run(f"UPDATE leads SET a_value = {edit}")
        assert table.delivered(claim) is OutcomeName.REQUEUED
        assert table.states() == ("Queued", "Queued")


def test_queue_of_enums_fails_and_is_in_place(leads: Callable[[str], Leads]) -> None:
    table = leads("stage")
    (settled,) = table.queue.settle([(table.claim(), Failed(said("no")))])
    assert settled.name is OutcomeName.FAILED
    assert table.states() == ("Queued", "Error")
    checks = {check.about: check for check in look_at_database(table.engine, CONTACTS)}
    assert checks["table"].words == "leads, with all 12 columns"
