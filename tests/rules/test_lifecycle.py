"""Which state follows which event."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import Signature
from hubspot_sync.rules.lifecycle import (
    Changes,
    Claim,
    ProcessingStatus,
    Row,
    SyncStatus,
    claim_row,
    reset_changes,
)
from hubspot_sync.rules.mapping import Contact
from hubspot_sync.rules.retry import RetryPolicy
from hubspot_sync.rules.settlement import (
    Delivered,
    Failed,
    Outcome,
    OutcomeName,
    Rejected,
    Released,
    Settlement,
    Stopped,
    error_text,
    settle,
    shown_error,
)
from tests.contacts import edited as with_values
from tests.contacts import scraped
from tests.for_each import for_each
from tests.messages import LABEL, said

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
SOON = NOW + timedelta(minutes=1)
EARLIER = NOW - timedelta(hours=1)
LEASE = timedelta(minutes=10)
POLICY = RetryPolicy()

CONTACT = scraped(
    str(UUID(int=1)),
    email="ada@example.com",
    name="Ada Lovelace",
    phone_number="+44 20 7946 0000",
    domain_id="domain-1",
    page_id="page-1",
    hubspot_contact_id="500",
)
DUE = Row(
    contact=CONTACT,
    sync_status="Selected",
    processing_status="Queued",
    error=None,
    retry_count=0,
    last_failed_crm=None,
    next_retry_at=None,
    last_retry_at=None,
    updated_at=EARLIER,
)
RETRY = replace(
    DUE,
    sync_status="Queued",
    processing_status="Error",
    error="HubSpot refused the contact",
    retry_count=1,
    last_failed_crm="hubspot",
    next_retry_at=NOW,
    last_retry_at=EARLIER,
)
LEFT_BEHIND = replace(DUE, sync_status="Processing", processing_status="Processing")
BREVOS = replace(
    DUE, retry_count=2, last_failed_crm="brevo", next_retry_at=SOON, last_retry_at=EARLIER
)

CREATED = Delivered("501", created=True)
UPDATED = Delivered("501", created=False)
REFUSED = Failed(said("HubSpot refused the contact: phone"), Signature("INVALID_PHONE", "phone"))
REJECTED = Rejected(REFUSED.message, REFUSED.signature)
HALTED = Stopped(said("HubSpot is down"))

each_outcome = for_each(
    "outcome",
    [CREATED, UPDATED, REFUSED, REJECTED, HALTED, Released()],
    ids=["created", "updated", "failed", "rejected", "stopped", "released"],
)
each_due_state = for_each(
    ("sync_status", "processing_status"),
    [
        ("Selected", "Queued"),
        ("Queued", "Queued"),
        ("Selected", None),
        ("Queued", None),
        ("New", "Queued"),
        (None, "Queued"),
        ("Complete", "Queued"),
        ("Error", "Queued"),
        # The next ones are never due; sync-one claims them all the same.
        (None, None),
        ("Complete", "Complete"),
        ("Error", "Error"),
        ("Selected", "Error"),
    ],
)
each_sent_value = for_each(
    "edited",
    [
        with_values(CONTACT, email="new@example.com"),
        with_values(CONTACT, name=None),
        with_values(CONTACT, phone_number="+44 20 7946 0001"),
        with_values(CONTACT, domain_id="domain-2"),
        with_values(CONTACT, page_id="page-2"),
    ],
    ids=["email", "name", "phone_number", "domain_id", "page_id"],
)


def _after(row: Row, changes: Changes) -> Row:
    """The row once the changes, which bear the names of columns, are written."""
    fields: dict[str, Any] = {
        name.replace("hubspot_sync_", "sync_").replace("hubspot_processing_", "processing_"): value
        for name, value in changes.items()
    }
    if "processing_error" in fields:
        fields["error"] = fields.pop("processing_error")
    if "hubspot_contact_id" in fields:
        record_id = fields.pop("hubspot_contact_id")
        fields["contact"] = replace(row.contact, hubspot_contact_id=record_id)
    return replace(row, **fields)


def _claimed(row: Row = DUE, *, policy: RetryPolicy = POLICY, now: datetime = NOW) -> Claim:
    return claim_row(row, policy, now)[0]


def _written(row: Row = DUE, *, policy: RetryPolicy = POLICY, now: datetime = NOW) -> Row:
    """The row as the claim leaves it."""
    return _after(row, claim_row(row, policy, now)[1])


def _settled(
    outcome: Outcome,
    before: Row = DUE,
    *,
    meanwhile: Callable[[Row], Row | None] = lambda row: row,
    policy: RetryPolicy = POLICY,
    now: datetime = SOON,
) -> Settlement:
    """Claim a row, let others do something to it, and settle it."""
    return settle(
        _claimed(before, policy=policy),
        outcome,
        meanwhile(_written(before, policy=policy)),
        policy=policy,
        now=now,
        lease=LEASE,
    )


def _run(row: Row, outcome: Outcome, *, now: datetime, policy: RetryPolicy = POLICY) -> Row:
    """The row after a whole run that ended like this for it."""
    claim, changes = claim_row(row, policy, now)
    held = _after(row, changes)
    ended = settle(claim, outcome, held, policy=policy, now=now, lease=LEASE)
    return _after(held, ended.changes)


# Words


def test_decisions_are_the_words_of_the_column() -> None:
    words = ["New", "Selected", "Queued", "Processing", "Complete", "Error", "Skipped"]
    assert list(SyncStatus) == words


def test_states_are_the_words_of_the_column() -> None:
    assert list(ProcessingStatus) == ["Queued", "Processing", "Complete", "Error"]


def test_outcomes_are_the_words_of_the_report() -> None:
    assert set(OutcomeName) == {
        "created",
        "updated",
        "unchanged",
        "failed",
        "exhausted",
        "rejected",
        "released",
        "stopped",
        "superseded",
        "requeued",
    }


# Claiming


@each_due_state
def test_claim_marks_the_row(sync_status: str | None, processing_status: str | None) -> None:
    row = replace(DUE, sync_status=sync_status, processing_status=processing_status, error="Old")
    _, changes = claim_row(row, POLICY, NOW)
    assert changes == {
        "hubspot_sync_status": "Processing",
        "hubspot_processing_status": "Processing",
        "hubspot_processing_error": None,
        "updated_at": NOW,
    }


def test_claim_of_a_retry_marks_the_row_and_leaves_its_retry_columns() -> None:
    _, changes = claim_row(RETRY, POLICY, NOW)
    assert changes == {
        "hubspot_sync_status": "Processing",
        "hubspot_processing_status": "Processing",
        "hubspot_processing_error": None,
        "updated_at": NOW,
    }


def test_claim_keeps_what_it_found() -> None:
    assert _claimed(RETRY).before == RETRY


def test_claim_carries_the_contact_as_it_was() -> None:
    assert _claimed().contact == CONTACT


def test_claim_begins_its_lease_at_the_databases_time() -> None:
    assert _claimed(now=SOON).claimed_at == SOON


@pytest.mark.parametrize("row", [DUE, RETRY, BREVOS])
def test_claim_of_a_due_row_is_no_takeover(row: Row) -> None:
    assert not _claimed(row).is_takeover


@for_each(
    ("row", "attempt"),
    [(DUE, 1), (RETRY, 2), (replace(RETRY, retry_count=3), 4), (BREVOS, 1), (LEFT_BEHIND, 2)],
    ids=["first", "second", "last", "brevo", "takeover"],
)
def test_claim_counts_its_attempt_from_one(row: Row, attempt: int) -> None:
    assert _claimed(row).attempt == attempt


def test_claim_of_what_is_asked_for_again_keeps_the_attempts_spent() -> None:
    claim, changes = claim_row(replace(DUE, retry_count=2), POLICY, NOW)
    assert (claim.retry_count, "retry_count" in changes) == (2, False)


@each_due_state
@for_each("retry_count", [3, 4])
def test_claim_of_what_is_asked_for_anew_counts_from_zero(
    sync_status: str | None, processing_status: str | None, retry_count: int
) -> None:
    row = replace(
        RETRY,
        sync_status=sync_status,
        processing_status=processing_status,
        retry_count=retry_count,
    )
    claim, changes = claim_row(row, POLICY, NOW)
    assert (claim.retry_count, changes["retry_count"]) == (0, 0)


def test_claim_of_what_is_asked_for_anew_is_not_out_of_attempts() -> None:
    assert not _claimed(replace(DUE, retry_count=3)).is_out_of_attempts


def test_claim_of_a_retry_with_all_spent_does_not_count_from_zero() -> None:
    claim, changes = claim_row(replace(RETRY, retry_count=3), POLICY, NOW)
    assert (claim.retry_count, "retry_count" in changes) == (3, False)


def test_claim_of_a_retry_with_all_spent_may_still_be_sent() -> None:
    assert not _claimed(replace(RETRY, retry_count=3)).is_out_of_attempts


@pytest.mark.parametrize("retry_count", [1, 3, 7])
def test_claim_does_not_count_another_crms_retries(retry_count: int) -> None:
    claim, changes = claim_row(replace(BREVOS, retry_count=retry_count), POLICY, NOW)
    assert (claim.retry_count, "retry_count" in changes) == (0, False)


@pytest.mark.parametrize("sync_status", ["Processing", "Selected", "Queued"])
def test_takeover_spends_an_attempt(sync_status: str) -> None:
    _, changes = claim_row(replace(LEFT_BEHIND, sync_status=sync_status), POLICY, NOW)
    assert changes == {
        "hubspot_sync_status": "Processing",
        "hubspot_processing_status": "Processing",
        "hubspot_processing_error": None,
        "updated_at": NOW,
        "retry_count": 1,
        "last_retry_at": NOW,
        "last_failed_crm": "hubspot",
        "next_retry_at": None,
    }


@pytest.mark.parametrize("retry_count", [0, 1, 2])
def test_takeover_with_attempts_left_is_sent(retry_count: int) -> None:
    claim = _claimed(replace(LEFT_BEHIND, retry_count=retry_count))
    assert (claim.is_takeover, claim.is_out_of_attempts) == (True, False)


@pytest.mark.parametrize("retry_count", [0, 1, 2])
def test_takeover_counts_its_dead_worker(retry_count: int) -> None:
    assert _claimed(replace(LEFT_BEHIND, retry_count=retry_count)).retry_count == retry_count + 1


@for_each("retry_count", [3, 4])
@for_each("sync_status", ["Processing", "Selected", "Queued"])
def test_takeover_with_no_attempts_left_is_out_of_attempts(
    sync_status: str, retry_count: int
) -> None:
    claim = _claimed(replace(LEFT_BEHIND, sync_status=sync_status, retry_count=retry_count))
    assert (claim.is_takeover, claim.is_out_of_attempts) == (True, True)


def test_takeover_with_no_attempts_left_spends_none() -> None:
    _, changes = claim_row(replace(LEFT_BEHIND, retry_count=3), POLICY, NOW)
    assert changes == {
        "hubspot_sync_status": "Processing",
        "hubspot_processing_status": "Processing",
        "hubspot_processing_error": None,
        "updated_at": NOW,
    }


def test_takeover_without_retries_allowed_is_out_of_attempts() -> None:
    assert _claimed(LEFT_BEHIND, policy=RetryPolicy(max_retries=0)).is_out_of_attempts


@for_each(("stored", "written"), [(0, 1), (1, 1), (2, 2), (7, 7)])
def test_takeover_never_lowers_another_crms_count(stored: int, written: int) -> None:
    row = replace(LEFT_BEHIND, retry_count=stored, last_failed_crm="brevo")
    claim, changes = claim_row(row, POLICY, NOW)
    assert (claim.retry_count, changes["retry_count"]) == (written, written)


def test_takeover_takes_another_crms_columns_over() -> None:
    _, changes = claim_row(replace(LEFT_BEHIND, last_failed_crm="brevo"), POLICY, NOW)
    assert changes["last_failed_crm"] == "hubspot"


@for_each(
    ("last_failed_crm", "is_ours"),
    [(None, True), ("hubspot", True), ("brevo", False), ("mautic", False), ("", False)],
)
def test_retry_columns_are_ours_where_no_other_crm_is_named(
    last_failed_crm: str | None, *, is_ours: bool
) -> None:
    assert replace(RETRY, last_failed_crm=last_failed_crm).retry_columns_are_ours is is_ours


@for_each(("last_failed_crm", "own"), [(None, 2), ("hubspot", 2), ("brevo", 0), ("n8n", 0)])
def test_own_retry_count_is_zero_where_another_crm_is_named(
    last_failed_crm: str | None, own: int
) -> None:
    row = replace(RETRY, retry_count=2, last_failed_crm=last_failed_crm)
    assert row.own_retry_count == own


@each_due_state
def test_only_queued_after_an_error_is_a_retry(
    sync_status: str | None, processing_status: str | None
) -> None:
    row = replace(RETRY, sync_status=sync_status, processing_status=processing_status)
    assert (RETRY.is_retry, row.is_retry) == (True, False)


# Delivered


@pytest.mark.parametrize("outcome", [CREATED, UPDATED])
def test_delivered_contact_is_complete_with_its_retry_columns_cleared(outcome: Outcome) -> None:
    assert _settled(outcome, RETRY).changes == {
        "hubspot_sync_status": "Complete",
        "hubspot_processing_status": "Complete",
        "hubspot_processing_error": None,
        "hubspot_contact_id": "501",
        "retry_count": 0,
        "next_retry_at": None,
        "last_retry_at": None,
        "last_failed_crm": None,
    }


def test_delivered_contact_leaves_another_crms_retry_columns() -> None:
    assert _settled(UPDATED, BREVOS).changes == {
        "hubspot_sync_status": "Complete",
        "hubspot_processing_status": "Complete",
        "hubspot_processing_error": None,
        "hubspot_contact_id": "501",
    }


def test_delivered_contact_leaves_what_another_crm_wrote_meanwhile() -> None:
    ended = _settled(
        UPDATED,
        RETRY,
        meanwhile=lambda row: replace(row, retry_count=2, last_failed_crm="brevo"),
    )
    assert "retry_count" not in ended.changes


def test_delivered_takeover_has_its_retry_columns_cleared() -> None:
    assert _settled(UPDATED, LEFT_BEHIND).changes["retry_count"] == 0


@pytest.mark.parametrize(
    ("outcome", "name"), [(CREATED, OutcomeName.CREATED), (UPDATED, OutcomeName.UPDATED)]
)
def test_delivered_contact_is_reported_as_created_or_updated(
    outcome: Outcome, name: OutcomeName
) -> None:
    assert _settled(outcome).name is name


def test_delivered_contact_is_reported_with_hubspots_record_id() -> None:
    assert _settled(CREATED).hubspot_contact_id == "501"


def test_delivered_contact_is_reported_without_an_error() -> None:
    ended = _settled(CREATED, RETRY)
    assert (ended.error, ended.next_retry_at) == (None, None)


# Failed


@pytest.mark.parametrize(("spent", "minutes"), [(0, 5), (1, 10), (2, 20)])
def test_failed_contact_is_queued_for_a_retry(spent: int, minutes: int) -> None:
    ended = _settled(REFUSED, replace(DUE, retry_count=spent))
    assert ended.changes == {
        "hubspot_sync_status": "Queued",
        "hubspot_processing_status": "Error",
        "hubspot_processing_error": LABEL + "HubSpot refused the contact: phone",
        "retry_count": spent + 1,
        "next_retry_at": SOON + timedelta(minutes=minutes),
        "last_retry_at": SOON,
        "last_failed_crm": "hubspot",
    }


def test_failed_contact_is_reported_with_its_error_and_its_retry() -> None:
    ended = _settled(REFUSED)
    assert (ended.name, ended.error, ended.next_retry_at) == (
        OutcomeName.FAILED,
        "HubSpot refused the contact: phone",
        SOON + timedelta(minutes=5),
    )


def test_failed_contact_is_retried_as_the_policy_says() -> None:
    policy = RetryPolicy(base_delay=timedelta(minutes=7), exponential=False)
    ended = _settled(REFUSED, replace(DUE, retry_count=2), policy=policy)
    assert ended.next_retry_at == SOON + timedelta(minutes=21)


@for_each(("stored", "written"), [(0, 1), (1, 1), (2, 2), (7, 7)])
def test_failed_contact_never_lowers_another_crms_count(stored: int, written: int) -> None:
    ended = _settled(REFUSED, replace(BREVOS, retry_count=stored))
    assert ended.changes["retry_count"] == written


def test_failed_contact_takes_another_crms_columns_over() -> None:
    ended = _settled(REFUSED, BREVOS)
    assert ended.changes["last_failed_crm"] == "hubspot"


def test_failed_contact_delays_by_its_own_count_where_another_crm_has_one() -> None:
    ended = _settled(REFUSED, replace(BREVOS, retry_count=2))
    assert ended.next_retry_at == SOON + timedelta(minutes=5)


@pytest.mark.parametrize(("stored", "written"), [(1, 2), (2, 2), (3, 3)])
def test_failed_contact_reckons_with_what_another_crm_wrote_meanwhile(
    stored: int, written: int
) -> None:
    ended = _settled(
        REFUSED,
        RETRY,
        meanwhile=lambda row: replace(row, retry_count=stored, last_failed_crm="brevo"),
    )
    assert (ended.name, ended.changes["retry_count"]) == (OutcomeName.FAILED, written)


def test_failed_takeover_pays_for_its_dead_worker_and_for_itself() -> None:
    ended = _settled(REFUSED, LEFT_BEHIND)
    assert (ended.changes["retry_count"], ended.next_retry_at) == (2, SOON + timedelta(minutes=10))


@pytest.mark.parametrize("message", ["x" * 501, "x" * 5000])
def test_failed_contact_has_an_error_that_fits_its_column(message: str) -> None:
    ended = _settled(Failed(said(message)))
    written = ended.changes["hubspot_processing_error"]
    assert written == f"{LABEL}{'x' * (499 - len(LABEL))}…"


def test_failed_contact_is_reported_with_the_error_that_was_written_and_its_code() -> None:
    ended = _settled(Failed(said("two\nlines\x00")))
    assert ended.error == "two lines"
    assert ended.error.code is ErrorCode.HUBSPOTS_WORDS
    assert ended.changes["hubspot_processing_error"] == f"{LABEL}two lines"


@for_each(
    ("before", "outcome", "policy"),
    [
        pytest.param(replace(RETRY, retry_count=3), REFUSED, POLICY, id="all-spent"),
        pytest.param(replace(RETRY, retry_count=9), REFUSED, POLICY, id="more-than-all-spent"),
        pytest.param(DUE, REJECTED, POLICY, id="rejected"),
        pytest.param(BREVOS, REJECTED, POLICY, id="rejected-brevo"),
        pytest.param(
            replace(LEFT_BEHIND, retry_count=3), REFUSED, POLICY, id="takeover-out-of-attempts"
        ),
        pytest.param(
            replace(LEFT_BEHIND, retry_count=2), REFUSED, POLICY, id="takeover-that-was-the-last"
        ),
        pytest.param(DUE, REFUSED, RetryPolicy(max_retries=0), id="no-retries-allowed"),
    ],
)
def test_contact_that_is_not_retried_is_an_error(
    before: Row, outcome: Outcome, policy: RetryPolicy
) -> None:
    assert _settled(outcome, before, policy=policy).changes == {
        "hubspot_sync_status": "Error",
        "hubspot_processing_status": "Error",
        "hubspot_processing_error": LABEL + "HubSpot refused the contact: phone",
        "last_failed_crm": "hubspot",
        "next_retry_at": None,
    }


def test_exhausted_contact_is_reported_with_its_error_and_no_retry() -> None:
    ended = _settled(REFUSED, replace(RETRY, retry_count=3))
    assert (ended.name, ended.error, ended.next_retry_at) == (
        OutcomeName.EXHAUSTED,
        "HubSpot refused the contact: phone",
        None,
    )


def test_contact_is_retried_after_5_10_and_20_minutes_and_then_given_up() -> None:
    row, now, waits = DUE, NOW, []
    while row.sync_status != "Error":
        row = _run(row, REFUSED, now=now)
        if row.next_retry_at:
            waits.append((row.next_retry_at - now) // timedelta(minutes=1))
            now = row.next_retry_at
    assert waits == [5, 10, 20]


def test_contact_that_kills_its_workers_is_given_up() -> None:
    row, now, deaths = _written(DUE), NOW, 1
    while not (claim := _claimed(row, now=now)).is_out_of_attempts:
        row, now, deaths = _written(row, now=now), now + LEASE, deaths + 1
    assert (deaths, claim.attempt) == (4, 4)


def test_contact_that_was_given_up_has_all_its_attempts_when_it_is_asked_for_anew() -> None:
    given_up = _run(replace(RETRY, retry_count=3), REFUSED, now=NOW)
    asked_anew = replace(given_up, sync_status="Selected", processing_status="Queued", error=None)
    row = _run(asked_anew, REFUSED, now=SOON)
    assert (row.retry_count, row.next_retry_at) == (1, SOON + timedelta(minutes=5))


def test_contact_that_two_crms_fail_in_turn_comes_to_an_end() -> None:
    row, runs = DUE, 0
    while row.sync_status != "Error" and runs < 20:
        row, runs = _run(row, REFUSED, now=NOW), runs + 1
        if row.retry_count < POLICY.max_retries:
            # The other one has attempts left too, and counts on from what it finds.
            row = replace(row, retry_count=row.retry_count + 1, last_failed_crm="brevo")
    assert (row.sync_status, runs) == ("Error", 4)


# Stopped


@pytest.mark.parametrize("before", [DUE, RETRY], ids=["first", "retry"])
def test_stopped_contact_waits_the_base_delay_and_pays_nothing(before: Row) -> None:
    assert _settled(HALTED, before).changes == {
        "hubspot_sync_status": "Queued",
        "hubspot_processing_status": "Error",
        "hubspot_processing_error": LABEL + "HubSpot is down",
        "next_retry_at": SOON + timedelta(minutes=5),
    }


def test_stopped_contact_moves_no_shared_column_where_another_crm_is_named() -> None:
    assert _settled(HALTED, BREVOS).changes == {
        "hubspot_sync_status": "Queued",
        "hubspot_processing_status": "Error",
        "hubspot_processing_error": LABEL + "HubSpot is down",
    }


def test_stopped_contact_is_reported_with_its_error_and_its_retry() -> None:
    ended = _settled(HALTED)
    assert (ended.name, ended.error, ended.next_retry_at) == (
        OutcomeName.STOPPED,
        "HubSpot is down",
        SOON + timedelta(minutes=5),
    )


def test_stopped_contact_is_reported_without_another_crms_retry() -> None:
    assert _settled(HALTED, BREVOS).next_retry_at is None


def test_stopped_contact_has_an_error_that_fits_its_column() -> None:
    ended = _settled(Stopped(said("x" * 501)))
    assert ended.error == "x" * 499 + "…"
    assert len(str(ended.changes["hubspot_processing_error"])) == 500


@for_each("retry_count", [0, 1, 2, 3])
def test_stopped_contact_comes_back_with_the_attempts_it_had(retry_count: int) -> None:
    before = replace(RETRY, retry_count=retry_count)
    row = _run(before, HALTED, now=NOW)
    assert _claimed(row).retry_count == retry_count


# Released


@each_due_state
def test_released_contact_is_as_it_was(
    sync_status: str | None, processing_status: str | None
) -> None:
    before = replace(
        DUE, sync_status=sync_status, processing_status=processing_status, error="An old error"
    )
    assert _settled(Released(), before).changes == {
        "hubspot_sync_status": sync_status,
        "hubspot_processing_status": processing_status,
        "hubspot_processing_error": "An old error",
        "updated_at": EARLIER,
    }


@for_each("before", [DUE, RETRY, replace(RETRY, retry_count=3), BREVOS])
def test_released_row_is_as_it_was(before: Row) -> None:
    assert _run(before, Released(), now=NOW) == before


def test_released_takeover_is_queued() -> None:
    assert _settled(Released(), LEFT_BEHIND).changes == {
        "hubspot_sync_status": "Queued",
        "hubspot_processing_status": "Queued",
    }


def test_released_takeover_with_its_last_attempt_is_a_retry_not_a_new_asking() -> None:
    settlement = _settled(Released(), replace(LEFT_BEHIND, retry_count=2))
    assert settlement.name is OutcomeName.RELEASED
    assert settlement.changes == {
        "hubspot_sync_status": "Queued",
        "hubspot_processing_status": "Error",
        "hubspot_processing_error": "[WORKER_DIED] Its worker died; it is tried again.",
    }


def test_released_takeover_without_an_attempt_left_ends_in_error() -> None:
    settlement = _settled(Released(), replace(LEFT_BEHIND, retry_count=3))
    assert settlement.name is OutcomeName.EXHAUSTED
    assert "Its worker died at each of 4 attempts" in str(settlement.error)


def test_released_takeover_has_spent_its_attempt() -> None:
    assert _run(LEFT_BEHIND, Released(), now=NOW).retry_count == 1


@each_sent_value
def test_released_contact_that_was_edited_is_still_released(edited: Contact) -> None:
    ended = _settled(Released(), meanwhile=lambda row: replace(row, contact=edited))
    assert (ended.name, ended.changes["hubspot_sync_status"]) == (OutcomeName.RELEASED, "Selected")


def test_released_contact_is_reported_without_an_error() -> None:
    ended = _settled(Released(), RETRY)
    assert (ended.name, ended.error, ended.next_retry_at) == (OutcomeName.RELEASED, None, None)


# Superseded


def _deleted(_: Row) -> None:
    """What others leave of a row that they delete."""


def _taken_over(row: Row) -> Row:
    assert row.updated_at
    left_behind = replace(row, updated_at=row.updated_at - LEASE)
    return _written(left_behind, now=SOON)


@each_outcome
@for_each("meanwhile", [_deleted, _taken_over])
def test_row_that_is_no_longer_ours_is_left_alone(
    outcome: Outcome, meanwhile: Callable[[Row], Row | None]
) -> None:
    ended = _settled(outcome, meanwhile=meanwhile)
    assert (ended.name, ended.changes) == (OutcomeName.SUPERSEDED, {})


@each_outcome
@for_each("late", [timedelta(0), timedelta(hours=1)])
def test_row_is_left_alone_once_the_lease_is_over(outcome: Outcome, late: timedelta) -> None:
    ended = _settled(outcome, now=NOW + LEASE + late)
    assert (ended.name, ended.changes) == (OutcomeName.SUPERSEDED, {})


@each_outcome
@for_each("sync_status", ["Skipped", "Processing", "Selected"])
def test_row_is_left_alone_once_the_lease_is_over_whatever_else_was_changed(
    outcome: Outcome, sync_status: str
) -> None:
    ended = _settled(
        outcome,
        meanwhile=lambda row: replace(
            row, sync_status=sync_status, contact=with_values(CONTACT, name="New")
        ),
        now=NOW + LEASE,
    )
    assert ended.changes == {}


@each_outcome
def test_row_is_written_until_the_lease_is_over(outcome: Outcome) -> None:
    ended = _settled(outcome, now=NOW + LEASE - timedelta(microseconds=1))
    assert ended.name is not OutcomeName.SUPERSEDED


@each_outcome
@for_each("before", [RETRY, LEFT_BEHIND, BREVOS], ids=["retry", "takeover", "brevo"])
def test_row_that_was_taken_over_is_left_alone_whatever_was_spent_before(
    outcome: Outcome, before: Row
) -> None:
    ended = _settled(outcome, before, meanwhile=_taken_over)
    assert (ended.name, ended.changes) == (OutcomeName.SUPERSEDED, {})


@each_outcome
@for_each("sync_status", ["Skipped", "Processing", "Selected"])
def test_row_that_was_taken_over_is_left_alone_whatever_else_was_changed(
    outcome: Outcome, sync_status: str
) -> None:
    ended = _settled(
        outcome,
        meanwhile=lambda row: replace(
            _taken_over(row), sync_status=sync_status, contact=with_values(CONTACT, name="New")
        ),
    )
    assert ended.changes == {}


def test_row_that_another_crm_failed_meanwhile_is_not_taken_over() -> None:
    ended = _settled(
        UPDATED, meanwhile=lambda row: replace(row, retry_count=1, last_failed_crm="brevo")
    )
    assert ended.name is OutcomeName.UPDATED


each_decision = for_each(
    "sync_status", ["New", "Selected", "Queued", "Complete", "Error", "Skipped", "Archived", None]
)
each_state = for_each("processing_status", [None, "Queued", "Complete", "Error"])


@each_outcome
@each_decision
def test_decision_that_was_changed_stands_and_our_mark_is_taken_off(
    outcome: Outcome, sync_status: str | None
) -> None:
    ended = _settled(outcome, meanwhile=lambda row: replace(row, sync_status=sync_status))
    kept = {"hubspot_contact_id": "501"} if isinstance(outcome, Delivered) else {}
    assert (ended.name, ended.changes) == (
        OutcomeName.SUPERSEDED,
        {"hubspot_processing_status": None} | kept,
    )


@for_each("outcome", [CREATED, REFUSED], ids=["created", "failed"])
@each_decision
@each_state
def test_decision_and_state_that_were_both_changed_stand(
    outcome: Outcome, sync_status: str | None, processing_status: str | None
) -> None:
    ended = _settled(
        outcome,
        meanwhile=lambda row: replace(
            row, sync_status=sync_status, processing_status=processing_status
        ),
    )
    kept = {"hubspot_contact_id": "501"} if isinstance(outcome, Delivered) else {}
    assert (ended.name, ended.changes) == (OutcomeName.SUPERSEDED, kept)


@each_outcome
@for_each(
    ("processing_status", "sync_status"),
    [(None, "New"), ("Queued", "Queued"), ("Complete", "Complete"), ("Error", "Error")],
)
def test_state_that_was_changed_alone_stands_and_the_decision_follows_it(
    outcome: Outcome, processing_status: str | None, sync_status: str
) -> None:
    ended = _settled(
        outcome, meanwhile=lambda row: replace(row, processing_status=processing_status)
    )
    kept = {"hubspot_contact_id": "501"} if isinstance(outcome, Delivered) else {}
    assert (ended.name, ended.changes) == (
        OutcomeName.SUPERSEDED,
        {"hubspot_sync_status": sync_status} | kept,
    )


def test_decision_that_was_changed_counts_more_than_an_edit() -> None:
    ended = _settled(
        REFUSED,
        meanwhile=lambda row: replace(
            row, sync_status="Skipped", contact=with_values(CONTACT, name="New")
        ),
    )
    assert ended.name is OutcomeName.SUPERSEDED


@pytest.mark.parametrize("meanwhile", [_deleted, lambda row: replace(row, sync_status="Skipped")])
def test_superseded_contact_is_reported_with_hubspots_record_id(
    meanwhile: Callable[[Row], Row | None],
) -> None:
    assert _settled(CREATED, meanwhile=meanwhile).hubspot_contact_id == "501"


@for_each(
    ("outcome", "error"),
    [
        (REFUSED, "HubSpot refused the contact: phone"),
        (HALTED, "HubSpot is down"),
        (Failed(said("two\nlines")), "two lines"),
        (CREATED, None),
        (Released(), None),
    ],
)
def test_superseded_contact_is_reported_with_its_error(outcome: Outcome, error: str | None) -> None:
    assert _settled(outcome, meanwhile=_deleted).error == error


def test_superseded_contact_is_reported_without_a_retry() -> None:
    assert _settled(REFUSED, meanwhile=_deleted).next_retry_at is None


# Requeued


@each_sent_value
@for_each("outcome", [CREATED, UPDATED])
def test_delivered_contact_that_was_edited_is_queued_with_its_record_id(
    outcome: Outcome, edited: Contact
) -> None:
    ended = _settled(outcome, meanwhile=lambda row: replace(row, contact=edited))
    assert (ended.name, ended.changes) == (
        OutcomeName.REQUEUED,
        {
            "hubspot_sync_status": "Queued",
            "hubspot_processing_status": "Queued",
            "hubspot_contact_id": "501",
        },
    )


@each_sent_value
@for_each("outcome", [REFUSED, REJECTED, HALTED])
def test_refused_contact_that_was_edited_is_queued_and_pays_nothing(
    outcome: Outcome, edited: Contact
) -> None:
    ended = _settled(outcome, meanwhile=lambda row: replace(row, contact=edited))
    assert (ended.name, ended.changes) == (
        OutcomeName.REQUEUED,
        {"hubspot_sync_status": "Queued", "hubspot_processing_status": "Queued"},
    )


def test_edit_of_what_is_not_sent_does_not_queue_the_contact() -> None:
    edited = with_values(CONTACT, hubspot_contact_id="999")
    ended = _settled(UPDATED, meanwhile=lambda row: replace(row, contact=edited))
    assert ended.name is OutcomeName.UPDATED


def test_requeued_contact_is_reported_with_hubspots_record_id() -> None:
    edited = with_values(CONTACT, name="Ada King")
    ended = _settled(CREATED, meanwhile=lambda row: replace(row, contact=edited))
    assert ended.hubspot_contact_id == "501"


def test_settlement_names_its_claim() -> None:
    assert _settled(CREATED).claim == _claimed()


# Errors


@for_each(
    ("message", "text"),
    [
        ("HubSpot is down", "HubSpot is down"),
        ("  blanks around  ", "blanks around"),
        ("two\nlines", "two lines"),
        ("two\r\n\r\nlines\n", "two lines"),
        ("tab\tand\x0bmore\x0c", "tab and more"),
        ("nul\x00 bell\x07 escape\x1b[31m", "nul bell escape [31m"),
        ("del\x7f c1\x85\x9b", "del c1"),
        ("line\u2028paragraph\u2029end", "line paragraph end"),
        ("José 李 🚀", "José 李 🚀"),
    ],
)
def test_error_text_is_one_line_without_control_characters(message: str, text: str) -> None:
    assert error_text(said(message)) == LABEL + text


@pytest.mark.parametrize("message", ["", "\n\t\x00"])
def test_error_text_without_words_is_its_label(message: str) -> None:
    assert error_text(said(message)) == LABEL.strip()


ROOM = 500 - len(LABEL)


def test_error_text_of_500_characters_is_whole() -> None:
    assert error_text(said("x" * ROOM)) == LABEL + "x" * ROOM


@pytest.mark.parametrize("length", [501, 5000])
def test_error_text_above_500_characters_is_cut_off_visibly(length: int) -> None:
    assert error_text(said("x" * length)) == f"{LABEL}{'x' * (ROOM - 1)}…"


def test_error_text_is_measured_once_its_blanks_are_taken_out() -> None:
    text = f"{'x' * 300} {'y' * (ROOM - 301)}"
    assert error_text(said(text.replace(" ", "\n" * 400))) == LABEL + text


@given(
    st.text()
    | st.text(st.characters(categories=["Cc", "Zl", "Zp", "Zs", "Lu"]))
    | st.integers(490, 510).flatmap(lambda length: st.text(min_size=length, max_size=length))
)
@settings(derandomize=True, deadline=None, database=None)
def test_error_text_of_any_message_fits_its_column(message: str) -> None:
    text = error_text(said(message))
    is_one_line = text.splitlines() in ([], [text])
    has_control = any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in text)
    assert (len(text) <= 500, is_one_line, has_control) == (True, True, False)


@given(st.text(max_size=400))
@settings(derandomize=True, deadline=None, database=None)
def test_shown_message_is_shown_as_it_is(message: str) -> None:
    once = shown_error(said(message))
    assert shown_error(once) == once


# Reset


@for_each("never_synced", [None, "New"])
@for_each("row", [DUE, RETRY, replace(RETRY, sync_status="Error")])
def test_reset_brings_a_row_back_to_never_synced(row: Row, never_synced: str | None) -> None:
    assert reset_changes(row, never_synced) == {
        "hubspot_sync_status": never_synced,
        "hubspot_processing_status": None,
        "hubspot_processing_error": None,
        "hubspot_contact_id": None,
        "retry_count": 0,
        "next_retry_at": None,
        "last_retry_at": None,
        "last_failed_crm": None,
    }


def test_reset_leaves_another_crms_retry_columns() -> None:
    assert reset_changes(BREVOS, None) == {
        "hubspot_sync_status": None,
        "hubspot_processing_status": None,
        "hubspot_processing_error": None,
        "hubspot_contact_id": None,
    }
