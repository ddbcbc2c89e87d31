"""What people and programs see: tables, sentences and JSON. The only module that prints.

Tables and JSON go to standard output, everything that wants attention to standard error, so that
cron can send the one to a log and mail the other.
"""

import io
import itertools
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hubspot_sync.errors import HubSpotSyncError
from hubspot_sync.report import (
    SCHEMA_VERSION,
    ContactReport,
    PlannedContact,
    PropertyReport,
    PropertyState,
    RunReport,
    RunState,
    run_to_json,
)
from hubspot_sync.rules.lifecycle import MAX_ERROR_LENGTH, OutcomeName, Row
from hubspot_sync.rules.words import escaped, shortened, visible

MOST_ROWS = 50
"""Longer tables than this are cut: the rest is in `--json`."""

MOST_OF_EMAIL = 254
MOST_OF_STATUS = 12
MOST_OF_ID = 14
"""Characters that a cell shows of what may be a stranger's: real ones fit."""

WIDTH_WITHOUT_TERMINAL = 100
"""Columns where there is no terminal to ask: in a log, and in cron's mail."""

_STYLES = {
    OutcomeName.CREATED: "green",
    OutcomeName.UPDATED: "green",
    OutcomeName.FAILED: "yellow",
    OutcomeName.EXHAUSTED: "red",
    OutcomeName.STOPPED: "yellow",
}


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that fits where its output goes; NO_COLOR and TERM=dumb are honoured."""
    stream = sys.stderr if stderr else sys.stdout
    knows_width = stream.isatty() or "COLUMNS" in os.environ
    width = None if knows_width else WIDTH_WITHOUT_TERMINAL
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def say(sentence: str) -> None:
    """Print a sentence to standard output; a line feed before it leaves a line free."""
    blank = "\n" if sentence.startswith("\n") else ""
    make_console().print(Text(blank + visible(sentence.strip("\n"))), soft_wrap=True)


def warn(sentence: str) -> None:
    """Print a sentence that wants attention to standard error."""
    make_console(stderr=True).print(Text(visible(sentence), style="yellow"), soft_wrap=True)


def show_wait(due: int | None, batch_size: int, interval: timedelta) -> None:
    """Say how long the rest of the queue will take at cron's pace, where that is long."""
    if due and due > batch_size:
        minutes = -(-due // batch_size) * (interval // timedelta(minutes=1))
        say(
            f"At {batch_size} contacts every {interval // timedelta(minutes=1)} minutes the rest "
            f"takes about {minutes} minutes; sync-queue --drain takes it now."
        )


def cell(text: str | None, most: int) -> Text:
    """Return a stranger's words as a table shows them: nothing obeyed, and not without end."""
    return Text(visible(shortened(text or "", most)))


def print_json(document: object) -> None:
    """Print one JSON document to standard output."""
    # Where the output does not know the letter, what stands for it would be no JSON.
    text = json.dumps(document, ensure_ascii=not _knows_all_letters(sys.stdout.encoding))
    sys.stdout.write(escaped(text) + "\n")


def show_error(command: str, error: HubSpotSyncError, *, as_json: bool) -> None:
    """Say what went wrong and what to do, on standard error; with `as_json` on both."""
    for line in str(error).splitlines():
        make_console(stderr=True).print(Text(visible(line), style="red"), soft_wrap=True)
    if as_json:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "command": command,
                "state": "refused" if error.exit_code < 3 else RunState.STOPPED,
                "reason": str(error),
            }
        )


def show_run(report: RunReport, *, as_json: bool) -> None:
    """Show what became of a run."""
    if as_json:
        print_json(run_to_json(report))
    else:
        if report.contacts:
            make_console().print(_contact_table(report))
        if report.state is not RunState.DISABLED:
            say(_summary(report))
    if report.state is RunState.DISABLED:
        warn(f"{report.reason}")
    elif report.state is RunState.STOPPED:
        warn(f"The run stopped: {report.reason}")
    elif report.failures:
        warn(_failures(report))


