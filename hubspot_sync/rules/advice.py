"""From an error's code to the reason of a group of contacts, and what to do about it.

The error column has no place beside it for a code, so what is written there begins with a label:
`[NO_EMAIL]`, or `[HUBSPOT_REFUSED: INVALID_PHONE on phone]` where HubSpot gave a code of its own.
To give a code a reason, add a line to `_REASONS`; what has none is grouped by its first words.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from hubspot_sync.codes import ErrorCode
from hubspot_sync.sentences import Message


@dataclass(frozen=True, slots=True)
class Reason:
    """Why contacts failed, as a group.

    Attributes:
        words: what is said of them all.
        advice: what to do next.
    """

    words: str
    advice: str


_CORRECT = "Correct the contact and mark it again (enqueue), or skip it."
COMES_BACK = "Nothing: it is tried again by itself."

_ALL_ALIKE = Reason("refused like all others", "See the last run's mail, and doctor.")
_AWAY = Reason("HubSpot was away, or the run was stopped", COMES_BACK)
_DATABASE_AWAY = Reason("the database was away", COMES_BACK)
_LIMITS = Reason("HubSpot's limits were used up", COMES_BACK)
_NO_WRITES = Reason("HubSpot took no writes", COMES_BACK)
_TOKEN = Reason("the token was refused", "Set a valid token with its scopes; run doctor.")
_REFUSED_BY_DATABASE = Reason(
    "the database refuses it", "Look at the table's constraints and triggers."
)

_REASONS: Mapping[ErrorCode, Reason] = {
    ErrorCode.ACCOUNT_FULL: Reason(
        "the HubSpot account is full", "Delete contacts in HubSpot, or raise the limit."
    ),
    ErrorCode.ADDRESS_BLOCKED: Reason(
        "blocked in HubSpot (GDPR)", "Leave it, or skip it: HubSpot never takes it again."
    ),
    ErrorCode.COME_BACK_LATER: _AWAY,
    ErrorCode.CONTACT_STUMBLED: Reason(
        "HubSpot stumbles over it", "Look at its name and phone for odd characters."
    ),
    ErrorCode.DAILY_LIMIT: _LIMITS,
    ErrorCode.DATABASE_CONTENDED: _DATABASE_AWAY,
    ErrorCode.DATABASE_FILE_UNUSABLE: _DATABASE_AWAY,
    ErrorCode.DATABASE_FULL: _DATABASE_AWAY,
    ErrorCode.DATABASE_LOCKED: _DATABASE_AWAY,
    ErrorCode.DATABASE_NO_CONNECTION: _DATABASE_AWAY,
    ErrorCode.DATABASE_READ_ONLY: _DATABASE_AWAY,
    ErrorCode.DATABASE_REFUSED: _REFUSED_BY_DATABASE,
    ErrorCode.DATABASE_UNAVAILABLE: _DATABASE_AWAY,
    ErrorCode.EMAIL_CANNOT_BE_ONE: Reason("not an email address", _CORRECT),
    ErrorCode.EMAIL_PLACEHOLDER: Reason("a placeholder address", _CORRECT),
    ErrorCode.EVERYONE_REFUSED: _ALL_ALIKE,
    ErrorCode.EVERYONE_REJECTED: _ALL_ALIKE,
    ErrorCode.HUBSPOT_DOWN: _AWAY,
    ErrorCode.HUBSPOT_TAKES_NO_WRITES: _NO_WRITES,
    ErrorCode.HUBSPOT_UNUSABLE: _NO_WRITES,
    ErrorCode.NO_EMAIL: Reason("no email address", _CORRECT),
    ErrorCode.NOT_CONFIRMED: _AWAY,
    ErrorCode.OUR_FAULT: Reason(
        "a fault of hubspot-sync", "Report it, with what sync-one ID -v says."
    ),
    ErrorCode.PROPERTY_MISSING: Reason("a custom property is missing", "Run create-properties."),
    ErrorCode.PROPERTY_REQUIRED: Reason(
        "HubSpot requires another property", "Make that property optional in HubSpot."
    ),
    ErrorCode.QUERY_TIMED_OUT: _DATABASE_AWAY,
    ErrorCode.RATE_LIMIT: _LIMITS,
    ErrorCode.RESERVE_REACHED: _LIMITS,
    ErrorCode.ROW_LOCKED: _DATABASE_AWAY,
    ErrorCode.ROW_REFUSED: _REFUSED_BY_DATABASE,
    ErrorCode.ROWS_REFUSED: _REFUSED_BY_DATABASE,
    ErrorCode.SCOPES_MISSING: _TOKEN,
    ErrorCode.TABLE_LACKS_COLUMN: _DATABASE_AWAY,
    ErrorCode.TABLE_MISSING: _DATABASE_AWAY,
    ErrorCode.TABLE_UNFIT: _DATABASE_AWAY,
    ErrorCode.TOKEN_REFUSED: _TOKEN,
    ErrorCode.WORKER_DIED: Reason("its worker died", COMES_BACK),
    ErrorCode.WORKER_DIED_EACH_TIME: Reason(
        "its worker died each time", "Read those runs' logs; then sync-one ID -v."
    ),
}

_ADDRESS_REFUSED = Reason("HubSpot does not take the email address", _CORRECT)
_REFUSED = Reason("HubSpot refuses it", _CORRECT)
_UNTOLD = Reason("no reason given", _CORRECT)

_INVALID_EMAIL = "INVALID_EMAIL"

_LABEL = re.compile(r"\[(?P<code>[A-Z_]+)(?:: (?P<refusal>\w+)(?: on (?P<name>\w+))?)?\]")
_LABEL_PART = re.compile(r"\w{1,60}", re.ASCII)
_VARYING = re.compile(r"\d+|'[^']*'|\"[^\"]*\"|\S+@\S+")


def label_of(message: Message) -> str:
    """Return what a row's error begins with, in brackets: code, HubSpot's own code, property."""
    refusal, name = _refusal_in(message)
    return f"{message.code}{f': {refusal}' if refusal else ''}{f' on {name}' if name else ''}"


def reason_of(error: str) -> Reason:
    """Return why a contact failed, from its row: in words that it shares with others of its kind.

    A text without a label is another program's, or of a version that wrote none.
    """
    label = _LABEL.match(error)
    if label is None or label["code"] not in ErrorCode.__members__:
        return _by_first_words(error)
    return _reason(ErrorCode(label["code"]), label["refusal"], label["name"], error)


def reason_for(message: Message | None) -> Reason:
    """Return the reason that `reason_of` returns once the message stands in a row."""
    if message is None:
        return _by_first_words("")
    return _reason(message.code, *_refusal_in(message), message)


def reasons() -> Iterable[Reason]:
    """Return all reasons; `…` stands for what HubSpot's code and property add to one."""
    refused = replace(_REFUSED, words=f"{_REFUSED.words}…")
    not_sent = replace(_REFUSED, words="a value that … cannot take")
    return dict.fromkeys([*_REASONS.values(), _ADDRESS_REFUSED, not_sent, refused, _UNTOLD])


