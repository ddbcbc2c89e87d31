"""Settings and usage: nothing was done."""

from collections.abc import Sequence

from hubspot_sync.codes import ErrorCode
from hubspot_sync.sentences.form import Form, Forms

_DATABASE_ADDRESS = (
    "a PostgreSQL address (postgresql://user:password@host:5432/database) or a file "
    "(sqlite:///contacts.db)."
)

_MAY_BE = {
    "HUBSPOT_PORTAL_ID": "a number, or nothing",
    "HUBSPOT_API_BASE_URL": ("an https:// address (http:// on this machine only), without a path"),
    "HUBSPOT_API_VERSION": "v3, or a dated version such as 2026-09",
    "HUBSPOT_SYNC_RETRY_EXPONENTIAL": "true or false",
    "HUBSPOT_SYNC_MAIL": "stops or failures",
    "HUBSPOT_SYNC_MAPPING": "the path of a TOML file, or nothing",
    "HUBSPOT_SYNC_NAME": "letters, digits, blanks, dots, - and _, at most 40 of them, or nothing",
    "HUBSPOT_SYNC_METRICS_FILE": "an absolute path that ends in .prom, or nothing",
}
_PROPERTY_NAME = (
    "HubSpot's internal name of a property of your own: lower-case letters, digits and _, "
    "beginning with a letter"
)


def _setting_wrong(
    *, setting: str, value: str, least: int | None = None, most: int | None = None, **_: object
) -> str:
    may_be = _MAY_BE.get(setting, _PROPERTY_NAME)
    if least is not None:
        may_be = f"a whole number from {least} to {most}"
    return f"{setting} is {value}; it must be {may_be}."


def _column_missing(
    *, place: str, table: str, column: str, is_of_queue: bool = False, **_: object
) -> Form:
    fix = "Correct the column's name, or DATABASE_URL"
    if is_of_queue:
        fix = f"{fix}; 'hubspot-sync init-db --queue-columns' shows how to add it"
    return Form(f"{place}: the table '{table}' has no column {column}", fix)


def _settings_wrong(*, faults: Sequence[str], **_: object) -> str:
    return "\n".join(faults)


def _key_file_unreadable(*, setting: str, value: str, why: str | None = None, **_: object) -> str:
    return (
        f"{setting} is {value}, which cannot be read ({why or 'it is not text'}); it must name a "
        "file that holds the private app token or service key alone."
    )


def _email_ambiguous(*, count: int, email: str, contacts: Sequence[object], **_: object) -> str:
    more = f" and {count - len(contacts):,} more" if count > len(contacts) else ""
    return (
        f"{count:,} contacts have the email {email}: {', '.join(map(str, contacts))}{more}. "
        "Nothing was done; name the one that you mean by its id."
    )


