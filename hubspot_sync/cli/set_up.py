"""The commands that make what a sync needs: create-properties and init-db."""

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from hubspot_sync.cli.frame import (
    AsJson,
    DryRun,
    EnvFile,
    LogAs,
    Verbose,
    app,
    close_with_command,
    reported,
)
from hubspot_sync.cli.parts import new_pulse, open_client, open_engine, read_settings, source_table
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import WrongUsage
from hubspot_sync.report import DatabaseReport, LogFormat
from hubspot_sync.sentences import Message
from hubspot_sync.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from hubspot_sync.report import Check
    from hubspot_sync.store.source_table import SourceTable


@app.command()
@reported
def create_properties(
    dry_run: DryRun = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
    verbose: Verbose = False,
    log_format: LogAs = LogFormat.TEXT,
) -> int:
    """Create the custom properties in HubSpot. Run it once; again does no harm.

    A property that exists is never changed: where it differs, it is reported, and the exit code
    is 1.

    \b
    Example:
      hubspot-sync create-properties
    """  # noqa: D301
    del verbose, log_format
    from hubspot_sync import console
    from hubspot_sync.hubspot import portal
    from hubspot_sync.report import PropertyState

    settings = read_settings(env_file)
    settings.require_api_key()
    client = open_client(settings, new_pulse())
    close_with_command(client.transport.close)
    reports = portal.create_properties(
        client, settings.mapping, settings.portal_id, dry_run=dry_run
    )
    console.show_properties(reports, as_json=as_json)
    return int(any(each.state is PropertyState.DIFFERS for each in reports))


