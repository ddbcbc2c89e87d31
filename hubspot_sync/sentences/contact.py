"""A contact's own error, as its row holds it, and what HubSpot's answers are called."""

from hubspot_sync.codes import EmailFault, ErrorCode
from hubspot_sync.sentences.form import Forms

_EMAIL_FAULTS = {
    EmailFault.AT: "an address has one @ with something on either side",
    EmailFault.BLANK: "an address has no blanks or control characters",
    EmailFault.DOT: "the part after the @ has a dot",
    EmailFault.LENGTH: "an address has {most} characters at most",
}


def _email_cannot_be_one(*, fault: EmailFault, **data: object) -> str:
    told = _EMAIL_FAULTS[fault].format_map(data)
    return f"The email address cannot be one: {told}. Correct it and mark the contact again."


def _database_refused(*, why: str, hubspot_contact_id: str | None = None, **_: object) -> str:
    has_it = f" HubSpot has the contact as {hubspot_contact_id}." if hubspot_contact_id else ""
    return (
        f"The database refuses to store the result ({why}).{has_it} Look at the table's "
        "constraints and triggers, then mark the contact again."
    )


def _contact_stumbled(*, trouble: object, words: str = "", **_: object) -> str:
    told = f"; its words: {words}" if words else ""
    return f"{trouble}, though it answers other requests{told}"


FORMS: Forms = {
    ErrorCode.ACCOUNT_FULL: (
        "HubSpot holds as many contacts as the account's subscription allows: delete contacts "
        "there, or raise the limit; the contact keeps its attempts. {refusal}"
    ),
    ErrorCode.ADDRESS_BLOCKED: "HubSpot refused the contact: {words}",
    ErrorCode.ANSWER_ENDLESS: "HubSpot's answer does not end",
    ErrorCode.ANSWER_INCOMPLETE: "HubSpot's answer lacks what was asked for ({what})",
    ErrorCode.ANSWER_REDIRECTED: "HubSpot answered with a redirect (HTTP {status}); not followed",
    ErrorCode.ANSWER_UNUSABLE: "HubSpot answered HTTP {status}",
    ErrorCode.CONNECTION_BROKE: "the connection to HubSpot at {place} broke ({why})",
    ErrorCode.CONTACT_NOT_MENTIONED: (
        "HubSpot's answer does not mention this contact; a run looks it up alone."
    ),
    ErrorCode.CONTACT_STUMBLED: _contact_stumbled,
    ErrorCode.CONTRADICTION: "HubSpot contradicted itself at each step; its last words: {words}",
    ErrorCode.DATABASE_REFUSED: _database_refused,
    ErrorCode.EMAIL_CANNOT_BE_ONE: _email_cannot_be_one,
    ErrorCode.EMAIL_PLACEHOLDER: (
        "The email address is a placeholder: it matches {pattern} of reject_emails in the mapping. "
        "Correct it and mark the contact again, or take the pattern out."
    ),
    ErrorCode.HOLDS_IT_ALREADY: "HubSpot holds it already: {words}",
    ErrorCode.HUBSPOTS_WORDS: "{words}",
    ErrorCode.HUBSPOT_REFUSED: "HubSpot refused the contact: {words}",
    ErrorCode.LEASE_ENDING: "the lease is nearly over",
    ErrorCode.NOT_CONFIRMED: "{end} before HubSpot confirmed it",
    ErrorCode.NOT_HUBSPOTS_ANSWER: (
        "an answer that is not HubSpot's came back (HTTP {status}, not JSON)"
    ),
    ErrorCode.NO_ANSWER_IN_TIME: "HubSpot at {place} did not answer within {seconds:g} seconds",
    ErrorCode.NO_EMAIL: "The contact has no email address; add one and mark it again.",
    ErrorCode.OUR_FAULT: (
        "hubspot-sync could not handle this contact ({fault}). That is a fault of the program: "
        "run sync-one on it with --verbose, and report what it says."
    ),
    ErrorCode.PROPERTY_REQUIRED: (
        "HubSpot refused the contact: {words}. An administrator requires what the sync does "
        "not send: make the property optional in HubSpot; the contact keeps its attempts"
    ),
    ErrorCode.RUN_ENDING: "the run was asked to end",
    ErrorCode.UNREACHABLE: "HubSpot could not be reached at {place} ({why})",
    ErrorCode.UNREACHABLE_IN_TIME: "HubSpot could not be reached at {place} in time",
    ErrorCode.VALUE_CANNOT_BE_SENT: (
        "The value of {origin} cannot be sent to {property_name}: {why}. Correct it and mark the "
        "contact again, or correct the mapping ({place})."
    ),
    ErrorCode.WORKER_DIED: "Its worker died; it is tried again.",
    ErrorCode.WORKER_DIED_EACH_TIME: (
        "Its worker died at each of {attempts} attempts. Look into the logs of those runs, "
        "then mark the contact again."
    ),
}