FORMS: Forms = {
    ErrorCode.API_KEY_EMPTY: (
        "HUBSPOT_API_KEY is empty: set it to a private app token or service key of your "
        "HubSpot portal."
    ),
    ErrorCode.API_KEY_FILE_EMPTY: (
        "The file that {setting} names is empty: put the private app token or service key of "
        "your HubSpot portal into it."
    ),
    ErrorCode.API_KEY_FILE_UNREADABLE: _key_file_unreadable,
    ErrorCode.API_KEY_MALFORMED: (
        "{setting} holds blanks or characters that no token has; copy the private app token or "
        "service key again."
    ),
    ErrorCode.API_KEY_SET_TWICE: "{setting} and {setting}_FILE are both set: keep one of them.",
    ErrorCode.APPLY_ALONE: "--apply adds the columns that --queue-columns prints: name both.",
    ErrorCode.CHECK_WITH_DEFAULT: (
        "--check reads a file and --print-default prints one: use one of them."
    ),
    ErrorCode.CONTACTS_NOT_THERE: (
        "There is no contact {contacts}. Nothing was done. An address goes after --email."
    ),
    ErrorCode.CONTACT_HELD: (
        "a run holds it, or died holding it, until {ends:%H:%M:%S} UTC at the latest"
    ),
    ErrorCode.CONTACT_ID_MALFORMED: (
        "The database does not take what was asked for ({words}). Name contacts as the columns of "
        "'{table}' hold them, or by their email."
    ),
    ErrorCode.CONTACT_NOT_SENT: "Contact {contact} was not sent: {reason}.",
    ErrorCode.CONTACT_NOT_THERE: (
        "There is no contact {contact} in the table '{table}'. Look for it by its email, or "
        "check that DATABASE_URL names the right database."
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
    ErrorCode.DATABASE_URL_MALFORMED: Form(
        "DATABASE_URL is not an address: what follows the host's colon must be a number, and "
        "an IPv6 address stands in square brackets",
        "Correct DATABASE_URL",
    ),
    ErrorCode.DATABASE_URL_NO_ADDRESS: (
        f"{{setting}} is not an address; it must be {_DATABASE_ADDRESS}"
    ),
    ErrorCode.DATABASE_URL_UNSUPPORTED: (
        f"{{setting}} begins with {{scheme}}; it must be {_DATABASE_ADDRESS}"
    ),
    ErrorCode.DOMAIN_NOT_MAPPED: (
        "--domain-id selects by the column domain_id, which the mapping of '{table}' does not "
        "read. Name the contacts, or select by --email, --status or --all."
    ),
    ErrorCode.DRAIN_WITH_LIMIT: "--drain takes all that is due: use it or --limit, but not both.",
    ErrorCode.DRY_RUN_WITH_REPORT: "--report and --quiet are for runs, and a dry run is none.",
    ErrorCode.EMAIL_AMBIGUOUS: _email_ambiguous,
    ErrorCode.EMAIL_NOT_THERE: (
        "No contact has the email {email}. Check that it is spelt as in the table, and that "
        "DATABASE_URL names the right database."
    ),
    ErrorCode.EMPTY_RESET: "Name contacts, or --status, or --all: exactly one of the three.",
    ErrorCode.EMPTY_SELECTION: (
        "Name contacts, or --email, --status, --domain-id or --all: exactly one of these."
    ),
    ErrorCode.ENV_FILE_MISSING: "--env-file {path}: there is no such file.",
    ErrorCode.ENV_FILE_NO_TEXT: "The settings file {path} is not text in UTF-8: write it again.",
    ErrorCode.ENV_FILE_UNREADABLE: (
        "The settings file {path} cannot be read ({why}): let the program's user read it, or "
        "run as that user."
    ),
    ErrorCode.FOLDER_CLOSED: (
        "The current folder cannot be entered ({why}), so no .env is looked for: change to "
        "another folder, or name the settings file with --env-file (/dev/null for none)."
    ),
    ErrorCode.HEARTBEAT_URL_ENDS_IN_KIND: (
        "{setting} ends in {kind}; it must be the ping URL alone; runs add that themselves."
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
    ErrorCode.MAPPING_COLUMN_CLOSED: Form(
        "{place}: this user may not read the column {column} of '{table}'",
        "GRANT SELECT ON {table} TO the user in DATABASE_URL;",
    ),
    ErrorCode.MAPPING_COLUMN_MISSING: _column_missing,
    ErrorCode.MAPPING_FAULT: "{fault}",
    ErrorCode.MAPPING_KEY_NOT_UNIQUE: Form(
        "{place}: '{table}' has no primary key or unique index on {key} alone",
        "Name a column that has one, or let the table's owner make it: "
        "CREATE UNIQUE INDEX ON {table} ({key});",
    ),
    ErrorCode.MAPPING_TABLE_MISSING: Form(
        "{place}: there is no table '{table}' in the database",
        "Correct the table's name, or DATABASE_URL",
    ),
    ErrorCode.MAPPING_UNREADABLE: (
        "The mapping {path} cannot be read ({why}); it must be a TOML file."
    ),
    ErrorCode.MAPPING_WITH_PROPERTY_SETTING: (
        "{name} is set, and renames a property of the built-in mapping alone: remove it, or "
        "HUBSPOT_SYNC_MAPPING, which is {path}."
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
    ErrorCode.SCHEMA_CLOSED: Form(
        "The schema '{schema}' has a table '{table}', but this user may not use that schema",
        "GRANT USAGE ON SCHEMA {schema} TO the user in DATABASE_URL;",
    ),
    ErrorCode.SETTINGS_WRONG: _settings_wrong,
    ErrorCode.SETTING_MISSPELT: Form(
        "{name} in the {place} is not a setting",
        "Did you mean {meant}? Correct the name, or remove it",
    ),
    ErrorCode.SETTING_UNKNOWN: Form(
        "{name} in the {place} is not a setting, and its prefix is ours",
        "Remove it, or look up the name in the README",
    ),
    ErrorCode.SETTING_WRONG: _setting_wrong,
    ErrorCode.TABLE_CANNOT_BE_INDEXED: (
        "'{table}' is {kind}, which has no indexes for a claim. Point DATABASE_URL, or its "
        "user's search_path, at the table behind it; the sync needs that, too."
    ),
    ErrorCode.TABLE_LACKS_COLUMN: Form(
        "The table '{table}' lacks a column that the sync needs ({words})",
        "Point DATABASE_URL at the right database, correct the name in the mapping, or add the "
        "column; 'hubspot-sync init-db --queue-columns' prints how to add those of the queue",
    ),
    ErrorCode.TABLE_MISSING: Form(
        "There is no table '{table}' in the database",
        "Point DATABASE_URL at the app's database, or run 'hubspot-sync init-db' to make the "
        "table in it",
    ),
    ErrorCode.TABLE_NOT_MADE: Form(
        "There is no table '{table}' in the database, and init-db makes none but the built-in "
        "mapping's",
        "Make it as your app has it, then run 'hubspot-sync init-db --queue-columns'; or correct "
        "DATABASE_URL",
    ),
    ErrorCode.TABLE_UNFIT: Form(
        "The database cannot do with '{table}' what the sync needs ({words})",
        "Point DATABASE_URL at the table itself, not at a view; where it is the table, "
        "look at its rules, generated columns and publications. 'hubspot-sync doctor' says what "
        "it is",
    ),
}
