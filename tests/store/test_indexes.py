"""The indexes of the queue, and a claim that uses them: with few rows, with many, unanalysed."""

import re
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from hubspot_sync.errors import DatabaseUnavailable
from hubspot_sync.rules.identity import Rename
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.due import Due, prefer_indexes
from hubspot_sync.store.indexes import create_indexes, has_index, missing_indexes, wanted_indexes
from tests.acceptance.program import Program
from tests.conftest import LEASE
from tests.tables import CONTACTS, Contacts

NAMES = [each.name for each in wanted_indexes(CONTACTS)]
OF_CLAIMS = NAMES[:3]
POSTGRES = pytest.mark.parametrize("shape", ["plain", "app"])

FILL = """
INSERT INTO contacts (id, domain_id, page_id, email, hubspot_sync_status, hubspot_processing_status,
                      next_retry_at, last_failed_crm, retry_count, updated_at)
SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'c' || n || '@example.com',
       {decision}, {state}, {next_retry_at}, {crm}, 1, now() - n * interval '1 second'
FROM generate_series(1, {count}) AS n
"""


@pytest.fixture
def indexed(table: Contacts) -> Contacts:
    create_indexes(table.engine, CONTACTS)
    return table


def fill(table: Contacts, count: int, **columns: str) -> None:
    values = {
        "decision": "'Selected'", "state": "'Queued'", "next_retry_at": "NULL", "crm": "NULL",
    } | columns  # fmt: skip
    with table.engine.begin() as connection:
        connection.execute(text(FILL.format(count=count, **values)))


NOTHING_TO_SORT = re.compile(r"Sort\n(?:.*\n){1,3} +->  Result\n +One-Time Filter: false")
"""Where the column is NOT NULL, newer servers do not even look for rows that have NULL there."""


def plan_of_a_claim(connection: Connection) -> str:
    prefer_indexes(connection)
    query = Due(CONTACTS).rows_to_claim(100, LEASE, lone=True, lock=True).compile(connection.engine)
    rows = connection.exec_driver_sql(f"EXPLAIN (COSTS OFF) {query}", query.params)
    return "\n".join(row[0] for row in rows)


def test_indexes_are_made_once(table: Contacts) -> None:
    with table.engine.begin() as connection:
        for name in NAMES:
            connection.execute(text(f"DROP INDEX IF EXISTS {name}"))
    assert not has_index(table.engine, CONTACTS, NAMES[0])
    assert create_indexes(table.engine, CONTACTS) == [(name, True) for name in NAMES]
    assert create_indexes(table.engine, CONTACTS) == [(name, False) for name in NAMES]
    assert has_index(table.engine, CONTACTS, NAMES[0])


@POSTGRES
def test_index_left_half_made_is_made_anew(indexed: Contacts) -> None:
    with indexed.engine.begin() as connection:
        connection.execute(
            text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(:name)"),
            {"name": NAMES[0]},
        )
    assert not has_index(indexed.engine, CONTACTS, NAMES[0])
    assert create_indexes(indexed.engine, CONTACTS)[0] == (NAMES[0], True)


@POSTGRES
def test_doctor_knows_indexes_under_any_name(indexed: Contacts) -> None:
    assert missing_indexes(indexed.engine, CONTACTS) == []
    with indexed.engine.begin() as connection:
        for number, name in enumerate(NAMES):
            connection.execute(text(f"ALTER INDEX {name} RENAME TO other_{number}"))
    assert missing_indexes(indexed.engine, CONTACTS) == []
    with indexed.engine.begin() as connection:
        for number in range(len(NAMES)):
            connection.execute(text(f"DROP INDEX other_{number}"))
    # The app has an index of its own on the record's id.
    there = {NAMES[3]} if indexed.shape == "app" else set()
    assert set(missing_indexes(indexed.engine, CONTACTS)) == set(NAMES) - there


@POSTGRES
@pytest.mark.parametrize(
    "other",
    [
        "(updated_at, id) WHERE hubspot_processing_status = 'Queued'",
        "(updated_at, id)",
        "(id, updated_at)",
    ],
)
def test_index_of_our_name_with_another_definition_is_made_anew(
    indexed: Contacts, other: str
) -> None:
    with indexed.engine.begin() as connection:
        connection.execute(text(f"DROP INDEX {NAMES[0]}"))
        connection.execute(text(f"CREATE INDEX {NAMES[0]} ON contacts {other}"))
    assert missing_indexes(indexed.engine, CONTACTS) == [NAMES[0]]
    assert create_indexes(indexed.engine, CONTACTS) == [(name, name == NAMES[0]) for name in NAMES]
    assert missing_indexes(indexed.engine, CONTACTS) == []


