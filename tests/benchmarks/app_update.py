"""How long the app's own update of a contact takes while a run holds it, and with no run at all."""

import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg2
from sqlalchemy.engine import make_url

from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.embedded import create_table
from tests.benchmarks.stage import ROOT, TOKEN, Stage, show, stage
from tests.contacts import MAPPING
from tests.tables import Contacts

CONTACTS = 200
ROUNDS = 3
WORKERS = CONTACTS // 100
TARGET = 1.5

Update = Callable[[str, str], None]


def main() -> None:
    """Print medians and worst times, and the medians' ratio, on both databases."""
    rows = []
    with tempfile.TemporaryDirectory() as folder, stage() as stand, local_hubspot() as hubspot:
        stand = replace(stand, hubspot_url=hubspot.url)
        sqlite_url = f"sqlite:///{Path(folder) / 'contacts.db'}"
        sqlite_engine = make_engine(sqlite_url, create=True)
        create_table(sqlite_engine, BUILT_IN_SOURCE)
        embedded = replace(stand, database_url=sqlite_url, engine=sqlite_engine)
        with postgres_update(stand) as update:
            rows.append(("PostgreSQL", *compare(stand, "app", hubspot, update)))
        with sqlite_update(embedded) as update:
            rows.append(("SQLite", *compare(embedded, "sqlite", hubspot, update)))
        sqlite_engine.dispose()
    headings = (
        "database", "updates", "no run: median ms", "worst", "held: median ms", "worst",
        "ratio of medians", "target",
    )  # fmt: skip
    show("The app's UPDATE of a contact that a run holds while HubSpot thinks", headings, rows)


def compare(stand: Stage, shape: str, hubspot: Emulator, update: Update) -> tuple[str, ...]:
    """Time updates with no run and with one, in turns, so that neither has the warmer machine."""
    table = Contacts(stand.engine, shape)
    alone: list[float] = []
    held: list[float] = []
    for number in range(ROUNDS):
        table.clear()
        keys = [table.add(f"r{number}c{each}@example.com") for each in range(CONTACTS)]
        alone += times(update, keys, "Alone")
        with run_that_waits(stand, hubspot):
            assert all(row["hubspot_processing_status"] == "Processing" for row in table.rows())
            held += times(update, keys, "Held")
    medians = statistics.median(alone), statistics.median(held)
    return (
        str(len(held)),
        f"{medians[0] * 1000:.3f}",
        f"{max(alone) * 1000:.1f}",
        f"{medians[1] * 1000:.3f}",
        f"{max(held) * 1000:.1f}",
        f"{medians[1] / medians[0]:.2f}",
        f"<= {TARGET}",
    )


def times(update: Update, keys: Sequence[str], name: str) -> list[float]:
    """Return the seconds of each update."""
    seconds = []
    for key in keys:
        began = time.perf_counter()
        update(key, name)
        seconds.append(time.perf_counter() - began)
    return seconds


@contextmanager
def local_hubspot() -> Iterator[Emulator]:
    """Run an emulator in this process, where its answers can be held."""
    with Emulator(token=TOKEN) as hubspot:
        for custom in MAPPING.custom_properties:
            hubspot.add_property({"name": custom.name, "type": custom.type})
        yield hubspot


@contextmanager
def run_that_waits(stand: Stage, hubspot: Emulator) -> Iterator[None]:
    """Start a drain, and hold HubSpot's answer to every worker while the block runs."""
    release = threading.Event()
    faults = [
        hubspot.fault(path="/objects/contacts/batch/read", release=release) for _ in range(WORKERS)
    ]
    command = [sys.executable, "-m", "hubspot_sync", "sync-queue", "--drain"]
    with subprocess.Popen(
        [*command, "--workers", str(WORKERS)],
        cwd=ROOT,
        env=stand.environment,
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            assert all(fault.reached.wait(20) for fault in faults)
            yield
        finally:
            release.set()
        assert process.wait(60) == 0


@contextmanager
def postgres_update(stand: Stage) -> Iterator[Update]:
    """Open the app's connection, each of whose updates is a transaction of its own."""
    with closing(psycopg2.connect(stand.database_url)) as app:
        app.autocommit = True
        cursor = app.cursor()

        def update(key: str, name: str) -> None:
            cursor.execute("UPDATE contacts SET name = %s WHERE id = %s", (name, str(key)))

        yield update


@contextmanager
def sqlite_update(stand: Stage) -> Iterator[Update]:
    """Open the app's connection, each of whose updates is a transaction of its own."""
    path = make_url(stand.database_url).database or ""
    with closing(sqlite3.connect(path, isolation_level=None)) as app:

        def update(key: str, name: str) -> None:
            app.execute("UPDATE contacts SET name = ? WHERE id = ?", (name, str(key)))

        yield update


if __name__ == "__main__":
    main()
