"""How claims end in the table: each line of the status table, on every kind of table."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from hubspot_sync.rules.lifecycle import Claim
from hubspot_sync.rules.settlement import (
    Delivered,
    Failed,
    Outcome,
    OutcomeName,
    Rejected,
    Released,
    Stopped,
    error_text,
)
from hubspot_sync.store.contact_queue import ContactQueue, Held, NotThere
from tests.conftest import LEASE, POLICY
from tests.for_each import for_each
from tests.messages import LABEL, said
from tests.tables import CONTACTS, Contacts

CREATED = Delivered("9001", created=True)
FAILED = Failed(said("HubSpot refused the contact: no"))
OTHER_CRM: dict[str, Any] = {
    "last_failed_crm": "brevo",
    "retry_count": 2,
}
MINUTE = timedelta(minutes=1)


def claim_only(queue: ContactQueue) -> Claim:
    (claim,) = queue.claim(1)
    return claim


def settle_one(queue: ContactQueue, claim: Claim, outcome: Outcome) -> OutcomeName:
    (settlement,) = queue.settle([(claim, outcome)])
    return settlement.name


def minutes_until(table: Contacts, key: Any, column: str = "next_retry_at") -> float | None:
    """How many minutes from now an instant of the row is, by the database's clock."""
    with table.engine.begin() as connection:
        if table.shape == "sqlite":
            sql = (
                f"SELECT (julianday({column}) - julianday('now')) * 1440 FROM contacts WHERE id = ?"
            )
            value = connection.exec_driver_sql(sql, (str(key),)).scalar_one()
        else:
            sql = f"SELECT extract(epoch FROM {column} - now()) / 60 FROM contacts WHERE id = %s"
            value = connection.exec_driver_sql(sql, (str(key),)).scalar_one()
    return None if value is None else float(value)


def test_delivered_is_complete(table: Contacts, queue: ContactQueue) -> None:
    key = table.add(retry_count=2, last_failed_crm="hubspot", hubspot_processing_error="old")
    table.move(key, "next_retry_at", MINUTE)
    table.move(key, "last_retry_at", MINUTE)
    assert settle_one(queue, claim_only(queue), CREATED) == "created"
    row = table.row(key)
    assert table.state(key) == ("Complete", "Complete")
    assert row["hubspot_contact_id"] == "9001"
    assert row["hubspot_processing_error"] is None
    assert row["retry_count"] == 0
    assert row["next_retry_at"] is row["last_retry_at"] is row["last_failed_crm"] is None


def test_delivered_leaves_another_crms_retry_values(table: Contacts, queue: ContactQueue) -> None:
    key = table.add(**OTHER_CRM)
    table.move(key, "next_retry_at", timedelta(minutes=-30))
    before = table.row(key)
    assert settle_one(queue, claim_only(queue), Delivered("9001", created=False)) == "updated"
    after = table.row(key)
    shared = ("retry_count", "next_retry_at", "last_retry_at", "last_failed_crm")
    assert {name: after[name] for name in shared} == {name: before[name] for name in shared}
    assert table.state(key) == ("Complete", "Complete")


def test_failed_waits_five_ten_twenty_minutes_and_is_then_exhausted(
    table: Contacts, queue: ContactQueue
) -> None:
    key = table.add()
    for retries, delay in enumerate((5, 10, 20)):
        assert settle_one(queue, claim_only(queue), FAILED) == "failed"
        row = table.row(key)
        assert table.state(key) == ("Queued", "Error")
        assert row["retry_count"] == retries + 1
        assert row["last_failed_crm"] == "hubspot"
        assert row["hubspot_processing_error"] == error_text(FAILED.message)
        assert minutes_until(table, key) == pytest.approx(delay, abs=0.2)
        assert minutes_until(table, key, "last_retry_at") == pytest.approx(0, abs=0.2)
        assert queue.claim(1) == []
        table.move(key, "next_retry_at", timedelta(seconds=1))
    assert settle_one(queue, claim_only(queue), FAILED) == "exhausted"
    row = table.row(key)
    assert table.state(key) == ("Error", "Error")
    assert row["next_retry_at"] is None
    assert row["hubspot_processing_error"] == error_text(FAILED.message)
    assert queue.claim(1) == []


