"""Makes the pictures in docs/screens again: `python -m tests.screens`.

Each is a real command against the emulator and an SQLite database, in this process; only clocks,
ids and the terminal are fixed, so that two makings are alike and a change of a screen shows in the
diff.
"""

import io
import logging
import random
import re
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid5

import rich._export_format
from rich.console import Console
from rich.text import Text
from sqlalchemy import Engine, create_engine, event, insert
from typer.testing import CliRunner

from hubspot_sync.cli import app
from hubspot_sync.clock import Pulse
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.rules.mapping import PropertyNames, custom_properties
from hubspot_sync.settings import known_names
from hubspot_sync.store.database import contacts

FOLDER = Path(__file__).parent.parent / "docs" / "screens"
NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
WIDTH = 100
SECONDS_A_REQUEST = 0.1

Columns = dict[str, Any]

_KEYS = UUID("6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b")
# The picture loads nothing from elsewhere, so the fonts are the reader's own.
_FORMAT = re.sub(
    r" *@font-face \{\{.*?\}\}\n", "", rich._export_format.CONSOLE_SVG_FORMAT, flags=re.S
)


@dataclass
class Stage:
    """An account, a table, and a terminal that is recorded."""

    hubspot: Emulator
    engine: Engine
    terminal: Console
    environment: dict[str, str | None]

    def add(self, number: int, email: str | None, name: str | None = None, **columns: Any) -> None:
        """Put a contact into the table; marked, if nothing else is told."""
        row = {
            "id": uuid5(_KEYS, f"contact {number}"),
            "domain_id": str(uuid5(_KEYS, f"domain {number}")),
            "page_id": str(uuid5(_KEYS, f"page {number}")),
            "email": email,
            "name": name,
            "hubspot_sync_status": "Selected",
            "hubspot_processing_status": "Queued",
            "updated_at": NOW - timedelta(minutes=9) + timedelta(seconds=number),
        }
        with self.engine.begin() as connection:
            connection.execute(insert(contacts), [row | columns])

    def run(self, *arguments: str, silent: bool = False) -> None:
        """Run a command; silently, where it only prepares what the picture shows."""
        if not silent:
            self.terminal.print(Text(f"$ hubspot-sync {' '.join(arguments)}", style="bold"))
        CliRunner().invoke(app, list(arguments), env=self.environment, catch_exceptions=False)
        if silent:
            self.terminal.export_text(clear=True)


@contextmanager
def stage() -> Iterator[Stage]:
    """Set the stage for one picture, and leave this process as it was."""
    terminal = Console(
        file=io.StringIO(),
        record=True,
        width=WIDTH,
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
        _environ={},
    )
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hubspot-sync-screens-"))
        stack.enter_context(chdir(folder))
        hubspot = stack.enter_context(Emulator(clock=NOW.timestamp, daily_limit=250_000))
        stack.enter_context(_fixed(hubspot, terminal))
        url = f"sqlite:///{folder}/contacts.db"
        environment: dict[str, str | None] = dict.fromkeys(known_names())
        environment |= {
            "DATABASE_URL": url,
            "HUBSPOT_API_KEY": hubspot.token,
            "HUBSPOT_API_BASE_URL": hubspot.url,
        }
        engine = create_engine(url)
        stack.callback(engine.dispose)
        set_up = Stage(hubspot, engine, terminal, environment)
        set_up.run("init-db", "--indexes", silent=True)
        yield set_up


@contextmanager
def _fixed(hubspot: Emulator, terminal: Console) -> Iterator[None]:
    """Fix every clock, the run's id and the terminal."""
    pulse = Pulse(
        sleep=lambda _: None,
        jitter=lambda: 0.5,
        monotonic=lambda: hubspot.request_count * SECONDS_A_REQUEST,
        now=lambda: NOW,
    )
    ids = random.Random(20261124)  # noqa: S311 - it names runs

    def run_id() -> UUID:
        return UUID(int=ids.getrandbits(128), version=4)

    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    event.listen(Engine, "connect", _fix_sqlite)
    with (
        patch("hubspot_sync.cli.parts.Pulse", lambda **_: pulse, create=True),
        patch("hubspot_sync.cli.deliver.new_pulse", lambda: pulse),
        patch("hubspot_sync.cli.set_up.new_pulse", lambda: pulse),
        patch("hubspot_sync.store.check_up.datetime", SimpleNamespace(now=lambda _: NOW)),
        patch("hubspot_sync.report.uuid", SimpleNamespace(uuid4=run_id)),
        patch("hubspot_sync.console.terminal.Console", lambda **_: terminal),
    ):
        yield
    event.remove(Engine, "connect", _fix_sqlite)
    root.handlers[:] = handlers
    root.setLevel(level)


def _fix_sqlite(connection: Any, _: object) -> None:
    """Give a connection the fixed clock, and a version that is not this machine's."""
    if not isinstance(connection, sqlite3.Connection):
        return

    def strftime(form: str, moment: str, *modifiers: str) -> Any:
        fixed = NOW.strftime("%Y-%m-%d %H:%M:%S") if moment == "now" else moment
        marks = ", ".join("?" * (2 + len(modifiers)))
        with closing(sqlite3.connect(":memory:")) as true_clock:
            found = true_clock.execute(f"SELECT strftime({marks})", (form, fixed, *modifiers))
            return found.fetchone()[0]

    connection.create_function("strftime", -1, strftime)
    connection.create_function("sqlite_version", 0, lambda: "3.45.1")


