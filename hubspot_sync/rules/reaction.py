"""What HubSpot's answer means, and what we do about it: the status table as one pure function.

To add a reaction, start at `read_answer`. Facts about statuses and bodies are HubSpot's own
(developers.hubspot.com, "Error handling" and "API usage guidelines"), which also say that every
field of an error body may be missing; so each is read leniently, and none is relied upon.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import (
    Conflict,
    ContactRejected,
    HubSpotDenied,
    HubSpotSyncError,
    Interrupted,
    NotFound,
    PropertyMissing,
    QuotaSpent,
    Signature,
    Unavailable,
)
from hubspot_sync.rules.mapping import STANDARD_PROPERTIES
from hubspot_sync.rules.retry import LONGEST_WAIT_SECONDS, parse_retry_after
from hubspot_sync.rules.words import one_line
from hubspot_sync.sentences import Message

UNAVAILABLE = Signature("UNAVAILABLE")
"""The signature of a contact for which HubSpot gave no usable answer."""

RATE_LIMITED = Signature("RATE_LIMITED")
"""That of a contact which HubSpot would take, if others left it the requests."""

LONGEST_WORDS = 500
LONGEST_NAME = 100
LONGEST_MESSAGE = 300
"""Characters that are told of HubSpot's words, of a name or code among them, and of what it says of
one property: behind that its code stands, which must not be cut off."""

_LOCKED_SECONDS = 2.0
_SECONDLY_SECONDS = 1.0
_ROLLING_SECONDS = 10.0

# HubSpot's own words; an address may well begin with gdpr@.
_BLOCKED = re.compile(r"\bgdpr[ _-]?(blacklist|block)", re.IGNORECASE)

# What no retry can change: the fault is the contact's own address or value.
_PERMANENT = frozenset(
    {"INVALID_EMAIL", "INVALID_OPTION", "INVALID_DATE", "INVALID_INTEGER", "INVALID_LONG"}
)
GDPR_BLOCKED = "GDPR_BLOCKED"
"""Our code for an address whose owner had it deleted under the GDPR; HubSpot's codes vary."""

# What an administrator requires of every contact (HubSpot docs, "API guidelines": enforced on API
# writes from version 2026-09 on).
_ADMINS_RULES = frozenset({"MISSING_REQUIRED_PROPERTY", "MISSING_CONDITIONAL_REQUIRED_PROPERTY"})

_CONTACT_TYPE = "0-1"

_EXISTING_ID = re.compile(r"Existing ID: ?(\d+)")
_PROBLEMS_IN_MESSAGE = "Property values were not valid: "


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer.

    Attributes:
        headers: names in lower case.
        body: the parsed JSON; None where the body is not JSON.
    """

    status: int
    headers: Mapping[str, str]
    body: object


@dataclass(frozen=True, slots=True)
class Problem:
    """One property that HubSpot refuses, in its words."""

    code: str
    property_name: str | None
    message: str


def read_answer(
    answer: Answer, *, custom_properties: Collection[str], now: datetime
) -> Mapping[str, object]:
    """Return the body of a successful answer, or raise the error that says what to do.

    Args:
        answer: what came back.
        custom_properties: the names that `create-properties` makes.
        now: for Retry-After headers that hold a date.

    Raises:
        HubSpotDenied: 401, or 403 in HubSpot's own words.
        NotFound: 404.
        Conflict: 409.
        PropertyMissing: 400 because one of our custom properties does not exist.
        ContactRejected: any other 4xx that HubSpot explains.
        QuotaSpent: 429 DAILY, 477, or a wait that is out of a run's reach.
        Unavailable: 423, 429, 5xx, a redirect, or anything that HubSpot did not write.
    """
    body = answer.body if isinstance(answer.body, Mapping) else None
    if answer.status in (423, 429, 477) or answer.status >= 500:
        raise _come_back_later(answer, body or {}, now)
    if body is None:
        # A proxy, a firewall or a captive portal speaks; HubSpot always answers in JSON.
        raise Unavailable(
            ErrorCode.NOT_HUBSPOTS_ANSWER,
            status=answer.status,
            outcome_unknown=answer.status < 400,
        )
    if 200 <= answer.status < 300:
        return body
    if answer.status < 400:
        raise Unavailable(ErrorCode.ANSWER_REDIRECTED, status=answer.status)
    raise _refusal(answer.status, body, custom_properties)


def refusal_of_item(
    item: Mapping[str, object], custom_properties: Collection[str]
) -> HubSpotSyncError:
    """Return the error that one entry of a batch answer's `errors` amounts to."""
    category = _text(item.get("category"))
    if category == "CONFLICT":
        return _refusal(409, item, custom_properties)
    if category == "OBJECT_NOT_FOUND":
        return _refusal(404, item, custom_properties)
    return _refusal(400, item, custom_properties)


