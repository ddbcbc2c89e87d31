"""Which input of a batch request does which part of the answer speak of.

HubSpot's answers come in any order, may leave trace ids out, may name fewer inputs than were sent,
and show emails in lower case. What the answer does not name is not delivered, and what it names in
two ways is not either: both are looked up again, one by one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hubspot_sync.errors import HubSpotSyncError
from hubspot_sync.rules.identity import HubSpotRecord


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a batch request, by what its answer might name it.

    Attributes:
        trace_id: the `objectWriteTraceId` sent with it.
        email: None where the answer could not be recognised by it.
        record_id: None for a create.
    """

    trace_id: str
    email: str | None = None
    record_id: str | None = None


@dataclass(frozen=True, slots=True)
class Success:
    """One result of an answer."""

    record: HubSpotRecord
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """One error of an answer.

    Attributes:
        trace_ids: the inputs that it names by trace id.
        record_ids: the inputs that it names by record id.
        error: what the refusal amounts to.
    """

    error: HubSpotSyncError
    trace_ids: tuple[str, ...] = ()
    record_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchReply:
    """A 2xx answer to a batch request."""

    successes: tuple[Success, ...] = ()
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """Every input of a request, in exactly one of three places.

    Attributes:
        confirmed: trace id to the record that HubSpot confirmed.
        refused: trace id to why.
        unnamed: trace ids of which nothing certain was said.
    """

    confirmed: dict[str, HubSpotRecord] = field(default_factory=dict)
    refused: dict[str, HubSpotSyncError] = field(default_factory=dict)
    unnamed: list[str] = field(default_factory=list)


def account(inputs: Sequence[Input], reply: BatchReply) -> Account:
    """Account for every input of a batch request."""
    confirmed = _confirmed(inputs, reply.successes)
    refused = _refused(inputs, reply.refusals)
    result = Account()
    for each in inputs:
        is_confirmed, is_refused = each.trace_id in confirmed, each.trace_id in refused
        if is_confirmed and not is_refused:
            result.confirmed[each.trace_id] = confirmed[each.trace_id]
        elif is_refused and not is_confirmed:
            result.refused[each.trace_id] = refused[each.trace_id]
        else:
            result.unnamed.append(each.trace_id)
    return result


def _confirmed(inputs: Sequence[Input], successes: Iterable[Success]) -> dict[str, HubSpotRecord]:
    by_trace = {each.trace_id: each.trace_id for each in inputs}
    by_email = {each.email: each.trace_id for each in inputs if each.email}
    by_record = {each.record_id: each.trace_id for each in inputs if each.record_id}
    confirmed: dict[str, HubSpotRecord] = {}
    for success in successes:
        record = success.record
        trace_id = (
            by_trace.get(success.trace_id or "")
            or by_email.get(record.primary_email or "")
            or by_record.get(record.id)
        )
        if trace_id is not None:
            confirmed.setdefault(trace_id, record)
    return confirmed


def _refused(
    inputs: Sequence[Input], refusals: Iterable[Refusal]
) -> Mapping[str, HubSpotSyncError]:
    by_trace = {each.trace_id: each.trace_id for each in inputs}
    by_record = {each.record_id: each.trace_id for each in inputs if each.record_id}
    refused: dict[str, HubSpotSyncError] = {}
    for refusal in refusals:
        named = [by_trace.get(trace_id) for trace_id in refusal.trace_ids]
        named += [by_record.get(record_id) for record_id in refusal.record_ids]
        for trace_id in named:
            if trace_id is not None:
                refused.setdefault(trace_id, refusal.error)
    return refused
