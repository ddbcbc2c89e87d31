"""What a run says on standard error, which cron mails: why, in a few lines, whatever happened.

A line says of how many contacts what became of them and for what reason, and names one by its id.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from hubspot_sync.codes import ErrorCode
from hubspot_sync.rules.advice import COMES_BACK, Reason
from hubspot_sync.rules.settlement import OutcomeName
from hubspot_sync.rules.source import Key
from hubspot_sync.sentences import Message

MOST_LINES = 8
"""Lines of a run's mail at most; what the log adds about the machine makes ten."""


class Mail(StrEnum):
    """What a run mails: what needs a person, or every contact that was not delivered."""

    STOPS = "stops"
    FAILURES = "failures"


@dataclass(frozen=True, slots=True)
class Group:
    """Contacts of one run that have one outcome for one reason.

    Attributes:
        example: the id of the first of them.
    """

    outcome: OutcomeName
    reason: Reason
    count: int
    example: Key


@dataclass(frozen=True, slots=True)
class Summary:
    """What a mail is made of.

    Attributes:
        stopped: why the run stopped; None where it went through.
        disabled: why the sync is switched off; None where it is on.
        notices: sentences that are mailed under every setting.
        taken_over: contacts that an earlier run held when it died.
        groups: the contacts that were not delivered.
        settled: the contacts that came to an end, delivered or not; those released are left out.
    """

    stopped: str | None = None
    disabled: str | None = None
    notices: tuple[str, ...] = ()
    taken_over: int = 0
    groups: tuple[Group, ...] = ()
    settled: int = 0


def mail_lines(summary: Summary, mail: Mail) -> list[str]:
    """Return what a run says on standard error, the most urgent first."""
    stopped, taken_over = summary.stopped, summary.taken_over
    lines = [
        *([summary.disabled] if summary.disabled else []),
        *([Message(ErrorCode.RUN_STOPPED, reason=stopped)] if stopped else []),
        *summary.notices,
        *([Message(ErrorCode.CONTACTS_TAKEN_OVER, count=taken_over)] if taken_over else []),
        *map(_told, sorted(_mailed(summary, mail), key=_urgency)),
    ]
    left_out = len(lines) - MOST_LINES + 1
    return (
        lines
        if left_out <= 1
        else [
            *lines[: MOST_LINES - 1],
            Message(ErrorCode.LINES_LEFT_OUT, count=left_out),
        ]
    )


_URGENCY = (OutcomeName.EXHAUSTED, OutcomeName.REJECTED, OutcomeName.FAILED, OutcomeName.STOPPED)


def _urgency(group: Group) -> tuple[int, int]:
    return _URGENCY.index(group.outcome), -group.count


def _mailed(summary: Summary, mail: Mail) -> Iterable[Group]:
    rejected = sum(each.count for each in summary.groups if each.outcome is OutcomeName.REJECTED)
    for group in summary.groups:
        match group.outcome:
            case OutcomeName.EXHAUSTED:
                is_mailed = True
            case OutcomeName.REJECTED:
                # Where every contact is, their source is at fault, or its columns are mixed up.
                is_mailed = mail is Mail.FAILURES or rejected == summary.settled
            case OutcomeName.FAILED:
                is_mailed = mail is Mail.FAILURES
            case OutcomeName.STOPPED:
                # What stopped the run is said above.
                is_mailed = mail is Mail.FAILURES and not summary.stopped
            case _:
                is_mailed = False
        if is_mailed:
            yield group


def _told(group: Group) -> Message:
    return Message(
        _BECAME[group.outcome],
        count=group.count,
        reason=group.reason.words,
        contact=group.example,
        advice="" if group.reason.advice == COMES_BACK else group.reason.advice,
    )


_BECAME = {
    OutcomeName.EXHAUSTED: ErrorCode.CONTACTS_EXHAUSTED,
    OutcomeName.REJECTED: ErrorCode.CONTACTS_REJECTED,
    OutcomeName.FAILED: ErrorCode.CONTACTS_FAILED,
    OutcomeName.STOPPED: ErrorCode.CONTACTS_STOPPED,
}
