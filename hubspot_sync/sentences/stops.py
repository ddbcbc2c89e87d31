"""The run stopped: HubSpot or the database refuses, or cannot be reached."""

from datetime import datetime

from hubspot_sync.codes import ErrorCode
from hubspot_sync.sentences.form import Form, Forms


def _come_back_later(*, status: int, resume_at: datetime | None = None, **_: object) -> Form:
    when = f"after {resume_at:%Y-%m-%d %H:%M} UTC" if resume_at else "later"
    what = "the account is moving" if status == 477 else "no more requests now"
    fix = "Try again then" if resume_at else "Try again later"
    return Form(f"HubSpot asks to come back {when} (HTTP {status}: {what})", fix)


def _daily_limit(*, next_day: datetime | None = None, **_: object) -> Form:
    return Form("HubSpot's daily limit is used up", _wait_for(next_day))


def _reserve_reached(
    *, remaining: int, most: int, percent: int, next_day: datetime | None = None, **_: object
) -> Form:
    return Form(
        f"{remaining} of the portal's {most} requests a day are left: the reserve of {percent} % "
        "that HUBSPOT_SYNC_QUOTA_RESERVE_PERCENT keeps for its other apps",
        _wait_for(next_day),
    )


def _wait_for(next_day: datetime | None) -> str:
    if next_day is None:
        return "Wait for midnight in the portal's time zone"
    return f"It can go on at {next_day:%Y-%m-%d %H:%M} UTC, midnight in the portal's time zone"


def _down(*, trouble: object, still: object = None, **_: object) -> Form:
    probed = f"; to a small read: {still}" if still else ""
    return Form(
        f"HubSpot is down or cannot be reached: {trouble}{probed}",
        "See https://status.hubspot.com, and check HUBSPOT_API_BASE_URL and the proxy",
    )


def _portal_request_refused(*, words: str, status: int | None = None, **_: object) -> Form:
    answered = f"HTTP {status}, {words}" if status else words
    return Form(
        f"HubSpot refuses a request about the portal: {answered}",
        "Check HUBSPOT_API_BASE_URL, HUBSPOT_API_VERSION and the property settings",
    )


def _scopes_missing(*, scopes: str, words: str, **_: object) -> Form:
    fix = (
        f"Give the private app or service key these scopes: {scopes}"
        if scopes
        else f"Check the scopes and the portal of the private app or service key ({words})"
    )
    what = "HubSpot does not let the token do this (403)"
    return Form(what, f"{fix}. In HubSpot: Settings, Integrations, Scopes")


_SAFE = "the contacts are safe"
_TAKEN_OVER = "what was not settled is taken over when its lease ends"

