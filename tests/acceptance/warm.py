"""Does what a run does once, for the processes that are forked from the one that imports this.

The first run of a process compiles its statements, makes the commands, and imports what is needed
last; the second one takes a sixth of the time. Nothing is left of it that a run could meet.
"""

import logging
import tempfile
import threading
from contextlib import chdir
from pathlib import Path

from typer.testing import CliRunner

from hubspot_sync.cli import app
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.store.database import make_engine
from tests.acceptance import imported
from tests.compiled import share_compiled_statements
from tests.tables import Contacts

__all__ = ["imported"]


def warm_up(folder: Path, hubspot: Emulator) -> None:
    """Run commands on a database and a HubSpot of their own."""
    url = f"sqlite:///{folder / 'contacts.db'}"
    env = {
        "DATABASE_URL": url,
        "HUBSPOT_API_KEY": hubspot.token,
        "HUBSPOT_API_BASE_URL": hubspot.url,
    }

    def run(*arguments: str) -> None:
        CliRunner().invoke(app, arguments, env=env, catch_exceptions=False)

    run("init-db")
    run("create-properties")
    engine = make_engine(url)
    table = Contacts(engine, "sqlite")
    hubspot.add_contact({"email": "known@example.com"})
    table.add_all(["new@example.com", "known@example.com", "none"])
    run("sync-queue")
    run("sync-queue", "--json")
    engine.dispose()


share_compiled_statements()
with tempfile.TemporaryDirectory() as made, chdir(made), Emulator() as local:
    warm_up(Path(made), local)
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(10)
logging.getLogger().handlers.clear()
logging.getLogger().setLevel(logging.WARNING)
assert threading.active_count() == 1, "a process with threads cannot be forked safely"
