"""What became of a run, and what a run would do."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from hubspot_sync.console.terminal import (
    MOST_OF_EMAIL,
    MOST_ROWS,
    at_crons_pace,
    cell,
    clock,
    contacts,
    counted,
    is_seen,
    labelled,
    make_console,
    new_table,
    print_json,
    say,
    say_rows,
    say_when,
    stamp,
    sync_name,
    warn,
)
from hubspot_sync.report import (
    DELIVERED,
    SCHEMA_VERSION,
    ContactReport,
    PlannedAction,
    PlannedContact,
    PropertyChange,
    RunReport,
    RunState,
    code_of,
    run_to_json,
)
from hubspot_sync.rules.mail import Mail, mail_lines
from hubspot_sync.rules.policies import Dropped, Kept
from hubspot_sync.rules.settlement import MAX_ERROR_LENGTH, OutcomeName
from hubspot_sync.rules.source import Key

if TYPE_CHECKING:
    from hubspot_sync.rules.pace import Quota

MOST_OF_VALUE = 120
"""Characters of a property's value that a dry run shows; `--json` has it whole."""

MOST_OF_REASON = MOST_OF_VALUE + 100
"""The same where words stand around the value."""

_PLAN_STYLES = {
    PlannedAction.CREATE: "green",
    PlannedAction.UPDATE: "cyan",
    PlannedAction.UNCHANGED: "dim",
    PlannedAction.FAIL: "red",
    PlannedAction.REJECT: "red",
    PlannedAction.UNKNOWN: "yellow",
}
_STYLES = {
    OutcomeName.CREATED: "green",
    OutcomeName.UPDATED: "green",
    OutcomeName.FAILED: "yellow",
    OutcomeName.UNCHANGED: "green",
    OutcomeName.EXHAUSTED: "red",
    OutcomeName.REJECTED: "red",
    OutcomeName.STOPPED: "yellow",
}


def show_run(
    report: RunReport, *, as_json: bool, quiet: bool = False, mail: Mail = Mail.FAILURES
) -> None:
    """Show what became of a run.

    Args:
        report: what became of it.
        as_json: print its document to standard output instead of a table and its totals.
        quiet: print those only where something is mailed.
        mail: what goes to standard error; where that is a terminal, a person wants to know all.
    """
    lines = mail_lines(report.summary, Mail.FAILURES if sys.stderr.isatty() else mail)
    is_fine = report.state in (RunState.DONE, RunState.BUSY)
    is_fine &= not report.counts.get(OutcomeName.STOPPED)
    if as_json:
        print_json(run_to_json(report))
    elif not quiet:
        _show_contacts(report, report.contacts)
    elif lines and not is_fine:
        _show_contacts(report, _undelivered(report))
    for number, line in enumerate(lines):
        warn(line if number else labelled(line), is_logged=not as_json)


def _undelivered(report: RunReport) -> Sequence[ContactReport]:
    """Return the contacts that something went wrong with."""
    well = (*DELIVERED, OutcomeName.RELEASED)
    return [each for each in report.contacts if each.outcome not in well]


def _show_contacts(report: RunReport, listed: Sequence[ContactReport]) -> None:
    if is_seen():
        shown = listed[:MOST_ROWS]
        unlisted = max(0, report.claimed - len(shown))
    else:
        # What was given back is as it was; its number is among the totals.
        shown = [each for each in listed if each.outcome is not OutcomeName.RELEASED]
        unlisted = max(0, report.summary.settled - len(shown))
    if shown and is_seen():
        make_console().print(_contact_table(shown, report))
    elif shown:
        heads = ("Time", "Run", *(["Sync"] if sync_name() else []), *_COLUMNS)
        say_rows([heads, *(_logged(each, report) for each in shown)])
    if report.state is not RunState.DISABLED:
        say_when(_summary(report, unlisted))


_COLUMNS = ("Email", "Outcome", "HubSpot id", "Try", "Next UTC", "Message")