FORMS: Forms = {
    # HubSpot
    ErrorCode.COME_BACK_LATER: _come_back_later,
    ErrorCode.DAILY_LIMIT: _daily_limit,
    ErrorCode.EVERYONE_REFUSED: (
        "HubSpot refuses every contact alike ({signature}{place}), so the fault is not theirs: "
        "look for a used-up contact quota, a new rule or a required property in HubSpot, or a "
        "wrong property setting. The last refusal: {refusal}"
    ),
    ErrorCode.EVERYONE_REJECTED: (
        "The mapping rejects every contact alike ({signature}), so the fault is not theirs: "
        "correct the mapping, or what fills the column. The last rejection: {refusal}"
    ),
    ErrorCode.HUBSPOT_DOWN: _down,
    ErrorCode.HUBSPOT_TAKES_NO_WRITES: (
        "HubSpot answers, but takes no writes: {what} after {what} was refused. The last "
        "refusal: {refusal}"
    ),
    ErrorCode.HUBSPOT_UNUSABLE: (
        "HubSpot gives no usable answer: {trouble}; to a small read: {refusal}."
    ),
    ErrorCode.MAPPING_UNFIT: "{unfit}",
    ErrorCode.NOTHING_CONFIRMED: (
        "HubSpot did not confirm within the lease what was sent. It goes out again; if that "
        "happens often, raise HUBSPOT_SYNC_LEASE_MINUTES."
    ),
    ErrorCode.PORTAL_REQUEST_REFUSED: _portal_request_refused,
    ErrorCode.PROPERTY_MISSING: Form(
        "HubSpot has no contact property {properties}",
        "Run 'hubspot-sync create-properties' (or correct its name in the settings or the mapping)",
    ),
    ErrorCode.RATE_LIMIT: Form(
        "The portal's rate limit is used up by other programs ({trouble})",
        "Find them in HubSpot under Development",
    ),
    ErrorCode.RESERVE_REACHED: _reserve_reached,
    ErrorCode.SCOPES_MISSING: _scopes_missing,
    ErrorCode.SIGNAL: "{signal} asked the run to end; what was not sent is queued.",
    ErrorCode.TOKEN_REFUSED: Form(
        "HubSpot does not accept the token (401)",
        "Set HUBSPOT_API_KEY to a valid private app token or service key",
    ),
    ErrorCode.WRONG_PORTAL: Form(
        "The token opens portal {opened}, but HUBSPOT_PORTAL_ID is {wanted}",
        "Correct one of the two",
        "nothing was sent",
    ),
    # The database
    ErrorCode.DATABASE_CONTENDED: Form(
        "The database gave way to other transactions at every try ({words})",
        "The server's log names the statements: let the other program lock rows of '{table}' "
        "in the order of their ids, and migrate while no run is at work",
        _SAFE,
    ),
    ErrorCode.DATABASE_FILE_UNUSABLE: Form(
        "The file of DATABASE_URL cannot be used: {words}",
        "Correct the setting, which unset means a file in the current folder, or run as the "
        "user who owns it; a good place is a folder of the program's own user, such as "
        "sqlite:////var/lib/hubspot-sync/contacts.db",
    ),
    ErrorCode.DATABASE_FULL: Form(
        "The database has no room left ({words})",
        "Free space on its disk",
        _TAKEN_OVER,
    ),
    ErrorCode.DATABASE_LOCKED: Form(
        "Another program has kept the database locked for {seconds:g} seconds",
        "Find out which one holds a transaction open",
        _TAKEN_OVER,
    ),
    ErrorCode.DATABASE_NO_CONNECTION: Form(
        "The database has no connection left ({words})",
        "Raise its limit, or lower HUBSPOT_SYNC_WORKERS: a run needs two more than that",
        _SAFE,
    ),
    ErrorCode.DATABASE_READ_ONLY: Form(
        "The database does not let this user write ({words})",
        "The user in DATABASE_URL needs SELECT and UPDATE on '{table}', on the primary server; "
        "an SQLite file and its folder must be this user's to write, and not be replaced while "
        "a run is at work",
    ),
    ErrorCode.DATABASE_UNAVAILABLE: Form(
        "The database cannot be used now: {words}",
        "Check DATABASE_URL, the server, and the network between",
        _TAKEN_OVER,
    ),
    ErrorCode.FILE_IS_FOLDER: "{path} is a folder",
    ErrorCode.FILE_NOT_ACCESSIBLE: "this user may not read and write {path}",
    ErrorCode.FOLDER_GONE: "the current folder is gone",
    ErrorCode.FOLDER_MISSING: "there is no folder {path}",
    ErrorCode.FOLDER_NOT_ENTERED: "this user may not enter {path}",
    ErrorCode.FOLDER_NOT_WRITABLE: "this user may not write in {path}",
    ErrorCode.COLUMNS_NEED_OWNER: Form(
        "Only the owner of '{table}' can add columns ({words})",
        "Let the owner run what 'hubspot-sync init-db --queue-columns' prints",
    ),
    ErrorCode.INDEXES_NEED_OWNER: Form(
        "Only the owner of '{table}' can make its indexes ({words})",
        "Run 'hubspot-sync init-db --indexes' once with DATABASE_URL set to the owner's; runs "
        "need no more than SELECT and UPDATE",
    ),
    ErrorCode.LOOKUP_UNUSABLE: Form(
        "The lookup {lookup} cannot be read from '{table}' ({words})",
        "GRANT SELECT ON {table} TO the user in DATABASE_URL, or correct the mapping",
        _SAFE,
    ),
    ErrorCode.QUERY_TIMED_OUT: Form(
        "The database ended a query that took too long ({words})",
        "Run 'hubspot-sync init-db --indexes', or raise the user's statement_timeout",
        _SAFE,
    ),
    ErrorCode.QUERY_WAITED_FOR_LOCK: Form(
        "The database ended a query that waited for another program's lock on '{table}' ({words})",
        "Find out which program holds a transaction open, or let its migration end",
        _SAFE,
    ),
    ErrorCode.ROWS_REFUSED: (
        "The database refuses to change row after row, such as that of contact {contact} "
        "({why}). Look at the table's constraints, triggers and rules; the contacts are safe "
        "in the queue."
    ),
    ErrorCode.ROW_LOCKED: Form(
        "Another program keeps a row of '{table}' locked ({words})",
        "Find out which one holds a transaction open",
        _SAFE,
    ),
    ErrorCode.ROW_REFUSED: Form(
        "The database refuses what is to be written into a row of '{table}' ({words})",
        "Look at the table's constraints and triggers, and correct the contact or the rule",
        _TAKEN_OVER,
    ),
}
