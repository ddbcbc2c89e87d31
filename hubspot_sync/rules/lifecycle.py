"""Which state follows which event: the two status columns and the columns that move with them.

The claim turns a row into a `Claim` (`claim_row`); a delivery ends in one `Outcome`; `settle`
turns the two and the row as it is then into a `Settlement`: what to report and what to write.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from hubspot_sync.errors import Signature
from hubspot_sync.rules.mapping import Contact
from hubspot_sync.rules.retry import RetryPolicy
from hubspot_sync.rules.words import one_line

CRM = "hubspot"
"""Our name in `last_failed_crm`."""

MAX_ERROR_LENGTH = 500
"""The error column's length in deployments that limit it."""


class SyncStatus(StrEnum):
    """The user's decision (`hubspot_sync_status`); NULL counts as New."""

    NEW = "New"
    SELECTED = "Selected"
    QUEUED = "Queued"
    PROCESSING = "Processing"
    COMPLETE = "Complete"
    ERROR = "Error"
    SKIPPED = "Skipped"


class ProcessingStatus(StrEnum):
    """The system's state (`hubspot_processing_status`); NULL means that nothing is asked for."""

    QUEUED = "Queued"
    PROCESSING = "Processing"
    COMPLETE = "Complete"
    ERROR = "Error"


DUE_DECISIONS = (SyncStatus.SELECTED, SyncStatus.QUEUED)
TAKEOVER_DECISIONS = (SyncStatus.PROCESSING, SyncStatus.SELECTED, SyncStatus.QUEUED)


@dataclass(frozen=True, slots=True)
class Row:
    """A contact with its columns of state, as read under a row lock.

    Attributes:
        sync_status: as the column holds it, which may be anything where it is a plain string.
        processing_status: likewise.
        next_retry_at: aware, UTC; so are the other instants.
    """

    contact: Contact
    sync_status: str | None
    processing_status: str | None
    error: str | None
    retry_count: int
    last_failed_crm: str | None
    next_retry_at: datetime | None
    last_retry_at: datetime | None
    updated_at: datetime

    @property
    def retry_columns_are_ours(self) -> bool:
        """Whether the shared retry columns speak of HubSpot."""
        return self.last_failed_crm in (None, CRM)

    @property
    def is_wanted(self) -> bool:
        """Whether the two status columns ask for the delivery, by a person's mark or a retry."""
        if self.processing_status == ProcessingStatus.QUEUED:
            return self.sync_status != SyncStatus.SKIPPED
        is_marked = self.sync_status in DUE_DECISIONS and self.processing_status is None
        return is_marked or self.is_retry

    @property
    def is_retry(self) -> bool:
        """Whether our own earlier failure, rather than a person, asks for the delivery."""
        return (
            self.sync_status == SyncStatus.QUEUED
            and self.processing_status == ProcessingStatus.ERROR
        )

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody wants it sent any more, once the worker that marked it is dead."""
        if self.processing_status == ProcessingStatus.PROCESSING:
            return self.sync_status not in TAKEOVER_DECISIONS
        return (
            self.sync_status == SyncStatus.PROCESSING
            and self.processing_status != ProcessingStatus.QUEUED
        )

    @property
    def own_retry_count(self) -> int:
        """The retries that HubSpot has cost this contact; another CRM's count is not ours."""
        return self.retry_count if self.retry_columns_are_ours else 0


_WORKER_DIED = "Its worker died; it is tried again."

Changes = Mapping[str, object]
"""Column name to new value; what is not named keeps its value."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A contact that this run holds, and what it looked like before.

    Attributes:
        before: the row as the claim found it, so that it can be given back.
        retry_count: retries of ours spent so far, this claim's takeover included.
        claimed_at: the database's time of the claim, where the lease begins.
        is_takeover: an earlier worker died holding it.
        is_out_of_attempts: that worker had the last attempt; nothing is sent.
    """

    before: Row
    retry_count: int
    claimed_at: datetime
    is_takeover: bool = False
    is_out_of_attempts: bool = False

    @property
    def contact(self) -> Contact:
        """The contact as it was when it was claimed, which is what is sent."""
        return self.before.contact

    @property
    def attempt(self) -> int:
        """The number of this attempt, counted from 1."""
        return self.retry_count + 1

    @property
    def death_notice(self) -> str:
        """What is said of a contact whose workers have died at all its attempts."""
        return (
            f"Its worker died at each of {self.attempt} attempts. Look into the logs of those "
            "runs, then mark the contact again."
        )


