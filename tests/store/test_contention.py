"""Another transaction gets in the way: the whole transaction is tried again, its effects once."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Engine, create_engine, event, text

from hubspot_sync.errors import DatabaseUnavailable
from hubspot_sync.rules.lifecycle import Claim, Row
from hubspot_sync.rules.settlement import Delivered
from hubspot_sync.store import database
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.marking import Marking
from hubspot_sync.store.selection import Selection
from tests.conftest import LEASE
from tests.tables import CONTACTS, Contacts

pytestmark = pytest.mark.parametrize("shape", ["app"])

SOON_MS = 10


@dataclass
class Pauses:
    """The pauses between tries, which last until the app is done.

    Attributes:
        asked: seconds.
        app: what the pauses wait for.
    """

    asked: list[float] = field(default_factory=list)
    app: threading.Thread | None = None

    def pause(self, seconds: float) -> None:
        """Wait for the app, which else would hold the row still."""
        self.asked.append(seconds)
        if self.app:
            self.app.join(20)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """The pauses of a test."""
    made = Pauses()
    monkeypatch.setattr(database, "_pause", made.pause)
    return made


@pytest.fixture
def soon(table: Contacts) -> Iterator[None]:
    """Let sessions look for a deadlock as soon as they wait."""
    alter = f"ALTER DATABASE {table.engine.url.database}"
    with table.engine.begin() as connection:
        connection.execute(text(f"{alter} SET deadlock_timeout = {SOON_MS}"))
    table.engine.dispose()
    yield
    with table.engine.begin() as connection:
        connection.execute(text(f"{alter} RESET deadlock_timeout"))
    table.engine.dispose()


class Deadlock:
    """Deadlocks with the next UPDATE of ours, which loses.

    The app has taken a lock that lets rows be locked, but not written (as CREATE INDEX does), and
    writes the rows that we have locked, just before we would write them.

    Attributes:
        app_writes: what the app sets.
        thread: in which the app writes.
        updates: how many UPDATEs of ours there were, from the one that lost on.
    """

    def __init__(self, ours: Engine) -> None:
        self.app_writes = "source_url = 'seen'"
        self.updates = 0
        self._engine = create_engine(ours.url)
        self._app = self._engine.connect()
        self.thread = threading.Thread(target=self._write_as_the_app)

    def before_statement(self, _conn: object, _cursor: object, statement: str, *_: object) -> None:
        """Get in the way of the first UPDATE."""
        if "UPDATE contacts" not in statement:
            return
        self.updates += 1
        if self.updates == 1:
            self._app.execute(text("SET LOCAL deadlock_timeout = '1min'"))
            self._app.execute(text("LOCK TABLE contacts IN SHARE MODE"))
            self.thread.start()
            self._wait_until_the_app_waits()

    def close(self) -> None:
        """Wait for the app, and disconnect it."""
        self.thread.join(20)
        self._app.close()
        self._engine.dispose()

    def _write_as_the_app(self) -> None:
        self._app.execute(text(f"UPDATE contacts SET {self.app_writes}"))
        self._app.commit()

    def _wait_until_the_app_waits(self) -> None:
        waiting = text(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN "
            "(SELECT pid FROM pg_stat_activity WHERE datname = current_database())"
        )
        with self._engine.connect() as looking:
            for _ in range(10_000):
                if looking.execute(waiting).scalar_one():
                    return
        raise AssertionError("the app does not wait")


Arm = Callable[[], Deadlock]


@pytest.fixture
def arm(table: Contacts, soon: None, pauses: Pauses) -> Iterator[Arm]:
    """Call it to meet a deadlock at the next UPDATE."""
    del soon
    with ExitStack() as stack:

        def make() -> Deadlock:
            made = Deadlock(table.engine)
            pauses.app = made.thread
            event.listen(table.engine, "before_cursor_execute", made.before_statement)
            stack.callback(made.close)
            stack.callback(
                event.remove, table.engine, "before_cursor_execute", made.before_statement
            )
            return made

        yield make


@pytest.mark.parametrize("by_id", [False, True])
def test_claim_that_loses_a_deadlock_is_tried_again(
    table: Contacts,
    queue: ContactQueue,
    arm: Arm,
    by_id: bool,
    caplog: pytest.LogCaptureFixture,
    pauses: Pauses,
) -> None:
    caplog.set_level(logging.INFO)
    key = table.add(
        hubspot_sync_status="Processing", hubspot_processing_status="Processing", age=2 * LEASE
    )
    deadlock = arm()
    claim = queue.claim_one(key) if by_id else queue.claim(5)[0]
    assert isinstance(claim, Claim)
    assert (claim.contact.id, claim.is_takeover) == (key, True)
    assert deadlock.updates == 2
    assert table.row(key)["source_url"] == "seen"
    assert table.row(key)["retry_count"] == 1
    told = [record.getMessage() for record in caplog.records if record.name.endswith("_queue")]
    assert told == [f"contact {key}: taken over; its worker died"]
    assert len(pauses.asked) == 1


def test_contact_freed_by_a_claim_that_loses_a_deadlock_is_told_once(
    table: Contacts,
    queue: ContactQueue,
    arm: Arm,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "hubspot_sync.store.contact_queue")
    table.add(hubspot_sync_status="New", hubspot_processing_status="Processing", age=2 * LEASE)
    deadlock = arm()
    assert queue.claim(5) == []
    assert deadlock.updates == 2
    (record,) = [each for each in caplog.records if each.name.endswith("_queue")]
    assert "freed" in record.getMessage()


@pytest.mark.parametrize("count", [1, 2])
def test_settle_that_loses_a_deadlock_is_tried_again(
    table: Contacts, queue: ContactQueue, arm: Arm, count: int
) -> None:
    keys = table.add_all([f"c{number}@example.com" for number in range(count)])
    claims = queue.claim(count)
    deadlock = arm()
    settled = queue.settle([(claim, Delivered("77", created=True)) for claim in claims])
    assert [each.name for each in settled] == ["created"] * count
    assert deadlock.updates == 2
    assert {table.state(key) for key in keys} == {("Complete", "Complete")}


def test_reset_that_loses_a_deadlock_keeps_each_row_once(table: Contacts, arm: Arm) -> None:
    keys = table.add_all(["a@example.com", "b@example.com"], hubspot_sync_status="Complete")
    kept: list[Row] = []
    marking = Marking(table.engine, CONTACTS, lease=LEASE)
    deadlock = arm()
    assert marking.reset(Selection(every=True), keep_copy=kept.extend) == (2, [])
    assert deadlock.updates == 2
    assert sorted(row.contact.id for row in kept) == sorted(keys)
    assert {row.sync_status for row in kept} == {"Complete"}


def test_row_that_changes_between_two_tries_of_a_reset_is_kept_as_it_was_erased(
    table: Contacts, arm: Arm
) -> None:
    table.add(hubspot_contact_id="1")
    deadlock = arm()
    deadlock.app_writes = "hubspot_contact_id = '2'"
    kept: list[Row] = []
    Marking(table.engine, CONTACTS, lease=LEASE).reset(Selection(every=True), keep_copy=kept.extend)
    assert [row.contact.hubspot_contact_id for row in kept] == ["1", "2"]


@pytest.mark.parametrize("state", ["40P01", "40001"])
def test_transaction_that_always_loses_says_so(
    table: Contacts, queue: ContactQueue, pauses: Pauses, state: str
) -> None:
    key = table.add()
    with table.engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS "
                f"'BEGIN RAISE ''no luck'' USING ERRCODE = ''{state}''; END'"
            )
        )
        connection.execute(
            text("CREATE TRIGGER lose BEFORE UPDATE ON contacts EXECUTE FUNCTION lose()")
        )
    try:
        with pytest.raises(DatabaseUnavailable, match="gave way") as lost:
            queue.claim(1)
    finally:
        with table.engine.begin() as connection:
            connection.execute(text("DROP FUNCTION lose CASCADE"))
    assert "network" not in str(lost.value)
    assert len(pauses.asked) == database.TRANSACTION_TRIES - 1
    assert 0 < sum(pauses.asked) < 2
    assert table.state(key) == ("Selected", "Queued")
