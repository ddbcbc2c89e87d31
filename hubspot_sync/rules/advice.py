"""From an error's text in the table to its reason in a few words, and what to do about it.

The texts are our own (`mapping.email_fault`, `reaction`, the lanes, `worker`), so that failures can
be grouped without a column for it. To add a reason, add a line to `_REASONS`: the first whose
pattern the text begins with counts, so that what a stranger wrote into a contact decides nothing.
"""

import re
from dataclasses import dataclass


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

_REASONS = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (
            r"HubSpot refuses every contact alike|The mapping rejects every contact alike",
            Reason("refused like all others", "See the last run's mail, and doctor."),
        ),
        (
            r"HubSpot holds as many contacts",
            Reason(
                "the HubSpot account is full", "Delete contacts in HubSpot, or raise the limit."
            ),
        ),
        (
            r"HubSpot refused the contact: .*An administrator requires",
            Reason("HubSpot requires another property", "Make that property optional in HubSpot."),
        ),
        (r"The contact has no email", Reason("no email address", _CORRECT)),
        (r"The email address cannot be one", Reason("not an email address", _CORRECT)),
        (r"The email address is a placeholder", Reason("a placeholder address", _CORRECT)),
        (
            r"Its worker died at each",
            Reason("its worker died each time", "Read those runs' logs; then sync-one ID -v."),
        ),
        (r"Its worker died", Reason("its worker died", COMES_BACK)),
        (
            r"hubspot-sync could not handle",
            Reason("a fault of hubspot-sync", "Report it, with what sync-one ID -v says."),
        ),
        (
            r"HubSpot does not accept the token|HubSpot does not let the token",
            Reason("the token was refused", "Set a valid token with its scopes; run doctor."),
        ),
        (
            r"HubSpot has no contact property",
            Reason("a custom property is missing", "Run create-properties."),
        ),
        (
            r"HubSpot's daily limit|\d+ of the portal's|The portal's rate",
            Reason("HubSpot's limits were used up", COMES_BACK),
        ),
        (
            r"HubSpot answers, but takes no writes|HubSpot gives no usable answer",
            Reason("HubSpot took no writes", COMES_BACK),
        ),
        (
            r"(?!HubSpot refused the contact).*, though it answers other requests",
            Reason("HubSpot stumbles over it", "Look at its name and phone for odd characters."),
        ),
        (
            r"HubSpot is down|HubSpot asks to come back|the run was asked to end|the lease is n",
            Reason("HubSpot was away, or the run was stopped", COMES_BACK),
        ),
        (
            r"The database refuses",
            Reason("the database refuses it", "Look at the table's constraints and triggers."),
        ),
        (r"The database", Reason("the database was away", COMES_BACK)),
    )
)

_BLOCKED = re.compile(r"\bgdpr[ _-]?(blacklist|block)", re.IGNORECASE)
_REFUSAL = re.compile(
    r"HubSpot refused the contact: (?:(?P<name>\w+): )?(?:.*?\((?P<code>[A-Z_0-9]+)\))?"
)
_NOT_SENT = re.compile(r"The value of .+? cannot be sent to (?P<name>\w+): ")
_VARYING = re.compile(r"\d+|'[^']*'|\"[^\"]*\"|\S+@\S+")


def reason_of(error: str) -> Reason:
    """Return why a contact failed, in words that it shares with others of its kind."""
    for pattern, reason in _REASONS:
        if pattern.match(error):
            return reason
    if not_sent := _NOT_SENT.match(error):
        return Reason(f"a value that {not_sent['name']} cannot take"[:60], _CORRECT)
    refusal = _REFUSAL.match(error)
    if refusal:
        return _refusal(error, refusal["name"], refusal["code"])
    return Reason(_VARYING.sub("…", error)[:60] or "no reason given", _CORRECT)


def _refusal(error: str, name: str | None, code: str | None) -> Reason:
    if _BLOCKED.search(error):
        advice = "Leave it, or skip it: HubSpot never takes it again."
        return Reason("blocked in HubSpot (GDPR)", advice)
    if code == "INVALID_EMAIL":
        return Reason("HubSpot does not take the email address", _CORRECT)
    # The code stands last, and the column may have cut it off.
    place = f" on {name}" if name else ""
    return Reason(f"HubSpot refuses it{f': {code}' if code else ''}{place}"[:60], _CORRECT)