def claim_row(row: Row, policy: RetryPolicy, now: datetime) -> tuple[Claim, Changes]:
    """Claim a due row: return the claim, and what to write for it.

    A takeover spends an attempt, so that a contact that kills its workers comes to an end. A
    contact whose attempts are used up, yet is asked for again, counts from 0.
    """
    is_takeover = row.processing_status == ProcessingStatus.PROCESSING
    used_up = row.own_retry_count >= policy.max_retries
    is_asked_anew = used_up and not is_takeover and not row.is_retry
    changes: dict[str, object] = {
        "hubspot_sync_status": SyncStatus.PROCESSING,
        "hubspot_processing_status": ProcessingStatus.PROCESSING,
        "hubspot_processing_error": None,
        "updated_at": now,
    }
    retry_count = row.own_retry_count
    if is_takeover and not used_up:
        retry_count = max(row.retry_count, row.own_retry_count + 1)
        changes |= {
            "retry_count": retry_count,
            "last_retry_at": now,
            "last_failed_crm": CRM,
            "next_retry_at": None,
        }
    elif is_asked_anew:
        retry_count = 0
        changes["retry_count"] = 0
    claim = Claim(
        before=row,
        retry_count=retry_count,
        claimed_at=now,
        is_takeover=is_takeover,
        is_out_of_attempts=is_takeover and used_up,
    )
    return claim, changes


@dataclass(frozen=True, slots=True)
class Delivered:
    """HubSpot confirmed the contact under this record id."""

    hubspot_contact_id: str
    created: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """The contact was refused for a reason of its own.

    Attributes:
        signature: None where the contact was never sent.
        for_ever: no later attempt can succeed.
        correlation_id: what HubSpot's support asks for; None where HubSpot gave none.
    """

    message: str
    signature: Signature | None = None
    for_ever: bool = False
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """The contact was sent, but cannot be delivered now; it pays no attempt.

    Attributes:
        signature: the rule or limit of the account that refuses it; None where it is the run that
            had to stop.
        correlation_id: as above.
    """

    message: str
    signature: Signature | None = None
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """Nothing was sent; the contact is given back as it was."""


Outcome = Delivered | Failed | Stopped | Released