def problems_of(body: Mapping[str, object]) -> list[Problem]:
    """Read the refused properties out of an error body, in either of HubSpot's two shapes."""
    return list(_problems_in_message(_text(body.get("message")))) or list(
        _problems_in_errors(body.get("errors"))
    )


def _refusal(
    status: int, body: Mapping[str, object], custom_properties: Collection[str]
) -> HubSpotSyncError:
    words = one_line(_text(body.get("message")), LONGEST_WORDS) or "no reason given"
    match status:
        case 401:
            return HubSpotDenied(ErrorCode.TOKEN_REFUSED)
        case 403:
            scopes = _missing_scopes(body)
            return HubSpotDenied(ErrorCode.SCOPES_MISSING, scopes=scopes, words=words)
        case 404:
            return NotFound(ErrorCode.HUBSPOTS_WORDS, words=words)
        case 409:
            return Conflict(ErrorCode.HOLDS_IT_ALREADY, words=words, existing_id=_existing_id(body))
        case _:
            return _rejection(status, body, words, custom_properties)


def _rejection(
    status: int, body: Mapping[str, object], words: str, custom_properties: Collection[str]
) -> HubSpotSyncError:
    problems = problems_of(body)
    missing = sorted(
        {
            problem.property_name
            for problem in problems
            if problem.code == "PROPERTY_DOESNT_EXIST"
            and problem.property_name is not None
            and problem.property_name in custom_properties
        }
    )
    if missing:
        return property_missing(missing)
    never_sent = [each for each in problems if _is_never_sent(each, custom_properties)]
    is_blocked = any(
        _BLOCKED.search(told) for told in ([problem.message for problem in problems] or [words])
    )
    if problems:
        first = (never_sent or problems)[0]
        name = one_line(first.property_name or "", LONGEST_NAME)
        signature = Signature(one_line(first.code, LONGEST_NAME), name or None)
        words = "; ".join(_in_words(problem) for problem in problems)
    else:
        category = one_line(_text(body.get("category")), LONGEST_NAME)
        signature = Signature(category or f"HTTP_{status}")
    code = ErrorCode.HUBSPOT_REFUSED
    if is_blocked:
        code = ErrorCode.ADDRESS_BLOCKED
        signature = Signature(GDPR_BLOCKED, signature.property_name)
    if never_sent:
        code = ErrorCode.PROPERTY_REQUIRED
    return ContactRejected(
        code,
        words=words,
        signature=signature,
        permanent=is_blocked or any(problem.code in _PERMANENT for problem in problems),
        by_account=bool(never_sent),
        correlation_id=one_line(_text(body.get("correlationId")), LONGEST_NAME) or None,
    )


def account_full(refusal: ContactRejected) -> ContactRejected:
    """Return what a refusal amounts to where the account holds all the contacts that it may."""
    return ContactRejected(
        ErrorCode.ACCOUNT_FULL,
        refusal=refusal.message,
        signature=Signature("CONTACT_LIMIT"),
        by_account=True,
        correlation_id=refusal.correlation_id,
    )


def is_full(limits: Mapping[str, object]) -> bool:
    """Read in the answer of HubSpot's limits API whether no further contact may be created."""
    for entry in _mappings(limits.get("hubspotDefinedObjectTypes")):
        if entry.get("objectTypeId") == _CONTACT_TYPE:
            most, used = entry.get("limit"), entry.get("usage")
            return isinstance(most, int | float) and isinstance(used, int | float) and used >= most
    return False


def is_unexplained(refusal: object) -> bool:
    """Tell whether HubSpot refuses a contact and blames none of its properties."""
    return (
        isinstance(refusal, ContactRejected)
        and refusal.signature.property_name is None
        and not (refusal.permanent or refusal.by_account)
    )


def property_missing(names: Collection[str]) -> PropertyMissing:
    """Return the error for custom properties that the portal lacks."""
    return PropertyMissing(ErrorCode.PROPERTY_MISSING, properties=", ".join(names))


