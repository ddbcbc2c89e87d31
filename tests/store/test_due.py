"""What is due, in which order, and what is not: on SQLite and on both shapes on PostgreSQL."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from hubspot_sync.rules.settlement import Released
from hubspot_sync.rules.source import Key
from hubspot_sync.store.contact_queue import ContactQueue
from tests.conftest import LEASE
from tests.for_each import for_each
from tests.tables import Contacts

PROCESSING: dict[str, Any] = {
    "hubspot_sync_status": "Processing",
    "hubspot_processing_status": "Processing",
}
RETRY: dict[str, Any] = {
    "hubspot_sync_status": "Queued",
    "hubspot_processing_status": "Error",
    "retry_count": 1,
    "last_failed_crm": "hubspot",
}
OVER = LEASE + timedelta(seconds=1)
NOT_OVER = LEASE - timedelta(seconds=30)


def claimed_ids(queue: ContactQueue, limit: int = 100) -> list[Key]:
    return [claim.contact.id for claim in queue.claim(limit)]


@for_each(
    ("decision", "state"),
    [
        ("Selected", "Queued"),
        ("Queued", "Queued"),
        ("New", "Queued"),
        (None, "Queued"),
        ("Complete", "Queued"),
        ("Error", "Queued"),
        ("Processing", "Queued"),
        ("Selected", None),
        ("Queued", None),
        ("Queued", "Error"),
    ],
)
def test_due_is_claimed(
    table: Contacts, queue: ContactQueue, decision: str | None, state: str | None
) -> None:
    key = table.add(hubspot_sync_status=decision, hubspot_processing_status=state)
    assert queue.count_due() == 1
    assert claimed_ids(queue) == [key]
    assert table.state(key) == ("Processing", "Processing")


@for_each(
    ("decision", "state"),
    [
        ("Skipped", "Queued"),
        ("Skipped", None),
        ("New", None),
        (None, None),
        ("Complete", "Complete"),
        ("Error", "Error"),
        ("Selected", "Error"),
        ("Selected", "Complete"),
        ("Queued", "Complete"),
        ("Processing", "Error"),
    ],
)
def test_not_due_is_left_alone(
    table: Contacts, queue: ContactQueue, decision: str | None, state: str | None
) -> None:
    key = table.add(hubspot_sync_status=decision, hubspot_processing_status=state)
    before = table.row(key)
    assert queue.count_due() == 0
    assert claimed_ids(queue) == []
    assert table.row(key) == before


@for_each("crm", [None, "hubspot"])
@for_each(("decision", "state"), [("Selected", "Queued"), ("Selected", None), ("Queued", "Error")])
def test_due_waits_for_our_own_retry_time(
    table: Contacts, queue: ContactQueue, decision: str, state: str | None, crm: str | None
) -> None:
    key = table.add(
        hubspot_sync_status=decision, hubspot_processing_status=state, last_failed_crm=crm
    )
    table.move(key, "next_retry_at", timedelta(minutes=-5))
    assert claimed_ids(queue) == []
    assert queue.count_due() == 0
    table.move(key, "next_retry_at", timedelta(seconds=1))
    assert claimed_ids(queue) == [key]


def test_due_does_not_wait_for_another_crm(table: Contacts, queue: ContactQueue) -> None:
    key = table.add(last_failed_crm="brevo", retry_count=2)
    table.move(key, "next_retry_at", timedelta(minutes=-5))
    assert claimed_ids(queue) == [key]


def test_due_comes_longest_waiting_first(table: Contacts, queue: ContactQueue) -> None:
    youngest = table.add(age=timedelta(minutes=1))
    oldest = table.add(age=timedelta(minutes=9))
    middle = table.add(age=timedelta(minutes=5))
    assert claimed_ids(queue, 2) == [oldest, middle]
    assert claimed_ids(queue, 2) == [youngest]


def test_takeover_is_due_once_the_lease_is_over(table: Contacts, queue: ContactQueue) -> None:
    key = table.add(hubspot_sync_status="Processing", hubspot_processing_status="Processing")
    table.move(key, "updated_at", NOT_OVER)
    assert claimed_ids(queue) == []
    table.move(key, "updated_at", OVER)
    (claim,) = queue.claim(100)
    assert (claim.contact.id, claim.is_takeover, claim.retry_count) == (key, True, 1)


def test_takeover_spends_an_attempt_in_the_table(table: Contacts, queue: ContactQueue) -> None:
    key = table.add(
        hubspot_sync_status="Processing", hubspot_processing_status="Processing", age=OVER
    )
    queue.claim(1)
    row = table.row(key)
    assert row["retry_count"] == 1
    assert row["last_failed_crm"] == "hubspot"
    assert row["last_retry_at"] is not None


def test_takeover_does_not_wait_for_a_retry_time(table: Contacts, queue: ContactQueue) -> None:
    key = table.add(
        hubspot_sync_status="Processing", hubspot_processing_status="Processing", age=OVER
    )
    table.move(key, "next_retry_at", timedelta(minutes=-5))
    assert claimed_ids(queue) == [key]


def test_takeovers_of_contacts_that_used_no_attempt_come_together(
    table: Contacts, queue: ContactQueue
) -> None:
    left = [table.add(**PROCESSING, age=OVER) for _ in range(3)]
    waiting = [table.add(age=timedelta(hours=2)) for _ in range(3)]
    first, second = claimed_ids(queue, 2), claimed_ids(queue, 2)
    assert (len(first), len(second)) == (2, 1), "a batch of takeovers holds nothing else"
    assert sorted(first + second) == sorted(left)
    assert sorted(claimed_ids(queue)) == sorted(waiting)


def test_takeover_of_a_contact_that_used_an_attempt_comes_alone(
    table: Contacts, queue: ContactQueue
) -> None:
    lone = [table.add(**PROCESSING, retry_count=1, age=OVER) for _ in range(2)]
    others = [table.add(**PROCESSING, retry_count=2, last_failed_crm="brevo", age=OVER)]
    others += [table.add(**PROCESSING, age=OVER)]
    first, second = claimed_ids(queue), claimed_ids(queue)
    assert (len(first), len(second)) == (1, 1)
    assert sorted(first + second) == sorted(lone)
    assert sorted(claimed_ids(queue)) == sorted(others)


def test_lone_takeovers_wait_where_the_claim_wants_none(
    table: Contacts, queue: ContactQueue
) -> None:
    lone = table.add(**PROCESSING, retry_count=1, age=OVER)
    waiting = table.add()
    assert [claim.contact.id for claim in queue.claim(100, lone=False)] == [waiting]
    assert claimed_ids(queue) == [lone]


def test_retries_and_fresh_contacts_keep_each_other_waiting_no_longer_than_a_claim(
    table: Contacts, queue: ContactQueue
) -> None:
    retries = [table.add(**RETRY) for _ in range(20)]
    for key in retries:
        table.move(key, "next_retry_at", timedelta(hours=1))
    fresh = [table.add() for _ in range(20)]
    claimed = claimed_ids(queue, 10)
    assert (len(set(claimed) & set(fresh)), len(set(claimed) & set(retries))) == (8, 2)
    assert claimed_ids(queue, 1)[0] in fresh
    # What one kind does not use, the other gets.
    claimed_ids(queue, 11)
    claimed = claimed_ids(queue, 10)
    assert (len(set(claimed) & set(fresh)), len(set(claimed) & set(retries))) == (3, 7)


@pytest.mark.parametrize("shape", ["sqlite", "plain", "app"])
def test_row_without_updated_at_counts_as_very_old(
    table: Contacts, queue: ContactQueue, undated: None
) -> None:
    recent, old = table.add(), table.add(age=timedelta(days=300))
    undated_keys = [table.add() for _ in range(2)]
    abandoned = table.add(hubspot_sync_status="Error", hubspot_processing_status="Processing")
    left = [table.add(**PROCESSING), table.add(**PROCESSING, retry_count=1)]
    for key in (*undated_keys, abandoned, *left):
        table.change(key, updated_at=None)
    assert queue.count_due() == 6
    assert [row.contact.id for row in queue.peek_due(2)] == [left[1], left[0]]
    assert claimed_ids(queue) == [left[1]]
    assert claimed_ids(queue) == [left[0]]
    assert table.state(abandoned) == ("Error", None)
    assert claimed_ids(queue) == [*sorted(undated_keys), old, recent]


@pytest.fixture
def undated(table: Contacts) -> Iterator[None]:
    """The table with an `updated_at` that takes NULL, as some deployments have it."""
    if table.shape == "sqlite":
        statement = text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'contacts'")
        with table.engine.begin() as connection:
            made = str(connection.execute(statement).scalar_one())
            connection.exec_driver_sql("DROP TABLE contacts")
            loose = re.sub(r"(updated_at DATETIME DEFAULT .*?) NOT NULL", r"\1", made)
            connection.exec_driver_sql(loose)
        yield
        return
    with table.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE contacts ALTER updated_at DROP NOT NULL")
    yield
    with table.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM contacts")
        connection.exec_driver_sql("ALTER TABLE contacts ALTER updated_at SET NOT NULL")


@for_each("decision", ["New", None, "Skipped", "Complete", "Error"])
def test_left_behind_and_no_longer_wanted_is_freed(
    table: Contacts, queue: ContactQueue, decision: str | None
) -> None:
    key = table.add(hubspot_sync_status=decision, hubspot_processing_status="Processing", age=OVER)
    before = table.row(key)
    other = table.add()
    # Even where the freed one is all that the first look finds, the next is found behind it.
    assert claimed_ids(queue, 1) == [other]
    assert table.row(key) == before | {"hubspot_processing_status": None}


@for_each(("state", "decision"), [(None, "New"), ("Complete", "Complete"), ("Error", "Error")])
def test_decision_left_behind_without_its_state_follows_it(
    table: Contacts, queue: ContactQueue, state: str | None, decision: str
) -> None:
    key = table.add(hubspot_sync_status="Processing", hubspot_processing_status=state, age=OVER)
    live = table.add(hubspot_sync_status="Processing", hubspot_processing_status=state)
    before = table.row(key)
    assert queue.count_due() == 0
    assert claimed_ids(queue) == []
    assert table.row(key) == before | {"hubspot_sync_status": decision}
    assert table.state(live) == ("Processing", state)


def test_claim_moves_nothing_else(table: Contacts, queue: ContactQueue) -> None:
    key = table.add(hubspot_processing_error="old", hubspot_contact_id="77", retry_count=2)
    before = table.row(key)
    (claim,) = queue.claim(1)
    after = table.row(key)
    assert after.pop("updated_at") > before.pop("updated_at")
    assert after == before | {
        "hubspot_sync_status": "Processing",
        "hubspot_processing_status": "Processing",
        "hubspot_processing_error": None,
    }
    assert claim.contact.hubspot_contact_id == "77"
    assert claim.contact.value("domain_id") == str(before["domain_id"])


def test_claim_of_a_contact_asked_for_anew_counts_from_zero(
    table: Contacts, queue: ContactQueue
) -> None:
    key = table.add(retry_count=3, last_failed_crm="hubspot")
    (claim,) = queue.claim(1)
    assert claim.retry_count == 0
    assert table.row(key)["retry_count"] == 0


def test_claim_of_the_last_retry_keeps_its_count(table: Contacts, queue: ContactQueue) -> None:
    key = table.add(
        hubspot_sync_status="Queued",
        hubspot_processing_status="Error",
        retry_count=3,
        last_failed_crm="hubspot",
    )
    (claim,) = queue.claim(1)
    assert claim.retry_count == 3
    assert table.row(key)["retry_count"] == 3


def test_claims_are_not_handed_out_twice(table: Contacts, queue: ContactQueue) -> None:
    keys = [table.add() for _ in range(7)]
    first, second, third = claimed_ids(queue, 3), claimed_ids(queue, 3), claimed_ids(queue, 3)
    assert sorted(first + second + third) == sorted(keys)
    assert claimed_ids(queue) == []


def test_claim_that_fails_claims_nothing(table: Contacts, queue: ContactQueue) -> None:
    key = table.add()

    def die(_: object) -> None:
        raise RuntimeError("the process dies here")

    table.change(key, hubspot_sync_status="Processing", hubspot_processing_status="Processing")
    table.move(key, "updated_at", OVER)
    event.listen(table.engine, "commit", die)
    with pytest.raises(RuntimeError):
        queue.claim(1)
    event.remove(table.engine, "commit", die)
    assert table.row(key)["retry_count"] == 0


def test_released_contact_keeps_its_place(table: Contacts, queue: ContactQueue) -> None:
    first = table.add(age=timedelta(minutes=9))
    second = table.add(age=timedelta(minutes=5))
    (claim,) = queue.claim(1)
    queue.settle([(claim, Released())])
    assert claimed_ids(queue) == [first, second]


def test_peek_takes_nothing(table: Contacts, queue: ContactQueue) -> None:
    key = table.add()
    before = table.row(key)
    assert [row.contact.id for row in queue.peek_due(10)] == [key]
    assert table.row(key) == before


def test_takeover_behind_a_contact_that_is_freed_comes_before_fresh_ones(
    table: Contacts, queue: ContactQueue
) -> None:
    fresh = table.add("fresh@example.com")
    freed = table.add(
        "freed@example.com",
        age=2 * OVER,
        **PROCESSING | {"hubspot_sync_status": "Complete"},
    )
    left = table.add("left@example.com", age=OVER, **PROCESSING)
    assert claimed_ids(queue, 1) == [left]
    assert table.state(freed) == ("Complete", None)
    assert claimed_ids(queue, 1) == [fresh]