def add_properties(hubspot: Emulator) -> None:
    """Make our custom properties in the account."""
    for custom in custom_properties(PropertyNames()):
        hubspot.add_property(
            {
                "name": custom.name,
                "label": custom.label,
                "type": custom.type,
                "fieldType": custom.field_type,
                "groupName": "contactinformation",
            }
        )


def sync_queue(stage: Stage) -> None:
    """Five contacts: created, updated, failed, and two that share an address."""
    add_properties(stage.hubspot)
    stage.hubspot.add_contact({"email": "sales@northwind-paper.co.uk", "firstname": "P."})
    stage.add(1, "hello@bluefin-diving.com", "Marta Kowalska")
    stage.add(2, "sales@northwind-paper.co.uk", "Priya Raman")
    stage.add(3, "contact@riverbend-bakery.com", "Sam Whitaker")
    stage.add(4, "CONTACT@riverbend-bakery.com", "Samuel Whitaker")
    stage.add(5, "info(at)old-mill-inn.com", "Old Mill Inn")
    stage.run("sync-queue")


def dry_run(stage: Stage) -> None:
    """What would be sent, with HubSpot's values and ours."""
    add_properties(stage.hubspot)
    stage.hubspot.add_contact(
        {
            "email": "erik@lindqvist-tak.se",
            "firstname": "Erik",
            "lastname": "Lindqvist",
            "phone": "+46 8 000 00",
            "scrapersky_sync_date": "2026-11-23",
        }
    )
    stage.add(1, "hello@bluefin-diving.com", "Marta Kowalska", phone_number="+48 22 555 01 10")
    stage.add(2, "erik@lindqvist-tak.se", "Erik Lindqvist", phone_number="+46 8 555 017 20")
    stage.add(3, "info(at)old-mill-inn.com", "Old Mill Inn")
    stage.run("sync-queue", "--dry-run")


def create_properties(stage: Stage) -> None:
    """Two are made; the third is there, and of another type."""
    stage.hubspot.add_property({"name": "scrapersky_sync_date", "type": "string"})
    stage.run("create-properties")


def status(stage: Stage) -> None:
    """A queue that has stood still for an hour, with failures of three kinds."""
    done: Columns = {"hubspot_sync_status": "Complete", "hubspot_processing_status": "Complete"}
    for number in range(100, 224):
        age = timedelta(hours=1, minutes=number / 4)
        stage.add(number, f"c{number}@example.com", **done, updated_at=NOW - age)
    for number in range(300, 331):
        new: Columns = {"hubspot_sync_status": "New", "hubspot_processing_status": None}
        stage.add(number, f"c{number}@example.com", **new)
    for number in range(400, 403):
        stage.add(number, f"c{number}@example.com", updated_at=NOW - timedelta(minutes=58))
    _add_failures(stage)
    stage.run("status")


def _add_failures(stage: Stage) -> None:
    failed: Columns = {
        "hubspot_processing_status": "Error",
        "last_failed_crm": "hubspot",
        "updated_at": NOW - timedelta(hours=1),
        "last_retry_at": NOW - timedelta(hours=1),
    }
    refused = "HubSpot refused the contact: Email address {} is invalid (INVALID_EMAIL)."
    for number in range(500, 507):
        email = f"c{number}@example.con"
        error: Columns = {"hubspot_processing_error": refused.format(email), "retry_count": 3}
        stage.add(number, email, hubspot_sync_status="Error", **error, **failed)
    for number in range(600, 603):
        retry: Columns = {"hubspot_sync_status": "Queued", "retry_count": 1}
        words = "HubSpot answered HTTP 500, though it answers for others"
        soon = NOW + timedelta(minutes=4 * (number - 599))
        error = {"hubspot_processing_error": words, "next_retry_at": soon}
        stage.add(number, f"c{number}@example.com", **retry, **error, **failed)


def doctor(stage: Stage) -> None:
    """Two things to mend: a property that is not there, and a setting that is none."""
    add_properties(stage.hubspot)
    stage.hubspot.archive_property("scrapersky_domain_id")
    stage.environment["HUBSPOT_SYNC_WORKER"] = "2"
    stage.add(1, "hello@bluefin-diving.com", "Marta Kowalska")
    stage.run("doctor")


SCREENS: tuple[Callable[[Stage], None], ...] = (
    sync_queue,
    dry_run,
    create_properties,
    status,
    doctor,
)


def name_of(screen: Callable[[Stage], None]) -> str:
    """Return the name of a picture without its suffix."""
    return screen.__name__.replace("_", "-")


def make(screen: Callable[[Stage], None]) -> str:
    """Return one picture."""
    with stage() as set_up:
        screen(set_up)
        return set_up.terminal.export_svg(
            title="hubspot-sync", code_format=_FORMAT, unique_id=name_of(screen)
        )


def main() -> None:
    """Write all pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for screen in SCREENS:
        path = FOLDER / f"{name_of(screen)}.svg"
        path.write_text(make(screen), encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(FOLDER.parent.parent)}\n")


if __name__ == "__main__":
    main()