def _failures(report: RunReport) -> str:
    again = report.counts.get(OutcomeName.FAILED, 0)
    ended = report.counts.get(OutcomeName.EXHAUSTED, 0)
    told = [
        f"{again} failed and will be tried again" if again else "",
        f"{ended} stay in Error until marked again" if ended else "",
    ]
    return f"{'; '.join(each for each in told if each)}. The table says why."


def _contact_table(report: RunReport) -> Table:
    table = _table()
    table.add_column("Email", overflow="fold", min_width=16)
    table.add_column("Outcome", no_wrap=True)
    table.add_column("HubSpot id", no_wrap=True)
    table.add_column("Try", no_wrap=True)
    table.add_column("Next UTC", no_wrap=True)
    table.add_column("Message", overflow="fold")
    for contact in report.contacts[:MOST_ROWS]:
        table.add_row(
            cell(contact.email or "(none)", MOST_OF_EMAIL),
            Text(contact.outcome, style=_STYLES.get(contact.outcome, "")),
            Text(contact.hubspot_contact_id or ""),
            Text(f"{contact.attempt}/{contact.attempts}"),
            Text(_clock(contact.next_retry_at)),
            cell(_message(contact, report), MAX_ERROR_LENGTH),
        )
    return table


def _message(contact: ContactReport, report: RunReport) -> str:
    if contact.outcome is OutcomeName.STOPPED and report.state is RunState.STOPPED:
        # The reason is the run's, and stands below the table.
        return ""
    return contact.error or _sharing(contact)


def _sharing(contact: ContactReport) -> str:
    if not contact.shared_with:
        return ""
    others = ", ".join(str(each)[:8] for each in contact.shared_with[:3])
    more = len(contact.shared_with) - 3
    return f"one delivery with {others}" + (f" and {more} more" if more > 0 else "")


def _summary(report: RunReport) -> str:
    if report.state is RunState.BUSY:
        return str(report.reason)
    if not report.claimed:
        return "Nothing is due." if report.due_remaining == 0 else "No contact was claimed."
    told = [f"{report.counts[name]} {name}" for name in OutcomeName if report.counts.get(name)]
    hidden = max(0, sum(report.counts.values()) - min(len(report.contacts), MOST_ROWS))
    parts = [
        f"{_contacts(report.claimed)}: {', '.join(told)}",
        f"{_count(report.requests, 'request')} in {report.seconds:.1f} s",
    ]
    if report.due_remaining:
        parts.append(f"{report.due_remaining} more due")
    if hidden:
        parts.append(f"{hidden} not shown")
    return "; ".join(parts) + f" (run {report.run_id})."


def show_plan(
    plans: Sequence[PlannedContact], due: int | None, *, command: str, as_json: bool
) -> None:
    """Show what a run would do."""
    if as_json:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "command": command,
                "dry_run": True,
                "due": due,
                "contacts": [
                    {
                        "id": str(plan.id),
                        "action": plan.action,
                        "hubspot_contact_id": plan.hubspot_contact_id,
                        "error": plan.message,
                    }
                    for plan in plans
                ],
            }
        )
        return
    if plans:
        table = _table()
        table.add_column("Email", overflow="fold", min_width=16)
        table.add_column("Would", no_wrap=True)
        table.add_column("HubSpot id", no_wrap=True)
        table.add_column("Message", overflow="fold")
        for plan in plans[:MOST_ROWS]:
            table.add_row(
                cell(plan.email or "(none)", MOST_OF_EMAIL),
                Text(plan.action),
                Text(plan.hubspot_contact_id or ""),
                cell(plan.message, MAX_ERROR_LENGTH),
            )
        make_console().print(table)
    failing = sum(plan.action == "fail" for plan in plans)
    of_all = "" if due is None else f" of {due} due"
    would_fail = f", {failing} would fail" if failing else ""
    sent = _contacts(len(plans) - failing)
    say(f"{sent}{of_all} would be sent{would_fail}. A dry run: nothing was written.")


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
    table = _table()
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
        warn("A property that exists is never changed: correct it in HubSpot, or name another.")


