"""The commands that deliver: sync-queue and sync-one."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
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
    contact_key,
    reported,
)
from hubspot_sync.cli.parts import (
    make_plan,
    new_pulse,
    open_client,
    open_engine,
    open_queue,
    read_settings,
)
from hubspot_sync.errors import Refused, WrongUsage
from hubspot_sync.report import LogFormat
from hubspot_sync.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from hubspot_sync.report import PlannedContact, RunReport
    from hubspot_sync.rules.lifecycle import Row
    from hubspot_sync.run import Plan
    from hubspot_sync.store.contact_queue import ContactQueue
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
        typer.Option(help="Append every outcome to this file, one JSON document a line."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing unless something went wrong.")
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
    from hubspot_sync.report import RunReport, RunState
    from hubspot_sync.store.run_places import take_place

    if drain and limit is not None:
        raise WrongUsage("--drain takes all that is due: use it, or --limit, but not both.")
    if dry_run and (report or quiet):
        raise WrongUsage("--report and --quiet are for runs, and a dry run is none.")
    settings = read_settings(env_file)
    if not settings.api_key:
        reason = "HUBSPOT_API_KEY is empty: the sync is disabled. Set it to switch the sync on."
        if settings.api_key_source != "HUBSPOT_API_KEY":
            reason += f" The file that {settings.api_key_source} names is empty."
        disabled = RunReport.of_nothing("sync-queue", RunState.DISABLED, reason)
        console.show_run(disabled, as_json=as_json)
        return 0
    if dry_run:
        return _plan_queue(settings, limit or settings.batch_size, drain=drain, as_json=as_json)
    settings = replace(settings, workers=workers or settings.workers)
    plan = make_plan(
        settings,
        limit=None if drain else limit or settings.batch_size,
        longest=timedelta(minutes=max_minutes) if max_minutes else None,
    )
    engine = open_engine(settings)
    with take_place(engine, settings.database_url, settings.max_instances) as has_place:
        if not has_place:
            reason = (
                "Another run is active, and HUBSPOT_SYNC_SCHEDULER_MAX_INSTANCES allows "
                f"{settings.max_instances}; nothing to do here."
            )
            busy = RunReport.of_nothing("sync-queue", RunState.BUSY, reason)
            console.show_run(busy, as_json=as_json, quiet=quiet)
            return 0
        return _run(
            settings,
            engine,
            plan,
            lambda sync: sync.run_queue(),
            as_json=as_json,
            quiet=quiet,
            report=report,
            reserve_percent=settings.quota_reserve,
        )


@app.command()
@reported
def sync_one(
    contact_id: Annotated[str, typer.Argument(help="The contact's UUID.")],
    force: Annotated[
        bool, typer.Option("--force", help="Send it even where the decision is Skipped.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
    verbose: Verbose = False,
    log_format: LogAs = LogFormat.TEXT,
) -> int:
    """Deliver one contact now, whatever its status.

    \b
    Example:
      hubspot-sync sync-one 6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b
    """  # noqa: D301
    del verbose, log_format
    from hubspot_sync import console

    key = contact_key(contact_id)
    settings = read_settings(env_file)
    settings.require_api_key()
    engine = open_engine(settings)
    if dry_run:
        queue = open_queue(settings, engine)
        row = queue.read_one(key)
        held = queue.reason_to_hold(row, force=force)
        if held:
            raise Refused(f"Contact {key} would not be sent: {held.reason}.")
        planned = _plan_contacts(settings, queue, [row])
        console.show_plan(planned, None, command="sync-one", as_json=as_json)
        return 0
    plan = make_plan(settings, limit=1)

    def run_one(sync: "Sync") -> "RunReport":
        return sync.run_one(key, force=force)

    return _run(settings, engine, plan, run_one, as_json=as_json)


def _run(
    settings: Settings,
    engine: "Engine",
    plan: "Plan",
    start: "Callable[[Sync], RunReport]",
    *,
    as_json: bool,
    quiet: bool = False,
    report: Path | None = None,
    reserve_percent: int = 0,
) -> int:
    from hubspot_sync import console
    from hubspot_sync.hubspot.pace import Pace
    from hubspot_sync.outcome_file import OutcomeFile
    from hubspot_sync.report import ContactReport, RunState, new_run_id
    from hubspot_sync.sync import Sync

    pulse, run_id, queue = new_pulse(), new_run_id(), open_queue(settings, engine)
    console.name_run(run_id)
    # One pace for all workers of the run; a person who sends one contact may use the reserve.
    pace = Pace(pulse, reserve_percent=reserve_percent)
    with ExitStack() as stack:
        file = stack.enter_context(OutcomeFile(report, run_id)) if report else None
        show = stack.enter_context(
            console.progress(
                lambda: min(queue.count_due(), plan.limit or sys.maxsize),
                lambda: pace.quota,
                quiet=quiet,
            )
        )
        stack.enter_context(pulse.ending.listen())

        def on_settled(contact: ContactReport) -> None:
            if file:
                file.note(contact)
            show(contact)

        sync = Sync(
            queue,
            lambda: open_client(settings, pulse, pace),
            plan,
            pulse=pulse,
            run_id=run_id,
            on_settled=on_settled,
        )
        ended = start(sync)
    console.show_run(ended, as_json=as_json, quiet=quiet)
    is_tick = ended.command == "sync-queue" and plan.limit == settings.batch_size
    if is_tick and not (as_json or quiet) and ended.state is not RunState.STOPPED:
        console.show_wait(ended.due_remaining, settings.batch_size, settings.interval)
    return ended.exit_code


def _plan_queue(settings: Settings, most: int, *, drain: bool, as_json: bool) -> int:
    from hubspot_sync import console

    queue = open_queue(settings, open_engine(settings))
    due = queue.count_due()
    plans = _plan_contacts(settings, queue, queue.peek_due(max(1, due) if drain else most))
    console.show_plan(plans, due, command="sync-queue", as_json=as_json)
    return 0


def _plan_contacts(
    settings: Settings, queue: "ContactQueue", rows: "list[Row]"
) -> "list[PlannedContact]":
    """Find out what a run would do with contacts, after the look that it would begin with."""
    from hubspot_sync.hubspot.portal import look_at_portal
    from hubspot_sync.hubspot.preview import preview

    if not rows:
        return []
    pulse = new_pulse()
    client = open_client(settings, pulse)
    try:
        mapping = look_at_portal(client, settings.property_names, settings.portal_id)
        notices = {row.contact.id: queue.death_notice(row) for row in rows}
        faults = {key: notice for key, notice in notices.items() if notice}
        return preview(client, mapping, [row.contact for row in rows], pulse.now().date(), faults)
    finally:
        client.transport.close()
