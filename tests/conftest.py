"""What every test stands on: a clean environment, real databases, an emulator, no waiting."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

for name in [name for name in os.environ if name.startswith(("HUBSPOT_", "PG"))]:
    del os.environ[name]
os.environ.pop("DATABASE_URL", None)

from hubspot_sync.clock import Ending, Pulse  # noqa: E402 - the environment is cleaned first
from hubspot_sync.hubspot.careful_lane import CarefulLane, Lanes  # noqa: E402
from hubspot_sync.hubspot.client import HubSpotClient  # noqa: E402
from hubspot_sync.hubspot.emulator import Emulator  # noqa: E402
from hubspot_sync.hubspot.exchange import Exchange, HttpExchange, Request  # noqa: E402
from hubspot_sync.hubspot.transport import Transport  # noqa: E402
from hubspot_sync.report import ContactReport, RunReport  # noqa: E402
from hubspot_sync.rules.identity import Rename  # noqa: E402
from hubspot_sync.rules.mapping import PropertyMapping  # noqa: E402
from hubspot_sync.rules.reaction import Answer  # noqa: E402
from hubspot_sync.rules.retry import RetryPolicy  # noqa: E402
from hubspot_sync.rules.source import BUILT_IN_SOURCE, Key  # noqa: E402
from hubspot_sync.run import Plan  # noqa: E402
from hubspot_sync.store.contact_queue import ContactQueue  # noqa: E402
from hubspot_sync.store.database import make_engine  # noqa: E402
from hubspot_sync.store.embedded import create_table  # noqa: E402
from hubspot_sync.sync import Sync  # noqa: E402
from tests.compiled import share_compiled_statements  # noqa: E402
from tests.contacts import MAPPING, contacts_client  # noqa: E402
from tests.memory import memory_folder  # noqa: E402
from tests.postgres_server import postgres_server  # noqa: E402
from tests.tables import (  # noqa: E402
    APP_TABLE,
    CONTACTS,
    PLAIN_TABLE,
    Contacts,
)

# The suite has two minutes; what wants more examples asks for them.
hypothesis.settings.register_profile("suite", max_examples=50)
hypothesis.settings.load_profile("suite")

share_compiled_statements()

MEMORY = memory_folder()
"""Where the databases of the tests are kept off the disk; None where there is no such place."""
if MEMORY:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

TOKEN = "pat-na1-xxxxxxxx"
LEASE = timedelta(minutes=10)
POLICY = RetryPolicy()
NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)

_connect = socket.socket.connect


def _connect_to_loopback(self: socket.socket, address: object) -> None:
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise AssertionError(f"a test may reach this machine only, not {address[0]}")
    _connect(self, address)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all the tests are that have nothing to do with files."""
    return tmp_path_factory.mktemp("nowhere")


@pytest.fixture
def home(request: pytest.FixtureRequest, nowhere: Path) -> Iterator[Path]:
    """An empty folder: the test's own, where it can ask for it, for each costs some time."""
    if "tmp_path" in request.fixturenames:
        yield request.getfixturevalue("tmp_path")
        return
    yield nowhere
    left = list(nowhere.iterdir())
    for path in left:
        path.unlink()
    assert not left, "a test that writes files has to ask for its tmp_path"