@POSTGRES
@pytest.mark.parametrize("is_analysed", [False, True])
@pytest.mark.parametrize(
    "rows",
    [
        [{"count": 5_000}],
        [
            {"count": 1_000},
            {
                "count": 20_000,
                "decision": "'Queued'",
                "state": "'Error'",
                "next_retry_at": "now() + interval '1 hour'",
                "crm": "'hubspot'",
            },
        ],
        [{"count": 20_000, "decision": "'Complete'", "state": "'Complete'"}, {"count": 50}],
    ],
)
def test_claim_uses_the_indexes(
    indexed: Contacts, rows: list[dict[str, object]], is_analysed: bool
) -> None:
    for each in rows:
        fill(indexed, **each)  # type: ignore[arg-type]
    with indexed.engine.connect() as connection:
        if is_analysed:
            connection.execute(text("ANALYZE contacts"))
        plan = NOTHING_TO_SORT.sub("", plan_of_a_claim(connection))
        connection.rollback()
    for name in OF_CLAIMS:
        assert f"Index Scan using {name}" in plan, plan
    assert "Seq Scan" not in plan, plan
    assert "Sort" not in plan, plan


@POSTGRES
@pytest.mark.parametrize("is_analysed", [False, True])
def test_question_before_a_rename_uses_the_indexes(
    indexed: Contacts, queue: ContactQueue, is_analysed: bool
) -> None:
    fill(indexed, 20_000, decision="'Complete'", state="'Complete'")
    with indexed.engine.begin() as connection:
        connection.execute(text("DELETE FROM pg_statistic WHERE starelid = 'contacts'::regclass"))
        if is_analysed:
            connection.execute(text("ANALYZE contacts"))
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if "hubspot_contact_id IN" in statement:
            cursor.execute(f"EXPLAIN (COSTS OFF) {statement}", parameters)
            plans.append("\n".join(row[0] for row in cursor.fetchall()))

    event.listen(indexed.engine, "before_cursor_execute", explain)
    try:
        queue.may_be_renamed([Rename(f"{n}", f"c{n}@example.com", frozenset()) for n in range(100)])
    finally:
        event.remove(indexed.engine, "before_cursor_execute", explain)
    (plan,) = plans
    assert "hubspot_sync_email" in plan, plan
    assert "Seq Scan" not in plan, plan


@POSTGRES
def test_claim_is_not_compiled_and_leaves_no_setting_behind(indexed: Contacts) -> None:
    with indexed.engine.connect() as connection:
        connection.execute(text("SET jit = on"))
        connection.commit()
        prefer_indexes(connection)
        within = connection.execute(text("SHOW jit")).scalar_one()
        connection.commit()
        after = connection.execute(text("SHOW jit")).scalar_one()
        connection.execute(text("RESET jit"))
        connection.commit()
    assert (within, after) == ("off", "on")


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_claim_behind_many_that_wait_finds_the_due(indexed: Contacts, queue: ContactQueue) -> None:
    waiting = [indexed.add(f"w{number}@example.com", retry_count=1) for number in range(30)]
    for key in waiting:
        indexed.change(key, last_failed_crm="hubspot")
        indexed.move(key, "next_retry_at", -LEASE)
    due_one = indexed.add()
    assert [claim.contact.id for claim in queue.claim(10)] == [due_one]


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_init_db_makes_indexes_only_when_asked(table: Contacts, program: Program) -> None:
    with table.engine.begin() as connection:
        for name in NAMES:
            connection.execute(text(f"DROP INDEX IF EXISTS {name}"))
    assert "Index" not in program.run("init-db").out
    assert not has_index(table.engine, CONTACTS, NAMES[0])
    assert program.run("init-db", "--indexes", "--dry-run").out.count("would create") == len(NAMES)
    assert not has_index(table.engine, CONTACTS, NAMES[0])
    assert program.run("init-db", "--indexes").out.count("created") == len(NAMES)
    document = program.run("init-db", "--indexes", "--json").document
    assert document["indexes"] == dict.fromkeys(NAMES, "exists")


@POSTGRES
def test_indexes_that_the_user_may_not_make_are_explained(table: Contacts, engine: Engine) -> None:
    with engine.begin() as connection:
        for name in NAMES:
            connection.execute(text(f"DROP INDEX IF EXISTS {name}"))
        connection.execute(text("DROP ROLE IF EXISTS reader"))
        connection.execute(text("CREATE ROLE reader LOGIN"))
    url = engine.url.set(username="reader")
    other = make_engine(url.render_as_string(hide_password=False))
    with pytest.raises(DatabaseUnavailable, match="must be owner") as refused:
        create_indexes(other, CONTACTS)
    other.dispose()
    assert str(refused.value).startswith("Only the owner of 'contacts'")
