"""Messages in words of a test's own, and one of each code that the program has."""

import inspect
from collections.abc import Iterable
from datetime import UTC, datetime
from string import Formatter

from hubspot_sync.codes import EmailFault, ErrorCode
from hubspot_sync.sentences import FORMS, Message
from hubspot_sync.sentences.form import Form

LABEL = f"[{ErrorCode.HUBSPOTS_WORDS}] "
"""What messages of `said` begin with in a contact's row."""

FILLED_IN = "…"

_NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
_DATA = {
    "table": "contacts",
    "fault": EmailFault.AT,
    "faults": (FILLED_IN,),
    **dict.fromkeys(("contacts", "rights"), (FILLED_IN,)),
    **dict.fromkeys(("ends", "resume_at", "next_day"), _NOON),
    **dict.fromkeys(("count", "seconds", "remaining", "most", "percent", "status"), 3),
}
"""What is filled in where `…` will not do."""


def said(words: str) -> Message:
    """Return a message of these words."""
    return Message(ErrorCode.HUBSPOTS_WORDS, words=words)


def sample(code: ErrorCode, **data: object) -> Message:
    """Return the message of a code, with `…` for most of its data."""
    usual = {name: _DATA.get(name, FILLED_IN) for name in _names(code)}
    return Message(code, **(usual | data))


def _names(code: ErrorCode) -> Iterable[str]:
    form = FORMS[code]
    if callable(form):
        parameters = inspect.signature(form).parameters.values()
        return [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    parts = form if isinstance(form, Form) else (form,)
    return [name for part in parts for _, name, _, _ in Formatter().parse(part) if name]
