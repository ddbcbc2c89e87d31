"""The state of the queue, at a glance."""

import re
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from hubspot_sync.console.terminal import (
    MOST_OF_STATUS,
    cell,
    contacts,
    counted,
    make_console,
    new_table,
    print_json,
    say,
    sync_name,
)
from hubspot_sync.report import SCHEMA_VERSION, Check, CheckState
from hubspot_sync.rules.alarm import span
from hubspot_sync.rules.words import visible
from hubspot_sync.sentences import Message

if TYPE_CHECKING:
    from hubspot_sync.store.overview import Overview

_MARKS = {
    CheckState.OK: "OK",
    CheckState.FIX: "FIX",
    CheckState.UNREACHABLE: "DOWN",
    CheckState.UNKNOWN: "?",
}
_CHECK_STYLES = {
    CheckState.OK: "green",
    CheckState.FIX: "yellow",
    CheckState.UNREACHABLE: "red",
    CheckState.UNKNOWN: "dim",
}

_COMMAND = re.compile(
    r"hubspot-sync [a-z]|\b(sync-queue|sync-one|init-db|create-properties|enqueue)\b"
)

MOST_REASONS = 12
"""Reasons that the table of failures shows; `--json` has all."""


def show_status(
    report: "Overview",
    runs: int,
    alarms: Sequence[Message],
    *,
    as_json: bool,
    env_file: Path | None = None,
) -> None:
    """Show how the queue stands, with how many runs are active and what wants attention."""
    if as_json:
        codes = [alarm.code for alarm in alarms]
        warnings = {"warnings": list(alarms), "warning_codes": codes}
        print_json(_as_json(report) | {"runs": runs} | warnings)
        return
    lines = make_console()
    for name, words in _lines(report, runs):
        lines.print(Text.assemble((f"{name:<11}", "bold"), words), soft_wrap=True)
    if report.states:
        lines.print(_states(report))
    if report.failures:
        lines.print(_failures(report))
    if alarms and report.failures:
        lines.print()
    for alarm in alarms:
        lines.print(Text(alarm, style="yellow"))
    _remind_of(env_file, [*alarms, *(group.reason.advice for group in report.failures)])


def show_checks(checks: Sequence[Check], *, as_json: bool, env_file: Path | None = None) -> None:
    """Show what `doctor` found, a line a check, and below it what to do."""
    if as_json:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "command": "doctor",
                "checks": [
                    {
                        "about": check.about,
                        "state": check.state,
                        "words": check.words,
                        "code": check.code,
                        "fix": check.fix or None,
                    }
                    for check in checks
                ],
            }
        )
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        words = Text(visible(check.words))
        if check.fix:
            words.append(f"\nFix: {visible(check.fix)}", style="bold")
        table.add_row(Text(_MARKS[check.state], _CHECK_STYLES[check.state]), check.about, words)
    make_console().print(table)
    if sync_name():
        say(f"Sync: {sync_name()}")
    open_points = sum(check.state in (CheckState.FIX, CheckState.UNREACHABLE) for check in checks)
    say(
        f"{counted(open_points, 'thing')} to fix."
        if open_points
        else "Everything that could be checked is in place."
    )
    _remind_of(env_file, [check.fix or check.words for check in checks])


def _remind_of(env_file: Path | None, advice: Sequence[str]) -> None:
    """Say that the commands of an advice want the same settings file as this one."""
    if env_file and any(_COMMAND.search(words) for words in advice):
        say(f"Give the commands named above the same --env-file {shlex.quote(str(env_file))}.")


def _lines(report: "Overview", runs: int) -> list[tuple[str, str]]:
    due = f"{report.due:,} now"
    if report.oldest_due_since:
        due += f"; {report.oldest_due} has waited {span(report.now - report.oldest_due_since)}"
    soon, hour, later = report.retries
    retries = "none to come"
    if any(report.retries):
        retries = f"{soon:,} within five minutes, {hour:,} within an hour, {later:,} later"
    active = (counted(runs, "run") if runs else "none") + " active"
    if report.held:
        held = contacts(report.held)
        by_nobody = f"; {held} held by sync-one, or by a dead run's lease"
        active += f", holding {held}" if runs else by_nobody
    delivered = f"{report.delivered:,} in the last day"
    if report.last_delivery:
        delivered += f", the last {span(report.now - report.last_delivery)} ago"
    named = [("Sync", sync_name())] if sync_name() else []
    return [*named, ("Due", due), ("Retries", retries), ("Runs", active), ("Delivered", delivered)]


def _states(report: "Overview") -> Table:
    table = new_table()
    table.add_column("Decision", no_wrap=True)
    table.add_column("State", no_wrap=True)
    table.add_column("Contacts", justify="right", no_wrap=True)
    for (decision, state), count in sorted(report.states.items(), key=lambda each: -each[1]):
        table.add_row(
            cell(decision or "(none)", MOST_OF_STATUS),
            cell(state or "(none)", MOST_OF_STATUS),
            f"{count:,}",
        )
    return table


def _failures(report: "Overview") -> Table:
    # No heads and no rules: why, an example and the advice stand under each other.
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for number, group in enumerate(report.failures[:MOST_REASONS]):
        again = f" ({group.retried:,} to be tried again)" if group.retried else ""
        why = Text(visible(group.reason.words) + again)
        if group.example:
            why.append(f"\nsuch as {visible(group.example)}", style="dim")
        why.append(f"\n{visible(group.reason.advice)}")
        table.add_row(Text("" if number else f"{'Failed':<10}", "bold"), f"{group.count:,}", why)
    more = len(report.failures) - MOST_REASONS
    if more > 0:
        table.add_row("", "", Text(f"{counted(more, 'more reason')}: --json has all"))
    return table


def _as_json(report: "Overview") -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "status",
        "now": _iso(report.now),
        "states": [
            {"decision": decision, "state": state, "contacts": count}
            for (decision, state), count in report.states.items()
        ],
        "due": report.due,
        "oldest_due_since": _iso(report.oldest_due_since),
        "oldest_due": report.oldest_due,
        "retries": dict(zip(("five_minutes", "hour", "later"), report.retries, strict=True)),
        "failures": [
            {
                "reason": group.reason.words,
                "advice": group.reason.advice,
                "contacts": group.count,
                "retried": group.retried,
                "example": str(group.example),
            }
            for group in report.failures
        ],
        "delivered_last_day": report.delivered,
        "last_delivery": _iso(report.last_delivery),
        "held": report.held,
        "left_behind": report.left_behind,
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
