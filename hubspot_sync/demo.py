"""The whole job on sample contacts: real commands, an embedded database and the emulator.

Each command runs as a process of its own, just as cron would run it.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid5

from sqlalchemy import Engine, func, insert, select, update

import hubspot_sync
from hubspot_sync import console
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import HubSpotSyncError, WrongUsage
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.report import SCHEMA_VERSION
from hubspot_sync.rules.lifecycle import ProcessingStatus, SyncStatus
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.settings import Settings
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.embedded import embedded_table
from hubspot_sync.store.expressions import DatabaseTime
from hubspot_sync.store.source_table import SourceTable

_KEYS = UUID("6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b")
"""Keys are made from this and a number, so that every demo shows the same contacts."""

_CONTACTS = embedded_table(BUILT_IN_SOURCE)

_UNLUCKY = "post@dampfbad-moabit.example.de"
"""HubSpot answers 500 to this one at first."""

_MOST_RUNS = 12

_SCRAPED: Sequence[tuple[str, str | None, str | None]] = (
    ("hello@bluefin-diving.com", "Marta Kowalska", "+48 22 555 01 10"),
    ("office@lindqvist-tak.se", "Erik Lindqvist", "+46 8 555 017 20"),
    ("Info@Casa-Verde.es", "Lucía Fernández Ortega", "+34 910 555 018"),
    ("kontakt@tischlerei-brandt.de", "Jonas Brandt", None),
    ("sales@northwind-paper.co.uk", "Priya Raman", "+44 20 5550 1925"),
    ("reservas@posadadelmar.mx", "Posada del Mar", "+52 55 5550 1333"),
    ("studio@okafor-architects.com", "Chidi Okafor", "+1 312 555 0142"),
    ("hola@bicisur.cl", "Tomás", "+56 2 5550 1999"),
    ("team@harbour-yoga.com.au", "Grace O'Neill", None),
    ("bonjour@atelier-lumen.fr", "Zoé Delacroix-Martin", "+33 1 55 50 19 19"),
    (_UNLUCKY, "Ute Dampf", "+49 30 5550 1988"),
    ("contact@riverbend-bakery.com", "Sam Whitaker", "+1 503 555 0188"),
    ("info(at)old-mill-inn.com", "Old Mill Inn", "+1 802 555 0101"),
    ("CONTACT@riverbend-bakery.com", "Samuel Whitaker", "+1 503 555 0199"),
    ("dr.meyer@praxis-seeblick.ch", "Dr. Hanna Meyer", "+41 44 555 01 77"),
    ("orders@teahouse-osaka.jp", "Aiko Tanaka", "+81 6 5550 1234"),
    ("peter@kiwi-campers.co.nz", "Peter Ngata", None),
    ("mail@zahnarzt-winkler.at", None, "+43 1 555 0166"),
    ("ciao@trattoria-dalpozzo.it", "Giulia Dal Pozzo", "+39 06 5550 1177"),
    ("hej@fjordkajakk.no", "Ingrid Solberg", "+47 22 55 50 15"),
    ("info@garage-benali.fr", "Karim Benali", "+33 4 55 50 11 22"),
    ("press@orbit-records.com", "Dana Levi", "+1 646 555 0133"),
    ("service@heizung-krause.de", "Familie Krause", "+49 351 555 0145"),
    ("booking@madrugada-tours.pt", "Rui Madrugada", "+351 21 555 0199"),
)

_HELD_BY_HUBSPOT: Sequence[tuple[Mapping[str, str], Sequence[str]]] = (
    ({"email": "sales@northwind-paper.co.uk", "firstname": "P.", "lifecyclestage": "customer"}, ()),
    ({"email": "ciao@trattoria-dalpozzo.it", "firstname": "Giulia"}, ()),
    (
        {"email": "dana@orbit-records.com", "firstname": "Dana", "company": "Orbit Records"},
        ("press@orbit-records.com",),
    ),
)


def run_demo(keep: Path | None, *, as_json: bool, verbose: bool) -> int:
    """Run the demo and return its exit code.

    Raises:
        WrongUsage: the folder to keep exists already.
        HubSpotSyncError: a command ended otherwise than it should.
    """
    with _folder(keep) as folder, Emulator(search_lag=1.0) as hubspot:
        _prepare(hubspot)
        stage = _Stage(folder, hubspot, as_json=as_json, verbose=verbose)
        _play(stage, hubspot)
        if as_json:
            holds = [contact["properties"] for contact in hubspot.contacts()]
            console.print_json(
                {
                    "schema_version": SCHEMA_VERSION,
                    "command": "demo",
                    "runs": stage.documents,
                    "hubspot": holds,
                }
            )
        else:
            console.show_hubspot_contacts(hubspot.contacts())
            _say_goodbye(folder if keep else None)
    return 0


@dataclass
class _Stage:
    """Where the commands run: a folder, an emulator, an environment of their own."""

    folder: Path
    hubspot: Emulator
    as_json: bool
    verbose: bool
    documents: list[object] = field(default_factory=list)

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.folder / 'contacts.db'}"

    @property
    def environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("HUBSPOT_") and name != "DATABASE_URL"
        }
        return inherited | {
            "PYTHONPATH": str(Path(hubspot_sync.__file__).parent.parent),
            "DATABASE_URL": self.database_url,
            "HUBSPOT_API_KEY": self.hubspot.token,
            "HUBSPOT_API_BASE_URL": self.hubspot.url,
        }

    def tell(self, sentence: str) -> None:
        if not self.as_json:
            console.say(f"\n{sentence}")

    def run(self, *arguments: str, may_end_with: Sequence[int] = (0,)) -> None:
        if not self.as_json:
            console.say(f"\n$ hubspot-sync {shlex.join(arguments)}")
            sys.stdout.flush()
        options = ["--json"] * self.as_json + ["--verbose"] * self.verbose
        ended = subprocess.run(
            [sys.executable, "-m", "hubspot_sync", *arguments, *options],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE if self.as_json else None,
            check=False,
        )
        if ended.returncode not in may_end_with:
            raise HubSpotSyncError(
                ErrorCode.DEMO_FAILED, command=arguments[0], exit_code=ended.returncode
            )
        if self.as_json:
            self.documents.append(json.loads(ended.stdout))


def _play(stage: _Stage, hubspot: Emulator) -> None:
    stage.tell("An embedded database, in place of the app's PostgreSQL:")
    stage.run("init-db")
    engine = make_engine(stage.database_url)
    unmarked = _fill(engine)
    stage.tell("The custom properties, made once in a portal:")
    stage.run("create-properties")
    stage.tell(
        f"{len(_SCRAPED)} contacts are marked for HubSpot. What cron runs, until all is done:"
    )
    for _ in range(_MOST_RUNS):
        stage.run("sync-queue", may_end_with=(0, 1))
        if _is_done(engine):
            break
        if _has_to_wait(engine):
            stage.tell("Five minutes later (the demo moves the rows' times, not the clock):")
            _let_time_pass(engine)
            hubspot.clear_faults()
    stage.tell("And one contact by hand, which nobody had marked:")
    stage.run("sync-one", str(unmarked))
    engine.dispose()


def _prepare(hubspot: Emulator) -> None:
    for properties, additional_emails in _HELD_BY_HUBSPOT:
        hubspot.add_contact(properties, additional_emails=additional_emails)
    # No batch with this contact is taken, and alone it meets an error of HubSpot's own.
    hubspot.fault(path="/batch/create$", contains=_UNLUCKY, status=400, times=None)
    hubspot.fault(method="POST", path="/contacts$", contains=_UNLUCKY, status=500, times=None)


def _fill(engine: Engine) -> str:
    """Put the scraped contacts in, marked as the app marks them; return one that is not marked."""
    now = datetime.now(UTC)
    rows = [
        {
            "id": str(uuid5(_KEYS, f"contact {number}")),
            "domain_id": str(uuid5(_KEYS, f"domain {number}")),
            "page_id": str(uuid5(_KEYS, f"page {number}")),
            "email": email,
            "name": name,
            "phone_number": phone,
            "hubspot_sync_status": SyncStatus.SELECTED,
            "hubspot_processing_status": ProcessingStatus.QUEUED,
            "updated_at": now - timedelta(seconds=len(_SCRAPED) - number),
        }
        for number, (email, name, phone) in enumerate(_SCRAPED)
    ]
    unmarked = str(uuid5(_KEYS, "unmarked"))
    rows.append(
        rows[0]
        | {
            "id": unmarked,
            "email": "nina@polar-optik.example.com",
            "name": "Nina Polar",
            "hubspot_sync_status": SyncStatus.NEW,
            "hubspot_processing_status": None,
        }
    )
    with engine.begin() as connection:
        connection.execute(insert(_CONTACTS), rows)
    return unmarked


def _is_done(engine: Engine) -> bool:
    ended = (SyncStatus.COMPLETE, SyncStatus.ERROR, SyncStatus.NEW)
    with engine.begin() as connection:
        open_ones = select(func.count()).where(_CONTACTS.c.hubspot_sync_status.not_in(ended))
        return connection.execute(open_ones).scalar_one() == 0


def _has_to_wait(engine: Engine) -> bool:
    settings = Settings()
    queue = ContactQueue(
        engine, SourceTable(BUILT_IN_SOURCE), policy=settings.retry_policy, lease=settings.lease
    )
    return queue.count_due() == 0


def _let_time_pass(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            update(_CONTACTS)
            .where(_CONTACTS.c.next_retry_at.is_not(None))
            .values(next_retry_at=DatabaseTime())
        )


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="hubspot-sync-demo-") as folder:
            yield Path(folder)
        return
    try:
        keep.mkdir(parents=True)
    except OSError as error:
        raise WrongUsage(ErrorCode.KEEP_FOLDER_NOT_MADE, path=keep, why=error.strerror) from error
    yield keep.resolve()


def _say_goodbye(kept: Path | None) -> None:
    if kept is None:
        console.say("\nThat was the whole job. Nothing is left behind; --keep FOLDER keeps it.")
    else:
        console.say(f"\nThat was the whole job. The database is kept: {kept / 'contacts.db'}")
