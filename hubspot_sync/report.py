"""What became of a command: plain values for tables, JSON and the exit code."""

import threading
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from hubspot_sync.codes import ErrorCode
from hubspot_sync.rules.advice import Reason, reason_for
from hubspot_sync.rules.mail import Group, Summary
from hubspot_sync.rules.mapping import CustomProperty
from hubspot_sync.rules.pace import Quota
from hubspot_sync.rules.policies import Dropped, Kept
from hubspot_sync.rules.settlement import OutcomeName
from hubspot_sync.rules.source import Key
from hubspot_sync.sentences import Message

SCHEMA_VERSION = 2
"""Of the JSON documents; it changes when a field changes its meaning or goes."""

MOST_CONTACTS_LISTED = 100
"""Up to so many contacts a report lists each; above, only those that were not delivered."""

MOST_UNDELIVERED_LISTED = 1_000
"""And of those so many, so that memory and output stay small; `--report` has them all."""

DELIVERED = (OutcomeName.CREATED, OutcomeName.UPDATED, OutcomeName.UNCHANGED)
REFUSED = (OutcomeName.FAILED, OutcomeName.EXHAUSTED, OutcomeName.REJECTED)
"""What becomes of contacts that are not delivered through their own fault."""
UNDELIVERED = (*REFUSED, OutcomeName.STOPPED)
"""What becomes of contacts whose row says why they were not delivered."""
MOST_REASONS = 100
"""Reasons that a run tells apart: HubSpot's words vary, and memory must not grow with them."""
OTHER_REASONS = Reason("other reasons", "See hubspot-sync status.")
GIVEN_BACK = (OutcomeName.RELEASED, OutcomeName.STOPPED)
"""What a run that cannot go on makes of its contacts."""


class LogFormat(StrEnum):
    """How a record of the log is written."""

    TEXT = "text"
    JSON = "json"


class RunState(StrEnum):
    """How a run ended, in the words of `--json`."""

    DONE = "done"
    PARTIAL = "partial"
    STOPPED = "stopped"
    DISABLED = "disabled"
    BUSY = "busy"


def new_run_id() -> str:
    """Return a name for a run, by which its lines are found in a log."""
    return uuid.uuid4().hex[:8]


@dataclass(frozen=True, slots=True)
class ContactReport:
    """What became of one contact.

    Attributes:
        attempt: counted from 1.
        attempts: how many it has in all.
        shared_with: contacts with the same email, which had the same delivery.
        is_takeover: an earlier run died holding it.
        ended_at: when its row was written, by this machine's clock.
    """

    id: Key
    email: str | None
    outcome: OutcomeName
    attempt: int
    attempts: int
    hubspot_contact_id: str | None = None
    error: Message | None = None
    next_retry_at: datetime | None = None
    shared_with: tuple[Key, ...] = ()
    is_takeover: bool = False
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunReport:
    """What became of a run.

    Attributes:
        reason: why it stopped, is disabled or busy; None where it ran through.
        requests: HTTP requests sent.
        due_remaining: contacts due when it ended; None where that could not be asked.
        signal: the number of the signal that ended it.
        quota: what HubSpot's last answer said about the day.
        taken_over: contacts that an earlier run held when it died.
        undelivered: the contacts that were not delivered, by outcome and reason.
        notices: sentences about the run that are always mailed.
    """

    command: str
    run_id: str
    state: RunState
    reason: Message | None = None
    counts: dict[OutcomeName, int] = field(default_factory=dict)
    requests: int = 0
    seconds: float = 0.0
    due_remaining: int | None = None
    contacts: tuple[ContactReport, ...] = ()
    signal: int | None = None
    quota: Quota | None = None
    taken_over: int = 0
    undelivered: tuple[Group, ...] = ()
    notices: tuple[Message, ...] = ()

    @classmethod
    def of_nothing(cls, run_id: str, state: RunState, reason: Message) -> "RunReport":
        """Return the report of a run of `sync-queue` that did not begin."""
        return cls(command="sync-queue", run_id=run_id, state=state, reason=reason)

    @property
    def claimed(self) -> int:
        """The contacts claimed: each has exactly one outcome."""
        return sum(self.counts.values())

    @property
    def failures(self) -> int:
        """The contacts that failed by their own fault."""
        return sum(self.counts.get(name, 0) for name in REFUSED)

    @property
    def summary(self) -> Summary:
        """What the run's mail is made of."""
        return Summary(
            stopped=self.reason if self.state is RunState.STOPPED else None,
            disabled=self.reason if self.state is RunState.DISABLED else None,
            notices=self.notices,
            taken_over=self.taken_over,
            groups=self.undelivered,
            settled=self.claimed - self.counts.get(OutcomeName.RELEASED, 0),
        )

    @property
    def exit_code(self) -> int:
        """The process's exit code."""
        if self.signal is not None:
            return 128 + self.signal
        return {RunState.STOPPED: 3, RunState.PARTIAL: 1}.get(self.state, 0)


