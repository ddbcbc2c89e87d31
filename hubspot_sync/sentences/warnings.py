"""Warnings in the log and in the mail, and faults of the program."""

from collections.abc import Callable
from pathlib import Path

from hubspot_sync.codes import ErrorCode
from hubspot_sync.sentences.form import Form, Forms, counted


def _group(became: str, became_one: str | None = None) -> Callable[..., str]:
    """Return what tells of contacts with one outcome for one reason, and names one of them."""

    def told(*, count: int, reason: str, contact: object, advice: str = "", **_: object) -> str:
        such_as = counted(count, "contact", "such as contact")
        what = counted(count, became_one or became, became)
        return f"{count:,} {what}: {reason} ({such_as} {contact}). {advice}".rstrip()

    return told


HELD = "held by a run, or left by one that died"


def _contacts_left(*, count: int, contact: object, free_at: str, **_: object) -> str:
    left = counted(
        count,
        f"Contact {contact} was left as it is",
        f"{count:,} contacts, such as {contact}, were left as they are",
    )
    return f"{left}: {HELD}; free at {free_at} UTC at the latest."


def _skipped_while_held(*, count: int, contact: object, free_at: str, **_: object) -> str:
    which = counted(count, f"Contact {contact} is", f"{count:,} contacts, such as {contact}, are")
    return (
        f"{which} {HELD}, until {free_at} UTC at the latest: what such a run sends before then "
        "still reaches HubSpot, and nothing after it."
    )


def _contacts_taken_over(*, count: int, **_: object) -> str:
    were = counted(count, "contact was", "contacts were")
    return (
        f"{count:,} {were} taken over from a run that died, which consumes an attempt. If that "
        "happens often, look for what kills the runs: memory, time-outs, reboots."
    )


def _first_large_run(*, count: int, **_: object) -> str:
    return (
        f"{count:,} {counted(count, 'contact', 'contacts')} would be the first that go to HubSpot "
        "from here. Look first: new contacts may count as marketing contacts, which HubSpot bills "
        "(Settings, Marketing contacts); and HubSpot may create a company for each email domain "
        "(Settings, Objects, Companies). Try a few with --limit."
    )


def _no_settings(*, env_file: Path | None = None, **_: object) -> Form:
    where = f"{env_file} holds none" if env_file else "no .env in this folder holds any"
    return Form(
        f"No settings were found: {where}, and no variable is set",
        "The defaults hold; name the settings file with --env-file",
    )


def _renames_too_slow(*, count: int, is_locked: bool = False, **_: object) -> str:
    get = counted(count, "1 contact gets a new record", f"{count:,} contacts get new records")
    theirs = counted(count, "its record", "their records")
    too_long = f"the database took too long to say whether other rows share {theirs}"
    return f"{get}: {too_long}; {_slow_fix(is_locked=is_locked)}"


def _clearings_too_slow(*, count: int, is_locked: bool = False, **_: object) -> str:
    keep = counted(count, "1 record keeps its values", f"{count:,} records keep their values")
    return (
        f"{keep}, which ours would clear: the database took too long to say whether other rows "
        f"have any; {_slow_fix(is_locked=is_locked)}"
    )


def _slow_fix(*, is_locked: bool) -> str:
    if is_locked:
        return "find out which program keeps the table locked"
    return "run 'hubspot-sync init-db --indexes'"


def _sync_disabled(*, empty_file_of: str | None = None, **_: object) -> Form:
    file = f". The file that {empty_file_of} names is empty" if empty_file_of else ""
    return Form(
        "HUBSPOT_API_KEY is empty: the sync is disabled",
        f"Set it to a private app token or service key to switch the sync on{file}",
    )


FORMS: Forms = {
    ErrorCode.CLAIM_REFUSED: (
        "The database does not let the run claim {count:,} of the contacts, such as {contact} "
        "({why}). Look at the table's constraints, triggers and rules; the others went on."
    ),
    ErrorCode.CLEARINGS_TOO_SLOW: _clearings_too_slow,
    ErrorCode.CONTACTS_EXHAUSTED: _group(
        "stay in Error until marked again", "stays in Error until marked again"
    ),
    ErrorCode.CONTACTS_FAILED: _group("failed and will be tried again"),
    ErrorCode.CONTACTS_LEFT: _contacts_left,
    ErrorCode.CONTACTS_REJECTED: _group("rejected, which no retry can change"),
    ErrorCode.CONTACTS_STOPPED: _group("could not be sent now, and will be tried again"),
    ErrorCode.CONTACTS_TAKEN_OVER: _contacts_taken_over,
    ErrorCode.FILE_EXPOSED: Form(
        "Every user of this machine can read {path}, which holds secrets", "chmod 600 {path}"
    ),
    ErrorCode.FIRST_LARGE_RUN: _first_large_run,
    ErrorCode.HEARTBEAT_UNKNOWN: (
        "The heartbeat's monitor does not know HUBSPOT_SYNC_HEARTBEAT_URL (HTTP {status}). "
        "Copy the ping URL from the monitor again, or take the setting out."
    ),
    ErrorCode.LINES_LEFT_OUT: (
        "{count} more lines are left out: hubspot-sync status counts the contacts by reason."
    ),
    ErrorCode.METRICS_LOCKED: (
        "Another program keeps the metrics file {path} locked, so the numbers of this run "
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
        "No run slot can be held: {path} cannot be locked ({why}). Delete it if another user made "
        "it, and let this user write in its folder; the run goes on without."
    ),
    ErrorCode.NO_SETTINGS: _no_settings,
    ErrorCode.OUTPUT_CUT: (
        "Standard output could not be written in full ({why}). The command itself was "
        "carried out; 'hubspot-sync status' shows the state of the queue."
    ),
    ErrorCode.PROPERTY_UNLIKE: (
        "A property that exists is never changed: correct it in HubSpot, or name another."
    ),
    ErrorCode.RENAMES_TOO_SLOW: _renames_too_slow,
    ErrorCode.REPORT_NOT_WHOLE: (
        "--report {path} is incomplete: {why}; the run goes on, and the table has every outcome"
    ),
    ErrorCode.RESET_NOT_WHOLE: "The reset is incomplete. {path} has what may be erased.",
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