@pytest.fixture(autouse=True)
def _alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No .env, no home, no network beyond this machine."""
    monkeypatch.setattr(socket.socket, "connect", _connect_to_loopback)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(home)


@pytest.fixture(scope="session")
def postgres_url(worker_id: str) -> Iterator[str]:
    """A server for this session: TEST_POSTGRES_URL, or one of our own from a wheel.

    The URL has `{database}` where the database's name goes.
    """
    given = os.environ.get("TEST_POSTGRES_URL")
    if given:
        name = f"hubspot_sync_{worker_id}"
        ours = make_url(given).set(drivername="postgresql", database=name)
        rendered = ours.render_as_string(hide_password=False)
        yield rendered.replace(f"/{name}", f"/{name}_{{database}}")
        return
    # Not below pytest's own folder, which is closed to the user that the server runs as.
    with tempfile.TemporaryDirectory(prefix="hubspot-sync-tests-", dir=MEMORY) as folder:
        version = os.environ.get("TEST_POSTGRES_VERSION", "18")
        with postgres_server(Path(folder), version) as url:
            yield url


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """Which of several parallel test processes this is."""
    given = getattr(request.config, "workerinput", {})
    return str(given.get("workerid", "main"))


def make_database(postgres_url: str, name: str, table: str) -> str:
    url = postgres_url.format(database=name)
    admin_url = make_url(url).set(drivername="postgresql+psycopg2", database="postgres")
    admin = create_engine(admin_url, isolation_level="AUTOCOMMIT")
    database = make_url(url).database
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {database}"))
    admin.dispose()
    engine = make_engine(f"postgresql+psycopg2://{url.partition('://')[2]}")
    with engine.begin() as connection:
        connection.exec_driver_sql(table)
    engine.dispose()
    return url


@pytest.fixture(scope="session")
def app_url(postgres_url: str) -> str:
    """A database with the table as the app has it."""
    return make_database(postgres_url, "app", APP_TABLE)


@pytest.fixture(scope="session")
def plain_url(postgres_url: str) -> str:
    """A database with the table of plain strings."""
    return make_database(postgres_url, "plain", PLAIN_TABLE)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database on each of the two, with the driver named."""
    if request.param == "sqlite":
        path = tmp_path / "people.db"
        path.touch()
        yield f"sqlite:///{path}"
        return
    made = request.getfixturevalue("postgres_url").format(database="people")
    admin = create_engine(
        make_url(made).set(drivername="postgresql+psycopg2", database="postgres"),
        isolation_level="AUTOCOMMIT",
    )
    name = make_url(made).database
    with admin.connect() as connection:
        connection.exec_driver_sql(f'DROP DATABASE IF EXISTS "{name}"')
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    yield str(made).replace("postgresql://", "postgresql+psycopg2://")
    with admin.connect() as connection:
        connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')
    admin.dispose()


@pytest.fixture
def database_url(request: pytest.FixtureRequest, shape: str, tmp_path: Path) -> str:
    """A database with an empty contacts table of this shape, as DATABASE_URL names it."""
    if shape == "sqlite":
        url = f"sqlite:///{tmp_path / 'contacts.db'}"
        embedded = make_engine(url, create=True)
        create_table(embedded, BUILT_IN_SOURCE)
        embedded.dispose()
        return url
    return str(request.getfixturevalue(f"{shape}_url"))


@pytest.fixture(params=["sqlite", "plain", "app"])
def shape(request: pytest.FixtureRequest) -> str:
    """Every test that asks for a table is run on SQLite and on both shapes on PostgreSQL."""
    return str(request.param)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The engine that the program would use."""
    scheme, _, rest = database_url.partition("://")
    driver = "sqlite" if scheme == "sqlite" else "postgresql+psycopg2"
    made = make_engine(f"{driver}://{rest}", pool_size=8)
    yield made
    made.dispose()


@pytest.fixture
def table(engine: Engine, shape: str) -> Contacts:
    """The contacts table, empty."""
    contacts = Contacts(engine, shape)
    contacts.clear()
    return contacts


@pytest.fixture
def queue(engine: Engine, table: Contacts) -> ContactQueue:
    """The queue in that table."""
    return ContactQueue(table.engine, CONTACTS, policy=POLICY, lease=LEASE)


@dataclass
class Waits:
    """A sleep that does not: it keeps what it was asked for, and moves the worker's own clock."""

    asked: list[float] = field(default_factory=list)
    clock: float = 0.0

    def sleep(self, seconds: float) -> None:
        """Note a wait, and let it pass."""
        self.asked.append(seconds)
        self.clock += seconds


@pytest.fixture
def waits() -> Waits:
    """The waits of a test, none of which takes time."""
    return Waits()