def show_reset(rows: Sequence[Row], total: int) -> None:
    """Show what a reset would erase."""
    table = _table()
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
    say(
        f"{_contacts(total)} to bring back to never synced"
        + (f" ({MOST_ROWS} shown)." if total > MOST_ROWS else ".")
    )


def show_reset_end(
    count: int,
    held: Sequence[Row],
    copy: Path | None,
    *,
    as_json: bool,
    would_reset: int | None = None,
) -> None:
    """Show what a reset did, or in a dry run would do, and what it left."""
    for row in held:
        warn(f"Contact {row.contact.id} was left as it is: a live run holds it.")
    if as_json:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "command": "reset",
                "reset": count,
                "would_reset": would_reset,
                "left": [str(row.contact.id) for row in held],
                "copy": str(copy) if copy else None,
            }
        )
    elif copy is None:
        say("Nothing was reset.")
    else:
        say(f"{_contacts(count)} brought back to never synced. The copy: {copy}")


def show_database(made: Mapping[str, str], *, as_json: bool) -> None:
    """Show what `init-db` made: the table first, then the indexes."""
    table, *indexes = made
    if as_json:
        document = {"schema_version": SCHEMA_VERSION, "command": "init-db", "table": made[table]}
        print_json(document | {"indexes": {name: made[name] for name in indexes}})
        return
    say(f"Table {table}: {made[table]}.")
    for name in indexes:
        say(f"Index {name}: {made[name]}.")


def show_hubspot_contacts(held: Sequence[Mapping[str, Any]]) -> None:
    """Show what the emulator holds."""
    say("\nWhat HubSpot holds now:")
    table = _table()
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
        sys.stdout.flush()
        return
    say(f"The emulator answers at {url} until Ctrl-C. To use it, set:")
    say(f"  HUBSPOT_API_BASE_URL={url}")
    say(f"  HUBSPOT_API_KEY={token}")
    sys.stdout.flush()


@contextmanager
def progress() -> Iterator[Callable[[ContactReport], None]]:
    """Show on a terminal how many contacts are settled; under cron nothing."""
    console = make_console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("Looking for contacts that are due …") as status:
        settled = itertools.count(1)

        def on_settled(_: ContactReport) -> None:
            status.update(f"{_contacts(next(settled))} settled …")

        yield on_settled


def start_logging(*, verbose: bool) -> None:
    """Send the log to standard error: what wants attention, or with `verbose` everything."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Under a locale without the letter, a table must not end a run that is done.
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)sZ %(levelname)s %(name)s: %(message)s"))
    level = logging.DEBUG if verbose else logging.WARNING
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # They speak of addresses with a contact's email in them.
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    logging.getLogger("filelock").setLevel(logging.WARNING)


class _OneLine(logging.Formatter):
    """Keeps a record on one line, whatever a stranger's words in it hold; times are UTC."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03d"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Return the line, without what a terminal would obey."""
        return visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name
        """Return a traceback, which alone has lines of its own."""
        return "\n".join(visible(line) for line in super().formatException(ei).split("\n"))


def log_fault(fault: Exception) -> None:
    """Log an exception of the program itself, for those who asked to see everything."""
    logging.getLogger(__name__).debug("a fault of the program itself", exc_info=fault)


def _table() -> Table:
    frame = box.SIMPLE_HEAD if _knows_all_letters(make_console().encoding) else box.ASCII2
    return Table(box=frame, pad_edge=False, padding=(0, 1, 0, 0))


def _knows_all_letters(encoding: str | None) -> bool:
    return (encoding or "").lower().replace("-", "") == "utf8"


def _clock(moment: datetime | None) -> str:
    return f"{moment:%H:%M}" if moment else ""


def _contacts(count: int) -> str:
    return _count(count, "contact")


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
