"""What the commands beside a sync found and did: set-up, reset, trial."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from hubspot_sync.codes import ErrorCode
from hubspot_sync.console.terminal import (
    MOST_OF_EMAIL,
    MOST_OF_ID,
    MOST_OF_STATUS,
    MOST_ROWS,
    at_crons_pace,
    cell,
    clock,
    contacts,
    make_console,
    new_table,
    print_json,
    say,
    warn,
)
from hubspot_sync.report import SCHEMA_VERSION, DatabaseReport, PropertyReport, PropertyState
from hubspot_sync.rules.lifecycle import Row
from hubspot_sync.rules.settlement import MAX_ERROR_LENGTH
from hubspot_sync.rules.words import visible
from hubspot_sync.sentences import Message
from hubspot_sync.sentences.warnings import HELD

if TYPE_CHECKING:
    from hubspot_sync.store.marking import Preview


def show_properties(reports: Sequence[PropertyReport], *, as_json: bool) -> None:
    """Show what `create-properties` found and did."""
    if as_json:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "command": "create-properties",
                "properties": [
                    {"name": each.property.name, "state": each.state, "note": each.note or None}
                    for each in reports
                ],
            }
        )
        return
    if not reports:
        say("The mapping creates no property: no field has create.")
        return
    table = new_table()
    table.add_column("Property", overflow="fold")
    table.add_column("Type", no_wrap=True)
    table.add_column("State", no_wrap=True)
    table.add_column("Note", overflow="fold")
    for each in reports:
        style = "yellow" if each.state is PropertyState.DIFFERS else "green"
        table.add_row(
            Text(each.property.name),
            Text(each.property.type),
            Text(each.state, style=style),
            Text(visible(each.note)),
        )
    make_console().print(table)
    if any(each.state is PropertyState.DIFFERS for each in reports):
        warn(Message(ErrorCode.PROPERTY_UNLIKE))


def show_reset(rows: Sequence[Row], total: int, *, retrying: int = 0) -> None:
    """Show what a reset would erase."""
    table = new_table()
    table.add_column("Email", overflow="fold", min_width=16)
    table.add_column("Decision", no_wrap=True)
    table.add_column("State", no_wrap=True)
    table.add_column("HubSpot id", no_wrap=True)
    table.add_column("Retries", no_wrap=True)
    table.add_column("Error", overflow="fold")
    for row in rows[:MOST_ROWS]:
        table.add_row(
            cell(row.contact.email or "(none)", MOST_OF_EMAIL),
            cell(row.sync_status, MOST_OF_STATUS),
            cell(row.processing_status, MOST_OF_STATUS),
            cell(row.contact.hubspot_contact_id, MOST_OF_ID),
            Text(str(row.retry_count)),
            cell(row.error, MAX_ERROR_LENGTH),
        )
    make_console().print(table)
    cut = f" ({MOST_ROWS} shown)" if total > MOST_ROWS else ""
    say(f"{contacts(total)} to bring back to never synced{cut}{_of_them(retrying)}.")


def warn_of_left(held: Sequence[Row], lease: timedelta) -> None:
    """Say which contacts were left because their lease is not over, and when it is."""
    if not held:
        return
    warn(_about_held(ErrorCode.CONTACTS_LEFT, held, lease))


def warn_of_skipped_in_hand(held: Sequence[Row], lease: timedelta) -> None:
    """Say which contacts were skipped although their lease is not over."""
    if not held:
        return
    warn(_about_held(ErrorCode.SKIPPED_WHILE_HELD, held, lease))


def _about_held(code: ErrorCode, held: Sequence[Row], lease: timedelta) -> Message:
    return Message(code, count=len(held), contact=held[0].contact.id, free_at=_free_at(held, lease))


def _free_at(held: Sequence[Row], lease: timedelta) -> str:
    """Return the minute at which all leases are over."""
    latest = max(row.updated_at for row in held if row.updated_at) + lease
    return clock(latest + timedelta(minutes=1) - timedelta.resolution)


def _of_them(retrying: int) -> str:
    return f", {retrying:,} of them waiting for a retry" if retrying else ""


def show_reset_end(
    count: int,
    preview: "Preview",
    held: Sequence[Row],
    copy: Path | None,
    *,
    as_json: bool,
    is_dry_run: bool = False,
) -> None:
    """Show what a reset did, or in a dry run would do."""
    if as_json:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "command": "reset",
                "reset": count,
                "would_reset": preview.total if is_dry_run else None,
                "retrying": preview.retrying,
                "left": [str(row.contact.id) for row in held],
                "copy": str(copy.absolute()) if copy else None,
            }
        )
    elif copy is None:
        say("Nothing was reset.")
    else:
        say(f"{contacts(count)} brought back to never synced. The copy: {copy.absolute()}")


def show_enqueued(
    count: int,
    preview: "Preview",
    held: Sequence[Row],
    *,
    as_json: bool,
    is_dry_run: bool = False,
) -> None:
    """Show what `enqueue` marked, or in a dry run would mark."""
    if as_json:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "command": "enqueue",
                "marked": count,
                "would_mark": preview.total if is_dry_run else None,
                "retrying": preview.retrying,
                "left": [str(row.contact.id) for row in held],
            }
        )
    elif is_dry_run and preview.total:
        would_be = f"{contacts(preview.total)} would be marked{_of_them(preview.retrying)}"
        say(f"{would_be}. A dry run: nothing was written.")
    elif count:
        say(f"{contacts(count)} marked{_of_them(preview.retrying)}.")
    else:
        say(f"Nothing {'would be' if is_dry_run else 'was'} marked: {_why_not(preview)}.")


def show_skipped(
    count: int, preview: "Preview", held: Sequence[Row], *, as_json: bool, is_dry_run: bool
) -> None:
    """Show what `skip` did, or in a dry run would do."""
    would_skip = preview.total + len(preview.held)
    if as_json:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "command": "skip",
                "skipped": count,
                "would_skip": would_skip if is_dry_run else None,
                "already": preview.skipped,
                "held": [str(row.contact.id) for row in held],
            }
        )
        return
    already = f"; {preview.skipped:,} skipped already" if preview.skipped else ""
    if is_dry_run:
        say(f"{contacts(would_skip)} would be skipped{already}. A dry run: nothing was written.")
    else:
        say(f"{contacts(count)} skipped{already}.")


def show_what_comes(due: int, batch_size: int, interval: timedelta, *, is_enabled: bool) -> None:
    """Say when the contacts that are due now will have been delivered."""
    if not is_enabled:
        say("Nothing is sent while HUBSPOT_API_KEY is empty.")
    elif due > batch_size:
        say(at_crons_pace(f"the {due:,} that are due take", due, batch_size, interval))
    elif due:
        say("The next run of sync-queue delivers all that is due.")


def _why_not(preview: "Preview") -> str:
    reasons = [
        f"{preview.queued:,} queued already" if preview.queued else "",
        f"{preview.skipped:,} skipped (name one by its id to mark it all the same)"
        if preview.skipped
        else "",
        f"{len(preview.held):,} {HELD}" if preview.held else "",
    ]
    return ", ".join(filter(None, reasons)) or "no contact fits"


def warn_of_first_large_run(count: int) -> None:
    """Say, before many contacts go out for the first time, what HubSpot may make of them."""
    warn(Message(ErrorCode.FIRST_LARGE_RUN, count=count))


def show_database(made: DatabaseReport, *, as_json: bool) -> None:
    """Show what `init-db` made: the table, then its columns and indexes."""
    if as_json:
        document = {
            "schema_version": SCHEMA_VERSION,
            "command": "init-db",
            "table": made.state,
            "indexes": dict(made.indexes),
        }
        columns = {"columns": dict(made.columns or {}), "statements": list(made.statements)}
        print_json(document | (columns if made.columns is not None else {}))
        return
    say(f"Table {made.table}: {made.state}.")
    if made.columns is not None:
        _show_columns(made)
    for name, state in made.indexes.items():
        say(f"Index {name}: {state}.")


def _show_columns(made: DatabaseReport) -> None:
    states = made.columns or {}
    if all(state == "exists" for state in states.values()):
        say("It has all columns of the queue; nothing to do.")
        return
    for name, state in states.items():
        if state == "added":
            say(f"Column {name}: added.")
    if "would add" in states.values():
        say("It lacks columns of the queue. Run this, or the same command with --apply:")
        for statement in made.statements:
            say(statement)


def show_hubspot_contacts(held: Sequence[Mapping[str, Any]]) -> None:
    """Show what the emulator holds."""
    say("\nWhat HubSpot holds now:")
    table = new_table()
    for heading in ("HubSpot id", "Email", "First name", "Last name", "Phone", "Domain id"):
        table.add_column(heading, no_wrap=heading == "HubSpot id", overflow="fold")
    for contact in held:
        properties = contact["properties"]
        names = ("email", "firstname", "lastname", "phone")
        cells = [contact["id"], *(properties.get(name, "") for name in names)]
        domain = properties.get("scrapersky_domain_id", "")
        table.add_row(
            *(Text(visible(cell)) for cell in cells), Text(f"{domain[:8]}…" if domain else "")
        )
    make_console().print(table)


def show_emulator(url: str, token: str, *, as_json: bool) -> None:
    """Say where the emulator answers, and how to point the program at it."""
    if as_json:
        document = {"schema_version": SCHEMA_VERSION, "command": "emulator"}
        print_json(document | {"url": url, "token": token})
        return
    say(f"The emulator answers at {url} until Ctrl-C. To use it, set:")
    say(f"  HUBSPOT_API_BASE_URL={url}")
    say(f"  HUBSPOT_API_KEY={token}")