@pytest.fixture
def pulse(waits: Waits) -> Pulse:
    """Clocks and waits of the test's own."""
    return Pulse(
        ending=Ending(),
        sleep=waits.sleep,
        jitter=lambda: 0.5,
        monotonic=lambda: waits.clock,
        now=lambda: NOW,
    )


@pytest.fixture
def hubspot() -> Iterator[Emulator]:
    """A local HubSpot that has our custom properties."""
    with Emulator(token=TOKEN) as emulator:
        add_custom_properties(emulator)
        yield emulator


def add_custom_properties(emulator: Emulator) -> None:
    """Give a portal what `create-properties` makes."""
    for custom in MAPPING.custom_properties:
        emulator.add_property(
            {
                "name": custom.name,
                "label": custom.label,
                "type": custom.type,
                "fieldType": custom.field_type,
                "groupName": "contactinformation",
            }
        )


class Wire:
    """The exchange of a client with a server, and what a test does to it.

    Attributes:
        send: exchanges with the server.
        exchange: what the client's requests meet; `send`, until a test puts its own around it.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 5.0) -> None:
        self.send = HttpExchange(url, TOKEN, timeout_seconds=timeout_seconds)
        self.exchange: Exchange = self.send

    def __call__(self, request: Request) -> Answer:
        """Exchange."""
        return self.exchange(request)


@pytest.fixture
def wire(hubspot: Emulator) -> Iterator[Wire]:
    """What is between the client and that HubSpot."""
    made = Wire(hubspot.url)
    yield made
    made.send.close()


@pytest.fixture
def client(hubspot: Emulator, wire: Wire, pulse: Pulse) -> Iterator[HubSpotClient]:
    """A client of that HubSpot."""
    transport = Transport(
        hubspot.url,
        TOKEN,
        timeout_seconds=5,
        custom_properties=[custom.name for custom in MAPPING.custom_properties],
        pulse=pulse,
        exchange=wire,
    )
    yield contacts_client(transport)
    transport.close()


def all_renamed(renames: Sequence[Rename]) -> frozenset[str]:
    """No other contact of ours has a part in any record."""
    return frozenset(rename.record_id for rename in renames)


def lanes_of(client: HubSpotClient, mapping: PropertyMapping = MAPPING) -> Lanes:
    """What the lanes go by, where every record may be renamed."""
    return Lanes(client, mapping, client.object_type, all_renamed)


@pytest.fixture
def lane(client: HubSpotClient) -> CarefulLane:
    """The careful lane to that HubSpot."""
    return CarefulLane(lanes_of(client))


@dataclass
class Runs:
    """Makes runs on one table and one HubSpot, each call a run of its own."""

    table_queue: ContactQueue
    client: HubSpotClient
    pulse: Pulse
    on_settled: Callable[[ContactReport], None] | None = None

    def queue(self, limit: int | None = 100, **plan: Any) -> RunReport:
        """Run `sync-queue` with one worker, if not told otherwise."""
        return self.make(limit=limit, **plan).run_queue()

    def one(self, key: Key, *, force: bool = False) -> RunReport:
        """Run `sync-one`."""
        return self.make().run_one(key, force=force)

    def make(self, **plan: Any) -> Sync:
        """Return a run that has not begun."""
        # A signal ends a run, not the runs after it.
        self.pulse.ending._is_asked = self.pulse.ending.signal is not None
        usual: dict[str, Any] = {
            "mapping": MAPPING,
            "lease": LEASE,
            "attempts": POLICY.max_retries + 1,
        }
        return Sync(
            self.table_queue,
            lambda: self.client,
            Plan(**usual | plan),
            pulse=self.pulse,
            on_settled=self.on_settled,
        )


@pytest.fixture
def runs(queue: ContactQueue, client: HubSpotClient, pulse: Pulse) -> Runs:
    """Runs on that table and that HubSpot."""
    return Runs(queue, client, pulse)