@app.command()
@reported
def init_db(
    indexes: Annotated[
        bool,
        typer.Option("--indexes", help="Also make the indexes that a long queue wants."),
    ] = False,
    queue_columns: Annotated[
        bool,
        typer.Option(
            "--queue-columns",
            help="Print the statements that add the queue's columns to a table that lacks them.",
        ),
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Run these statements, all or none.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
    verbose: Verbose = False,
    log_format: LogAs = LogFormat.TEXT,
) -> int:
    """Make the contacts table where there is none: for embedded use, without the app.

    With --indexes also make the queue's indexes, on the app's table too, while the app goes on
    writing. They are never made without being asked for.

    The table of a mapping file is your app's: where it is missing, this command makes none. Where
    it lacks the columns that the queue is kept in, --queue-columns prints what adds them, and
    changes nothing; with --apply it runs that.

    \b
    Examples:
      DATABASE_URL=sqlite:///contacts.db hubspot-sync init-db
      hubspot-sync init-db --indexes
      hubspot-sync init-db --queue-columns
      hubspot-sync init-db --queue-columns --apply
    """  # noqa: D301
    del verbose, log_format
    from hubspot_sync import console
    from hubspot_sync.rules.source import is_built_in
    from hubspot_sync.store.database import make_engine

    if apply and not queue_columns:
        raise WrongUsage(ErrorCode.APPLY_ALONE)
    settings = read_settings(env_file)
    engine = make_engine(
        settings.database_url,
        table=settings.source.table,
        create=not dry_run and is_built_in(settings.source),
    )
    close_with_command(engine.dispose)
    made = DatabaseReport(settings.source.table, _make_table(engine, settings, dry_run=dry_run))
    is_there = made.state != "would create"
    if queue_columns:
        made = _with_columns(made, engine, settings, apply=apply and not dry_run)
    if indexes:
        contacts = source_table(settings)
        made = replace(
            made, indexes=_make_indexes(engine, contacts, is_there=is_there, dry_run=dry_run)
        )
    console.show_database(made, as_json=as_json)
    return 0


def _make_table(engine: "Engine", settings: Settings, *, dry_run: bool) -> str:
    """Make the built-in mapping's table where there is none; that of a file is the app's."""
    from hubspot_sync.rules.source import BUILT_IN_SOURCE, is_built_in
    from hubspot_sync.store.embedded import create_table, has_table

    source = settings.source
    if is_built_in(source) and not dry_run:
        return "created" if create_table(engine, BUILT_IN_SOURCE) else "exists"
    if has_table(engine, source):
        return "exists"
    if not is_built_in(source):
        raise WrongUsage(ErrorCode.TABLE_NOT_MADE, table=source.table)
    return "would create"


def _with_columns(
    made: DatabaseReport, engine: "Engine", settings: Settings, *, apply: bool
) -> DatabaseReport:
    from hubspot_sync.store.queue_columns import (
        add_columns,
        missing_queue_columns,
        statement_of,
    )

    names, source = settings.source.queue.names, settings.source
    if made.state == "would create":
        return replace(made, columns=dict.fromkeys(names, "would add"))
    lacking = missing_queue_columns(engine, source)
    if apply and lacking:
        add_columns(engine, source, lacking)
    state = "added" if apply else "would add"
    added = {each.column.name: state for each in lacking}
    return replace(
        made,
        columns=dict.fromkeys(names, "exists") | added,
        statements=tuple(statement_of(engine, each) for each in lacking),
    )


def _make_indexes(
    engine: "Engine", contacts: "SourceTable", *, is_there: bool, dry_run: bool
) -> dict[str, str]:
    from hubspot_sync.store.indexes import (
        create_indexes,
        has_index,
        require_indexable,
        wanted_indexes,
    )

    if not dry_run:
        made = create_indexes(engine, contacts)
        return {name: "created" if is_new else "exists" for name, is_new in made}
    if is_there:
        require_indexable(engine, contacts)
    return {
        each.name: "exists"
        if is_there and has_index(engine, contacts, each.name)
        else "would create"
        for each in wanted_indexes(contacts)
    }


@app.command()
@reported
def doctor(
    as_json: AsJson = False,
    env_file: EnvFile = None,
    verbose: Verbose = False,
    log_format: LogAs = LogFormat.TEXT,
) -> int:
    """Look whether everything is in place, and say how to fix what is not.

    It checks the settings, the database and its table, the token with its scopes and properties,
    the day's quota and the queue, and writes nowhere. What it cannot check it says. The exit code
    is 1 where something is to be fixed, 3 where database or HubSpot cannot be reached.

    \b
    Example:
      hubspot-sync doctor --env-file /etc/hubspot-sync.env
    """  # noqa: D301
    del verbose, log_format
    from hubspot_sync import console
    from hubspot_sync.doctor import exit_code, look_at_settings
    from hubspot_sync.report import Check, CheckState

    settings, checks = look_at_settings(os.environ, env_file)
    if settings:
        console.name_sync(settings.sync_name)
        checks += _check_up(settings)
    else:
        unknown = Message(ErrorCode.NOT_CHECKED, what="right settings")
        checks += [
            Check.of(about, CheckState.UNKNOWN, unknown) for about in ("database", "HubSpot")
        ]
    console.show_checks(checks, as_json=as_json, env_file=env_file)
    return exit_code(checks)


def _check_up(settings: Settings) -> "list[Check]":
    from hubspot_sync.doctor import look_at_portal_health, look_at_queue_health
    from hubspot_sync.hubspot.pace import Pace
    from hubspot_sync.report import Check, CheckState
    from hubspot_sync.store.check_up import look_at_database

    checks: list[Check] = []
    try:
        engine = open_engine(settings)
    except WrongUsage as fault:
        checks += [Check.of("database", CheckState.FIX, fault.message)]
    else:
        checks += look_at_database(engine, source_table(settings), settings.mapping)
        is_there = all(
            check.about != "database" or check.state is CheckState.OK for check in checks
        )
        if is_there:
            checks += look_at_queue_health(settings, engine)
    reached = {check.about for check in checks}
    checks += [
        Check.of(about, CheckState.UNKNOWN, Message(ErrorCode.NOT_CHECKED, what="the database"))
        for about in ("table", "indexes", "queue")
        if about not in reached
    ]
    pulse = new_pulse()
    pace = Pace(pulse)
    client = open_client(settings, pulse, pace)
    close_with_command(client.transport.close)
    return checks + look_at_portal_health(settings, client, pace)
