"""The program's messages of trouble: one table from code to sentence, and nowhere else a sentence.

To add a message, add its code to `codes`, its form to `_FORMS`, and its row to docs/messages.md.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from hubspot_sync.codes import ErrorCode


class Form(NamedTuple):
    """A sentence in parts, with `{…}` for data.

    Attributes:
        what: what happened.
        fix: what to do; without it `what` is the whole sentence.
        rest: what becomes of the contacts, which interests a run alone.
    """

    what: str
    fix: str = ""
    rest: str = ""


class Message(str):
    """A sentence about trouble that knows what it was made from.

    Attributes:
        code: what happened, for programs.
        data: the particulars, by name.
        what: the part that says what happened.
        fix: the part that says what to do; empty where it is not a part of its own.

    Raises:
        KeyError: the data lack what the sentence names.
    """

    code: ErrorCode
    data: Mapping[str, Any]
    what: str
    fix: str

    def __new__(cls, code: ErrorCode, **data: Any) -> "Message":
        """Make the sentence of a code from its data."""
        form = _FORMS[code]
        parts = form if isinstance(form, Form) else Form(form if isinstance(form, str) else "")
        what, fix, rest = (part.format_map(data) for part in parts)
        if not isinstance(form, str | Form):
            what = form(**data)
        return cls._made(_joined(what, fix, rest), code, data, what, fix)

    @classmethod
    def _made(
        cls, text: str, code: ErrorCode, data: Mapping[str, Any], what: str, fix: str
    ) -> "Message":
        message = super().__new__(cls, text)
        message.code, message.data, message.what, message.fix = code, data, what, fix
        return message

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy is not made anew from its data: its text may be one that was cut.
        return Message._made, (str(self), self.code, self.data, self.what, self.fix)

    def knowing(self, data: Mapping[str, Any]) -> "Message":
        """Return the same message with more data, which its text does not name."""
        known = dict(self.data) | dict(data)
        return self._made(str(self), self.code, known, self.what, self.fix)

    def as_text(self, text: str) -> "Message":
        """Return the same message in another text, such as one that is cut."""
        return self._made(text, self.code, self.data, self.what, self.fix)


def _joined(what: str, fix: str, rest: str) -> str:
    if not fix:
        return what
    return f"{what}. {fix}; {rest}." if rest else f"{what}. {fix}."


def with_assurance(reason: str) -> str:
    """Return why a run stopped, with what becomes of its contacts.

    Errors do not say it, for other commands touch no queue.
    """
    return f"{reason.rstrip('.')}. The contacts are safe in the queue."


def _counted(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def _come_back_later(*, status: int, resume_at: datetime | None = None, **_: object) -> str:
    when = f"after {resume_at:%Y-%m-%d %H:%M} UTC" if resume_at else "later"
    what = "the account is moving" if status == 477 else "no more requests now"
    return f"HubSpot asks to come back {when} (HTTP {status}: {what})."


def _daily_limit(*, next_day: datetime | None = None, **_: object) -> str:
    return (
        "HubSpot's daily limit is used up; it starts afresh at midnight in the portal's time zone."
        + _until(next_day)
    )


def _reserve_reached(
    *, remaining: int, most: int, percent: int, next_day: datetime | None = None, **_: object
) -> str:
    return (
        f"{remaining} of the portal's {most} requests a day are left: the reserve of {percent} % "
        "that HUBSPOT_SYNC_QUOTA_RESERVE_PERCENT keeps for its other apps." + _until(next_day)
    )


def _until(next_day: datetime | None) -> str:
    if next_day is None:
        return ""
    return f" It can go on at {next_day:%Y-%m-%d %H:%M} UTC, midnight in the portal's time zone."


def _down(*, trouble: object, still: object = None, **_: object) -> str:
    probed = f"; to a small read: {still}" if still else ""
    return (
        f"HubSpot is down or cannot be reached: {trouble}{probed}. See https://status.hubspot.com."
    )


def _scopes_missing(*, scopes: str, words: str, **_: object) -> str:
    fix = (
        f"Give the private app or service key these scopes: {scopes}"
        if scopes
        else f"Check the scopes and the portal of the private app or service key ({words})"
    )
    return f"HubSpot does not let the token do this (403). {fix}."


def _database_refused(*, why: str, hubspot_contact_id: str | None = None, **_: object) -> str:
    has_it = f" HubSpot has the contact as {hubspot_contact_id}." if hubspot_contact_id else ""
    return (
        f"The database refuses to store the result ({why}).{has_it} Look at the table's "
        "constraints and triggers, then mark the contact again."
    )


def _contact_stumbled(*, trouble: object, words: str = "", **_: object) -> str:
    told = f"; its words: {words}" if words else ""
    return f"{trouble}, though it answers other requests{told}"


def _contacts_exhausted(*, count: int, why: str, **_: object) -> str:
    return f"{count:,} {_counted(count, 'stays', 'stay')} in Error until marked again: {why}"


HELD = "held by a run, or left by one that died"


def _contacts_left(*, count: int, contact: object, free_at: str, **_: object) -> str:
    left = _counted(
        count,
        f"Contact {contact} was left as it is",
        f"{count:,} contacts, such as {contact}, were left as they are",
    )
    return f"{left}: {HELD}; free at {free_at} UTC at the latest."


def _skipped_while_held(*, count: int, contact: object, free_at: str, **_: object) -> str:
    which = _counted(count, f"Contact {contact} is", f"{count:,} contacts, such as {contact}, are")
    return (
        f"{which} {HELD}, until {free_at} UTC at the latest: what such a run sends before then "
        "still reaches HubSpot, and nothing after it."
    )


def _contacts_taken_over(*, count: int, **_: object) -> str:
    were = _counted(count, "contact was", "contacts were")
    return (
        f"{count:,} {were} taken over from a run that died, which counts as an attempt. If that "
        "happens often, look for what kills the runs: memory, time-outs, reboots."
    )


def _first_large_run(*, count: int, **_: object) -> str:
    return (
        f"{count:,} {_counted(count, 'contact', 'contacts')} would be the first that go to HubSpot "
        "from here. Look first: new contacts may count as marketing contacts, which HubSpot bills "
        "(Settings, Marketing contacts); and HubSpot may create a company for each email domain "
        "(Settings, Objects, Companies). Try a few with --limit."
    )


def _sync_disabled(*, empty_file_of: str | None = None, **_: object) -> str:
    file = f" The file that {empty_file_of} names is empty." if empty_file_of else ""
    return "HUBSPOT_API_KEY is empty: the sync is disabled. Set it to switch the sync on." + file


_SAFE = "the contacts are safe"
_TAKEN_OVER = "what was not settled is taken over when its lease ends"
_DATABASE_ADDRESS = (
    "a PostgreSQL address (postgresql://user:password@host:5432/database) or a file "
    "(sqlite:///contacts.db)."
)

_FORMS: Mapping[ErrorCode, str | Form | Callable[..., str]] = {
    # Settings and usage
    ErrorCode.API_KEY_EMPTY: (
        "HUBSPOT_API_KEY is empty: set it to a private app token or service key of your "
        "HubSpot portal."
    ),
    ErrorCode.API_KEY_FILE_EMPTY: (
        "The file that {setting} names is empty: put the private app token or service key of "
        "your HubSpot portal into it."
    ),
    ErrorCode.API_KEY_FILE_UNREADABLE: (
        "{setting} is {value}, which cannot be read ({why}); it must name a file that holds "
        "the private app token or service key alone."
    ),
    ErrorCode.API_KEY_MALFORMED: (
        "{setting} holds blanks or characters that no token has; copy the private app token or "
        "service key again."
    ),
    ErrorCode.API_KEY_SET_TWICE: "{setting} and {setting}_FILE are both set: keep one of them.",
    ErrorCode.CONTACTS_NOT_THERE: "There is no contact {contacts}. Nothing was done.",
    ErrorCode.CONTACT_HELD: (
        "a run holds it, or died holding it, until {ends:%H:%M:%S} UTC at the latest"
    ),
    ErrorCode.CONTACT_ID_MALFORMED: (
        "{text} is not a {what}: it must be a UUID such as "
        "6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b, as in the table's column of that name."
    ),
    ErrorCode.CONTACT_NOT_SENT: "Contact {contact} was not sent: {reason}.",
    ErrorCode.CONTACT_NOT_THERE: (
        "There is no contact {contact} in the table '{table}'. Look for it by its email, or "
        "see whether DATABASE_URL names the right database."
    ),
    ErrorCode.CONTACT_ROW_BUSY: "another program holds its row; try again in a moment",
    ErrorCode.CONTACT_ROW_BUSY_OR_HIDDEN: (
        "another program holds its row, or row security keeps this user from changing it; try "
        "again in a moment, then run 'hubspot-sync doctor'"
    ),
    ErrorCode.CONTACT_ROW_REFUSED: (
        "the database refuses to change its row ({why}); look at the table's rules"
    ),
    ErrorCode.CONTACT_SKIPPED: "its decision is Skipped; use --force to send it all the same",
    ErrorCode.CONTACT_WOULD_NOT_BE_SENT: "Contact {contact} would not be sent: {reason}.",
    ErrorCode.COPY_NOT_MADE: (
        "The copy {path} cannot be made ({why}); name another with --backup. Nothing was reset."
    ),
    ErrorCode.DATABASE_URL_AMBIGUOUS: "{setting} has more than one @: write the password's as %40.",
    ErrorCode.DATABASE_URL_MALFORMED: (
        "DATABASE_URL is not an address: what follows the host's colon must be a number, and "
        "an IPv6 address stands in square brackets."
    ),
    ErrorCode.DATABASE_URL_NO_ADDRESS: (
        f"{{setting}} is not an address; it must be {_DATABASE_ADDRESS}"
    ),
    ErrorCode.DATABASE_URL_UNSUPPORTED: (
        f"{{setting}} begins with {{scheme}}; it must be {_DATABASE_ADDRESS}"
    ),
    ErrorCode.DRAIN_WITH_LIMIT: "--drain takes all that is due: use it, or --limit, but not both.",
    ErrorCode.DRY_RUN_WITH_REPORT: "--report and --quiet are for runs, and a dry run is none.",
    ErrorCode.EMAIL_AMBIGUOUS: (
        "{count:,} contacts have the email {email}: {contacts}. Nothing was done; name the one "
        "that you mean by its id."
    ),
    ErrorCode.EMAIL_NOT_THERE: (
        "No contact has the email {email}. See whether it is spelt as in the table, and "
        "whether DATABASE_URL names the right database."
    ),
    ErrorCode.EMPTY_RESET: "Name contacts, or --status, or --all: one of the three, and only one.",
    ErrorCode.EMPTY_SELECTION: (
        "Name contacts, or --email, --status, --domain-id or --all: one of these, and only one."
    ),
    ErrorCode.ENV_FILE_MISSING: "--env-file {path}: there is no such file.",
    ErrorCode.ENV_FILE_NO_TEXT: "The settings file {path} is no text in UTF-8: write it anew.",
    ErrorCode.ENV_FILE_UNREADABLE: (
        "The settings file {path} cannot be read ({why}): let the program's user read it, or "
        "run as that user."
    ),
    ErrorCode.FOLDER_CLOSED: (
        "The current folder cannot be entered ({why}), so no .env is looked for: change to "
        "another folder, or name the settings file with --env-file (/dev/null for none)."
    ),
    ErrorCode.HEARTBEAT_URL_ENDS_IN_KIND: (
        "{setting} ends in {kind}; it must be the ping URL alone, for the runs add that themselves."
    ),
    ErrorCode.HEARTBEAT_URL_MALFORMED: (
        "{setting} is not a ping URL; it must be an http:// or https:// address without "
        "blanks, password, ? or #, such as https://hc-ping.com/ and the check's id."
    ),
    ErrorCode.KEEP_FOLDER_NOT_MADE: (
        "--keep {path}: the folder cannot be made ({why}). Name one that does not exist yet."
    ),
    ErrorCode.LEASE_TOO_SHORT: (
        "HUBSPOT_SYNC_LEASE_MINUTES is {minutes}: with HUBSPOT_TIMEOUT_SECONDS {seconds:.0f} "
        "it must be at least {least}, or a claim could end while its requests still run."
    ),
    ErrorCode.LIMIT_WITH_IDS: (
        "--limit is for --email, --status, --domain-id and --all, not for ids."
    ),
    ErrorCode.NO_TERMINAL: (
        "There is no terminal to ask on: add --yes to go ahead. Nothing was done."
    ),
    ErrorCode.PORT_UNUSABLE: (
        "--port {port} cannot be used: {why}. Name another, or 0 for any that is free."
    ),
    ErrorCode.PROPERTY_NAMES_EQUAL: (
        "HUBSPOT_CUSTOM_PROPERTY_DOMAIN_ID, …_PAGE_ID and …_SYNC_DATE must be three different "
        "names, not {domain_id}, {page_id} and {sync_date}."
    ),
    ErrorCode.REPORT_NOT_WRITABLE: "--report {path} cannot be written ({why}).",
    ErrorCode.SETTINGS_WRONG: "{faults}",
    ErrorCode.SETTING_MISSPELT: (
        "{name} in the {place} is not a setting. Did you mean {meant}? Correct the name, or "
        "remove it."
    ),
    ErrorCode.SETTING_UNKNOWN: (
        "{name} in the {place} is not a setting, and its prefix is ours: remove it, or look up "
        "the name in the README."
    ),
    ErrorCode.SETTING_WRONG: "{setting} is {value}; it must be {may_be}.",
    ErrorCode.TABLE_CANNOT_BE_INDEXED: (
        "'{table}' is {kind}, which has no indexes for a claim. Point DATABASE_URL, or its "
        "user's search_path, at the table behind it; the sync needs that, too."
    ),
    ErrorCode.TABLE_LACKS_COLUMN: (
        "The table '{table}' lacks a column that the sync needs ({words}). Point DATABASE_URL "
        "at the app's database, or add the column."
    ),
    ErrorCode.TABLE_MISSING: (
        "There is no table '{table}' in the database. Point DATABASE_URL at the app's "
        "database, or run 'hubspot-sync init-db' to make the table in it."
    ),
    ErrorCode.TABLE_UNFIT: (
        "The database cannot do with '{table}' what the sync needs ({words}). Point "
        "DATABASE_URL at the table itself, for a view will not do; where it is the table, look "
        "at its rules, generated columns and publications. 'hubspot-sync doctor' says what it is."
    ),
    # The run stopped: HubSpot
    ErrorCode.COME_BACK_LATER: _come_back_later,
    ErrorCode.DAILY_LIMIT: _daily_limit,
    ErrorCode.EVERYONE_REFUSED: (
        "HubSpot refuses every contact alike ({signature}), so the fault is not theirs: look "
        "for a used-up contact quota, a new rule or a required property in HubSpot, or a wrong "
        "property setting. The last refusal: {refusal}"
    ),
    ErrorCode.HUBSPOT_DOWN: _down,
    ErrorCode.HUBSPOT_TAKES_NO_WRITES: (
        "HubSpot answers, but takes no writes: {what} after {what} was refused. The last "
        "refusal: {refusal}"
    ),
    ErrorCode.HUBSPOT_UNUSABLE: (
        "HubSpot gives no usable answer: {trouble}; to a small read: {refusal}."
    ),
    ErrorCode.NOTHING_CONFIRMED: (
        "HubSpot did not confirm within the lease what was sent. It goes out again; where that "
        "is often so, raise HUBSPOT_SYNC_LEASE_MINUTES."
    ),
    ErrorCode.PORTAL_REQUEST_REFUSED: (
        "HubSpot refuses a request about the portal: {words}. Check HUBSPOT_API_BASE_URL, "
        "HUBSPOT_API_VERSION and the property settings."
    ),
    ErrorCode.PROPERTY_MISSING: (
        "HubSpot has no contact property {properties}. Run 'hubspot-sync create-properties' "
        "(or correct the HUBSPOT_CUSTOM_PROPERTY_… settings)."
    ),
    ErrorCode.RATE_LIMIT: Form(
        "The portal's rate limit is used up by other programs ({trouble})",
        "Find them in HubSpot under Development",
    ),
    ErrorCode.RESERVE_REACHED: _reserve_reached,
    ErrorCode.SCOPES_MISSING: _scopes_missing,
    ErrorCode.SIGNAL: "{signal} asked the run to end; what was not sent is queued.",
    ErrorCode.TOKEN_REFUSED: (
        "HubSpot does not accept the token (401). Set HUBSPOT_API_KEY to a valid private app "
        "token or service key."
    ),
    ErrorCode.WRONG_PORTAL: (
        "The token opens portal {opened}, but HUBSPOT_PORTAL_ID is {wanted}. Correct one of "
        "the two; nothing was sent."
    ),
    # The run stopped: the database
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
    ErrorCode.INDEXES_NEED_OWNER: Form(
        "Only the owner of '{table}' can make its indexes ({words})",
        "Run 'hubspot-sync init-db --indexes' once with DATABASE_URL set to the owner's; runs "
        "need no more than SELECT and UPDATE",
    ),
    ErrorCode.QUERY_TIMED_OUT: Form(
        "The database ended a query that took too long ({words})",
        "Run 'hubspot-sync init-db --indexes', or raise the user's statement_timeout",
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
    # A contact's own error
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
        "HubSpot's answer does not speak of this contact; a run looks it up alone."
    ),
    ErrorCode.CONTACT_STUMBLED: _contact_stumbled,
    ErrorCode.CONTRADICTION: "HubSpot contradicted itself at each step; its last words: {words}",
    ErrorCode.DATABASE_REFUSED: _database_refused,
    ErrorCode.EMAIL_CANNOT_BE_ONE: (
        "The email address cannot be one: {fault}. Correct it and mark the contact again."
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
    ErrorCode.WORKER_DIED: "Its worker died; it is tried again.",
    ErrorCode.WORKER_DIED_EACH_TIME: (
        "Its worker died at each of {attempts} attempts. Look into the logs of those runs, "
        "then mark the contact again."
    ),
    # Warnings in the log and in the mail
    ErrorCode.CLAIM_REFUSED: (
        "The database does not let the run claim {count:,} of the contacts, such as {contact} "
        "({why}). Look at the table's constraints, triggers and rules; the others went on."
    ),
    ErrorCode.CONTACTS_EXHAUSTED: _contacts_exhausted,
    ErrorCode.CONTACTS_FAILED: "{count:,} failed and will be tried again: {why}",
    ErrorCode.CONTACTS_LEFT: _contacts_left,
    ErrorCode.CONTACTS_REJECTED: "{count:,} rejected, which no retry can change: {why}",
    ErrorCode.CONTACTS_STOPPED: "{count:,} could not be sent now, and will be tried again: {why}",
    ErrorCode.CONTACTS_TAKEN_OVER: _contacts_taken_over,
    ErrorCode.FILE_EXPOSED: (
        "Every user of this machine can read {path}, which holds secrets: chmod 600 {path}"
    ),
    ErrorCode.FIRST_LARGE_RUN: _first_large_run,
    ErrorCode.HEARTBEAT_UNKNOWN: (
        "The heartbeat's monitor does not know HUBSPOT_SYNC_HEARTBEAT_URL (HTTP {status}). "
        "Copy the ping URL from the monitor again, or take the setting out."
    ),
    ErrorCode.LINES_LEFT_OUT: (
        "{count} lines more are left out: hubspot-sync status counts the contacts by reason."
    ),
    ErrorCode.METRICS_LOCKED: (
        "The metrics file {path} is kept locked by another program, so the numbers of this run "
        "are not in it. Find it with: fuser {path}.lock"
    ),
    ErrorCode.METRICS_NOT_WRITTEN: (
        "The metrics file {path} could not be written ({why}). Let this user write to its "
        "folder, or correct HUBSPOT_SYNC_METRICS_FILE."
    ),
    ErrorCode.METRICS_UNREADABLE: (
        "The metrics file {path} held no metrics; its counters begin at 0."
    ),
    ErrorCode.NO_RUN_SLOT: (
        "No place can be kept: {path} cannot be locked ({why}). Delete it if another user made "
        "it, and let this user write in its folder; the run goes on without."
    ),
    ErrorCode.NO_SETTINGS: (
        "No settings were found: {where}, and no variable is set. The defaults hold; name the "
        "settings file with --env-file."
    ),
    ErrorCode.OUTPUT_CUT: (
        "Standard output could not be written to its end ({why}). The command itself was "
        "carried out; 'hubspot-sync status' tells how the queue stands."
    ),
    ErrorCode.PROPERTY_UNLIKE: (
        "A property that exists is never changed: correct it in HubSpot, or name another."
    ),
    ErrorCode.RENAMES_TOO_SLOW: (
        "{count} contacts get a record of their own, for the database takes too long to say "
        "who shares theirs; run 'hubspot-sync init-db --indexes'"
    ),
    ErrorCode.REPORT_NOT_WHOLE: (
        "--report {path} is not whole: {why}; the run goes on, and the table has every outcome"
    ),
    ErrorCode.RESET_NOT_WHOLE: "The reset is not whole. {path} has what may be erased.",
    ErrorCode.RUN_ACTIVE: (
        "Another run is active, and HUBSPOT_SYNC_SCHEDULER_MAX_INSTANCES allows {allowed}; "
        "nothing to do here."
    ),
    ErrorCode.RUN_STOPPED: "The run stopped: {reason}",
    ErrorCode.SKIPPED_WHILE_HELD: _skipped_while_held,
    ErrorCode.SYNC_DISABLED: _sync_disabled,
    ErrorCode.TOKEN_DENIED: (
        "HubSpot refuses the token, or what it asks for; no contact can be delivered; "
        "correlation id {correlation_id}"
    ),
    # Faults of the program
    ErrorCode.DEMO_FAILED: (
        "The demo's command {command} ended with {exit_code}; what it said is above."
    ),
    ErrorCode.INTERNAL_ERROR: (
        "hubspot-sync met a fault of its own ({fault}). Contacts that it held are taken over "
        "when their lease ends. Run it again with --verbose, and report what it says."
    ),
}
