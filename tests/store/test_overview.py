"""The state of the queue at a glance: every count, on each shape of the table."""

import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from hubspot_sync.errors import WrongUsage
from hubspot_sync.rules.lifecycle import ProcessingStatus, SyncStatus
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.overview import Overview, look_at_queue
from hubspot_sync.store.run_places import count_taken, take_place
from tests.conftest import LEASE
from tests.tables import CONTACTS, Contacts

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OVER, NOT_OVER = LEASE + MINUTE, LEASE - MINUTE
SLACK = timedelta(seconds=30)
"""Times are compared with what passes between two statements, and much to spare."""

both = pytest.mark.parametrize("shape", ["sqlite", "app"])

HELD: dict[str, Any] = {
    "hubspot_sync_status": "Processing",
    "hubspot_processing_status": "Processing",
}
DELIVERED: dict[str, Any] = {
    "hubspot_sync_status": "Complete",
    "hubspot_processing_status": "Complete",
    "hubspot_contact_id": "9001",
}
FAILED: dict[str, Any] = {
    "hubspot_sync_status": "Error",
    "hubspot_processing_status": "Error",
    "last_failed_crm": "hubspot",
}
RETRIED: dict[str, Any] = FAILED | {"hubspot_sync_status": "Queued", "retry_count": 1}

NO_EMAIL = "[NO_EMAIL] The contact has no email address; add one and mark it again."
NO_NUMBER = (
    "[HUBSPOT_REFUSED: INVALID_PHONE on phone] HubSpot refused the contact: phone: '{}' is no "
    "number (INVALID_PHONE)"
)


def look(table: Contacts) -> Overview:
    return look_at_queue(table.engine, CONTACTS, LEASE)


def add_retry(table: Contacts, comes_in: timedelta, **columns: Any) -> str:
    key = table.add(**(RETRIED | columns))
    table.move(key, "next_retry_at", -comes_in)
    return key


def seconds(length: timedelta | None) -> float:
    assert length is not None
    return length.total_seconds()


@both
def test_empty_table_is_told_as_empty(table: Contacts) -> None:
    found = look(table)
    assert found.now.utcoffset() == timedelta(0)
    assert (found.states, found.failures, found.retries) == ({}, [], (0, 0, 0))
    assert (found.due, found.delivered, found.held, found.left_behind) == (0, 0, 0, 0)
    assert (found.oldest_due_since, found.last_delivery, found.last_work) == (None, None, None)


def test_states_are_counted_as_the_columns_hold_them(table: Contacts) -> None:
    for _ in range(2):
        table.add()
    table.add(hubspot_sync_status="Skipped", hubspot_processing_status=None)
    table.add(hubspot_sync_status=table.never_synced, hubspot_processing_status=None)
    assert look(table).states == {
        ("Selected", "Queued"): 2,
        ("Skipped", None): 1,
        (table.never_synced, None): 1,
    }


@both
def test_due_is_what_a_run_counts_in_every_state_that_can_be(
    table: Contacts, queue: ContactQueue
) -> None:
    decisions = (None, *SyncStatus)
    states = (None, *ProcessingStatus)
    combinations = list(
        itertools.product(decisions, states, (None, HOUR, -HOUR), ("hubspot", "brevo"))
    )
    for decision, state, retry, crm in combinations:
        key = table.add(
            hubspot_sync_status=decision, hubspot_processing_status=state, last_failed_crm=crm
        )
        if retry is not None:
            table.move(key, "next_retry_at", retry)
    for age, most in ((timedelta(0), 200), (OVER, 300)):
        if age:
            with table.engine.begin() as connection:
                ago = table._ago(age)
                connection.execute(text(f"UPDATE contacts SET updated_at = {ago}"))
        found = look(table)
        assert 0 < found.due < most
        assert found.due == queue.count_due()
        assert sum(found.states.values()) == len(combinations)
        assert bool(found.held) is not bool(age)
        assert bool(found.left_behind) is bool(age)


