"""Which state follows which event: the two status columns and the columns that move with them.

The claim turns a row into a `Claim` (`claim_row`); how a claim ends stands in `rules.settlement`.
What people do to rows, through us, is here too: enqueue and reset.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from hubspot_sync.codes import ErrorCode
from hubspot_sync.rules.mapping import Contact
from hubspot_sync.rules.retry import RetryPolicy
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.sentences import Message


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
        updated_at: None where the column is NULL, which counts as very old.
        crm_name: our name in `last_failed_crm`.
    """

    contact: Contact
    sync_status: str | None
    processing_status: str | None
    error: str | None
    retry_count: int
    last_failed_crm: str | None
    next_retry_at: datetime | None
    last_retry_at: datetime | None
    updated_at: datetime | None
    crm_name: str = BUILT_IN_SOURCE.crm_name

    @property
    def retry_columns_are_ours(self) -> bool:
        """Whether the shared retry columns speak of HubSpot."""
        return self.last_failed_crm in (None, self.crm_name)

    @property
    def is_claimed(self) -> bool:
        """Whether both status columns bear the marks of a claim."""
        return (
            self.processing_status == ProcessingStatus.PROCESSING
            and self.sync_status == SyncStatus.PROCESSING
        )

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


Changes = Mapping[str, object]
"""Column name to new value; what is not named keeps its value."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A contact that this run holds, and what it looked like before.

    Attributes:
        before: the row as the claim found it, so that it can be given back.
        contact: the contact as the claim left it in the table, which is what is sent.
        updated_at: what the claim left in that column, where a trigger or the column's own
            precision may have altered it.
        retry_count: retries of ours spent so far, this claim's takeover included.
        claimed_at: the database's time of the claim, where the lease begins.
        is_takeover: an earlier worker died holding it.
        is_lone: its worker may have died of it, so it was taken over alone and is sent alone.
        is_out_of_attempts: that worker had the last attempt; nothing is sent.
    """

    before: Row
    contact: Contact
    updated_at: datetime | None
    retry_count: int
    claimed_at: datetime
    is_takeover: bool = False
    is_lone: bool = False
    is_out_of_attempts: bool = False

    def confirmed_by(self, written: Row) -> "Claim | None":
        """Return the claim as the table has it; None where the row does not bear our marks."""
        if not written.is_claimed:
            return None
        return replace(self, contact=written.contact, updated_at=written.updated_at)

    @property
    def attempt(self) -> int:
        """The number of this attempt, counted from 1."""
        return self.retry_count + 1

    @property
    def death_notice(self) -> Message:
        """What is said of a contact whose workers have died at all its attempts."""
        return Message(ErrorCode.WORKER_DIED_EACH_TIME, attempts=self.attempt)


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
            "last_failed_crm": row.crm_name,
            "next_retry_at": None,
        }
    elif is_asked_anew:
        retry_count = 0
        changes["retry_count"] = 0
    claim = Claim(
        before=row,
        contact=row.contact,
        updated_at=now,
        retry_count=retry_count,
        claimed_at=now,
        is_takeover=is_takeover,
        is_lone=is_takeover and row.own_retry_count >= lone_from(policy),
        is_out_of_attempts=is_takeover and used_up,
    )
    return claim, changes


def lone_from(policy: RetryPolicy) -> int:
    """Return after how many retries of ours a contact is taken over alone.

    Workers mostly die of reboots and deployments, so the first time contacts are taken over
    together; but never for their last attempt, which one of them might cost all the others.
    """
    return 1 if policy.max_retries > 1 else 0


def is_held(row: Row, now: datetime, lease: timedelta) -> bool:
    """Tell whether a live run holds the row, as far as the row can tell."""
    if row.processing_status != ProcessingStatus.PROCESSING or row.updated_at is None:
        return False
    return now - row.updated_at < lease


def enqueue_changes(row: Row, now: datetime) -> Changes:
    """Return what the app writes when a person selects a contact, and clear our own retry values.

    Another CRM's retry values stay as they are, as everywhere.
    """
    changes: dict[str, object] = statuses(SyncStatus.SELECTED, ProcessingStatus.QUEUED) | {
        "hubspot_processing_error": None,
        "updated_at": now,
    }
    return changes | (cleared_retry_columns() if row.retry_columns_are_ours else {})


def skip_changes(row: Row, *, is_held: bool) -> Changes:
    """Return what sets the decision to Skipped, and takes the contact out of the queue.

    Of a contact that a run holds the decision alone is set: its state is the run's, which respects
    the decision as it settles. A state of Queued that stayed would send it as soon as the decision
    is any other one.
    """
    skipped: Changes = {"hubspot_sync_status": SyncStatus.SKIPPED}
    is_asked = row.processing_status in (ProcessingStatus.QUEUED, ProcessingStatus.PROCESSING)
    return {**skipped, "hubspot_processing_status": None} if is_asked and not is_held else skipped


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
    return changes | (cleared_retry_columns() if row.retry_columns_are_ours else {})


def statuses(sync_status: str | None, processing_status: str | None) -> dict[str, object]:
    """Return the changes of the two status columns."""
    return {
        "hubspot_sync_status": sync_status,
        "hubspot_processing_status": processing_status,
    }


def cleared_retry_columns() -> dict[str, object]:
    """Return the changes that forget all retries."""
    return {
        "retry_count": 0,
        "next_retry_at": None,
        "last_retry_at": None,
        "last_failed_crm": None,
    }
