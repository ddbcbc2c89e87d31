"""Every error of the program, grouped by what the caller does about it.

HubSpotSyncError
├── WrongUsage            nothing was done; the operator fixes a setting or an argument   (exit 2)
│   └── SettingsError     all faulty settings at once
├── Refused               the command may not touch what it was asked to touch            (exit 1)
├── RunStopped            the run ends for every contact; none consumes an attempt        (exit 3)
│   ├── HubSpotDenied     401 or 403: the token is not accepted, or may not do this
│   ├── PropertyMissing   HubSpot lacks one of our custom properties
│   ├── MappingUnfit      the portal does not have what the mapping file fills
│   ├── WrongPortal       the token opens another portal than HUBSPOT_PORTAL_ID names
│   ├── HubSpotDown       HubSpot refuses even a small read, or takes no writes at all
│   ├── QuotaSpent        no request may go out for longer than a run can wait
│   ├── EveryoneRefused   contact after contact is refused with one and the same words
│   └── DatabaseUnavailable
│       ├── Contended     another transaction got in the way
│       ├── QueryTimedOut the database ended a query that took too long
│       ├── RowLocked     another session keeps a row locked
│       └── RowRefused    the database refuses what one of several rows would hold
├── Interrupted           no further request may start: a signal came, or the lease ends
└── about one contact:
    ├── ContactRejected   HubSpot refuses this contact, which spends an attempt if it is at fault
    ├── Conflict          409: HubSpot holds the email (or the property) already
    ├── NotFound          404: HubSpot has no such contact (or property)
    └── Unavailable       HubSpot gave no usable answer, though it was asked several times
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from hubspot_sync.codes import ErrorCode
from hubspot_sync.sentences import Message


class HubSpotSyncError(Exception):
    """The root: its text says what happened, to which contact or setting, and what to do.

    Args:
        code: what happened, for programs.
        data: what the sentence of that code names, and more.

    Attributes:
        message: the sentence, with its code and its data.
        exit_code: what the process ends with where this error ends it.
        correlation_id: what HubSpot's support asks for; None where no answer led to this error.
    """

    exit_code = 3

    def __init__(self, code: ErrorCode, **data: Any) -> None:
        self.message = Message(code, **data)
        self.correlation_id: str | None = data.get("correlation_id")
        super().__init__(self.message)

    @property
    def code(self) -> ErrorCode:
        """What happened, for programs."""
        return self.message.code

    def but(self, **data: object) -> Self:
        """Return a copy with other data, to be raised `from` this one, which stays as it is.

        Args:
            data: attributes by name.

        Raises:
            AttributeError: the error has no such attribute.
        """
        for name in data:
            getattr(self, name)
        # Not by calling the class: what it wants to be given differs from class to class.
        other = type(self).__new__(type(self), *self.args)
        vars(other).update(vars(self) | data | {"message": self.message.knowing(data)})
        return other


class WrongUsage(HubSpotSyncError):
    """Wrong arguments, settings or table; nothing was done."""

    exit_code = 2


class SettingsError(WrongUsage):
    """All faulty settings of one start.

    Attributes:
        faults: one sentence a setting: its name, what it holds, what it may hold.
    """

    def __init__(self, faults: Sequence[Message]) -> None:
        super().__init__(ErrorCode.SETTINGS_WRONG, faults=tuple(faults))
        self.faults = list(faults)


class Refused(HubSpotSyncError):
    """The command was understood, and may not be carried out on this contact now."""

    exit_code = 1


class RunStopped(HubSpotSyncError):
    """The run cannot go on for any contact; what was not sent is safe in the queue."""


class HubSpotDenied(RunStopped):
    """HubSpot does not accept the token (401), or the token lacks a scope (403)."""

    @property
    def alarm(self) -> Message:
        """What the log says of it at the level to which alarms listen."""
        return Message(ErrorCode.TOKEN_DENIED, correlation_id=self.correlation_id or "none")


class PropertyMissing(RunStopped):
    """HubSpot does not have one of the custom properties that the mapping fills."""


class MappingUnfit(RunStopped):
    """The portal lacks properties, types or options that the mapping file names.

    Attributes:
        faults: one sentence for each, with its place in the file.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__(ErrorCode.MAPPING_UNFIT, unfit="\n".join(faults))
        self.faults = faults


class WrongPortal(RunStopped):
    """The token belongs to another portal than the settings name."""


class HubSpotDown(RunStopped):
    """HubSpot cannot be reached, or answers nothing that can be used."""