@dataclass(frozen=True, slots=True)
class PropertyChange:
    """What a write would make of one property.

    Attributes:
        old: None where it is empty.
        new: empty where the write would clear it.
    """

    name: str
    old: str | None
    new: str


class PlannedAction(StrEnum):
    """What a run would do with a contact, as far as reading tells."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    FAIL = "fail"
    REJECT = "reject"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class PlannedContact:
    """What a run would do with a contact.

    Attributes:
        message: why it would fail or be rejected.
        changes: the properties that would get another value.
        unchanged: how many would be sent and have that value already.
        shared_with: contacts with the same email, which would have the same delivery.
        kept: what of HubSpot's a policy would keep from being overwritten or cleared.
        dropped: values that their properties cannot take, which would be left out.
    """

    id: Key
    email: str | None
    action: PlannedAction
    hubspot_contact_id: str | None = None
    message: Message | None = None
    changes: tuple[PropertyChange, ...] = ()
    unchanged: int = 0
    shared_with: tuple[Key, ...] = ()
    kept: tuple[Kept, ...] = ()
    dropped: tuple[Dropped, ...] = ()


class PropertyState(StrEnum):
    """What `create-properties` found or did."""

    CREATED = "created"
    EXISTS = "exists"
    DIFFERS = "differs"
    WOULD_CREATE = "would create"


@dataclass(frozen=True, slots=True)
class PropertyReport:
    """What became of one custom property.

    Attributes:
        note: how it differs, or what its creation brought back.
    """

    property: CustomProperty
    state: PropertyState
    note: str = ""


class CheckState(StrEnum):
    """What `doctor` found about one thing."""

    OK = "ok"
    FIX = "fix"
    UNREACHABLE = "unreachable"
    UNKNOWN = "not checked"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that `doctor` looked at.

    Attributes:
        about: what it is about, in a word or two.
        words: what was found.
        fix: what to do, where something is to be done: a command, or where to click.
        code: what was found, for programs; None where it is well.
    """

    about: str
    state: CheckState
    words: str
    fix: str = ""
    code: ErrorCode | None = None

    @classmethod
    def of(cls, about: str, state: CheckState, found: Message) -> "Check":
        """Return a check that found trouble."""
        return cls(about, state, found.what, found.fix, found.code)


@dataclass(frozen=True, slots=True)
class DatabaseReport:
    """What `init-db` made.

    Attributes:
        table: its name.
        state: `created`, `exists` or `would create`.
        columns: of each column of the queue `exists`, `added` or `would add`; None where nobody
            asked for them.
        statements: what adds those that were missing.
        indexes: of each `created`, `exists` or `would create`.
    """

    table: str
    state: str
    columns: Mapping[str, str] | None = None
    statements: tuple[str, ...] = ()
    indexes: Mapping[str, str] = field(default_factory=dict)


class Tally:
    """Counts what a run's mail is made of, contact by contact. Safe from any thread."""

    def __init__(self) -> None:
        self.taken_over = 0
        self._lock = threading.Lock()
        self._counts: Counter[tuple[OutcomeName, Reason]] = Counter()
        self._examples: dict[tuple[OutcomeName, Reason], Key] = {}

    def note(self, contact: ContactReport) -> None:
        """Count a contact that has come to its end."""
        with self._lock:
            self._count(contact)

    def _count(self, contact: ContactReport) -> None:
        self.taken_over += contact.is_takeover
        if contact.outcome not in UNDELIVERED:
            return
        kind = (contact.outcome, reason_for(contact.error))
        if kind not in self._counts and len(self._counts) >= MOST_REASONS:
            kind = (contact.outcome, OTHER_REASONS)
        self._counts[kind] += 1
        self._examples.setdefault(kind, contact.id)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The contacts that were not delivered, the most frequent reason first."""
        return tuple(
            Group(outcome, reason, count, self._examples[outcome, reason])
            for (outcome, reason), count in self._counts.most_common()
        )


def run_to_json(report: RunReport) -> dict[str, object]:
    """Return a run as `--json` shows it."""
    counts = {"claimed": report.claimed} | {
        str(name): report.counts.get(name, 0) for name in OutcomeName
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "command": report.command,
        "run_id": report.run_id,
        "state": report.state,
        "reason": report.reason,
        "error_code": code_of(report.reason),
        "counts": counts,
        "requests": report.requests,
        "seconds": round(report.seconds, 3),
        "due_remaining": report.due_remaining,
        "contacts": [contact_to_json(contact) for contact in report.contacts],
    }


def contact_to_json(contact: ContactReport) -> dict[str, object]:
    """Return one contact's outcome as JSON shows it."""
    return {
        "id": str(contact.id),
        "outcome": contact.outcome,
        "hubspot_contact_id": contact.hubspot_contact_id,
        "error": contact.error,
        "error_code": code_of(contact.error),
        "next_retry_at": contact.next_retry_at.isoformat() if contact.next_retry_at else None,
    }


def code_of(message: Message | None) -> str | None:
    """Return the code of a message as JSON shows it."""
    return message.code if message is not None else None
