"""What every benchmark stands on: a PostgreSQL, an emulator in a process of its own, a table."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, create_engine, text

from hubspot_sync.store.database import make_engine
from hubspot_sync.store.indexes import create_indexes
from tests.postgres_server import postgres_server
from tests.tables import APP_TABLE, CONTACTS

ROOT = Path(__file__).parents[2]
TOKEN = "pat-na1-xxxxxxxx"

FILL = """
INSERT INTO contacts (domain_id, page_id, email, name, phone_number, hubspot_sync_status,
                      hubspot_processing_status, next_retry_at, last_failed_crm, updated_at)
SELECT gen_random_uuid(), gen_random_uuid(), 'c' || n || '@example.com', 'Ada Lovelace', '+44 1',
       {decision}, {state}, {next_retry_at}, {crm}, now() - interval '1 day' + n * interval '1 ms'
FROM generate_series(1, {count}) AS n
"""

_EMULATOR = """
import json, sys
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.rules.mapping import built_in_mapping
with Emulator(**json.loads(sys.argv[1])) as emulator:
    for custom in built_in_mapping().custom_properties:
        emulator.add_property({"name": custom.name, "label": custom.label, "type": custom.type,
                               "fieldType": custom.field_type, "groupName": "contactinformation"})
    print(emulator.url, flush=True)
    sys.stdin.read()
"""


@dataclass
class Stage:
    """A database and an emulator, and the program pointed at both."""

    database_url: str
    engine: Engine
    hubspot_url: str

    def fill(self, count: int, **columns: str) -> None:
        """Add contacts; due for the first time, if not told otherwise."""
        values = {
            "decision": "'Selected'",
            "state": "'Queued'",
            "next_retry_at": "NULL",
            "crm": "NULL",
        }
        with self.engine.begin() as connection:
            connection.execute(text(FILL.format(count=count, **(values | columns))))

    def execute(self, statement: str) -> None:
        """Run one statement on the table."""
        with self.engine.begin() as connection:
            connection.execute(text(statement))

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the program."""
        return {
            **os.environ,
            "DATABASE_URL": self.database_url,
            "HUBSPOT_API_BASE_URL": self.hubspot_url,
            "HUBSPOT_API_KEY": TOKEN,
        }

    def run(self, *arguments: str) -> tuple[dict[str, Any], int]:
        """Run a command as a process of its own; return its JSON and its peak memory in KiB."""
        command = [sys.executable, "-m", "hubspot_sync", *arguments, "--json"]
        with subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            said = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        return json.loads(said), usage.ru_maxrss


@contextmanager
def stage(*, is_indexed: bool = True, **emulator: object) -> Iterator[Stage]:
    """Set up a stage; the arguments are the emulator's."""
    with (
        tempfile.TemporaryDirectory(prefix="hubspot-sync-bench-") as folder,
        postgres_server(Path(folder)) as url,
        emulator_process(**emulator) as hubspot_url,
    ):
        driver_url = url.replace("postgresql:", "postgresql+psycopg2:")
        admin = create_engine(driver_url.format(database="postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text("CREATE DATABASE bench"))
        admin.dispose()
        engine = make_engine(driver_url.format(database="bench"))
        with engine.begin() as connection:
            connection.exec_driver_sql(APP_TABLE)
        if is_indexed:
            create_indexes(engine, CONTACTS)
        try:
            yield Stage(url.format(database="bench"), engine, hubspot_url)
        finally:
            engine.dispose()


@contextmanager
def emulator_process(**options: object) -> Iterator[str]:
    """Run the emulator in a process of its own, and yield its address."""
    command = [sys.executable, "-c", _EMULATOR, json.dumps(options)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def show(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a small table."""
    table = Table(*headings, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console(width=100, highlight=False).print(table)