class OutcomeName(StrEnum):
    """What became of a claimed contact, in the words of tables, JSON and documents."""

    CREATED = "created"
    UPDATED = "updated"
    FAILED = "failed"
    EXHAUSTED = "exhausted"
    RELEASED = "released"
    STOPPED = "stopped"
    SUPERSEDED = "superseded"
    REQUEUED = "requeued"


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of a claim: what to report, and what to write.

    Attributes:
        changes: empty where the row is not ours to write any more.
    """

    claim: Claim
    name: OutcomeName
    changes: Changes = field(default_factory=dict)
    hubspot_contact_id: str | None = None
    error: str | None = None
    next_retry_at: datetime | None = None


def settle(
    claim: Claim,
    outcome: Outcome,
    row: Row | None,
    *,
    policy: RetryPolicy,
    now: datetime,
    lease: timedelta,
) -> Settlement:
    """Compare the row with the claim, and decide how the claim ends.

    Args:
        claim: what this run holds, or believes to hold.
        outcome: how the delivery ended.
        row: the row as it is now, locked; None where it was deleted meanwhile.
        policy: when a failed contact is tried again.
        now: the database's time.
        lease: how long a claim holds.
    """
    if row is None or _is_taken_over(claim, row) or now - claim.claimed_at >= lease:
        return _left_alone(claim, outcome)
    if isinstance(outcome, Released) and claim.is_out_of_attempts:
        # There was nothing to send, so there is nothing to give back.
        outcome = Failed(claim.death_notice)
    kept: dict[str, object] = {}
    if isinstance(outcome, Delivered):
        kept["hubspot_contact_id"] = outcome.hubspot_contact_id
    if not _is_still_claimed(row):
        changes = leave_to_them(row) | kept
        return replace(_left_alone(claim, outcome), changes=changes)
    if row.contact.sent_values != claim.contact.sent_values and not isinstance(outcome, Released):
        changes = _statuses("Queued", "Queued") | kept
        return replace(_left_alone(claim, outcome), name=OutcomeName.REQUEUED, changes=changes)
    return _written_by(outcome, claim, row, policy, now)


def _written_by(
    outcome: Outcome, claim: Claim, row: Row, policy: RetryPolicy, now: datetime
) -> Settlement:
    match outcome:
        case Delivered():
            return _delivered(claim, outcome, row)
        case Failed():
            return _failed(claim, outcome, row, policy, now)
        case Stopped():
            return _stopped(claim, outcome, row, policy, now)
        case Released():
            return _released(claim, row, policy)
        case _:
            assert_never(outcome)


def error_text(message: str) -> str:
    """Fit a message into the error column: one line, no control characters, 500 at most."""
    return one_line(message, MAX_ERROR_LENGTH)


def is_held(row: Row, now: datetime, lease: timedelta) -> bool:
    """Tell whether a live run holds the row, as far as the row can tell."""
    return row.processing_status == ProcessingStatus.PROCESSING and now - row.updated_at < lease


def enqueue_changes(row: Row, now: datetime) -> Changes:
    """Return what the app writes when a person selects a contact, and clear our own retry values.

    Another CRM's retry values stay as they are, as everywhere.
    """
    changes: dict[str, object] = _statuses(SyncStatus.SELECTED, ProcessingStatus.QUEUED) | {
        "hubspot_processing_error": None,
        "updated_at": now,
    }
    return changes | (_cleared_retry_columns() if row.retry_columns_are_ours else {})


def leave_to_them(row: Row) -> dict[str, object]:
    """Take our own marks off a row whose decision was withdrawn or made anew meanwhile."""
    if row.processing_status == ProcessingStatus.PROCESSING:
        return {"hubspot_processing_status": None}
    if row.sync_status == SyncStatus.PROCESSING:
        # They changed the system's state alone; the decision, which is still our mark, follows it.
        return {"hubspot_sync_status": row.processing_status or SyncStatus.NEW}
    return {}


def reset_changes(row: Row, never_synced: str | None) -> Changes:
    """Return what brings a row back to never synced, leaving another CRM's retry values alone.

    Args:
        row: the row as it is.
        never_synced: the decision of a contact that nobody marked: NULL, or the column's default.
    """
    changes: dict[str, object] = {
        "hubspot_sync_status": never_synced,
        "hubspot_processing_status": None,
        "hubspot_processing_error": None,
        "hubspot_contact_id": None,
    }
    return changes | (_cleared_retry_columns() if row.retry_columns_are_ours else {})


def _left_alone(claim: Claim, outcome: Outcome) -> Settlement:
    """End a claim on a row that others have taken in hand: report, and write nothing."""
    return Settlement(
        claim,
        OutcomeName.SUPERSEDED,
        hubspot_contact_id=outcome.hubspot_contact_id if isinstance(outcome, Delivered) else None,
        error=error_text(outcome.message) if isinstance(outcome, Failed | Stopped) else None,
    )


def _is_taken_over(claim: Claim, row: Row) -> bool:
    """Tell whether another worker has taken it over since: a takeover counts on."""
    return row.retry_columns_are_ours and row.retry_count > claim.retry_count


def _is_still_claimed(row: Row) -> bool:
    return (
        row.processing_status == ProcessingStatus.PROCESSING
        and row.sync_status == SyncStatus.PROCESSING
    )


def _statuses(sync_status: str | None, processing_status: str | None) -> dict[str, object]:
    return {
        "hubspot_sync_status": sync_status,
        "hubspot_processing_status": processing_status,
    }


def _cleared_retry_columns() -> dict[str, object]:
    return {
        "retry_count": 0,
        "next_retry_at": None,
        "last_retry_at": None,
        "last_failed_crm": None,
    }


def _delivered(claim: Claim, outcome: Delivered, row: Row) -> Settlement:
    changes = _statuses("Complete", "Complete") | {
        "hubspot_processing_error": None,
        "hubspot_contact_id": outcome.hubspot_contact_id,
    }
    if row.retry_columns_are_ours:
        changes |= _cleared_retry_columns()
    name = OutcomeName.CREATED if outcome.created else OutcomeName.UPDATED
    return Settlement(claim, name, changes, hubspot_contact_id=outcome.hubspot_contact_id)


def _failed(
    claim: Claim, outcome: Failed, row: Row, policy: RetryPolicy, now: datetime
) -> Settlement:
    error = error_text(outcome.message)
    # The row's own count, which begins again for whoever was asked for anew meanwhile.
    retry_count = row.retry_count if row.retry_columns_are_ours else claim.retry_count
    if outcome.for_ever or retry_count >= policy.max_retries:
        changes = _statuses("Error", "Error") | {
            "hubspot_processing_error": error,
            "last_failed_crm": CRM,
            "next_retry_at": None,
        }
        return Settlement(claim, OutcomeName.EXHAUSTED, changes, error=error)
    next_retry_at = now + policy.delay_after(retry_count)
    changes = _statuses("Queued", "Error") | {
        "hubspot_processing_error": error,
        # Never lower than another CRM's count: two CRMs that both fail must come to an end.
        "retry_count": max(row.retry_count, retry_count + 1),
        "next_retry_at": next_retry_at,
        "last_retry_at": now,
        "last_failed_crm": CRM,
    }
    return Settlement(claim, OutcomeName.FAILED, changes, error=error, next_retry_at=next_retry_at)


def _stopped(
    claim: Claim, outcome: Stopped, row: Row, policy: RetryPolicy, now: datetime
) -> Settlement:
    error = error_text(outcome.message)
    changes = _statuses("Queued", "Error") | {"hubspot_processing_error": error}
    next_retry_at = None
    if row.retry_columns_are_ours:
        next_retry_at = now + policy.base_delay
        changes["next_retry_at"] = next_retry_at
    return Settlement(claim, OutcomeName.STOPPED, changes, error=error, next_retry_at=next_retry_at)


def _released(claim: Claim, row: Row, policy: RetryPolicy) -> Settlement:
    before = claim.before
    if claim.is_takeover:
        # What it was before its worker died is lost; a takeover's attempt stays spent. The last
        # one is given back as a retry: Queued alone, with no attempt left, is a new asking.
        is_last = claim.retry_count >= policy.max_retries
        state = ProcessingStatus.ERROR if is_last else ProcessingStatus.QUEUED
        changes = _statuses("Queued", state)
        changes |= {"hubspot_processing_error": _WORKER_DIED} if is_last else {}
        return Settlement(claim, OutcomeName.RELEASED, changes)
    if not before.is_wanted and row.updated_at != claim.claimed_at:
        # Somebody has written since, perhaps to ask for it, and another worker may hold it now:
        # to put back that nobody wants it could take that back.
        return Settlement(claim, OutcomeName.RELEASED, _statuses("Queued", "Queued"))
    changes = _statuses(before.sync_status, before.processing_status) | {
        "hubspot_processing_error": before.error,
        "updated_at": before.updated_at,
    }
    if before.own_retry_count != claim.retry_count and row.retry_columns_are_ours:
        # It had been asked for anew, and the claim began its count again; unless another CRM has
        # written there since.
        changes["retry_count"] = before.retry_count
    return Settlement(claim, OutcomeName.RELEASED, changes)