def test_oldest_is_the_one_that_waits_longest(table: Contacts) -> None:
    table.add("a@example.com", age=2 * HOUR)
    oldest = table.add("b@example.com", age=3 * HOUR)
    table.add("c@example.com", age=9 * HOUR, hubspot_sync_status="Skipped")
    table.add("d@example.com", age=9 * HOUR, **DELIVERED)
    found = look(table)
    assert found.oldest_due_since is not None
    assert seconds(found.now - found.oldest_due_since) == pytest.approx(3 * 3600, abs=30)
    assert found.oldest_due == str(oldest)


def test_retry_waits_since_its_time_has_come(table: Contacts) -> None:
    key = add_retry(table, -timedelta(minutes=20))
    table.move(key, "updated_at", 5 * HOUR)
    found = look(table)
    assert found.due == 1
    assert found.oldest_due_since is not None
    assert seconds(found.now - found.oldest_due_since) == pytest.approx(1200, abs=30)


@both
def test_another_crms_retry_time_says_nothing_about_how_long_it_waits(table: Contacts) -> None:
    key = table.add(age=2 * HOUR, last_failed_crm="brevo")
    table.move(key, "next_retry_at", -HOUR)
    found = look(table)
    assert (found.due, found.retries) == (1, (0, 0, 0))
    assert found.oldest_due_since is not None
    assert seconds(found.now - found.oldest_due_since) == pytest.approx(7200, abs=30)


@both
def test_contact_of_a_dead_run_is_due_since_its_lease_ended(table: Contacts) -> None:
    table.add(age=LEASE + 2 * MINUTE, **HELD)
    found = look(table)
    assert found.due == 1
    assert found.oldest_due_since is not None
    assert seconds(found.now - found.oldest_due_since) == pytest.approx(120, abs=30)


def test_retries_are_told_by_when_they_come(table: Contacts) -> None:
    soon = (SLACK, 4 * MINUTE)
    within_an_hour = (6 * MINUTE, 59 * MINUTE)
    later = (61 * MINUTE, DAY, 30 * DAY)
    for comes_in in (*soon, *within_an_hour, *later, -MINUTE):
        add_retry(table, comes_in)
    add_retry(table, HOUR, last_failed_crm="brevo")
    add_retry(table, HOUR, hubspot_sync_status="Error")
    assert look(table).retries == (2, 2, 3)


@both
def test_failures_are_grouped_by_reason_with_an_example_of_each(table: Contacts) -> None:
    numbers = {
        table.add(f"n{each}@x.org", hubspot_processing_error=NO_NUMBER.format(each), **FAILED)
        for each in range(3)
    }
    retried = add_retry(table, HOUR, hubspot_processing_error=NO_NUMBER.format("x"))
    empty = table.add(" ", hubspot_processing_error=NO_EMAIL, **FAILED)
    table.add("fine@x.org", hubspot_processing_error=None)
    first, second = look(table).failures
    assert (first.count, first.retried) == (4, 1)
    assert first.reason.words == "HubSpot refuses it: INVALID_PHONE on phone"
    assert str(UUID(first.example)) in numbers | {retried}
    assert (second.count, second.retried, str(UUID(second.example))) == (1, 0, empty)
    assert second.reason.words == "no email address"


@both
def test_failure_without_a_text_has_a_reason(table: Contacts) -> None:
    table.add("a@x.org", **FAILED)
    table.add("b@x.org", hubspot_processing_error="", **FAILED)
    (group,) = look(table).failures
    assert (group.count, group.reason.words) == (2, "no reason given")


