"""The program held at one point: by the emulator's answer, or between its own statements.

Run as a module it is the program itself, with listeners on its database work. At the point that
HELD_AT names it asks the emulator for /held, and goes on when it is answered; so a test that holds
that request has the process exactly there. The product knows nothing of it.
"""

import http.client
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from sqlalchemy import Connection, Engine, event, text

from tests.acceptance.forked import Forked

if TYPE_CHECKING:
    from sqlalchemy.pool import ConnectionPoolEntry

    from hubspot_sync.hubspot.emulator import Emulator, Fault
    from tests.acceptance.program import Program
    from tests.tables import Contacts

ROOT = Path(__file__).parents[2]

CLAIM_WRITTEN = "claim written"
SETTLE_WRITTEN = "settle written"
"""UPDATE executed, COMMIT not yet."""
SETTLE_COMMITTED = "settle committed"
"""COMMIT executed, and no statement after it."""

HELD = "^/held$"
"""The path of a fault that holds a run which stands at its point."""

Row = dict[str, Any]


def start(program: "Program", at: str, *arguments: str, **more: str) -> Forked:
    """Start a command as a process of its own that will stand still at a point."""
    environment = os.environ | {"HELD_AT": at} | program.environment | more
    return Forked("tests.acceptance.held", arguments, environment)


@contextmanager
def hold(hubspot: "Emulator", **matching: Any) -> Iterator["Fault"]:
    """Hold the next request that matches, and let it go at the end, whatever happens."""
    release = threading.Event()
    try:
        yield hubspot.fault(release=release, **matching)
    finally:
        release.set()


def kill_at(process: Forked, *points: "Fault") -> None:
    """Kill a run as soon as it stands at all of the points."""
    with process:
        reached = all(point.reached.wait(20) for point in points)
        process.kill()
        _, said = process.communicate(timeout=20)
    assert reached, f"the run ended before it came there: {said}"


def wait_until_let_go(table: "Contacts") -> None:
    """Wait until the database has noticed the death: locks gone, transactions rolled back."""
    if table.shape == "sqlite":
        # The kernel took the locks away with the process.
        return
    from hubspot_sync.store.run_places import _NAMESPACE

    with table.engine.begin() as connection:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_NAMESPACE}, 0)"))
        connection.execute(text("SELECT 1 FROM contacts FOR UPDATE"))


def add_many(
    table: "Contacts",
    emails: list[str],
    *,
    oldest: timedelta,
    ids: Sequence[str] = (),
) -> None:
    """Insert contacts in one transaction, each a second younger than the one before."""
    keys = ids or [str(uuid4()) for _ in emails]
    with table.engine.begin() as connection:
        for number, (key, email) in enumerate(zip(keys, emails, strict=True)):
            ago = table._ago(oldest - timedelta(seconds=number))
            connection.execute(
                text(
                    "INSERT INTO contacts (id, domain_id, page_id, email, hubspot_sync_status, "
                    "hubspot_processing_status, updated_at) "
                    f"VALUES (:id, :domain_id, :page_id, :email, 'Selected', 'Queued', {ago})"
                ),
                {
                    "id": str(key),
                    "domain_id": str(uuid4()),
                    "page_id": str(uuid4()),
                    "email": email,
                },
            )


def add_mix(table: "Contacts", hubspot: "Emulator", *, abandoned: bool = False) -> list[str]:
    """Add contacts of every kind, the longest waiting first, and what HubSpot has of them.

    Unknown to HubSpot, known with old values, a retry of ours, two that share an email.

    Args:
        table: where to.
        hubspot: what knows some of them.
        abandoned: all of them are held by a worker that is dead.
    """
    retry: Row = {
        "hubspot_sync_status": "Queued",
        "hubspot_processing_status": "Error",
        "hubspot_processing_error": "HubSpot was cross",
        "retry_count": 1,
        "last_failed_crm": "hubspot",
    }
    kinds: list[Row] = [
        {"email": "new@example.com", "name": "Ada New"},
        {"email": "known@example.com", "name": "Bob Known"},
        {"email": "Retry@Example.com", "name": "Cy Retry"} | retry,
        {"email": "twice@example.com", "name": "Di First"},
        {"email": "Twice@example.com", "name": "Di Second"},
        {"email": "old@example.com", "phone_number": "+44 2"},
    ]
    if abandoned:
        for kind in kinds:
            kind["hubspot_sync_status"] = kind["hubspot_processing_status"] = "Processing"
            kind["hubspot_processing_error"] = None
            # A worker died of each before, so each is taken over alone.
            kind["retry_count"] = 1
    keys = [
        table.add(age=timedelta(minutes=39 - number), **kind) for number, kind in enumerate(kinds)
    ]
    table.move(keys[2], "next_retry_at", timedelta(minutes=3))
    table.move(keys[2], "last_retry_at", timedelta(minutes=13))
    for email in ("known@example.com", "old@example.com"):
        hubspot.add_contact({"email": email, "firstname": "Before", "lastname": "Before"})
    return keys


def _stand_still(point: str) -> None:
    if point != os.environ["HELD_AT"]:
        return
    emulator = http.client.HTTPConnection(urlsplit(os.environ["HUBSPOT_API_BASE_URL"]).netloc)
    authorization = {"Authorization": f"Bearer {os.environ['HUBSPOT_API_KEY']}"}
    emulator.request("GET", "/held", headers=authorization)
    emulator.getresponse().read()
    emulator.close()


def _note_write(
    connection: Connection, _cursor: object, statement: str, parameters: Any, *_: object
) -> None:
    if "UPDATE contacts" in statement:
        values = parameters.values() if isinstance(parameters, Mapping) else parameters
        connection.info["wrote"] = "claim" if "Processing" in values else "settle"


def _before_commit(connection: Connection) -> None:
    _stand_still(f"{connection.info.get('wrote')} written")


def _forget(connection: Connection) -> None:
    connection.info.pop("wrote", None)


def _after_commit(_connection: object, entry: "ConnectionPoolEntry") -> None:
    # A connection is given back right after its transaction; there is no event that is nearer.
    _stand_still(f"{entry.info.pop('wrote', None)} committed")


def main() -> None:
    """Run the program with its database work watched."""
    from sqlalchemy.pool import Pool

    from hubspot_sync.cli import main as run

    event.listen(Engine, "after_cursor_execute", _note_write)
    event.listen(Engine, "commit", _before_commit)
    event.listen(Engine, "rollback", _forget)
    event.listen(Pool, "checkin", _after_commit)
    run()


if __name__ == "__main__":
    main()
