"""Whose fault is a refusal: this contact's, or everyone's.

HubSpot says the same to a contact with a bad phone number and to a thousand good contacts whose
portal got a new required property overnight. Only the company tells: where contact after contact
is refused alike, the contacts are not at fault, and none of them may pay an attempt for it. So a
refusal that could still turn out to be everyone's is withheld, not settled, until it is clear.
"""

from dataclasses import dataclass
from enum import Enum

from hubspot_sync.errors import ContactRejected, Signature
from hubspot_sync.rules.reaction import GDPR_BLOCKED, RATE_LIMITED, UNAVAILABLE
from hubspot_sync.rules.settlement import Failed, Outcome, Rejected, Stopped

EVERYONE = 10
"""So many contacts refused alike are everyone."""

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


class Verdict(Enum):
    """What to do with the refusals withheld so far, the last one included."""

    OPEN = "withhold them"
    CONTACTS = "each contact pays for itself"
    EVERYONES = "stop the run; nobody pays"


@dataclass(frozen=True, slots=True)
class Tally:
    """What the run has seen so far.

    Attributes:
        alike: contacts sent since the run began, as long as all were refused alike; None for ever
            once that has been broken.
        in_a_row: contacts without a usable answer since HubSpot last accepted one.
        last: the signature that `alike` counts.
    """

    alike: int | None = 0
    in_a_row: int = 0
    last: Signature | None = None

    def accepted(self) -> "Tally":
        """Count a contact that HubSpot accepted: earlier refusals were the contacts' own."""
        return Tally(alike=None)

    def refused(self, signature: Signature) -> "Tally":
        """Count a contact that HubSpot refused."""
        if signature.code in _ALWAYS_ITS_OWN:
            # It says nothing about the others, neither for them nor against them.
            return self
        is_alike = self.alike is not None and self.last in (None, signature)
        return Tally(
            alike=(self.alike or 0) + 1 if is_alike else None,
            in_a_row=self.in_a_row + (signature in _NO_ANSWERS),
            last=signature,
        )

    @property
    def verdict(self) -> Verdict:
        """The verdict on the refusals withheld, now that the last contact has been counted."""
        if self.in_a_row >= EVERYONE or (self.alike or 0) >= EVERYONE:
            return Verdict.EVERYONES
        if self.alike or self.in_a_row:
            return Verdict.OPEN
        return Verdict.CONTACTS
