"""The commands: parse, build, call, exit code.

To add a command, write a function with `@app.command()` and `@_reported`. Whatever is slow to
import is imported where it is used: cron starts this program every few minutes.
"""

import functools
import inspect
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from hubspot_sync import __version__
from hubspot_sync.errors import HubSpotSyncError, Refused, WrongUsage
from hubspot_sync.rules.lifecycle import SyncStatus
from hubspot_sync.settings import Settings, exposed, load_settings, read_environment

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from hubspot_sync.clock import Pulse
    from hubspot_sync.hubspot.client import HubSpotClient
    from hubspot_sync.hubspot.pace import Pace
    from hubspot_sync.report import PlannedContact, RunReport
    from hubspot_sync.rules.lifecycle import Row
    from hubspot_sync.run import Plan
    from hubspot_sync.store.contact_queue import ContactQueue
    from hubspot_sync.sync import Sync

app = typer.Typer(
    name="hubspot-sync",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

EnvFile = Annotated[
    Path | None,
    typer.Option("--env-file", help="Settings file; without it, .env in the current folder."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output instead of tables.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only read and tell what would be done; write nowhere.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log each step to standard error.")]


def main() -> None:
    """Run the program."""
    app()


def _reported(command: Callable[..., int | None]) -> Callable[..., None]:
    """Turn what a command returns or raises into what is printed and the exit code."""

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        from hubspot_sync import console

        console.start_logging(verbose=bool(arguments.get("verbose")))
        name = command.__name__.rstrip("_").replace("_", "-")
        try:
            code = command(**arguments)
        except HubSpotSyncError as error:
            console.show_error(name, error, as_json=bool(arguments.get("as_json")))
            code = error.exit_code
        except (typer.Exit, typer.Abort):
            raise
        except Exception as fault:  # noqa: BLE001 - no traceback reaches a user
            console.log_fault(fault)
            own = _own_fault(fault)
            console.show_error(name, own, as_json=bool(arguments.get("as_json")))
            code = own.exit_code
        raise typer.Exit(code or 0)

    # Typer reads the options off the signature.
    run.__signature__ = inspect.signature(command, eval_str=True)  # type: ignore[attr-defined]
    return run


def _own_fault(fault: Exception) -> HubSpotSyncError:
    return HubSpotSyncError(
        f"hubspot-sync met a fault of its own ({type(fault).__name__}). Contacts that it held are "
        "taken over when their lease ends. Run it again with --verbose, and report what it says."
    )


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"hubspot-sync {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Deliver contacts from a database table into HubSpot, without losing one.

    \b
    See it work, without an account, a database or settings:
      hubspot-sync demo
    What cron runs:
      hubspot-sync sync-queue --env-file /etc/hubspot-sync.env
    """  # noqa: D301 - click's own mark for lines to leave alone
    del version


@app.command()
@_reported
def sync_queue(
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Contacts at most; HUBSPOT_SYNC_SCHEDULER_BATCH_SIZE without it."),
    ] = None,
    drain: Annotated[
        bool, typer.Option("--drain", help="Go on until nothing is due, or --max-minutes.")
    ] = False,
    max_minutes: Annotated[
        int | None, typer.Option(min=1, help="Claim nothing more after this time.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=32, help="Batches in flight at once; HUBSPOT_SYNC_WORKERS without it."
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Append every outcome to this file, one JSON document a line."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
    verbose: Verbose = False,
) -> int:
    """Deliver the contacts that are due. This is what cron runs.

    \b
    Examples:
      hubspot-sync sync-queue
      hubspot-sync sync-queue --limit 200 --json
      hubspot-sync sync-queue --drain --max-minutes 50 --report outcomes.jsonl
    """  # noqa: D301
    del verbose
    from hubspot_sync import console
    from hubspot_sync.report import RunReport, RunState
    from hubspot_sync.store.run_places import take_place

    if drain and limit is not None:
        raise WrongUsage("--drain takes all that is due: use it, or --limit, but not both.")
    settings = _settings(env_file)
    if not settings.api_key:
        reason = "HUBSPOT_API_KEY is empty: the sync is disabled. Set it to switch the sync on."
        disabled = RunReport.of_nothing("sync-queue", RunState.DISABLED, reason)
        console.show_run(disabled, as_json=as_json)
        return 0
    if dry_run:
        return _plan_queue(settings, limit or settings.batch_size, as_json=as_json)
    settings = replace(settings, workers=workers or settings.workers)
    plan = _plan(
        settings,
        limit=None if drain else limit or settings.batch_size,
        longest=timedelta(minutes=max_minutes) if max_minutes else None,
    )
    engine = _engine(settings)
    with take_place(engine, settings.database_url, settings.max_instances) as has_place:
        if not has_place:
            reason = (
                "Another run is active, and HUBSPOT_SYNC_SCHEDULER_MAX_INSTANCES allows "
                f"{settings.max_instances}; nothing to do here."
            )
            busy = RunReport.of_nothing("sync-queue", RunState.BUSY, reason)
            console.show_run(busy, as_json=as_json)
            return 0
        return _run(
            settings,
            engine,
            plan,
            lambda sync: sync.run_queue(),
            as_json=as_json,
            report=report,
            reserve_percent=settings.quota_reserve,
        )


@app.command()
@_reported
def sync_one(
    contact_id: Annotated[str, typer.Argument(help="The contact's UUID.")],
    force: Annotated[
        bool, typer.Option("--force", help="Send it even where the decision is Skipped.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
    verbose: Verbose = False,
) -> int:
    """Deliver one contact now, whatever its status.

    \b
    Example:
      hubspot-sync sync-one 6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b
    """  # noqa: D301
    del verbose
    from hubspot_sync import console

    key = _contact_id(contact_id)
    settings = _settings(env_file)
    settings.require_api_key()
    engine = _engine(settings)
    if dry_run:
        queue = _queue(settings, engine)
        row = queue.read_one(key)
        held = queue.reason_to_hold(row, force=force)
        if held:
            raise Refused(f"Contact {key} would not be sent: {held.reason}.")
        planned = _plan_contacts(settings, [row])
        console.show_plan(planned, None, command="sync-one", as_json=as_json)
        return 0
    plan = _plan(settings, limit=1)

    def run_one(sync: "Sync") -> "RunReport":
        return sync.run_one(key, force=force)

    return _run(settings, engine, plan, run_one, as_json=as_json)


@app.command()
@_reported
def create_properties(
    dry_run: DryRun = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
    verbose: Verbose = False,
) -> int:
    """Create the custom properties in HubSpot. Run it once; again does no harm.

    A property that exists is never changed: where it differs, it is reported, and the exit code
    is 1.

    \b
    Example:
      hubspot-sync create-properties
    """  # noqa: D301
    del verbose
    from hubspot_sync import console
    from hubspot_sync.hubspot import portal
    from hubspot_sync.report import PropertyState

    settings = _settings(env_file)
    settings.require_api_key()
    client = _client(settings, _pulse())
    reports = portal.create_properties(
        client, settings.property_names, settings.portal_id, dry_run=dry_run
    )
    console.show_properties(reports, as_json=as_json)
    return int(any(each.state is PropertyState.DIFFERS for each in reports))


@app.command()
@_reported
def reset(
    contact_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[CONTACT_ID]...", help="Contacts to reset.")
    ] = None,
    status: Annotated[
        SyncStatus | None, typer.Option(help="All contacts with this decision.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All contacts that ever took part in a sync.")
    ] = False,
    backup: Annotated[
        Path | None,
        typer.Option(help="Where the copy goes; hubspot-reset-<time>.jsonl without it."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
    verbose: Verbose = False,
) -> int:
    """Bring contacts back to never synced. HubSpot is not touched.

    Statuses, the error, the HubSpot id and our own retry values are erased, after a copy of them
    was written to a file. Contacts that a live run holds are left alone; so are Skipped ones,
    unless they are named or asked for by --status Skipped.

    \b
    Examples:
      hubspot-sync reset 6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b
      hubspot-sync reset --status Error
      hubspot-sync reset --all --dry-run
    """  # noqa: D301
    del verbose
    from hubspot_sync import console
    from hubspot_sync.store.reset_copy import ResetCopy

    ids = [_contact_id(each) for each in contact_ids or []]
    if sum((bool(ids), status is not None, every)) != 1:
        raise WrongUsage("Name contacts, or --status, or --all: one of the three, and only one.")
    settings = _settings(env_file)
    queue = _queue(settings, _engine(settings))
    preview = queue.look_at_reset(ids, status, rows_wanted=console.MOST_ROWS)
    missing = [str(each) for each in ids if each not in preview.found] if ids else []
    if missing:
        raise WrongUsage(f"There is no contact {', '.join(missing)}. Nothing was reset.")
    if not as_json and preview.total:
        console.show_reset(preview.rows, preview.total)
    if dry_run or not preview.total:
        would_reset = preview.total if dry_run else None
        console.show_reset_end(0, preview.held, None, as_json=as_json, would_reset=would_reset)
        return int(bool(preview.held))
    if not yes:
        _confirm(f"Erase this from {preview.total} contacts?")
    copy = ResetCopy(backup or Path(f"hubspot-reset-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.jsonl"))
    try:
        count, held = queue.reset(ids, status, keep_copy=copy.keep)
    finally:
        copy.close()
    console.show_reset_end(count, held, copy.path, as_json=as_json)
    return int(bool(held))


@app.command()
@_reported
def init_db(
    indexes: Annotated[
        bool,
        typer.Option("--indexes", help="Also make the indexes that a long queue wants."),
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
    verbose: Verbose = False,
) -> int:
    """Make the contacts table where there is none: for embedded use, without the app.

    With --indexes also make the queue's indexes, on the app's table too, while the app goes on
    writing. They are never made without being asked for.

    \b
    Examples:
      DATABASE_URL=sqlite:///contacts.db hubspot-sync init-db
      hubspot-sync init-db --indexes
    """  # noqa: D301
    del verbose
    from hubspot_sync import console
    from hubspot_sync.store.database import create_table, has_table, make_engine
    from hubspot_sync.store.due import INDEXES, create_indexes, has_index

    settings = _settings(env_file)
    engine = make_engine(settings.database_url, create=not dry_run)
    made: dict[str, str] = {}
    if dry_run:
        is_there = has_table(engine)
        made["contacts"] = "exists" if is_there else "would create"
        for name, _, _ in INDEXES if indexes else ():
            exists = is_there and has_index(engine, name)
            made[name] = "exists" if exists else "would create"
    else:
        made["contacts"] = "created" if create_table(engine) else "exists"
        for name, is_new in create_indexes(engine) if indexes else ():
            made[name] = "created" if is_new else "exists"
    console.show_database(made, as_json=as_json)
    return 0


@app.command()
@_reported
def demo(
    keep: Annotated[
        Path | None,
        typer.Option(help="Keep the demo's database in this folder, which must not exist yet."),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Show the whole job on sample contacts: no account, no server, nothing to set.

    An embedded database and a local HubSpot (the emulator) are made, used and removed.

    \b
    Example:
      hubspot-sync demo
    """  # noqa: D301
    from hubspot_sync.demo import run_demo

    return run_demo(keep, as_json=as_json, verbose=verbose)


@app.command()
@_reported
def emulator(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes any free port.")] = 8765,
    search_lag: Annotated[
        float, typer.Option(min=0, help="Seconds until search shows a new contact.")
    ] = 1.0,
    burst_limit: Annotated[int, typer.Option(min=1, help="Requests in ten seconds.")] = 100,
    daily_limit: Annotated[int, typer.Option(min=1, help="Requests a day.")] = 250_000,
    latency: Annotated[float, typer.Option(min=0, help="Seconds a request takes.")] = 0.0,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Run the local HubSpot, for your own tests. It keeps its contacts in memory.

    \b
    Example:
      hubspot-sync emulator --port 8765
    """  # noqa: D301
    del verbose
    from hubspot_sync import console
    from hubspot_sync.clock import Ending
    from hubspot_sync.hubspot.emulator import Emulator

    ending = Ending()
    local = Emulator(
        port=port,
        search_lag=search_lag,
        burst_limit=burst_limit,
        daily_limit=daily_limit,
        search_limit=5,
        latency=latency,
    )
    with ending.listen():
        try:
            local.start()
        except OSError as error:
            raise WrongUsage(f"--port {port} cannot be used: {error.strerror}.") from error
        console.show_emulator(local.url, local.token, as_json=as_json)
        ending.sleep(None)
        local.stop()
    return 128 + (ending.signal or 0)


def _settings(env_file: Path | None) -> Settings:
    settings = load_settings(read_environment(os.environ, env_file))
    open_to_all = exposed(env_file)
    if open_to_all:
        from hubspot_sync import console

        console.warn(
            f"Every user of this machine can read {open_to_all}, which holds secrets: "
            f"chmod 600 {open_to_all}"
        )
    return settings


def _contact_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise WrongUsage(
            f"{text[:80]!r} is not a contact id: it must be a UUID such as "
            "6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b, as in the table's column id."
        ) from None


def _engine(settings: Settings) -> "Engine":
    from hubspot_sync.store.database import make_engine

    # One connection a worker, one for the run's place, one to spare.
    return make_engine(settings.database_url, pool_size=settings.workers + 2)


def _queue(settings: Settings, engine: "Engine") -> "ContactQueue":
    from hubspot_sync.store.contact_queue import ContactQueue

    return ContactQueue(engine, policy=settings.retry_policy, lease=settings.lease)


def _pulse() -> "Pulse":
    from hubspot_sync.clock import Ending, Pulse

    ending = Ending()
    return Pulse(ending=ending, sleep=ending.sleep)


def _client(settings: Settings, pulse: "Pulse", pace: "Pace | None" = None) -> "HubSpotClient":
    from hubspot_sync.hubspot.client import HubSpotClient
    from hubspot_sync.hubspot.transport import Transport
    from hubspot_sync.rules.mapping import custom_properties

    names = settings.property_names
    transport = Transport(
        settings.base_url,
        settings.api_key,
        timeout_seconds=settings.request_timeout.total_seconds(),
        custom_properties=[custom.name for custom in custom_properties(names)],
        pulse=pulse,
        pace=pace,
    )
    return HubSpotClient(transport, api_version=settings.api_version, names=names)


def _plan(settings: Settings, *, limit: int | None, longest: timedelta | None = None) -> "Plan":
    from hubspot_sync.run import Plan

    return Plan(
        names=settings.property_names,
        lease=settings.lease,
        attempts=settings.retry_policy.max_retries + 1,
        portal_id=settings.portal_id,
        limit=limit,
        longest=longest,
        workers=settings.workers,
    )


def _run(
    settings: Settings,
    engine: "Engine",
    plan: "Plan",
    start: "Callable[[Sync], RunReport]",
    *,
    as_json: bool,
    report: Path | None = None,
    reserve_percent: int = 0,
) -> int:
    from hubspot_sync import console
    from hubspot_sync.hubspot.pace import Pace
    from hubspot_sync.outcome_file import OutcomeFile
    from hubspot_sync.report import ContactReport, RunState, new_run_id
    from hubspot_sync.sync import Sync

    pulse, run_id = _pulse(), new_run_id()
    # One pace for all workers of the run; a person who sends one contact may use the reserve.
    pace = Pace(pulse, reserve_percent=reserve_percent)
    with ExitStack() as stack:
        file = stack.enter_context(OutcomeFile(report, run_id)) if report else None
        show = stack.enter_context(console.progress())
        stack.enter_context(pulse.ending.listen())

        def on_settled(contact: ContactReport) -> None:
            if file:
                file.note(contact)
            show(contact)

        sync = Sync(
            _queue(settings, engine),
            lambda: _client(settings, pulse, pace),
            plan,
            pulse=pulse,
            run_id=run_id,
            on_settled=on_settled,
        )
        ended = start(sync)
    console.show_run(ended, as_json=as_json)
    is_tick = ended.command == "sync-queue" and plan.limit == settings.batch_size
    if is_tick and not as_json and ended.state is not RunState.STOPPED:
        console.show_wait(ended.due_remaining, settings.batch_size, settings.interval)
    return ended.exit_code


def _plan_queue(settings: Settings, most: int, *, as_json: bool) -> int:
    from hubspot_sync import console

    queue = _queue(settings, _engine(settings))
    plans = _plan_contacts(settings, queue.peek_due(most))
    console.show_plan(plans, queue.count_due(), command="sync-queue", as_json=as_json)
    return 0


def _plan_contacts(settings: Settings, rows: "list[Row]") -> "list[PlannedContact]":
    """Find out what a run would do with contacts, after the look that it would begin with."""
    from hubspot_sync.hubspot.portal import look_at_portal, plan_contact

    if not rows:
        return []
    client = _client(settings, _pulse())
    look_at_portal(client, settings.property_names, settings.portal_id)
    return [plan_contact(client, row.contact) for row in rows]


def _confirm(question: str) -> None:
    import sys

    if not sys.stdin.isatty():
        raise WrongUsage("There is no terminal to ask on: add --yes to go ahead. Nothing was done.")
    typer.confirm(question, abort=True, err=True)
