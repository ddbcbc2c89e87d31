"""The program behind pgbouncer in transaction mode, where a session is nobody's for long."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta

import psycopg2
import pytest
from sqlalchemy import text

from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.store.indexes import has_index, wanted_indexes
from tests.acceptance.program import Program, environment
from tests.acceptance.test_crowd import (
    database_setting,
    held_run,
    start_doomed,
    states,
    wait_for_place,
    wait_for_rows,
    wait_out_an_idle_transaction,
)
from tests.conftest import LEASE
from tests.pgbouncer import NotInstalled, Pooler, pgbouncer
from tests.tables import CONTACTS, Contacts

NOTHING = "Nothing is due.\n"

pytestmark = pytest.mark.parametrize("shape", ["app"])


def database_of(table: Contacts) -> str:
    return table.engine.url.database or ""


@pytest.fixture
def pooler_settings() -> dict[str, int]:
    """What a test wants of its pooler besides; parametrize it."""
    return {}


@pytest.fixture
def pooler(postgres_url: str, table: Contacts, pooler_settings: dict[str, int]) -> Iterator[Pooler]:
    """A pooler that has carried something by the end of the test."""
    with ExitStack() as stack:
        try:
            pooler = stack.enter_context(pgbouncer(postgres_url, **pooler_settings))
        except NotInstalled as missing:
            if os.environ.get("REQUIRE_PGBOUNCER") == "1":
                pytest.fail(str(missing))
            pytest.skip(str(missing))
        yield pooler
        assert pooler.transactions(database_of(table)) > 0


@pytest.fixture
def program(table: Contacts, pooler: Pooler, hubspot: Emulator) -> Program:
    """The program, which knows no other way to its database than through the pooler."""
    return Program(environment(pooler.url(table.engine.url.database or ""), hubspot.url))


def add(table: Contacts, count: int) -> None:
    for number in range(count):
        table.add(f"c{number}@example.com")


def ids_held(hubspot: Emulator) -> list[tuple[str, str]]:
    return sorted((each["properties"]["email"], each["id"]) for each in hubspot.contacts())


def test_pooler_is_in_between_and_lends_a_session_for_a_transaction_only(
    table: Contacts, pooler: Pooler, program: Program
) -> None:
    database = database_of(table)
    before = pooler.transactions(database)
    assert program.run("sync-queue").out == NOTHING
    assert pooler.transactions(database) > before
    (pool,) = [row for row in pooler.ask("SHOW POOLS") if row["database"] == database]
    assert pool["pool_mode"] == "transaction"


@pytest.mark.parametrize("pooler_settings", [{"max_client_conn": 4 + 2}])
def test_drain_of_four_workers_delivers_all_with_six_connections_at_most(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    add(table, 300)
    ended = program.run_process("sync-queue", "--drain", "--workers", "4", "--json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.document["counts"]["created"] == 300
    assert ended.document["due_remaining"] == 0
    assert states(table) == {("Complete", "Complete"): 300}
    rows = table.rows()
    assert ids_held(hubspot) == sorted((row["email"], row["hubspot_contact_id"]) for row in rows)


@pytest.mark.parametrize("pooler_settings", [{"default_pool_size": 2}])
def test_run_does_with_one_server_connection_beside_its_place_and_leaves_it_as_it_was(
    table: Contacts, pooler: Pooler, program: Program
) -> None:
    add(table, 250)
    url = pooler.url(database_of(table))
    before = settings_met(url, clients=2)
    ended = program.run("sync-queue", "--drain", "--workers", "4")
    assert (ended.code, ended.err) == (0, "")
    # One settled alone waits for its row with a lock time-out of its own.
    assert program.run("sync-one", str(table.add())).code == 0
    assert places_taken(table) == 0
    assert settings_met(url, clients=2) == before
    assert states(table) == {("Complete", "Complete"): 251}


def places_taken(table: Contacts) -> int:
    """Count the places that the server believes to be taken."""
    with table.engine.begin() as connection:
        locks = text(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return int(connection.execute(locks).scalar_one())


def settings_met(url: str, *, clients: int) -> list[list[tuple[str, str]]]:
    """Return all settings of as many sessions, all of them in a transaction at once."""
    met = []
    with ExitStack() as stack:
        for _ in range(clients):
            client = stack.enter_context(closing(psycopg2.connect(url)))
            cursor = client.cursor()
            cursor.execute(
                "SELECT name, setting FROM pg_settings "
                "WHERE name NOT IN ('application_name', 'transaction_isolation')"
            )
            met.append(sorted(cursor.fetchall()))
    return met


@pytest.mark.parametrize("pooler_settings", [{"idle_transaction_timeout": 1}])
def test_run_goes_on_where_the_pooler_ends_idle_transactions(
    table: Contacts, pooler: Pooler, program: Program, hubspot: Emulator
) -> None:
    add(table, 120)
    with held_run(program, hubspot, "--drain", "--workers", "1") as run:
        # The run's place is older than this transaction, and ends before it.
        wait_out_an_idle_transaction(pooler.url(database_of(table)))
        ended = run.finish()
    assert (ended.code, ended.err) == (0, "")
    assert states(table) == {("Complete", "Complete"): 120}


def test_second_run_is_busy_until_the_first_dies(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    add(table, 1)
    with held_run(program, hubspot) as run:
        busy = program.run("sync-queue", "--json")
        run.kill()
    wait_for_place(table)
    after = program.run("sync-queue")
    assert (busy.code, busy.err, busy.document["state"]) == (0, "", "busy")
    assert (after.code, after.out, after.err) == (0, NOTHING, "")


def test_run_killed_in_the_middle_of_a_settle_is_taken_over(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    add(table, 3)
    with start_doomed(program, ("written", "2"), "--limit", "3") as process:
        process.communicate(timeout=20)
    assert process.returncode == -signal.SIGKILL
    # A server connection that was given on with the dead run's transaction would hold its rows.
    wait_for_rows(table)
    assert states(table) == {("Processing", "Processing"): 3}
    held = ids_held(hubspot)
    assert len(held) == 3
    assert program.run("sync-queue").out == NOTHING
    table.age_all(LEASE + timedelta(minutes=1))
    assert program.run("sync-queue", "--json").document["counts"]["unchanged"] == 3
    assert states(table) == {("Complete", "Complete"): 3}
    assert ids_held(hubspot) == held


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_zone_of_the_database_ends_no_lease_early_or_late(
    table: Contacts,
    postgres_url: str,
    hubspot: Emulator,
    pooler: Pooler,
    program: Program,
    zone: str,
) -> None:
    keys = [table.add(f"c{number}@example.com") for number in range(2)]
    with database_setting(table, "timezone", zone):
        with start_doomed(program, ("committed", "1")) as process:
            process.communicate(timeout=20)
        assert process.returncode == -signal.SIGKILL
        wait_for_place(table)
        assert zone_behind(pooler, table) == zone
        table.age_all(LEASE - timedelta(minutes=1))
        assert program.run("sync-queue").out == NOTHING
        assert "a run holds it" in program.run("sync-one", str(keys[0])).err
        table.age_all(timedelta(minutes=2))
        assert program.run("sync-one", str(keys[0])).code == 0
        assert program.run("sync-queue", "--json").document["counts"]["created"] == 1
        # What ran behind the pooler has left the zone as it was.
        assert zone_behind(pooler, table) == zone
    assert states(table) == {("Complete", "Complete"): 2}


def zone_behind(pooler: Pooler, table: Contacts) -> str:
    """Return the zone that a client of the pooler meets."""
    with closing(psycopg2.connect(pooler.url(database_of(table)))) as client:
        cursor = client.cursor()
        cursor.execute("SHOW timezone")
        (zone,) = cursor.fetchone() or ("",)
        return str(zone)


def test_sync_one_delivers(table: Contacts, program: Program, hubspot: Emulator) -> None:
    key = table.add()
    ended = program.run("sync-one", str(key))
    assert (ended.code, ended.err) == (0, "")
    assert table.state(key) == ("Complete", "Complete")


def test_reset_brings_contacts_back(table: Contacts, program: Program) -> None:
    keys = [
        table.add(
            f"c{number}@example.com",
            hubspot_sync_status="Error",
            hubspot_processing_status="Error",
            retry_count=3,
        )
        for number in range(3)
    ]
    ended = program.run("reset", "--all", "--yes", "--json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.document["reset"] == 3
    assert [table.state(key) for key in keys] == [(table.never_synced, None)] * 3


def test_indexes_are_made_while_a_run_is_at_work(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    # CREATE INDEX CONCURRENTLY runs outside a transaction, which the pooler allows, and waits for
    # every older transaction on the table: the run has none, for its place touches no table.
    drop_indexes(table)
    add(table, 1)
    try:
        with held_run(program, hubspot) as run:
            made = program.run("init-db", "--indexes", "--json")
            again = program.run("init-db", "--indexes", "--json")
            assert run.finish().code == 0
        assert (made.code, made.err) == (0, "")
        assert list(made.document["indexes"].items()) == [
            (each.name, "created") for each in wanted_indexes(CONTACTS)
        ]
        assert set(again.document["indexes"].values()) == {"exists"}
        assert all(
            has_index(table.engine, CONTACTS, each.name) for each in wanted_indexes(CONTACTS)
        )
    finally:
        drop_indexes(table)


def drop_indexes(table: Contacts) -> None:
    with table.engine.begin() as connection:
        for name in (each.name for each in wanted_indexes(CONTACTS)):
            connection.execute(text(f"DROP INDEX IF EXISTS {name}"))
