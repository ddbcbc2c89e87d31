"""How a claim ends: a delivery's outcome, compared with the row as it is then.

A delivery ends in one `Outcome`; `settle` turns claim, outcome and row into a `Settlement`: what to
report and what to write.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import Signature
from hubspot_sync.rules.advice import label_of
from hubspot_sync.rules.lifecycle import (
    Changes,
    Claim,
    ProcessingStatus,
    Row,
    cleared_retry_columns,
    leave_to_them,
    statuses,
)
from hubspot_sync.rules.retry import RetryPolicy
from hubspot_sync.rules.words import one_line
from hubspot_sync.sentences import Message

MAX_ERROR_LENGTH = 500
"""The error column's length in deployments that limit it."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """HubSpot confirmed the contact under this record id.

    Attributes:
        created: this delivery created the record.
        unchanged: the record held all of it already, so nothing was written.
    """

    hubspot_contact_id: str
    created: bool
    unchanged: bool = False

    @property
    def name(self) -> "OutcomeName":
        """What it is called."""
        if self.unchanged:
            return OutcomeName.UNCHANGED
        return OutcomeName.CREATED if self.created else OutcomeName.UPDATED


@dataclass(frozen=True, slots=True)
class Failed:
    """The contact was refused for a reason of its own.

    Attributes:
        signature: None where the contact was never sent.
        correlation_id: what HubSpot's support asks for; None where HubSpot gave none.
    """

    message: Message
    signature: Signature | None = None
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The contact is refused for what it is, which no retry can change; no attempt is counted.

    Attributes:
        signature: None where the contact was never sent.
        correlation_id: as above.
    """

    message: Message
    signature: Signature | None = None
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """The contact was sent, but cannot be delivered now; it pays no attempt.

    Attributes:
        signature: the rule or limit of the account that refuses it; None where it is the run that
            had to stop.
        correlation_id: as above.
    """

    message: Message
    signature: Signature | None = None
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """Nothing was sent; the contact is given back as it was."""


Outcome = Delivered | Failed | Rejected | Stopped | Released

UNDELIVERED = Failed | Rejected | Stopped
"""The outcomes that say why a contact was not delivered."""


class OutcomeName(StrEnum):
    """What became of a claimed contact, in the words of tables, JSON and documents."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    EXHAUSTED = "exhausted"
    REJECTED = "rejected"
    RELEASED = "released"
    STOPPED = "stopped"
    SUPERSEDED = "superseded"
    REQUEUED = "requeued"


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of a claim: what to report, and what to write.

    Attributes:
        changes: empty where the row is not ours to write any more.
        error: why the contact was not delivered; None where it was, or nothing was sent.
    """

    claim: Claim
    name: OutcomeName
    changes: Changes = field(default_factory=dict)
    hubspot_contact_id: str | None = None
    error: Message | None = None
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
    if not row.is_claimed:
        changes = leave_to_them(row) | kept
        return replace(_left_alone(claim, outcome), changes=changes)
    if row.contact.sent_values != claim.contact.sent_values and not isinstance(outcome, Released):
        changes = statuses("Queued", "Queued") | kept
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
        case Rejected():
            return _rejected(claim, outcome)
        case Stopped():
            return _stopped(claim, outcome, row, policy, now)
        case Released():
            return _released(claim, row, policy)
        case _:
            assert_never(outcome)


def shown_error(message: Message) -> Message:
    """Return a message as tables and JSON show it: one line, no control characters, 500 at most."""
    return message.as_text(one_line(message, MAX_ERROR_LENGTH))


def error_text(message: Message) -> str:
    """Return what the error column holds of a message: its label, and as much as there is room."""
    return one_line(f"[{label_of(message)}] {message}", MAX_ERROR_LENGTH)


def _left_alone(claim: Claim, outcome: Outcome) -> Settlement:
    """End a claim on a row that others have taken in hand: report, and write nothing."""
    return Settlement(
        claim,
        OutcomeName.SUPERSEDED,
        hubspot_contact_id=outcome.hubspot_contact_id if isinstance(outcome, Delivered) else None,
        error=shown_error(outcome.message) if isinstance(outcome, UNDELIVERED) else None,
    )


def _is_taken_over(claim: Claim, row: Row) -> bool:
    """Tell whether another worker has taken it over since: a takeover counts on."""
    return row.retry_columns_are_ours and row.retry_count > claim.retry_count


def _delivered(claim: Claim, outcome: Delivered, row: Row) -> Settlement:
    changes = statuses("Complete", "Complete") | {
        "hubspot_processing_error": None,
        "hubspot_contact_id": outcome.hubspot_contact_id,
    }
    if row.retry_columns_are_ours:
        changes |= cleared_retry_columns()
    return Settlement(claim, outcome.name, changes, hubspot_contact_id=outcome.hubspot_contact_id)


