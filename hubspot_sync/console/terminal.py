"""The one door to the terminal: what every screen is made of.

Tables and JSON go to standard output, everything that wants attention to standard error, so that
cron can send the one to a log and mail the other.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TextIO, cast

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hubspot_sync.codes import ErrorCode
from hubspot_sync.console.streams import Guarded, is_log
from hubspot_sync.errors import HubSpotSyncError, RunStopped
from hubspot_sync.report import SCHEMA_VERSION, RunState
from hubspot_sync.rules.alarm import span
from hubspot_sync.rules.words import escaped, shortened, visible
from hubspot_sync.sentences import Message

MOST_ROWS = 50
"""Longer tables than this are cut: the rest is in `--json`."""

MOST_OF_EMAIL = 254
MOST_OF_STATUS = 12
MOST_OF_ID = 14
"""Characters that a cell shows of what may be a stranger's: real ones fit."""

_RUNS = ("sync-queue", "sync-one")

WIDTH_WITHOUT_TERMINAL = 100
"""Columns where there is no terminal to ask: in a log, and in cron's mail."""


class _Sync:
    """Whose screens these are, where the settings name it."""

    name = ""


def name_sync(name: str) -> None:
    """Put the sync's name on everything from now on; an empty one puts nothing there."""
    _Sync.name = name


def sync_name() -> str:
    """Return the sync's name; empty where it has none."""
    return _Sync.name


def labelled(sentence: str) -> str:
    """Return a sentence with the sync's name before it, for what stands alone, such as a mail."""
    return f"[{_Sync.name}] {sentence}" if _Sync.name else sentence


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that fits where its output goes; NO_COLOR and TERM=dumb are honoured."""
    stream = sys.stderr if stderr else sys.stdout
    knows_width = stream.isatty() or "COLUMNS" in os.environ
    width = None if knows_width else WIDTH_WITHOUT_TERMINAL
    # The library names a whole TextIO, and uses what Guarded has.
    return Console(file=cast("TextIO", Guarded(stream)), width=width, highlight=False)


def say(sentence: str) -> None:
    """Print a sentence to standard output; a line feed before it leaves a line free."""
    blank = "\n" if sentence.startswith("\n") else ""
    make_console().print(Text(blank + visible(sentence.strip("\n"))), soft_wrap=True)


def say_rows(rows: Sequence[Sequence[str]]) -> None:
    """Print a table for a file: one line a row, as wide as its content, nothing cut or wrapped."""
    safe = [[visible(text) for text in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*safe, strict=True)]
    output = Guarded(sys.stdout)
    for row in safe:
        cells = zip(row, widths, strict=True)
        line = "  ".join(text + " " * (width - cell_len(text)) for text, width in cells)
        output.write(line.rstrip() + "\n")
    output.flush()


def say_when(sentence: str) -> None:
    """Print a sentence that a log is searched for: with the time, where nobody looks on."""
    say(sentence if is_seen() else f"{stamp(datetime.now(UTC))} {sentence}")


def stamp(moment: datetime) -> str:
    """Return the date and time that a line of a log begins with."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def is_seen() -> bool:
    """Tell whether a person looks on, and not a file or a program; FORCE_COLOR changes nothing."""
    return sys.stdout.isatty()


def warn(sentence: str, *, is_logged: bool = False) -> None:
    """Print a sentence that wants attention to standard error.

    Args:
        sentence: what happened, and what to do.
        is_logged: print it to standard output too, where that is a log: cron mails standard error
            and forgets it, and who reads the log later must find there why a run did not go on.
    """
    make_console(stderr=True).print(Text(visible(sentence), style="yellow"), soft_wrap=True)
    if is_logged and is_log(sys.stdout, sys.stderr):
        say_when(sentence)


def cell(text: str | None, most: int) -> Text:
    """Return a stranger's words as a table shows them: nothing obeyed, and not without end."""
    return Text(visible(shortened(text or "", most)))


def print_json(document: Mapping[str, object]) -> None:
    """Print one JSON document to standard output, with the sync's name where it has one."""
    document = {**document, "sync": _Sync.name} if _Sync.name else document
    # Where the output does not know the letter, what stands for it would be no JSON.
    text = json.dumps(document, ensure_ascii=not _knows_all_letters(sys.stdout.encoding))
    output = Guarded(sys.stdout)
    output.write(escaped(text) + "\n")
    output.flush()


def show_error(command: str, error: HubSpotSyncError, *, as_json: bool) -> None:
    """Say what went wrong and what to do, on standard error; with `as_json` on both.

    Why a run of the queue did not begin goes to its log too.
    """
    # As a run that has begun says it, so that one search finds both.
    is_stop = command in _RUNS and isinstance(error, RunStopped)
    told = Message(ErrorCode.RUN_STOPPED, reason=error.message) if is_stop else error.message
    lines = labelled(told).splitlines()
    for line in lines:
        make_console(stderr=True).print(Text(visible(line), style="red"), soft_wrap=True)
    if command == "sync-queue" and not as_json and is_log(sys.stdout, sys.stderr):
        for line in lines:
            say_when(line)
    if as_json:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "command": command,
                "state": "refused" if error.exit_code < 3 else RunState.STOPPED,
                "reason": error.message,
                "error_code": error.code,
                "cause_codes": [cause.code for cause in error.message.causes],
            }
        )


def new_table() -> Table:
    """Return a table without side frames, in ASCII where the output knows no more."""
    frame = box.SIMPLE_HEAD if _knows_all_letters(make_console().encoding) else box.ASCII2
    title = Text(_Sync.name) if _Sync.name else None
    return Table(box=frame, pad_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left")


def clock(moment: datetime | None) -> str:
    """Return the time of day, which a table of one run needs no date for."""
    return f"{moment:%H:%M}" if moment else ""


def at_crons_pace(what_takes: str, count: int, batch_size: int, interval: timedelta) -> str:
    """Return how long contacts take where cron's runs alone deliver them, and what is faster."""
    minutes = interval // timedelta(minutes=1)
    return (
        f"At {batch_size:,} contacts every {minutes} minutes {what_takes} about "
        f"{span(-(-count // batch_size) * interval)}; sync-queue --drain takes it now."
    )


def contacts(number: int) -> str:
    """Return a number of contacts in words."""
    return counted(number, "contact")


def counted(number: int, what: str) -> str:
    """Return a number of things in words."""
    if number == 1:
        return f"{number} {what}"
    return f"{number:,} {what[:-1]}ies" if what.endswith("y") else f"{number:,} {what}s"


def _knows_all_letters(encoding: str | None) -> bool:
    return (encoding or "").lower().replace("-", "") == "utf8"