def _contact_table(shown: Sequence[ContactReport], report: RunReport) -> Table:
    table = new_table()
    for column in _COLUMNS:
        is_folded = column in ("Email", "Message")
        table.add_column(
            column,
            overflow="fold" if is_folded else "ellipsis",
            no_wrap=not is_folded,
            min_width=16 if column == "Email" else None,
        )
    for contact in shown:
        email, outcome, *middle, message = _cells(contact, report)
        table.add_row(
            cell(email, MOST_OF_EMAIL),
            Text(outcome, style=_STYLES.get(contact.outcome, "")),
            *map(Text, middle),
            cell(message, MAX_ERROR_LENGTH),
        )
    return table


def _logged(contact: ContactReport, report: RunReport) -> tuple[str, ...]:
    """Return a contact's row where nobody looks on: a search for an email finds when and where."""
    when = stamp(contact.ended_at) if contact.ended_at else ""
    email, *middle, message = _cells(contact, report)
    told = (cell(email, MOST_OF_EMAIL).plain, *middle, cell(message, MAX_ERROR_LENGTH).plain)
    return (when, report.run_id, *([sync_name()] if sync_name() else []), *told)


def _cells(contact: ContactReport, report: RunReport) -> tuple[str, ...]:
    return (
        contact.email or f"(none) {contact.id}",
        contact.outcome,
        contact.hubspot_contact_id or "",
        f"{contact.attempt}/{contact.attempts}",
        clock(contact.next_retry_at),
        _message(contact, report),
    )


def _message(contact: ContactReport, report: RunReport) -> str:
    if contact.outcome is OutcomeName.STOPPED and report.state is RunState.STOPPED:
        # The reason is the run's, and stands below the table.
        return ""
    return contact.error or _sharing(contact.shared_with)


def _sharing(shared_with: Sequence[Key]) -> str:
    if not shared_with:
        return ""
    others = ", ".join(str(each)[:8] for each in shared_with[:3])
    more = len(shared_with) - 3
    return f"one delivery with {others}" + (f" and {more} more" if more > 0 else "")


def _summary(report: RunReport, unlisted: int) -> str:
    if report.state is RunState.BUSY:
        return labelled(str(report.reason))
    if not report.claimed:
        is_idle = report.due_remaining == 0
        return labelled("Nothing is due." if is_idle else "No contact was claimed.")
    told = [f"{report.counts[name]} {name}" for name in OutcomeName if report.counts.get(name)]
    parts = [
        f"{contacts(report.claimed)}: {', '.join(told)}",
        f"{counted(report.requests, 'request')} in {report.seconds:.1f} s",
    ]
    if report.due_remaining:
        # What was given back is among them.
        given_back = report.counts.get(OutcomeName.RELEASED)
        parts.append(f"{report.due_remaining} {'' if given_back else 'more '}due")
    if unlisted:
        parts.append(f"{unlisted} not shown")
    return labelled("; ".join(parts) + f" (run {report.run_id}).")


def show_wait(due: int | None, batch_size: int, interval: timedelta) -> None:
    """Say how long the rest of the queue will take at cron's pace, where that is long."""
    if due and due > batch_size:
        say(at_crons_pace("the rest takes", due, batch_size, interval))


@contextmanager
def progress(
    count_due: Callable[[], int | None],
    read_quota: Callable[[], "Quota | None"],
    *,
    quiet: bool = False,
) -> Iterator[Callable[[ContactReport], None]]:
    """Show on a terminal how far a run is: done, rate, time left, failures, the day's quota.

    Args:
        count_due: asked once, and on a terminal alone, for how many there are to do.
        read_quota: what HubSpot's last answer said.
        quiet: show nothing.
    """
    console = make_console(stderr=True)
    # FORCE_COLOR makes rich take a pipe for a terminal; a bar in a log is nobody's wish.
    if quiet or not sys.stderr.isatty() or not console.is_interactive:
        yield lambda _: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[notes]}"),
        console=console,
        transient=True,
    )
    undelivered = 0
    lock = threading.Lock()
    with bar:
        task = bar.add_task("Delivering", total=count_due(), rate="", notes="")

        def on_settled(contact: ContactReport) -> None:
            # Workers call this at once, and rich draws from a thread of its own.
            nonlocal undelivered
            with lock:
                undelivered += contact.outcome not in DELIVERED
                notes = _notes(undelivered, read_quota())
            speed = bar.tasks[0].speed
            bar.update(task, advance=1, rate=f"{speed:.0f}/s" if speed else "", notes=notes)

        yield on_settled


