"""What `enqueue` marks: whom it takes, what it writes, what it leaves, and that it says so."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from hubspot_sync.rules.lifecycle import SyncStatus
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.marking import Marking, Preview
from hubspot_sync.store.selection import Selection
from tests.conftest import LEASE
from tests.tables import CONTACTS, Contacts

MARKED = ("Selected", "Queued")
OVER = LEASE + timedelta(seconds=1)
both = pytest.mark.parametrize("shape", ["sqlite", "app"])
ALL = Selection(every=True)

FAILED: dict[str, Any] = {
    "hubspot_sync_status": "Error",
    "hubspot_processing_status": "Error",
    "hubspot_processing_error": "it failed",
    "hubspot_contact_id": "9001",
    "retry_count": 3,
    "last_failed_crm": "hubspot",
}
NEVER: dict[str, Any] = {"hubspot_sync_status": "New", "hubspot_processing_status": None}
SKIPPED: dict[str, Any] = {"hubspot_sync_status": "Skipped", "hubspot_processing_status": None}
DELIVERED: dict[str, Any] = {
    "hubspot_sync_status": "Complete",
    "hubspot_processing_status": "Complete",
    "hubspot_contact_id": "9001",
}
RETRY = ("retry_count", "next_retry_at", "last_retry_at", "last_failed_crm")


@pytest.fixture
def marking(table: Contacts) -> Marking:
    """What marks contacts in that table."""
    return Marking(table.engine, CONTACTS, lease=LEASE)


def named(*keys: str) -> Selection:
    return Selection(contact_ids=keys)


def look(marking: Marking, wanted: Selection, limit: int | None = None) -> Preview:
    return marking.look_at_enqueue(wanted, rows_wanted=0, limit=limit)


def marked(table: Contacts) -> set[str]:
    """Return the contacts that are marked now."""
    return {
        str(UUID(str(row["id"])))
        for row in table.rows()
        if (row["hubspot_sync_status"], row["hubspot_processing_status"]) == MARKED
    }


def test_marks_as_the_app_does_and_clears_our_own_retry_values(
    table: Contacts, marking: Marking
) -> None:
    key = table.add(age=timedelta(hours=9), **FAILED)
    table.move(key, "next_retry_at", timedelta(minutes=-5))
    table.move(key, "last_retry_at", timedelta(minutes=5))
    before = table.row(key)
    assert marking.enqueue(named(key)) == (1, [])
    after = table.row(key)
    assert after["updated_at"] > before["updated_at"]
    assert after == before | {
        "hubspot_sync_status": "Selected",
        "hubspot_processing_status": "Queued",
        "hubspot_processing_error": None,
        "retry_count": 0,
        "next_retry_at": None,
        "last_retry_at": None,
        "last_failed_crm": None,
        "updated_at": after["updated_at"],
    }


@both
def test_what_is_marked_can_be_claimed_with_all_attempts(
    table: Contacts, marking: Marking, queue: ContactQueue
) -> None:
    key = table.add(**FAILED)
    table.move(key, "next_retry_at", timedelta(hours=-5))
    marking.enqueue(named(key))
    (claim,) = queue.claim(5)
    assert (claim.contact.id, claim.attempt) == (key, 1)


def test_another_crms_retry_values_are_never_cleared(table: Contacts, marking: Marking) -> None:
    key = table.add(**(FAILED | {"last_failed_crm": "brevo"}))
    table.move(key, "next_retry_at", timedelta(minutes=-5))
    table.move(key, "last_retry_at", timedelta(minutes=5))
    before = table.row(key)
    marking.enqueue(named(key))
    after = table.row(key)
    assert {name: after[name] for name in RETRY} == {name: before[name] for name in RETRY}
    assert table.state(key) == MARKED


@pytest.mark.parametrize("status", ["New", "Error", "Complete"])
def test_status_takes_those_with_this_decision(
    table: Contacts, marking: Marking, status: str
) -> None:
    keys = {
        "New": table.add("a@x.org", **NEVER),
        "Error": table.add("b@x.org", **FAILED),
        "Complete": table.add("c@x.org", **DELIVERED),
    }
    table.add("d@x.org", **SKIPPED)
    assert marking.enqueue(Selection(status=SyncStatus(status))) == (1, [])
    assert marked(table) == {keys[status]}


@pytest.mark.parametrize("shape", ["sqlite", "plain"])
def test_contact_without_a_decision_counts_as_new(table: Contacts, marking: Marking) -> None:
    key = table.add(hubspot_sync_status=None, hubspot_processing_status=None)
    assert marking.enqueue(Selection(status=SyncStatus.NEW)) == (1, [])
    assert marked(table) == {key}


@both
@pytest.mark.parametrize("asked", ["ada@x.org", "  ADA@X.org ", "Ada@X.Org"])
def test_email_is_found_however_it_is_written(
    table: Contacts, marking: Marking, asked: str
) -> None:
    keys = {table.add("Ada@X.org", **NEVER), table.add(" ada@x.ORG", **DELIVERED)}
    table.add("bob@x.org", **NEVER)
    table.add("ada@x.org.uk", **NEVER)
    assert marking.enqueue(Selection(email=asked))[0] == 2
    assert marked(table) == keys


@both
@pytest.mark.parametrize("stored", ["ÄDA@example.com", "ada@exämple.com", "\tada@x.org\n"])
def test_email_is_found_as_it_is_stored(table: Contacts, marking: Marking, stored: str) -> None:
    key = table.add(stored, **NEVER)
    assert marking.enqueue(Selection(email=stored)) == (1, [])
    assert marked(table) == {key}


@both
@pytest.mark.parametrize("odd", ["%", "a_a@x.org", "' OR 1=1 --", "x" * 5_000, "\u202e@x.org"])
def test_odd_email_matches_nobody_else(table: Contacts, marking: Marking, odd: str) -> None:
    table.add("ada@x.org", **NEVER)
    assert marking.enqueue(Selection(email=odd)) == (0, [])


def test_domain_takes_its_contacts(table: Contacts, marking: Marking) -> None:
    domain = str(uuid4())
    key = table.add("a@x.org", domain_id=domain, **NEVER)
    skipped = table.add("b@x.org", domain_id=domain, **SKIPPED)
    table.add("c@x.org", **NEVER)
    assert marking.enqueue(Selection(domain_id=domain)) == (1, [])
    assert marked(table) == {key}
    assert table.state(skipped) == ("Skipped", None)


def test_all_takes_everything_but_the_skipped_and_what_is_queued(
    table: Contacts, marking: Marking
) -> None:
    keys = {table.add(f"{each}@x.org", **columns) for each, columns in enumerate([NEVER, FAILED])}
    skipped = table.add("s@x.org", **SKIPPED)
    queued = table.add("q@x.org", age=timedelta(hours=5))
    before = table.row(queued)
    assert marking.enqueue(ALL) == (2, [])
    assert marked(table) == keys | {queued}
    assert table.row(queued) == before
    assert table.state(skipped) == ("Skipped", None)


@both
def test_retry_that_waits_is_taken_before_its_time(table: Contacts, marking: Marking) -> None:
    key = table.add(**(FAILED | {"hubspot_sync_status": "Queued", "retry_count": 1}))
    table.move(key, "next_retry_at", timedelta(hours=-5))
    assert marking.enqueue(ALL) == (1, [])
    assert table.row(key)["next_retry_at"] is None


@both
def test_skipped_contact_is_marked_where_it_is_named(table: Contacts, marking: Marking) -> None:
    key = table.add(**SKIPPED)
    assert marking.enqueue(named(key)) == (1, [])
    assert table.state(key) == MARKED


@both
def test_skipped_contact_that_is_queued_is_left_alone(table: Contacts, marking: Marking) -> None:
    key = table.add(hubspot_sync_status="Skipped", hubspot_processing_status="Queued")
    assert marking.enqueue(ALL) == (0, [])
    assert table.state(key) == ("Skipped", "Queued")


@both
def test_named_contact_that_is_queued_keeps_its_turn(
    table: Contacts, marking: Marking, queue: ContactQueue
) -> None:
    first = table.add("a@x.org", age=timedelta(hours=2))
    table.add("b@x.org", age=timedelta(hours=1))
    marking.enqueue(named(first))
    (claim,) = queue.claim(1)
    assert claim.contact.id == first


@both
def test_contact_that_a_live_run_holds_is_left_and_told(
    table: Contacts, marking: Marking, queue: ContactQueue
) -> None:
    held, free = table.add("a@x.org"), table.add("b@x.org", **NEVER)
    queue.claim(1)
    before = table.row(held)
    assert look(marking, named(held, free)).total == 1
    count, left = marking.enqueue(named(held, free))
    assert (count, [row.contact.id for row in left]) == (1, [held])
    assert table.row(held) == before
    assert table.state(free) == MARKED


@both
@pytest.mark.parametrize("by", ["email", "domain_id", "every"])
def test_contact_that_a_live_run_holds_is_told_however_it_is_asked_for(
    table: Contacts, marking: Marking, queue: ContactQueue, by: str
) -> None:
    domain = str(uuid4())
    key = table.add("ada@x.org", domain_id=domain)
    queue.claim(1)
    asked: dict[str, Any] = {"email": "ada@x.org", "domain_id": domain, "every": True}
    wanted = Selection(**{by: asked[by]})
    assert [row.contact.id for row in look(marking, wanted).held] == [key]
    count, left = marking.enqueue(wanted)
    assert (count, [row.contact.id for row in left]) == (0, [key])


@both
def test_contact_that_a_dead_run_left_can_be_named(
    table: Contacts, marking: Marking, queue: ContactQueue
) -> None:
    key = table.add()
    queue.claim(1)
    table.move(key, "updated_at", OVER)
    assert marking.enqueue(named(key)) == (1, [])
    assert table.state(key) == MARKED


@both
@pytest.mark.parametrize("limit", [1, 3, 4, 100])
def test_limit_and_chunks_take_each_contact_once(
    table: Contacts, marking: Marking, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr("hubspot_sync.store.marking.CHUNK", 3)
    for each in range(7):
        table.add(f"c{each}@x.org", **NEVER)
    assert look(marking, ALL, limit).total == min(limit, 7)
    assert marking.enqueue(ALL, limit=limit) == (min(limit, 7), [])
    assert len(marked(table)) == min(limit, 7)
    assert marking.enqueue(ALL)[0] == 7 - min(limit, 7)
    assert marking.enqueue(ALL) == (0, [])


@both
def test_held_contacts_do_not_use_up_the_limit(
    table: Contacts, marking: Marking, queue: ContactQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubspot_sync.store.marking.CHUNK", 2)
    held = [table.add(f"h{each}@x.org") for each in range(4)]
    queue.claim(4)
    free = [table.add(f"f{each}@x.org", **NEVER) for each in range(4)]
    count, left = marking.enqueue(named(*held, *free), limit=3)
    assert count == 3
    assert {row.contact.id for row in left} <= set(held)
    assert len(marked(table)) == 3


@both
def test_look_finds_all_that_are_named_whatever_the_limit(
    table: Contacts, marking: Marking
) -> None:
    keys = {table.add(f"c{each}@x.org", **NEVER) for each in range(3)}
    preview = look(marking, named(*keys), limit=1)
    assert (preview.total, preview.found) == (1, keys)


@both
def test_named_contacts_that_are_not_there_are_not_found(table: Contacts, marking: Marking) -> None:
    key, nobody = table.add(**NEVER), str(uuid4())
    preview = look(marking, named(key, nobody, key))
    assert (preview.total, preview.found) == (1, {key})


def test_look_writes_nothing(table: Contacts, marking: Marking) -> None:
    for columns in (NEVER, FAILED, SKIPPED, DELIVERED, {}):
        table.add(**columns)
    before = table.rows()
    assert look(marking, ALL).total == 3
    assert table.rows() == before


@both
def test_has_synced_once_one_contact_is_in_hubspot(table: Contacts, marking: Marking) -> None:
    table.add("a@x.org", **NEVER)
    assert not marking.has_synced()
    table.add("b@x.org", **DELIVERED)
    assert marking.has_synced()


@both
def test_nothing_asked_for_is_nothing_taken(table: Contacts, marking: Marking) -> None:
    table.add(**NEVER)
    assert marking.enqueue(Selection()) == (0, [])
    assert not Selection().is_one
    assert not Selection(email="a@x.org", every=True).is_one