def rate_limit_used_up(trouble: Unavailable) -> Message:
    """Return what a 429 amounts to that no wait has mended."""
    return Message(ErrorCode.RATE_LIMIT, trouble=trouble.message)


def not_confirmed(end: Interrupted) -> Message:
    """Return what is said of a contact that was sent where the run ended before the answer."""
    return Message(ErrorCode.NOT_CONFIRMED, end=end.message)


def _come_back_later(
    answer: Answer, body: Mapping[str, object], now: datetime
) -> QuotaSpent | Unavailable:
    wait = parse_retry_after(answer.headers.get("retry-after"), now)
    if answer.status == 429 and _is_daily(body):
        return QuotaSpent(
            ErrorCode.DAILY_LIMIT,
            resume_at=now + timedelta(seconds=wait) if wait else None,
            is_daily=True,
        )
    if answer.status == 477 or (wait or 0) > LONGEST_WAIT_SECONDS:
        resume_at = now + timedelta(seconds=wait) if wait else None
        return QuotaSpent(ErrorCode.COME_BACK_LATER, status=answer.status, resume_at=resume_at)
    if wait is None:
        wait = _usual_wait(answer.status, body)
    return Unavailable(
        ErrorCode.ANSWER_UNUSABLE,
        status=answer.status,
        # Not in the sentence, which goes into the log: they may repeat the address.
        hubspots_words=one_line(_text(body.get("message")), LONGEST_WORDS),
        wait_seconds=wait,
        outcome_unknown=answer.status >= 500,
        rate_limited=answer.status == 429,
    )


def _usual_wait(status: int, body: Mapping[str, object]) -> float | None:
    if status == 423:
        return _LOCKED_SECONDS
    if status == 429:
        secondly = "SECONDLY" if "secondly limit" in _text(body.get("message")) else ""
        policy = _text(body.get("policyName")) or secondly
        return _SECONDLY_SECONDS if policy == "SECONDLY" else _ROLLING_SECONDS
    return None


def _is_daily(body: Mapping[str, object]) -> bool:
    return _text(body.get("policyName")) == "DAILY" or "daily limit" in _text(body.get("message"))


def _missing_scopes(body: Mapping[str, object]) -> str:
    scopes = sorted(
        str(scope)
        for entry in _mappings(body.get("errors"))
        for scope in _list(_mapping(entry.get("context")).get("requiredGranularScopes"))
    )
    return one_line(", ".join(scopes), LONGEST_WORDS)


def _existing_id(body: Mapping[str, object]) -> str | None:
    for existing_id in _list(_mapping(body.get("context")).get("existingId")):
        if str(existing_id).isdecimal():
            return str(existing_id)
    found = _EXISTING_ID.search(_text(body.get("message")))
    return found.group(1) if found else None


def _is_never_sent(problem: Problem, custom_properties: Collection[str]) -> bool:
    """Tell whether a property is demanded that the mapping fills for no contact."""
    return (
        problem.code in _ADMINS_RULES
        and problem.property_name not in STANDARD_PROPERTIES
        and problem.property_name not in custom_properties
    )


def _in_words(problem: Problem) -> str:
    name = f"{one_line(problem.property_name, LONGEST_NAME)}: " if problem.property_name else ""
    message = one_line(problem.message, LONGEST_MESSAGE)
    return f"{name}{message} ({one_line(problem.code, LONGEST_NAME)})"


def _problems_in_message(message: str) -> Iterator[Problem]:
    _, found, listed = message.partition(_PROBLEMS_IN_MESSAGE)
    if not found:
        return
    try:
        entries, _ = json.JSONDecoder().raw_decode(listed)
    except (ValueError, RecursionError):
        return
    for entry in _mappings(entries):
        yield Problem(
            code=_text(entry.get("error")) or "VALIDATION_ERROR",
            property_name=_text(entry.get("name")) or None,
            message=_text(entry.get("message")),
        )


def _problems_in_errors(errors: object) -> Iterator[Problem]:
    for entry in _mappings(errors):
        names = _list(_mapping(entry.get("context")).get("propertyName"))
        yield Problem(
            code=_text(entry.get("code")) or "VALIDATION_ERROR",
            property_name=str(names[0]) if names else None,
            message=_text(entry.get("message")),
        )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> list[Mapping[str, object]]:
    return [entry for entry in _list(value) if isinstance(entry, Mapping)]
