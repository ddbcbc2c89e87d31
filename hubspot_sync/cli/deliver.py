"""The commands that deliver: sync-queue and sync-one."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
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
    contact_named,
    reported,
)
from hubspot_sync.cli.parts import (
    find_one,
    make_plan,
    new_pulse,
    open_client,
    open_engine,
    open_queue,
    read_settings,
    source_table,
)
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import Refused, WrongUsage
from hubspot_sync.report import (
    ContactReport,
    LogFormat,
    RunReport,
    RunState,
    Tally,
    new_run_id,
)
from hubspot_sync.rules.mail import Mail
from hubspot_sync.sentences import Message
from hubspot_sync.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from hubspot_sync.clock import Pulse
    from hubspot_sync.monitors.watch import Watch
    from hubspot_sync.report import PlannedContact
    from hubspot_sync.rules.lifecycle import Row
    from hubspot_sync.run import Plan
    from hubspot_sync.store.contact_queue import ContactQueue
    from hubspot_sync.store.overview import Overview
    from hubspot_sync.sync import Sync


@app.command()
@reported
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
        typer.Option(
            readable=False, help="Append every outcome to this file, one JSON document a line."
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="Print nothing where nothing is mailed; see HUBSPOT_SYNC_MAIL."
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
    verbose: Verbose = False,
    log_format: LogAs = LogFormat.TEXT,
) -> int:
    """Deliver the contacts that are due. This is what cron runs.

    \b
    Examples:
      hubspot-sync sync-queue
      hubspot-sync sync-queue --quiet
      hubspot-sync sync-queue --limit 200 --json
      hubspot-sync sync-queue --drain --max-minutes 50 --report outcomes.jsonl
    """  # noqa: D301
    del verbose, log_format
    from hubspot_sync import console
    from hubspot_sync.monitors.watch import PATIENCE, RunEnd, watch_run

    if drain and limit is not None:
        raise WrongUsage(ErrorCode.DRAIN_WITH_LIMIT)
    if dry_run and (report or quiet):
        raise WrongUsage(ErrorCode.DRY_RUN_WITH_REPORT)
    settings = read_settings(env_file)
    settings = replace(settings, workers=workers or settings.workers)
    most = None if drain else limit or settings.batch_size
    if dry_run:
        return _plan_queue(settings, most, as_json=as_json)
    longest = timedelta(minutes=max_minutes) if max_minutes else None
    plan = make_plan(settings, limit=most, longest=longest)
    engine = open_engine(settings)

    def look() -> "Overview":
        from hubspot_sync.store.overview import look_at_queue

        return look_at_queue(engine, source_table(settings), settings.lease, patience=PATIENCE)

    show = _Show(settings.mail, as_json=as_json, quiet=quiet, report=report)
    run = _Begun(settings, engine, plan, show)
    console.name_run(run.run_id)
    with run.pulse.ending.listen(), watch_run(settings, run.run_id, look) as watch:
        ended = _run_queue(run, watch)
        watch.end(RunEnd.of_report(ended))
    return ended.exit_code


@app.command()
@reported
def sync_one(
    contact: Annotated[
        str,
        typer.Argument(
            metavar="CONTACT", help="Its id, or its email where no other contact has the same."
        ),
    ],
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Send it even where the decision is Skipped; it is Complete after that."
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
    verbose: Verbose = False,
    log_format: LogAs = LogFormat.TEXT,
) -> int:
    """Deliver one contact now, whatever its status.

    \b
    Examples:
      hubspot-sync sync-one 6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b
      hubspot-sync sync-one marta@bluefin.example
    """  # noqa: D301
    del verbose, log_format
    from hubspot_sync import console

    named = contact_named(contact)
    settings = read_settings(env_file)
    settings.require_api_key()
    engine = open_engine(settings)
    key = find_one(engine, source_table(settings), named)
    if dry_run:
        queue = open_queue(settings, engine)
        queue.require_tables(settings.mapping)
        row = queue.read_one(key)
        held = queue.reason_to_hold(row, force=force)
        if held:
            raise Refused(ErrorCode.CONTACT_WOULD_NOT_BE_SENT, contact=key, reason=held.reason)
        planned = _plan_contacts(settings, queue, [row])
        console.show_plan(planned, None, command="sync-one", as_json=as_json)
        return 0
    plan = make_plan(settings, limit=1)

    def run_one(sync: "Sync") -> RunReport:
        return sync.run_one(key, force=force)

    run = _Begun(settings, engine, plan, _Show(Mail.FAILURES, as_json=as_json))
    console.name_run(run.run_id)
    with run.pulse.ending.listen():
        return _deliver(run, run_one).exit_code


@dataclass(frozen=True, slots=True)
class _Show:
    """Where the account of a run goes, and how much of it."""

    mail: Mail
    as_json: bool
    quiet: bool = False
    report: Path | None = None


@dataclass(frozen=True, slots=True)
class _Begun:
    """A run with all that it works with."""

    settings: Settings
    engine: "Engine"
    plan: "Plan"
    show: _Show
    run_id: str = field(default_factory=new_run_id)
    pulse: "Pulse" = field(default_factory=lambda: new_pulse())


def _run_queue(run: _Begun, watch: "Watch") -> RunReport:
    """Deliver what is due, unless the sync is switched off or another run is at work."""
    from hubspot_sync.store.run_places import take_place

    settings = run.settings
    if not settings.api_key:
        return _show_not_begun(run, _disabled(settings, run.run_id))
    places = settings.max_instances
    with take_place(run.engine, settings.database_url, settings.source, places) as has_place:
        if not has_place:
            reason = Message(ErrorCode.RUN_ACTIVE, allowed=settings.max_instances)
            busy = RunReport.of_nothing(run.run_id, RunState.BUSY, reason)
            return _show_not_begun(run, busy)
        watch.begin()
        ended = _deliver(
            run,
            lambda sync: sync.run_queue(),
            reserve_percent=settings.quota_reserve,
            watch=watch,
        )
    show, batch_size = run.show, settings.batch_size
    is_tick = run.plan.limit == batch_size and ended.state is not RunState.STOPPED
    if is_tick and not (show.as_json or show.quiet):
        from hubspot_sync import console

        console.show_wait(ended.due_remaining, batch_size, settings.interval)
    return ended


def _disabled(settings: Settings, run_id: str) -> RunReport:
    source = settings.api_key_source
    reason = Message(
        ErrorCode.SYNC_DISABLED, empty_file_of=source if source != "HUBSPOT_API_KEY" else None
    )
    return RunReport.of_nothing(run_id, RunState.DISABLED, reason)


def _show_not_begun(run: _Begun, report: RunReport) -> RunReport:
    from hubspot_sync import console

    show = run.show
    console.show_run(report, as_json=show.as_json, quiet=show.quiet, mail=show.mail)
    return report


def _deliver(
    run: _Begun,
    start: "Callable[[Sync], RunReport]",
    *,
    reserve_percent: int = 0,
    watch: "Watch | None" = None,
) -> RunReport:
    """Carry a run out and show what became of it."""
    from hubspot_sync import console
    from hubspot_sync.hubspot.pace import Pace
    from hubspot_sync.sync import Sync

    settings, show = run.settings, run.show
    pulse, queue = run.pulse, open_queue(settings, run.engine)
    # One pace for all workers of the run; a person who sends one contact may use the reserve.
    pace = Pace(pulse, reserve_percent=reserve_percent)
    tally = Tally()
    listeners: list[Callable[[ContactReport], None]] = [tally.note]
    listeners += [watch.note] if watch else []
    with ExitStack() as stack:
        if show.report:
            from hubspot_sync.outcome_file import OutcomeFile

            listeners.append(
                stack.enter_context(OutcomeFile(show.report, run.run_id, settings.sync_name)).note
            )
        bar = console.progress(
            lambda: min(queue.count_due(), run.plan.limit or sys.maxsize),
            lambda: pace.quota,
            quiet=show.quiet,
        )
        listeners.append(stack.enter_context(bar))

        def on_settled(contact: ContactReport) -> None:
            for listener in listeners:
                listener(contact)

        sync = Sync(
            queue,
            lambda: open_client(settings, pulse, pace),
            run.plan,
            pulse=pulse,
            run_id=run.run_id,
            on_settled=on_settled,
        )
        ended = replace(
            start(sync),
            quota=pace.quota,
            taken_over=tally.taken_over,
            undelivered=tally.groups,
        )
    console.show_run(ended, as_json=show.as_json, quiet=show.quiet, mail=show.mail)
    return ended


def _plan_queue(settings: Settings, most: int | None, *, as_json: bool) -> int:
    from hubspot_sync import console

    if not settings.api_key:
        console.show_run(_disabled(settings, new_run_id()), as_json=as_json)
        return 0
    queue = open_queue(settings, open_engine(settings))
    queue.require_tables(settings.mapping)
    due = queue.count_due()
    plans = _plan_contacts(settings, queue, queue.peek_due(most or max(1, due)))
    console.show_plan(plans, due, command="sync-queue", as_json=as_json)
    return 0


def _plan_contacts(
    settings: Settings, queue: "ContactQueue", rows: "list[Row]"
) -> "list[PlannedContact]":
    """Find out what a run would do with contacts, after the look that it would begin with."""
    from hubspot_sync.hubspot.portal import look_at_portal
    from hubspot_sync.hubspot.preview import preview
    from hubspot_sync.rules.shaping import RunContext
    from hubspot_sync.run import lanes_of

    if not rows:
        return []
    pulse = new_pulse()
    client = open_client(settings, pulse)
    close_with_command(client.transport.close)
    mapping = look_at_portal(client, settings.mapping, settings.portal_id)
    lanes = lanes_of(client, queue, mapping)
    notices = {row.contact.id: queue.death_notice(row) for row in rows}
    faults = {key: notice for key, notice in notices.items() if notice}
    contacts = queue.look_up([row.contact for row in rows], mapping.lookups)
    return preview(lanes, contacts, RunContext(pulse.now()), faults)