class QuotaSpent(RunStopped):
    """No request may go out for longer than a run can wait.

    Attributes:
        resume_at: when it can go on; None where HubSpot did not say.
        is_daily: True where it is the day's quota, which begins anew at the portal's midnight.
        kept_back: True where we did not send the request, to leave the portal's other apps their
            reserve, nor had sent it before; False where HubSpot refused it.
    """

    def __init__(
        self,
        code: ErrorCode,
        *,
        resume_at: datetime | None = None,
        is_daily: bool = False,
        kept_back: bool = False,
        **data: Any,
    ) -> None:
        super().__init__(code, resume_at=resume_at, **data)
        self.resume_at = resume_at
        self.is_daily = is_daily
        self.kept_back = kept_back

    def until(self, next_day: datetime) -> "QuotaSpent":
        """Return this end of a day's quota with the hour at which the next begins."""
        hour = {"resume_at": next_day, "next_day": next_day}
        kind = {"is_daily": self.is_daily, "kept_back": self.kept_back}
        return QuotaSpent(self.code, **{**self.message.data, **hour, **kind})


class EveryoneRefused(RunStopped):
    """One refusal met every contact alike, so it is not about the contacts."""


class DatabaseUnavailable(RunStopped):
    """The database could not be reached, or refused what the queue needs."""


class QueryTimedOut(DatabaseUnavailable):
    """The database ended a query that took too long."""


class RowLocked(DatabaseUnavailable):
    """Another session kept a row locked for longer than we wait."""


class RowRefused(DatabaseUnavailable):
    """The database refuses a row for what it would hold; other rows may do.

    Attributes:
        why: the SQLSTATE and the name of the rule, in ASCII and without anything the row holds.
    """

    def __init__(self, code: ErrorCode, *, why: str, **data: Any) -> None:
        super().__init__(code, why=why, **data)
        self.why = why


class Contended(DatabaseUnavailable):
    """The database ended our transaction for the sake of another: a deadlock, or a conflict."""


class Interrupted(HubSpotSyncError):
    """No further request may start: a signal asked the run to end, or the lease is nearly over.

    Attributes:
        outcome_unknown: True where the request that was to be tried again may have been carried
            out already.
    """

    outcome_unknown = False


@dataclass(frozen=True, slots=True)
class Signature:
    """What makes two refusals the same: HubSpot's code, and the property it speaks of.

    Attributes:
        code: such as `INVALID_EMAIL`, `VALIDATION_ERROR`, or `UNAVAILABLE`.
        property_name: None where HubSpot names no property.
    """

    code: str
    property_name: str | None = None

    def __str__(self) -> str:
        return f"{self.code} on {self.property_name}" if self.property_name else self.code


class ContactRejected(HubSpotSyncError):
    """HubSpot refuses this contact, with its reason.

    Attributes:
        signature: the reason in a form that can be compared.
        permanent: True where no retry can succeed: the fault is the contact's address or value.
        by_account: True where a rule or a limit of the account refuses it, whatever it holds.
        correlation_id: what HubSpot's support asks for; None where it gave none.
    """

    def __init__(
        self,
        code: ErrorCode,
        *,
        signature: Signature,
        permanent: bool = False,
        by_account: bool = False,
        correlation_id: str | None = None,
        **data: Any,
    ) -> None:
        super().__init__(
            code,
            hubspot_code=signature.code,
            property_name=signature.property_name,
            correlation_id=correlation_id,
            **data,
        )
        self.signature = signature
        self.permanent = permanent
        self.by_account = by_account


class Conflict(HubSpotSyncError):
    """HubSpot holds already what was to be created.

    Attributes:
        existing_id: the record id of the contact that owns the email, if the answer named it.
    """

    def __init__(self, code: ErrorCode, *, existing_id: str | None, **data: Any) -> None:
        super().__init__(code, existing_id=existing_id, **data)
        self.existing_id = existing_id


class NotFound(HubSpotSyncError):
    """HubSpot has nothing under this id, email or name."""


class Unavailable(HubSpotSyncError):
    """HubSpot gave no usable answer.

    Attributes:
        wait_seconds: how long to wait before the next try; None leaves it to back-off.
        outcome_unknown: True where the request may have been carried out all the same, so that a
            create must not simply be repeated.
        rate_limited: True for a 429, which is never the contact's fault.
    """

    def __init__(
        self,
        code: ErrorCode,
        *,
        wait_seconds: float | None = None,
        outcome_unknown: bool = False,
        rate_limited: bool = False,
        **data: Any,
    ) -> None:
        super().__init__(code, wait_seconds=wait_seconds, **data)
        self.wait_seconds = wait_seconds
        self.outcome_unknown = outcome_unknown
        self.rate_limited = rate_limited
