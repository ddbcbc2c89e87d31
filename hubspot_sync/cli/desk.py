"""The operator's commands: what is marked, and what is taken back."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
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
    confirm,
    contact_named,
    reported,
)
from hubspot_sync.cli.parts import (
    find_one,
    open_engine,
    open_queue,
    read_settings,
    source_table,
)
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import HubSpotSyncError, WrongUsage
from hubspot_sync.report import LogFormat
from hubspot_sync.rules.lifecycle import SyncStatus
from hubspot_sync.rules.source import spellings
from hubspot_sync.sentences import Message

if TYPE_CHECKING:
    from hubspot_sync.rules.source import Key
    from hubspot_sync.store.marking import Preview


class Markable(StrEnum):
    """The decisions whose contacts `enqueue` marks."""

    NEW = SyncStatus.NEW
    ERROR = SyncStatus.ERROR
    COMPLETE = SyncStatus.COMPLETE


@app.command()
@reported
def status(
    as_json: AsJson = False,
    env_file: EnvFile = None,
    verbose: Verbose = False,
    log_format: LogAs = LogFormat.TEXT,
) -> int:
    """Show how the queue stands: what is due, what failed and why, what was delivered.

    It reads the database alone; HubSpot is not asked.

    \b
    Examples:
      hubspot-sync status
      hubspot-sync status --json
    """  # noqa: D301
    del verbose, log_format
    from hubspot_sync import console
    from hubspot_sync.store.overview import alarms_of, look_at_queue
    from hubspot_sync.store.run_places import count_taken

    settings = read_settings(env_file)
    engine = open_engine(settings)
    found = look_at_queue(engine, source_table(settings), settings.lease)
    runs = count_taken(engine, settings.database_url, settings.source, settings.max_instances)
    told = alarms_of(
        found, runs=runs, is_enabled=bool(settings.api_key), interval=settings.interval
    )
    console.show_status(found, runs, told, as_json=as_json, env_file=env_file)
    return 0


MOST_WITHOUT_ASKING = 100
"""Contacts that `enqueue` marks without asking."""


@app.command()
@reported
def enqueue(
    contact_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[CONTACT_ID]...", help="Contacts to mark.")
    ] = None,
    email: Annotated[str | None, typer.Option(help="The contacts with this address.")] = None,
    status: Annotated[
        Markable | None,
        typer.Option(help="All contacts with this decision; Error: what waits for a retry, too."),
    ] = None,
    domain_id: Annotated[str | None, typer.Option(help="All contacts of this domain.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All contacts.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
    verbose: Verbose = False,
    log_format: LogAs = LogFormat.TEXT,
) -> int:
    """Mark contacts for HubSpot, as the app does when a person selects them.

    Their errors and our own retry values are cleared, so that they have all their attempts before
    them. That goes for contacts that failed and wait for their retry as well: they no longer wait,
    and --status Error takes them with those that were given up. Skipped contacts are left alone
    unless they are named by their id; so are those that are queued already, and those that a run
    holds, or left when it died, until their lease is over. It asks above 100.

    \b
    Examples:
      hubspot-sync enqueue 6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b
      hubspot-sync enqueue --status Error
      hubspot-sync enqueue --status New --limit 1000 --yes
    """  # noqa: D301
    del verbose, log_format
    from hubspot_sync import console
    from hubspot_sync.store.marking import Marking
    from hubspot_sync.store.selection import Selection

    ids = contact_ids or []
    wanted = Selection(
        contact_ids=ids,
        email=email,
        status=SyncStatus(status) if status else None,
        domain_id=domain_id,
        every=every,
    )
    if not wanted.is_one:
        raise WrongUsage(ErrorCode.EMPTY_SELECTION)
    if ids and limit is not None:
        raise WrongUsage(ErrorCode.LIMIT_WITH_IDS)
    settings = read_settings(env_file)
    engine = open_engine(settings)
    marking = Marking(engine, source_table(settings), lease=settings.lease)
    preview = marking.look_at_enqueue(wanted, rows_wanted=0, limit=limit)
    _require_all(ids, preview)
    if preview.total > MOST_WITHOUT_ASKING and not marking.has_synced():
        console.warn_of_first_large_run(preview.total)
    if dry_run or not preview.total:
        console.warn_of_left(preview.held, settings.lease)
        console.show_enqueued(0, preview, preview.held, as_json=as_json, is_dry_run=dry_run)
        return int(bool(preview.held))
    if preview.total > MOST_WITHOUT_ASKING and not yes:
        confirm(f"Mark {preview.total:,} contacts for HubSpot?")
    count, held = marking.enqueue(wanted, limit=limit)
    console.warn_of_left(held, settings.lease)
    console.show_enqueued(count, preview, held, as_json=as_json)
    if not as_json:
        due = open_queue(settings, engine).count_due()
        console.show_what_comes(
            due, settings.batch_size, settings.interval, is_enabled=bool(settings.api_key)
        )
    return int(bool(held))


@app.command()
@reported
def skip(
    contact: Annotated[
        list[str],
        typer.Argument(
            metavar="CONTACT...", help="Their ids, or emails that no other contact has."
        ),
    ],
    dry_run: DryRun = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
    verbose: Verbose = False,
    log_format: LogAs = LogFormat.TEXT,
) -> int:
    """Set the decision of contacts to Skipped, so that they are not sent to HubSpot.

    What waits in the queue is taken out of it. HubSpot is not touched, and the HubSpot id stays. A
    contact that a run holds is skipped, too, but what that run sends still reaches HubSpot. To undo
    it, enqueue the contact by its id.

    \b
    Examples:
      hubspot-sync skip 6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b
      hubspot-sync skip marta@bluefin.example erik@bluefin.example
    """  # noqa: D301
    del verbose, log_format
    from hubspot_sync import console
    from hubspot_sync.store.marking import Marking
    from hubspot_sync.store.selection import Selection

    named = [contact_named(each) for each in contact]
    settings = read_settings(env_file)
    engine, contacts = open_engine(settings), source_table(settings)
    wanted = Selection(contact_ids=list({find_one(engine, contacts, each): None for each in named}))
    marking = Marking(engine, contacts, lease=settings.lease)
    preview = marking.look_at_skip(wanted)
    _require_all(wanted.contact_ids, preview)
    count, held = (0, preview.held) if dry_run else marking.skip(wanted)
    console.warn_of_skipped_in_hand(held, settings.lease)
    console.show_skipped(count, preview, held, as_json=as_json, is_dry_run=dry_run)
    return 0


@app.command()
@reported
def reset(
    contact_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[CONTACT_ID]...", help="Contacts to reset.")
    ] = None,
    status: Annotated[
        SyncStatus | None,
        typer.Option(help="All contacts with this decision; Error: what waits for a retry, too."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All contacts that ever took part in a sync.")
    ] = False,
    backup: Annotated[
        Path | None,
        typer.Option(
            readable=False, help="Where the copy goes; hubspot-reset-<time>.jsonl without it."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
    verbose: Verbose = False,
    log_format: LogAs = LogFormat.TEXT,
) -> int:
    """Bring contacts back to never synced. HubSpot is not touched.

    Statuses, the error, the HubSpot id and our own retry values are erased, after a copy of them
    was written to a file. Contacts that a run holds, or left when it died, are left alone until
    their lease is over; so are Skipped ones, unless they are named or asked for by --status
    Skipped. --status Error takes those that wait for their retry, too, as enqueue does.

    \b
    Examples:
      hubspot-sync reset 6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b
      hubspot-sync reset --status Error
      hubspot-sync reset --all --dry-run
    """  # noqa: D301
    del verbose, log_format
    from hubspot_sync import console
    from hubspot_sync.store.marking import Marking
    from hubspot_sync.store.reset_copy import ResetCopy
    from hubspot_sync.store.selection import Selection

    ids = contact_ids or []
    wanted = Selection(contact_ids=ids, status=status, every=every)
    if not wanted.is_one:
        raise WrongUsage(ErrorCode.EMPTY_RESET)
    settings = read_settings(env_file)
    marking = Marking(open_engine(settings), source_table(settings), lease=settings.lease)
    preview = marking.look_at_reset(wanted, rows_wanted=console.MOST_ROWS)
    _require_all(ids, preview)
    if not as_json and preview.total:
        console.show_reset(preview.rows, preview.total, retrying=preview.retrying)
    if dry_run or not preview.total:
        console.warn_of_left(preview.held, settings.lease)
        console.show_reset_end(0, preview, preview.held, None, as_json=as_json, is_dry_run=dry_run)
        return int(bool(preview.held))
    if not yes:
        confirm(
            f"Erase this from {preview.total:,} {'contact' if preview.total == 1 else 'contacts'}?"
        )
    copy = ResetCopy(backup or Path(f"hubspot-reset-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.jsonl"))
    try:
        count, held = marking.reset(wanted, keep_copy=copy.keep)
    except HubSpotSyncError:
        console.warn(Message(ErrorCode.RESET_NOT_WHOLE, path=copy.path.absolute()))
        raise
    finally:
        copy.close()
    console.warn_of_left(held, settings.lease)
    console.show_reset_end(count, preview, held, copy.path, as_json=as_json)
    return int(bool(held))


def _require_all(ids: "Sequence[Key]", preview: "Preview") -> None:
    # A person types text, whatever the type of the key.
    there = {str(each) for each in preview.found}
    missing = [str(each) for each in ids if there.isdisjoint(spellings(str(each)))]
    if missing:
        raise WrongUsage(ErrorCode.CONTACTS_NOT_THERE, contacts=", ".join(missing))