def test_rejected_is_an_error_at_once_and_costs_no_attempt(
    table: Contacts, queue: ContactQueue
) -> None:
    key = table.add()
    assert settle_one(queue, claim_only(queue), Rejected(said("blocked"))) == "rejected"
    assert table.state(key) == ("Error", "Error")
    row = table.row(key)
    assert (row["last_failed_crm"], row["retry_count"]) == ("hubspot", 0)


def test_failed_uses_another_crms_columns_and_never_lowers_its_count(
    table: Contacts, queue: ContactQueue
) -> None:
    key = table.add(**OTHER_CRM)
    settle_one(queue, claim_only(queue), FAILED)
    row = table.row(key)
    assert (row["retry_count"], row["last_failed_crm"]) == (2, "hubspot")


def test_two_crms_that_both_fail_come_to_an_end(table: Contacts, queue: ContactQueue) -> None:
    key = table.add()
    for _ in range(POLICY.max_retries * 2 + 2):
        table.move(key, "next_retry_at", timedelta(seconds=1))
        claims = queue.claim(1)
        if not claims:
            break
        settle_one(queue, claims[0], FAILED)
        table.change(key, last_failed_crm="brevo", retry_count=table.row(key)["retry_count"] + 1)
        if table.state(key) == ("Error", "Error"):
            break
        table.change(key, last_failed_crm="hubspot")
    assert table.state(key) == ("Error", "Error")


def test_failed_cuts_the_error_to_500_characters(table: Contacts, queue: ContactQueue) -> None:
    key = table.add()
    settle_one(queue, claim_only(queue), Failed(said("x\0y\n" + "z" * 2000)))
    error = table.row(key)["hubspot_processing_error"]
    assert len(error) == 500
    assert error.startswith(f"{LABEL}x y z")


