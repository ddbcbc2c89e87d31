"""What `doctor`, `status` and `create-properties` find."""

from collections.abc import Sequence

from hubspot_sync.codes import ErrorCode
from hubspot_sync.sentences.form import Form, Forms, counted


def _contacts_left_behind(*, count: int, **_: object) -> str:
    left = counted(count, "1 contact was", f"{count:,} contacts were")
    them = counted(count, "it", "them")
    return f"{left} left by a run that died; the next run takes {them} over."


def _setting_ignored(*, name: str, place: str, meant: str | None = None, **_: object) -> Form:
    fix = f"Did you mean {meant}?" if meant else "Remove it, or see the README"
    return Form(f"{name} in the {place} is not a setting; it is ignored", fix)


def _rights_missing(*, rights: Sequence[str], table: str, **_: object) -> Form:
    return Form(
        f"no {' and no '.join(rights)}",
        f"GRANT SELECT, UPDATE ON {table} TO the user in DATABASE_URL;",
    )


_ALTER_COLUMN = "Alter the column; the README says what each is for"
_SCOPES = "In HubSpot: Settings, Integrations, the private app or service key, Scopes"

FORMS: Forms = {
    ErrorCode.API_KEY_PLACEHOLDER: Form(
        "HUBSPOT_API_KEY is the example's", "Set it to a token of your portal"
    ),
    ErrorCode.CLOCKS_APART: Form(
        "{skew} between the database's and this machine's",
        "Let both machines keep their clocks by NTP. Leases are safe: the database's counts",
    ),
    ErrorCode.COLUMNS_MISSING: Form(
        "{table} lacks {columns}", "Add what is missing, or correct DATABASE_URL"
    ),
    ErrorCode.COLUMN_LACKS_LABELS: Form("{column} does not take {labels}", _ALTER_COLUMN),
    ErrorCode.COLUMN_NOT_NULL: Form("{column} does not take NULL", _ALTER_COLUMN),
    ErrorCode.COLUMN_NULLABLE: Form(
        "{column} takes NULL, which no program that counts in it expects", _ALTER_COLUMN
    ),
    ErrorCode.COLUMN_TOO_SHORT: Form(
        "{column} takes {length} characters, fewer than {least}", _ALTER_COLUMN
    ),
    ErrorCode.COLUMN_TYPE_WRONG: Form("{column} is {kind}, not {wanted}", _ALTER_COLUMN),
    ErrorCode.CONTACTS_LEFT_BEHIND: _contacts_left_behind,
    ErrorCode.CRON_STOPPED: (
        "Cron seems to have stopped, its runs stop at once, or another program keeps the rows "
        "locked: contact {contact} has waited {waited}, and nothing was delivered since. Look at "
        "the crontab and its log."
    ),
    ErrorCode.DATABASE_IS_REPLICA: Form(
        "this is a replica", "Point DATABASE_URL at the primary server"
    ),
    ErrorCode.DATABASE_TOO_OLD: Form(
        "PostgreSQL {version}", "Upgrade to PostgreSQL {oldest} or newer"
    ),
    ErrorCode.FILE_NOT_WRITABLE: Form(
        "this user may not write {paths}",
        "Run as the user who owns the file, or give the program's user both",
    ),
    ErrorCode.INDEXES_IMPOSSIBLE: "none can be made on {kind}",
    ErrorCode.INDEXES_MISSING: Form(
        "missing: {indexes}", "Let the table's owner run hubspot-sync init-db --indexes"
    ),
    ErrorCode.METRICS_FOLDER_CLOSED: Form(
        "the folder of HUBSPOT_SYNC_METRICS_FILE, {path}, cannot be written",
        "Let this user write to it, or make it",
    ),
    ErrorCode.NOT_CHECKED: "not without {what}",
    ErrorCode.NO_MONITORS: "none; nobody hears if cron stops",
    ErrorCode.PROPERTY_DIFFERS: Form(
        "{name}: {differences}", "Correct it in HubSpot (Settings, Properties), or name another"
    ),
    ErrorCode.PROPERTY_FIELD_TYPE: "field type is {found}, not {wanted}",
    ErrorCode.PROPERTY_JUST_CREATED: "someone else has just created it",
    ErrorCode.PROPERTY_LACKS_OPTIONS: "it lacks the options {options}",
    ErrorCode.PROPERTY_READ_ONLY: "it is read-only, so it is not filled",
    ErrorCode.PROPERTY_RESTORED: "it was archived: its old values come back with it",
    ErrorCode.PROPERTY_TYPE: "type is {found}, not {wanted}",
    ErrorCode.PROPERTY_UNFIT: Form(
        "{fault}", "Do what it says, in the mapping or in HubSpot (Settings, Properties)"
    ),
    ErrorCode.QUEUE_TOO_LONG: (
        "The queue is longer than cron's runs take: contact {contact} has waited {waited}. Run "
        "sync-queue --drain, or raise HUBSPOT_SYNC_SCHEDULER_BATCH_SIZE. If this contact alone "
        "stays, 'sync-one {contact}' says why."
    ),
    ErrorCode.QUOTA_LOW: Form(
        "{remaining:,} of {most:,} requests left today",
        "Wait for midnight in the portal's time zone, or find what uses them up",
    ),
    ErrorCode.QUOTA_UNKNOWN: "HubSpot does not tell the day's quota",
    ErrorCode.RIGHTS_MISSING: _rights_missing,
    ErrorCode.ROWS_MAY_BE_HIDDEN: Form(
        "enabled on {table}; it may hide contacts from this user, which are never sent then",
        "CREATE POLICY hubspot_sync ON {table} TO {user} USING (true) WITH CHECK (true); or, "
        "where a restrictive policy stands against it, ALTER ROLE {user} BYPASSRLS;",
    ),
    ErrorCode.SCOPES_NOT_GRANTED: Form("missing: {scopes}", _SCOPES),
    ErrorCode.SCOPES_UNKNOWN: "HubSpot does not tell them: {trouble}",
    ErrorCode.SETTING_IGNORED: _setting_ignored,
    ErrorCode.TABLE_NOT_LOCKABLE: Form(
        "{table} is {kind}, whose rows the sync cannot lock",
        "Point DATABASE_URL, or its user's search_path, at the table behind it",
    ),
    ErrorCode.TABLE_TAKES_NO_UPDATE: Form(
        "{table} takes no update ({why})",
        "Drop its rules for UPDATE, or make them triggers; let no column that the sync writes be "
        "generated; give it the REPLICA IDENTITY that its publications need",
    ),
    ErrorCode.TIME_ZONE_NOT_UTC: Form(
        "{column} keeps no zone, and sessions are in {zone}",
        "Let the app write UTC: ALTER DATABASE … SET timezone TO 'UTC';",
    ),
    ErrorCode.TRANSACTIONS_READ_ONLY: Form(
        "this user's transactions are read-only",
        "ALTER ROLE … SET default_transaction_read_only = off, or ask who runs the server",
    ),
}
