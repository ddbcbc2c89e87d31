"""The pictures in docs/screens: `python -m tests.screens` makes them anew.

Each shows a real command, run on a database and an emulator of its own. Time, ids and terminal are
given, so that two makings are alike to the byte, and a changed table shows as a difference.
"""

import io
import logging
import os
import re
import shlex
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, chdir, closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid5

from rich.console import Console
from rich.progress import Progress, TaskID
from sqlalchemy import Engine, create_engine, event, insert
from typer.testing import CliRunner

from hubspot_sync import report
from hubspot_sync.cli import app, deliver, set_up
from hubspot_sync.clock import Pulse
from hubspot_sync.console import runs, terminal
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.store import check_up, database
from hubspot_sync.store.embedded import embedded_table

FOLDER = Path(__file__).parent.parent / "docs" / "screens"
START = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
ERIK = ("erik@lindqvist-tak.example", "Erik Lindqvist", "+46 8 555 017 20")
PRIYA = ("priya@northwind-paper.example", "Priya Raman", "+44 20 5550 1925")
MILL = ("info(at)old-mill-inn.example", "Old Mill Inn", "+1 802 555 0101")
READERS = tuple((f"reader-{number}@example.org", None, None) for number in range(900))
"""Email, name and phone of contacts; the mill's address cannot be one."""


class Stage:
    """What a command finds: a terminal, a HubSpot, a database, and one time for all of them."""

    def __init__(self, at_end: ExitStack) -> None:
        self.at_end = at_end
        self.passed = timedelta()
        self.hubspot = Emulator(clock=lambda: self.now().timestamp(), daily_limit=250_000)
        # With an environment of its own: NO_COLOR and TERM are those of whoever makes the pictures.
        self.screen = Console(
            file=io.StringIO(),
            width=100,
            force_terminal=True,
            highlight=False,
            record=True,
            get_time=self.seconds,
            _environ={},
        )

    def now(self) -> datetime:
        return START + self.passed

    def seconds(self) -> float:
        # Nothing takes time but HubSpot, a fifth of a second for a request.
        return self.passed.total_seconds() + 0.2 * self.hubspot.request_count

    def wait(self, seconds: float) -> None:
        self.passed += timedelta(seconds=seconds)

    def pulse(self) -> Pulse:
        return Pulse(sleep=self.wait, jitter=lambda: 0.5, monotonic=self.seconds, now=self.now)

    def open_database(self, *arguments: Any, **options: Any) -> Engine:
        self.engine = create_engine(*arguments, **options)
        event.listen(self.engine, "connect", self._give_time)
        self.at_end.callback(self.engine.dispose)
        return self.engine

    def _give_time(self, connection: sqlite3.Connection, _: object) -> None:
        def strftime(*arguments: str | None) -> Any:
            told = [str(self.now().replace(tzinfo=None)) if it == "now" else it for it in arguments]
            with closing(sqlite3.connect(":memory:")) as real:
                query = f"SELECT strftime({', '.join('?' * len(told))})"
                return real.execute(query, told).fetchone()[0]

        connection.create_function("strftime", -1, strftime)
        # Which SQLite this machine has must not show.
        connection.create_function("sqlite_version", 0, lambda: "3.46.1")

    def mark(self, *people: tuple[str, str | None, str | None]) -> None:
        """Put contacts into the table, marked as the app marks them, one a second."""
        rows = [
            {
                "id": str(_key(email)),
                "domain_id": str(_key(f"domain of {email}")),
                "page_id": str(_key(f"page of {email}")),
                "email": email,
                "name": name,
                "phone_number": phone,
                "hubspot_sync_status": "Selected",
                "hubspot_processing_status": "Queued",
                "updated_at": self.now() - timedelta(seconds=len(people) - number),
            }
            for number, (email, name, phone) in enumerate(people)
        ]
        with self.engine.begin() as connection:
            connection.execute(insert(embedded_table(BUILT_IN_SOURCE)), rows)

    def run(self, *arguments: str, ends_with: int = 0) -> None:
        """Run a command, which has the screen to itself."""
        self.screen.export_text(clear=True)
        self.command = shlex.join(("hubspot-sync", *arguments))
        self.screen.print(f"$ {self.command}", style="bold", markup=False)
        ended = CliRunner().invoke(app, arguments, catch_exceptions=False)
        # What went past the screen would be missing in the picture.
        if (ended.exit_code, ended.output) != (ends_with, ""):
            raise AssertionError(f"{self.command}: {ended.exit_code}, {ended.output!r}")

    def picture(self, name: str) -> str:
        """Return the screen as it stands; it loads nothing from elsewhere."""
        self.screen.print()  # or the last line's tails would be cut off
        svg = self.screen.export_svg(title=self.command, unique_id=name)
        svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
        # In a font of another width the letters are stretched, so that ruled lines stay whole.
        svg = svg.replace(" textLength=", ' lengthAdjust="spacingAndGlyphs" textLength=')
        return "".join(f"{line.rstrip()}\n" for line in svg.splitlines())


