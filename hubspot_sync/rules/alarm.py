"""What about the queue as a whole wants a person's attention."""

from datetime import datetime, timedelta

from hubspot_sync.codes import ErrorCode
from hubspot_sync.sentences import Message

MISSED_INTERVALS = 3
"""So many intervals without work, while contacts are due, are no accident."""


def alarms(
    *,
    now: datetime,
    oldest_due_since: datetime | None,
    oldest_due: str | None,
    last_work: datetime | None,
    is_working: bool,
    is_enabled: bool,
    left_behind: int,
    interval: timedelta,
) -> list[Message]:
    """Return what to tell an operator, each with what to do.

    Args:
        now: the database's time.
        oldest_due_since: since when the contact that waits longest is due.
        oldest_due: its key.
        last_work: when a contact was last claimed, delivered or refused.
        is_working: whether a run is at work now.
        is_enabled: whether there is a token, so that runs deliver anything.
        left_behind: contacts that dead runs left in Processing.
        interval: how often cron runs.
    """
    told = []
    if not is_enabled:
        told.append(Message(ErrorCode.SYNC_DISABLED))
    patience = MISSED_INTERVALS * interval
    if is_enabled and oldest_due_since and now - oldest_due_since > patience:
        has_worked = is_working or (last_work is not None and now - last_work <= patience)
        code = ErrorCode.QUEUE_TOO_LONG if has_worked else ErrorCode.CRON_STOPPED
        told.append(Message(code, contact=oldest_due, waited=span(now - oldest_due_since)))
    if left_behind:
        told.append(Message(ErrorCode.CONTACTS_LEFT_BEHIND, count=left_behind))
    return told


def span(length: timedelta) -> str:
    """Return a length of time in the largest unit that fits twice."""
    seconds = max(0, int(length.total_seconds()))
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size:,} {unit}"
    return f"{seconds} seconds" if seconds != 1 else "1 second"