def _notes(failed: int, quota: "Quota | None") -> str:
    told = [f"{failed} not delivered"] if failed else []
    told += [f"{quota.remaining:,} requests left today"] if quota else []
    return ", ".join(told)


def show_plan(
    plans: Sequence[PlannedContact], due: int | None, *, command: str, as_json: bool
) -> None:
    """Show what a run would do: of each contact the properties that would change."""
    if as_json:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "command": command,
                "dry_run": True,
                "due": due,
                "contacts": [_plan_to_json(plan) for plan in plans],
            }
        )
        return
    if plans:
        make_console().print(_plan_table(plans[:MOST_ROWS]))
    counts = Counter(plan.action for plan in plans)
    told = [f"{count} {action}" for action, count in sorted(counts.items())]
    of_all = "" if due is None else f" of {due} due"
    more = f" {len(plans) - MOST_ROWS} not shown; --json has all." if len(plans) > MOST_ROWS else ""
    say(f"{contacts(len(plans))}{of_all}: {', '.join(told) or 'nothing to do'}.{more}")
    say("A dry run: nothing was written. HubSpot's own checks of the values come with the write.")


def _plan_table(plans: Sequence[PlannedContact]) -> Table:
    table = new_table()
    table.add_column("Email", overflow="fold", min_width=16)
    table.add_column("Would", no_wrap=True)
    table.add_column("HubSpot id", no_wrap=True)
    table.add_column("What would change", overflow="fold", min_width=24)
    for plan in plans:
        table.add_row(
            cell(plan.email or f"(none) {plan.id}", MOST_OF_EMAIL),
            Text(plan.action, style=_PLAN_STYLES[plan.action]),
            Text(plan.hubspot_contact_id or ""),
            _changes(plan),
        )
    return table


def _changes(plan: PlannedContact) -> Text:
    """Return one line a property: its name, the old value in red, the new one in green."""
    if plan.message:
        return cell(plan.message, MAX_ERROR_LENGTH)
    lines = [_change(change) for change in plan.changes]
    left_out: tuple[Kept | Dropped, ...] = (*plan.kept, *plan.dropped)
    for left in left_out:
        line = Text(f"{left.property_name}: ") + cell(str(left), MOST_OF_REASON)
        line.stylize("yellow")
        lines.append(line)
    if plan.unchanged:
        lines.append(Text(f"{plan.unchanged} unchanged", style="dim"))
    if plan.shared_with:
        lines.append(Text(_sharing(plan.shared_with), style="dim"))
    return Text("\n").join(lines)


def _change(change: PropertyChange) -> Text:
    line = Text(f"{change.name}: ")
    if change.old is not None:
        line += cell(change.old, MOST_OF_VALUE)
        line.stylize("red", len(change.name) + 2)
        line.append(" -> ")
    if not change.new:
        return line + Text("cleared", style="red")
    new = cell(change.new, MOST_OF_VALUE)
    new.stylize("green")
    return line + new


def _plan_to_json(plan: PlannedContact) -> dict[str, object]:
    return {
        "id": str(plan.id),
        "action": plan.action,
        "hubspot_contact_id": plan.hubspot_contact_id,
        "error": plan.message,
        "error_code": code_of(plan.message),
        "changes": [
            {"property": change.name, "old": change.old, "new": change.new}
            for change in plan.changes
        ],
        "cleared": [change.name for change in plan.changes if not change.new],
        "kept": [
            {
                "property": each.property_name,
                "ours": each.ours or None,
                "held": each.held,
                "why": each.why.name,
            }
            for each in plan.kept
        ],
        "dropped": [
            {
                "property": each.property_name,
                "value": each.invalid.text,
                "why": each.invalid.code,
            }
            for each in plan.dropped
        ],
        "unchanged": plan.unchanged,
        "shared_with": [str(each) for each in plan.shared_with],
    }
