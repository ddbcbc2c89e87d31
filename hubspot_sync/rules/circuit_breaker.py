"""The circuit breaker's decision: does a refusal concern one contact, or every contact?

HubSpot says the same to a contact with a bad phone number and to a thousand good contacts whose
portal got a new required property overnight. Only the company tells: where contact after contact
is refused alike, the contacts are not at fault, and none of them may consume an attempt. So a
refusal that could still turn out to concern every contact is withheld, not settled, until that is
clear.
"""

from dataclasses import dataclass
from enum import Enum

from hubspot_sync.errors import ContactRejected, Signature
from hubspot_sync.rules.reaction import GDPR_BLOCKED, RATE_LIMITED, UNAVAILABLE
from hubspot_sync.rules.settlement import Failed, Outcome, Rejected, Stopped

THRESHOLD = 10
"""So many contacts refused alike open the circuit."""

_NO_ANSWERS = (UNAVAILABLE, RATE_LIMITED)
_ALWAYS_ITS_OWN = frozenset({"INVALID_EMAIL", GDPR_BLOCKED})


def outcome_of(refusal: ContactRejected) -> Outcome:
    """Return what a refusal costs: an attempt, or nothing where the account is behind it."""
    if refusal.by_account:
        return Stopped(refusal.message, refusal.signature, refusal.correlation_id)
    if refusal.permanent:
        return Rejected(refusal.message, refusal.signature, refusal.correlation_id)
    return Failed(refusal.message, refusal.signature, refusal.correlation_id)


def signature_of(outcome: Outcome) -> Signature | None:
    """Return what an outcome says about the others; None where it says nothing."""
    if isinstance(outcome, Stopped):
        return outcome.signature or UNAVAILABLE
    return outcome.signature if isinstance(outcome, Failed | Rejected) else None


class CircuitState(Enum):
    """What to do with the refusals withheld so far, the last one included."""

    CLOSED = "each contact consumes its own attempt"
    COUNTING = "withhold them: more of the same would open the circuit"
    OPEN = "stop the run; nobody consumes an attempt"


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """What a run has seen so far.

    Attributes:
        alike: contacts sent since the run began, as long as all were refused alike; None once that
            has been broken, to the end of the run.
        in_a_row: contacts without a usable answer since HubSpot last accepted one.
        last: the signature that `alike` counts.
    """

    alike: int | None = 0
    in_a_row: int = 0
    last: Signature | None = None

    def accepted(self) -> "RefusalCount":
        """Count a contact that HubSpot accepted: earlier refusals were the contacts' own."""
        return RefusalCount(alike=None)

    def refused(self, signature: Signature) -> "RefusalCount":
        """Count a contact that HubSpot refused."""
        if signature.code in _ALWAYS_ITS_OWN:
            # It says nothing about the others, neither for them nor against them.
            return self
        is_alike = self.alike is not None and self.last in (None, signature)
        return RefusalCount(
            alike=(self.alike or 0) + 1 if is_alike else None,
            in_a_row=self.in_a_row + (signature in _NO_ANSWERS),
            last=signature,
        )

    @property
    def state(self) -> CircuitState:
        """The state of the circuit now that the last contact has been counted."""
        if self.in_a_row >= THRESHOLD or (self.alike or 0) >= THRESHOLD:
            return CircuitState.OPEN
        if self.alike or self.in_a_row:
            return CircuitState.COUNTING
        return CircuitState.CLOSED
