"""The circuit breaker's decision: does a refusal concern one contact, or every contact?

HubSpot says the same to a contact with a bad phone number and to a thousand good contacts whose
portal got a new required property overnight. Only the company tells: where contact after contact
is refused alike, the contacts are not at fault, and none of them may consume an attempt. So a
refusal that could still turn out to concern every contact is withheld, not settled, until that is
clear.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import ContactRejected, Signature
from hubspot_sync.rules.invalid import InvalidCode
from hubspot_sync.rules.mapping import PropertyMapping
from hubspot_sync.rules.portal_fit import place_of
from hubspot_sync.rules.reaction import GDPR_BLOCKED, RATE_LIMITED, UNAVAILABLE
from hubspot_sync.rules.settlement import Failed, Outcome, Rejected, Stopped
from hubspot_sync.sentences import Message

THRESHOLD = 10
"""So many contacts refused alike open the circuit."""

_NO_ANSWERS = (UNAVAILABLE, RATE_LIMITED)
_ALWAYS_ITS_OWN = frozenset({"INVALID_EMAIL", GDPR_BLOCKED})
_BY_MAPPING = frozenset(InvalidCode)


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


def is_by_mapping(signature: Signature | None) -> bool:
    """Tell whether it is the mapping that rejects, before HubSpot was asked."""
    return signature is not None and signature.code in _BY_MAPPING


def said_of_everyone(outcome: Outcome, mapping: PropertyMapping) -> Message:
    """Say why a run stops whose contacts are refused alike.

    Args:
        outcome: the last one's.
        mapping: whose line may be the cause.
    """
    last = outcome.message if isinstance(outcome, Failed | Rejected | Stopped) else None
    signature = signature_of(outcome)
    if last is not None and signature == RATE_LIMITED:
        return last
    if signature == UNAVAILABLE:
        return Message(ErrorCode.HUBSPOT_TAKES_NO_WRITES, what="contact", refusal=last)
    if is_by_mapping(signature):
        return Message(ErrorCode.EVERYONE_REJECTED, signature=signature, refusal=last)
    line = mapping.field_of(signature.property_name or "") if signature else None
    place = f"; {place_of(mapping, line)}" if line and mapping.file else ""
    return Message(ErrorCode.EVERYONE_REFUSED, signature=signature, place=place, refusal=last)


class CircuitState(Enum):
    """What to do with the refusals withheld so far, the last one included."""

    CLOSED = "each contact consumes its own attempt"
    COUNTING = "withhold them: more of the same would open the circuit"
    OPEN = "stop the run; nobody consumes an attempt"


@dataclass(frozen=True, slots=True)
class InvalidCount:
    """What a run has seen of values that their properties cannot take.

    One wrong line of a mapping, such as a date's format, makes every value of its field invalid.
    Where a field had a valid value, its line is right, and an invalid value is the contact's own.

    Attributes:
        counts: contacts rejected, by field and reason.
        usable: fields that had a valid value.
    """

    counts: Mapping[Signature, int] = field(default_factory=dict)
    usable: frozenset[str] = frozenset()

    def had_values(self, fields: frozenset[str]) -> "InvalidCount":
        """Take in that these fields had a valid value."""
        counts = {each: n for each, n in self.counts.items() if each.property_name not in fields}
        return InvalidCount(counts, self.usable | fields)

    def rejected(self, signature: Signature) -> "InvalidCount":
        """Count a contact that is rejected for a value."""
        if signature.property_name in self.usable:
            return self
        counted = {signature: self.counts.get(signature, 0) + 1}
        return replace(self, counts={**self.counts, **counted})

    @property
    def most(self) -> int:
        """The contacts of the field and reason that has the most of them."""
        return max(self.counts.values(), default=0)


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """What a run has seen so far.

    Attributes:
        alike: contacts sent since the run began, as long as all were refused alike; None once that
            has been broken, to the end of the run.
        in_a_row: contacts without a usable answer since HubSpot last accepted one.
        last: the signature that `alike` counts.
        invalid: values that were never sent, which are counted by themselves.
    """

    alike: int | None = 0
    in_a_row: int = 0
    last: Signature | None = None
    invalid: InvalidCount = field(default_factory=InvalidCount)

    def had_values(self, fields: frozenset[str]) -> "RefusalCount":
        """Take in that these fields of the mapping had a valid value."""
        return replace(self, invalid=self.invalid.had_values(fields))

    def accepted(self) -> "RefusalCount":
        """Count a contact that HubSpot accepted: earlier refusals were the contacts' own."""
        return RefusalCount(alike=None, invalid=self.invalid)

    def refused(self, signature: Signature) -> "RefusalCount":
        """Count a contact that HubSpot refused, or that is rejected before HubSpot is asked."""
        if is_by_mapping(signature):
            return replace(self, invalid=self.invalid.rejected(signature))
        if signature.code in _ALWAYS_ITS_OWN:
            # It says nothing about the others, neither for them nor against them.
            return self
        is_alike = self.alike is not None and self.last in (None, signature)
        return RefusalCount(
            alike=(self.alike or 0) + 1 if is_alike else None,
            in_a_row=self.in_a_row + (signature in _NO_ANSWERS),
            last=signature,
            invalid=self.invalid,
        )

    @property
    def state(self) -> CircuitState:
        """The state of the circuit now that the last contact has been counted."""
        if max(self.in_a_row, self.alike or 0, self.invalid.most) >= THRESHOLD:
            return CircuitState.OPEN
        if self.alike or self.in_a_row or self.invalid.most:
            return CircuitState.COUNTING
        return CircuitState.CLOSED