def _refusal_in(message: Message) -> tuple[str | None, str | None]:
    """Return HubSpot's code and property; what is no plain word would make the label ambiguous."""
    refusal, name = message.data.get("hubspot_code"), message.data.get("property_name")
    if message.code in _REASONS or not _is_plain(refusal):
        return None, None
    return str(refusal), str(name) if _is_plain(name) else None


def _is_plain(text: object) -> bool:
    return isinstance(text, str) and _LABEL_PART.fullmatch(text) is not None


def _reason(code: ErrorCode, refusal: str | None, name: str | None, text: str) -> Reason:
    if known := _REASONS.get(code):
        return known
    if code is ErrorCode.VALUE_CANNOT_BE_SENT and name:
        return replace(_REFUSED, words=f"a value that {name} cannot take"[:60])
    if code is not ErrorCode.HUBSPOT_REFUSED:
        return _by_first_words(text)
    if refusal == _INVALID_EMAIL:
        return _ADDRESS_REFUSED
    told = f": {refusal}{f' on {name}' if name else ''}" if refusal else ""
    return replace(_REFUSED, words=f"{_REFUSED.words}{told}"[:60])


def _by_first_words(text: str) -> Reason:
    words = _VARYING.sub("…", text)[:60]
    return replace(_UNTOLD, words=words) if words else _UNTOLD