@contextmanager
def set_stage() -> Iterator[Stage]:
    """Let commands find a stage, and nothing of whoever makes the pictures."""
    log = logging.getLogger()
    with ExitStack() as stack:
        stage = Stage(stack)
        # A command replaces the log's handlers, and closes those that it finds.
        stack.enter_context(patch.object(log, "handlers", []))
        stack.callback(log.setLevel, log.level)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(chdir(folder))
        stack.enter_context(stage.hubspot)
        settings = {
            "DATABASE_URL": f"sqlite:///{folder}/contacts.db",
            "HUBSPOT_API_KEY": stage.hubspot.token,
            "HUBSPOT_API_BASE_URL": stage.hubspot.url,
            "HUBSPOT_SYNC_WORKERS": "1",
        }
        stack.enter_context(patch.dict(os.environ, settings, clear=True))
        given: tuple[tuple[object, str, object], ...] = (
            (terminal, "Console", lambda **_: stage.screen),
            (terminal, "is_seen", lambda: True),
            (runs, "is_seen", lambda: True),
            (database, "create_engine", stage.open_database),
            (deliver, "new_pulse", stage.pulse),
            (set_up, "new_pulse", stage.pulse),
            (check_up, "datetime", SimpleNamespace(now=lambda _: stage.now())),
            (report, "uuid", SimpleNamespace(uuid4=lambda: _key("run"))),
        )
        for module, name, ours in given:
            stack.enter_context(patch.object(module, name, ours))
        stage.run("init-db")
        yield stage


def _key(name: str) -> UUID:
    return uuid5(UUID(int=0), name)


def sync_queue(stage: Stage) -> None:
    stage.run("create-properties")
    stage.hubspot.add_contact({"email": PRIYA[0], "firstname": "P."})
    stage.mark(ERIK, PRIYA, MILL, (ERIK[0].capitalize(), "E. Lindqvist", None), *READERS[:1])
    stage.run("sync-queue", ends_with=1)


def dry_run(stage: Stage) -> None:
    stage.run("create-properties")
    stage.hubspot.add_contact({"email": PRIYA[0], "firstname": "P.", "lastname": "Raman"})
    stage.mark(ERIK, PRIYA, MILL)
    stage.run("sync-queue", "--dry-run")


def status(stage: Stage) -> None:
    """Failures of three kinds, and an hour without a run of cron's."""
    stage.run("create-properties")
    stage.hubspot.block_email(PRIYA[0])
    stage.hubspot.fault(path="/contacts", contains=ERIK[0], status=500, times=None)
    stage.mark(*READERS[:41], MILL, ("office", None, None), PRIYA, ERIK)
    stage.run("sync-queue", "--limit", "100", ends_with=1)
    stage.mark(*READERS[41:48])
    stage.wait(3700)
    stage.run("status")


def doctor(stage: Stage) -> None:
    """A property that somebody archived, and a setting that is misspelt."""
    stage.run("create-properties")
    stage.mark(ERIK)
    stage.run("sync-queue")
    stage.hubspot.archive_property("scrapersky_sync_date")
    os.environ["HUBSPOT_SYNC_MAX_RETRY"] = "5"
    stage.run("doctor", ends_with=1)


def create_properties(stage: Stage) -> None:
    stage.run("create-properties")


def drain(stage: Stage) -> None:
    stage.run("create-properties")
    stage.mark(MILL, *READERS)
    on_a_terminal = SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True))
    still = partial(_StillBar, disable=True)
    with patch.object(runs, "sys", on_a_terminal), patch("rich.progress.Progress", still):
        stage.run("sync-queue", "--drain", ends_with=1)
    stage.screen.record = True


class _StillBar(Progress):
    """The program's own bar, drawn once, in the middle; what the run prints later comes after."""

    def update(self, task_id: TaskID, **told: Any) -> None:
        super().update(task_id, **told)
        if self.tasks[0].completed == 560:
            self.console.print(self.get_renderable())
            self.console.record = False


SCREENS = (sync_queue, dry_run, status, doctor, create_properties, drain)


def make_all(folder: Path) -> None:
    for screen in SCREENS:
        name = screen.__name__.replace("_", "-")
        with set_stage() as stage:
            screen(stage)
            (folder / f"{name}.svg").write_text(stage.picture(name), encoding="utf-8")


if __name__ == "__main__":
    make_all(FOLDER)