def test_failed_keeps_words_of_any_script(
    table: Contacts, queue: ContactQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    table.engine.dispose()
    key = table.add()
    settle_one(queue, claim_only(queue), Failed(said("Łódź 東京 …")))
    assert table.row(key)["hubspot_processing_error"] == f"{LABEL}Łódź 東京 …"


def test_stopped_pays_no_attempt(table: Contacts, queue: ContactQueue) -> None:
    key = table.add(retry_count=1, last_failed_crm="hubspot")
    assert settle_one(queue, claim_only(queue), Stopped(said("HubSpot is down"))) == "stopped"
    row = table.row(key)
    assert table.state(key) == ("Queued", "Error")
    assert row["retry_count"] == 1
    assert row["hubspot_processing_error"] == f"{LABEL}HubSpot is down"
    assert minutes_until(table, key) == pytest.approx(5, abs=0.2)


def test_stopped_moves_no_shared_column_of_another_crm(
    table: Contacts, queue: ContactQueue
) -> None:
    key = table.add(**OTHER_CRM)
    table.move(key, "next_retry_at", timedelta(minutes=-30))
    before = table.row(key)
    settle_one(queue, claim_only(queue), Stopped(said("HubSpot is down")))
    after = table.row(key)
    shared = ("retry_count", "next_retry_at", "last_retry_at", "last_failed_crm")
    assert {name: after[name] for name in shared} == {name: before[name] for name in shared}
    assert table.state(key) == ("Queued", "Error")


@for_each(("decision", "state"), [("Selected", "Queued"), ("Queued", "Error"), ("Queued", None)])
def test_released_is_as_it_was(
    table: Contacts, queue: ContactQueue, decision: str, state: str | None
) -> None:
    key = table.add(
        hubspot_sync_status=decision,
        hubspot_processing_status=state,
        hubspot_processing_error="as before",
        retry_count=1,
    )
    before = table.row(key)
    assert settle_one(queue, claim_only(queue), Released()) == "released"
    assert table.row(key) == before


def test_released_after_a_takeover_is_queued(table: Contacts, queue: ContactQueue) -> None:
    key = table.add(
        hubspot_sync_status="Processing",
        hubspot_processing_status="Processing",
        age=LEASE + MINUTE,
    )
    settle_one(queue, claim_only(queue), Released())
    assert table.state(key) == ("Queued", "Queued")
    assert table.row(key)["retry_count"] == 1
    assert len(queue.claim(1)) == 1


@for_each("outcome", [CREATED, FAILED, Stopped(said("s")), Released()])
@for_each(
    ("theirs", "left"),
    [
        ({"hubspot_sync_status": "Skipped"}, ("Skipped", None)),
        ({"hubspot_sync_status": "New"}, ("New", None)),
        ({"hubspot_sync_status": "Selected"}, ("Selected", None)),
        (
            {"hubspot_sync_status": "Selected", "hubspot_processing_status": "Queued"},
            ("Selected", "Queued"),
        ),
        (
            {"hubspot_sync_status": "New", "hubspot_processing_status": None},
            ("New", None),
        ),
        ({"hubspot_processing_status": None}, ("New", None)),
        ({"hubspot_processing_status": "Queued"}, ("Queued", "Queued")),
    ],
)
def test_superseded_decision_stands(
    table: Contacts,
    queue: ContactQueue,
    outcome: Outcome,
    theirs: dict[str, str | None],
    left: tuple[str | None, str | None],
) -> None:
    key = table.add()
    claim = claim_only(queue)
    table.change(key, **theirs)
    assert settle_one(queue, claim, outcome) == "superseded"
    assert table.state(key) == left
    kept = "9001" if isinstance(outcome, Delivered) else None
    assert table.row(key)["hubspot_contact_id"] == kept
    assert table.row(key)["retry_count"] == 0


def test_superseded_by_deletion_writes_nothing(table: Contacts, queue: ContactQueue) -> None:
    key = table.add()
    claim = claim_only(queue)
    table.delete(key)
    assert settle_one(queue, claim, CREATED) == "superseded"
    assert table.rows() == []


def test_superseded_by_a_takeover_writes_nothing(table: Contacts, queue: ContactQueue) -> None:
    key = table.add()
    claim = claim_only(queue)
    table.move(key, "updated_at", LEASE + MINUTE)
    successor = claim_only(queue)
    assert successor.is_takeover
    during = table.row(key)
    assert settle_one(queue, claim, CREATED) == "superseded"
    assert table.row(key) == during
    assert settle_one(queue, successor, CREATED) == "created"


def test_superseded_past_the_lease_even_where_nobody_took_over(
    table: Contacts, engine: Any
) -> None:
    key = table.add()
    queue = ContactQueue(engine, CONTACTS, policy=POLICY, lease=timedelta(0))
    claim = claim_only(queue)
    during = table.row(key)
    assert settle_one(queue, claim, CREATED) == "superseded"
    assert table.row(key) == during


@for_each("outcome", [CREATED, FAILED, Stopped(said("s"))])
@for_each("column", ["email", "name", "phone_number", "domain_id", "page_id"])
def test_requeued_after_an_edit(
    table: Contacts, queue: ContactQueue, column: str, outcome: Outcome
) -> None:
    key = table.add()
    claim = claim_only(queue)
    table.change(key, **{column: str(uuid4()) if column.endswith("_id") else "new@example.com"})
    assert settle_one(queue, claim, outcome) == "requeued"
    assert table.state(key) == ("Queued", "Queued")
    assert table.row(key)["retry_count"] == 0
    assert [again.contact.id for again in queue.claim(1)] == [key]


def test_requeued_keeps_the_id_of_what_was_delivered(table: Contacts, queue: ContactQueue) -> None:
    key = table.add()
    claim = claim_only(queue)
    table.change(key, name="Someone Else")
    settle_one(queue, claim, CREATED)
    assert table.row(key)["hubspot_contact_id"] == "9001"


def test_settle_writes_many_outcomes_together(table: Contacts, queue: ContactQueue) -> None:
    keys = [table.add(f"c{number}@example.com") for number in range(6)]
    claims = {claim.contact.id: claim for claim in queue.claim(10)}
    ends: list[Outcome] = [
        Delivered("1", created=True),
        Delivered("2", created=True),
        Failed(said("first")),
        Failed(said("second")),
        Stopped(said("third")),
        Released(),
    ]
    settled = queue.settle([(claims[key], end) for key, end in zip(keys, ends, strict=True)])
    assert [settlement.name for settlement in settled] == [
        "created", "created", "failed", "failed", "stopped", "released",
    ]  # fmt: skip
    rows = [table.row(key) for key in keys]
    assert [row["hubspot_contact_id"] for row in rows[:3]] == ["1", "2", None]
    assert [row["hubspot_processing_error"] for row in rows[2:]] == [
        *(f"{LABEL}{words}" for words in ("first", "second", "third")), None,
    ]  # fmt: skip
    assert table.state(keys[5]) == ("Selected", "Queued")


def test_settle_of_many_handles_the_deleted(table: Contacts, queue: ContactQueue) -> None:
    gone, there = table.add("a@example.com"), table.add("b@example.com")
    claims = queue.claim(2)
    table.delete(gone)
    settled = {
        settlement.claim.contact.id: settlement.name
        for settlement in queue.settle([(claim, CREATED) for claim in claims])
    }
    assert settled == {gone: "superseded", there: "created"}


def test_claim_one_takes_any_status(table: Contacts, queue: ContactQueue) -> None:
    for decision, state in (
        ("New", None),
        ("Complete", "Complete"),
        ("Error", "Error"),
        ("Selected", "Queued"),
    ):
        key = table.add(hubspot_sync_status=decision, hubspot_processing_status=state)
        claim = queue.claim_one(key)
        assert isinstance(claim, Claim)
        assert table.state(key) == ("Processing", "Processing")


def test_claim_one_of_a_new_contact_can_be_given_back(table: Contacts, queue: ContactQueue) -> None:
    key = table.add(hubspot_sync_status=table.never_synced, hubspot_processing_status=None)
    before = table.row(key)
    claim = queue.claim_one(key)
    assert isinstance(claim, Claim)
    settle_one(queue, claim, Released())
    assert table.row(key) == before


def test_claim_one_leaves_a_skipped_contact_unless_forced(
    table: Contacts, queue: ContactQueue
) -> None:
    key = table.add(hubspot_sync_status="Skipped", hubspot_processing_status=None)
    refused = queue.claim_one(key)
    assert isinstance(refused, Held)
    assert "--force" in refused.reason
    assert table.state(key) == ("Skipped", None)
    assert isinstance(queue.claim_one(key, force=True), Claim)


def test_claim_one_leaves_what_a_live_run_holds(table: Contacts, queue: ContactQueue) -> None:
    key = table.add()
    claim_only(queue)
    refused = queue.claim_one(key)
    assert isinstance(refused, Held)
    assert "a run holds it" in refused.reason
    table.move(key, "updated_at", LEASE + MINUTE)
    taken = queue.claim_one(key)
    assert isinstance(taken, Claim)
    assert taken.is_takeover


def test_claim_one_of_nobody_says_so(table: Contacts, queue: ContactQueue) -> None:
    key = str(uuid4())
    with pytest.raises(NotThere, match=str(key)):
        queue.claim_one(key)
    assert table.rows() == []


def test_exhausted_contact_that_kills_its_worker(table: Contacts, queue: ContactQueue) -> None:
    key = table.add()
    claim_only(queue)
    for retries in (1, 2, 3):
        table.move(key, "updated_at", LEASE + MINUTE)
        claim = claim_only(queue)
        assert (claim.retry_count, claim.is_out_of_attempts) == (retries, False)
    table.move(key, "updated_at", LEASE + MINUTE)
    last = claim_only(queue)
    assert last.is_out_of_attempts
    assert settle_one(queue, last, Failed(said("its worker died"))) == "exhausted"
    assert table.state(key) == ("Error", "Error")