@both
def test_failures_with_many_texts_are_all_counted(
    table: Contacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubspot_sync.store.overview.MOST_ERROR_TEXTS", 3)
    for each in range(7):
        table.add(f"n{each}@x.org", hubspot_processing_error=NO_NUMBER.format(each), **FAILED)
    assert sum(group.count for group in look(table).failures) == 7


@both
def test_contact_that_was_skipped_is_no_failure_any_more(table: Contacts) -> None:
    table.add(**(FAILED | {"hubspot_sync_status": "Skipped"}), hubspot_processing_error=NO_EMAIL)
    assert look(table).failures == []


@both
def test_delivered_counts_the_last_day(table: Contacts) -> None:
    table.add("a@x.org", age=MINUTE, **DELIVERED)
    table.add("b@x.org", age=23 * HOUR, **DELIVERED)
    table.add("c@x.org", age=25 * HOUR, **DELIVERED)
    table.add("d@x.org", age=MINUTE, **FAILED)
    found = look(table)
    assert found.delivered == 2
    assert found.last_delivery is not None
    assert seconds(found.now - found.last_delivery) == pytest.approx(60, abs=30)
    assert found.last_work == found.last_delivery


@both
def test_refusal_is_work_too(table: Contacts) -> None:
    table.add("a@x.org", age=DAY, **DELIVERED)
    key = table.add("b@x.org", **FAILED)
    table.move(key, "last_retry_at", 2 * MINUTE)
    other = table.add("c@x.org", **(FAILED | {"last_failed_crm": "brevo"}))
    table.move(other, "last_retry_at", timedelta(0))
    found = look(table)
    assert found.last_work is not None
    assert found.last_work == found.last_failure
    assert seconds(found.now - found.last_work) == pytest.approx(120, abs=30)


def test_held_and_left_behind_are_told_apart_by_the_lease(table: Contacts) -> None:
    table.add("a@x.org", age=NOT_OVER, **HELD)
    table.add("b@x.org", age=OVER, **HELD)
    table.add("c@x.org", age=OVER, **(HELD | {"hubspot_sync_status": "Complete"}))
    found = look(table)
    assert (found.held, found.left_behind, found.due) == (1, 2, 1)


def test_look_writes_nothing(table: Contacts) -> None:
    for columns in (HELD, DELIVERED, FAILED, RETRIED, {}):
        table.add(age=OVER, **columns)
    before = table.rows()
    look(table)
    assert table.rows() == before


@pytest.mark.parametrize("shape", ["sqlite", "plain"])
def test_strange_words_in_plain_columns_are_counted(table: Contacts) -> None:
    table.add(hubspot_sync_status="selected\u202e", hubspot_processing_status="[red]")
    assert look(table).states == {("selected\u202e", "[red]"): 1}


def test_missing_table_is_wrong_usage(tmp_path: Path) -> None:
    for create in (False, True):
        engine = make_engine(f"sqlite:///{tmp_path / 'none.db'}", create=create)
        with pytest.raises(WrongUsage, match="init-db"):
            look_at_queue(engine, CONTACTS, LEASE)
        engine.dispose()


@both
def test_places_are_counted_while_they_are_held(table: Contacts, database_url: str) -> None:
    def taken() -> int:
        return count_taken(table.engine, database_url, BUILT_IN_SOURCE, 3)

    assert taken() == 0
    with take_place(table.engine, database_url, BUILT_IN_SOURCE, 3) as first:
        assert (first, taken()) == (True, 1)
        with take_place(table.engine, database_url, BUILT_IN_SOURCE, 3) as second:
            assert (second, taken()) == (True, 2)
    assert taken() == 0


@both
def test_counting_leaves_the_places_free(table: Contacts, database_url: str) -> None:
    for _ in range(2):
        assert count_taken(table.engine, database_url, BUILT_IN_SOURCE, 1) == 0
        with take_place(table.engine, database_url, BUILT_IN_SOURCE, 1) as place:
            assert place


@pytest.mark.parametrize("shape", ["sqlite"])
@pytest.mark.parametrize("trouble", [PermissionError(13, "no"), OSError(30, "read-only")])
def test_lock_that_may_not_be_opened_is_no_fault(
    table: Contacts, database_url: str, monkeypatch: pytest.MonkeyPatch, trouble: OSError
) -> None:
    with take_place(table.engine, database_url, BUILT_IN_SOURCE, 1):
        pass
    Path(f"{database_url.removeprefix('sqlite:///')}.run1.lock").touch()

    def refuse(*_: object, **__: object) -> None:
        raise trouble

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    assert count_taken(table.engine, database_url, BUILT_IN_SOURCE, 1) == 0