def _failed(
    claim: Claim, outcome: Failed, row: Row, policy: RetryPolicy, now: datetime
) -> Settlement:
    message = outcome.message
    # The row's own count, which begins again for whoever was asked for anew meanwhile.
    retry_count = row.retry_count if row.retry_columns_are_ours else claim.retry_count
    if retry_count >= policy.max_retries:
        return Settlement(
            claim, OutcomeName.EXHAUSTED, _final(claim, message), error=shown_error(message)
        )
    next_retry_at = now + policy.delay_after(retry_count)
    changes = statuses("Queued", "Error") | {
        "hubspot_processing_error": error_text(message),
        # Never lower than another CRM's count: two CRMs that both fail must come to an end.
        "retry_count": max(row.retry_count, retry_count + 1),
        "next_retry_at": next_retry_at,
        "last_retry_at": now,
        "last_failed_crm": row.crm_name,
    }
    return Settlement(
        claim,
        OutcomeName.FAILED,
        changes,
        error=shown_error(message),
        next_retry_at=next_retry_at,
    )


def _rejected(claim: Claim, outcome: Rejected) -> Settlement:
    message = outcome.message
    return Settlement(
        claim, OutcomeName.REJECTED, _final(claim, message), error=shown_error(message)
    )


def _final(claim: Claim, message: Message) -> dict[str, object]:
    """Return the changes of a contact that is not tried again until somebody marks it."""
    return statuses("Error", "Error") | {
        "hubspot_processing_error": error_text(message),
        "last_failed_crm": claim.before.crm_name,
        "next_retry_at": None,
    }


def _stopped(
    claim: Claim, outcome: Stopped, row: Row, policy: RetryPolicy, now: datetime
) -> Settlement:
    message = outcome.message
    changes = statuses("Queued", "Error") | {"hubspot_processing_error": error_text(message)}
    next_retry_at = None
    if row.retry_columns_are_ours:
        next_retry_at = now + policy.base_delay
        changes["next_retry_at"] = next_retry_at
    return Settlement(
        claim,
        OutcomeName.STOPPED,
        changes,
        error=shown_error(message),
        next_retry_at=next_retry_at,
    )


def _released(claim: Claim, row: Row, policy: RetryPolicy) -> Settlement:
    before = claim.before
    if claim.is_takeover:
        # What it was before its worker died is lost; a takeover's attempt stays spent. The last
        # one is given back as a retry: Queued alone, with no attempt left, is a new asking.
        is_last = claim.retry_count >= policy.max_retries
        state = ProcessingStatus.ERROR if is_last else ProcessingStatus.QUEUED
        changes = statuses("Queued", state)
        if is_last:
            died = Message(ErrorCode.WORKER_DIED)
            changes |= {"hubspot_processing_error": error_text(died)}
        return Settlement(claim, OutcomeName.RELEASED, changes)
    if not before.is_wanted and row.updated_at != claim.updated_at:
        # Somebody has written since, perhaps to ask for it, and another worker may hold it now:
        # to put back that nobody wants it could take that back.
        return Settlement(claim, OutcomeName.RELEASED, statuses("Queued", "Queued"))
    changes = statuses(before.sync_status, before.processing_status) | {
        "hubspot_processing_error": before.error,
        "updated_at": before.updated_at,
    }
    if before.own_retry_count != claim.retry_count and row.retry_columns_are_ours:
        # It had been asked for anew, and the claim began its count again; unless another CRM has
        # written there since.
        changes["retry_count"] = before.retry_count
    return Settlement(claim, OutcomeName.RELEASED, changes)


_THEIRS = (OutcomeName.SUPERSEDED, OutcomeName.REQUEUED, OutcomeName.RELEASED)


def instead_of(settlement: Settlement, why: str) -> list[Settlement]:
    """Return what to write, in this order of preference, where the database refuses a settlement.

    First the same with an error that any character set can hold. Then a contact whose end we
    decide is rejected, with as little text as it takes; one that is others' to decide, or that is
    given back, loses no more than its HubSpot id or its old error.

    Args:
        settlement: what the database refused.
        why: in ASCII, and without anything that the row holds.
    """
    alternatives = []
    error = settlement.changes.get("hubspot_processing_error")
    if isinstance(error, str) and not error.isascii():
        plain = error.encode("ascii", "replace").decode()
        alternatives.append(_rewritten(settlement, hubspot_processing_error=plain))
    if settlement.name in _THEIRS:
        kept = {name: value for name, value in settlement.changes.items() if name not in _TEXTS}
        return [*alternatives, replace(settlement, changes=kept)]
    words = Message(
        ErrorCode.DATABASE_REFUSED, why=why, hubspot_contact_id=settlement.hubspot_contact_id
    )
    rejected = replace(
        settlement,
        name=OutcomeName.REJECTED,
        changes=_final(settlement.claim, words),
        error=words,
        next_retry_at=None,
    )
    return [*alternatives, rejected]


_TEXTS = ("hubspot_contact_id", "hubspot_processing_error")


def _rewritten(settlement: Settlement, **changes: object) -> Settlement:
    return replace(settlement, changes=dict(settlement.changes) | changes)
