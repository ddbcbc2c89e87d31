"""A record never becomes another person's: whose address it gets, in both lanes."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from hubspot_sync.clock import Pulse
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.transport import Transport
from hubspot_sync.rules.identity import Bearer, Rename, free_to_rename
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.store import shared_rows
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.embedded import create_table
from tests.acceptance.program import Program
from tests.conftest import LEASE, POLICY, TOKEN, Runs, add_custom_properties
from tests.contacts import contacts_client
from tests.tables import CONTACTS, Contacts

SHARED, OWN = "team@example.com", "ada@example.com"
MARKED = {"hubspot_sync_status": "Selected", "hubspot_processing_status": "Queued"}

Deliver = Callable[[Runs, Sequence[str]], None]


def in_a_batch(runs: Runs, _: Sequence[str]) -> None:
    runs.queue()


def one_by_one(runs: Runs, keys: Sequence[str]) -> None:
    for key in keys:
        runs.one(key)


each_lane = pytest.mark.parametrize("deliver", [in_a_batch, one_by_one])


def held(hubspot: Emulator) -> dict[str, str]:
    """Each address that HubSpot holds, with the name on its record."""
    return {
        each["properties"]["email"]: each["properties"].get("firstname", "")
        for each in hubspot.contacts()
    }


def correct(table: Contacts, key: str, email: str) -> None:
    table.change(key, email=email, **MARKED)


@each_lane
def test_contact_that_is_alone_takes_its_record_along(
    table: Contacts, runs: Runs, hubspot: Emulator, deliver: Deliver
) -> None:
    key = table.add(SHARED, name="Ada")
    deliver(runs, [key])
    correct(table, key, OWN)
    deliver(runs, [key])
    assert held(hubspot) == {OWN: "Ada"}


@each_lane
def test_one_email_on_two_domains_keeps_its_record_when_one_is_corrected(
    table: Contacts, runs: Runs, hubspot: Emulator, deliver: Deliver
) -> None:
    grace, ada = table.add(SHARED, name="Grace"), table.add(SHARED, name="Ada")
    deliver(runs, [grace, ada])
    correct(table, ada, OWN)
    deliver(runs, [ada])
    assert held(hubspot).keys() == {SHARED, OWN}
    assert held(hubspot)[OWN] == "Ada"
    assert table.row(grace)["hubspot_contact_id"] != table.row(ada)["hubspot_contact_id"]


@each_lane
def test_two_people_on_one_page_do_not_become_each_other(
    table: Contacts, runs: Runs, hubspot: Emulator, deliver: Deliver
) -> None:
    page: dict[str, Any] = {"domain_id": str(uuid4()), "page_id": str(uuid4())}
    grace = table.add(SHARED, name="Grace", **page)
    deliver(runs, [grace])
    ada = table.add(OWN, name="Ada", **page)
    table.change(ada, hubspot_contact_id=table.row(grace)["hubspot_contact_id"])
    deliver(runs, [ada])
    assert held(hubspot) == {SHARED: "Grace", OWN: "Ada"}


@each_lane
@pytest.mark.parametrize("written", [SHARED, " Team@Example.COM"])
def test_record_keeps_an_address_that_another_row_has(
    table: Contacts, runs: Runs, hubspot: Emulator, deliver: Deliver, written: str
) -> None:
    ada = table.add(SHARED, name="Ada")
    deliver(runs, [ada])
    table.add(written, name="Grace", hubspot_sync_status="Complete", hubspot_processing_status=None)
    correct(table, ada, OWN)
    deliver(runs, [ada])
    assert held(hubspot) == {SHARED: "Ada", OWN: "Ada"}


def test_rows_that_share_the_new_address_too_rename_their_record(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    keys = [table.add(SHARED, name="Ada"), table.add(SHARED, name="Ada")]
    runs.queue()
    for key in keys:
        correct(table, key, OWN)
    # The batch is refused as a whole, so the careful lane has to know of both, too.
    hubspot.fault(path="/batch/update", status=400, times=1)
    runs.queue()
    assert held(hubspot) == {OWN: "Ada"}


def test_two_rows_that_shared_a_record_and_part_each_have_one(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    keys = [table.add(SHARED, name=name) for name in ("Ada", "Grace")]
    runs.queue()
    for key, email in zip(keys, (OWN, "grace@example.com"), strict=True):
        correct(table, key, email)
    runs.queue()
    assert held(hubspot).items() >= {OWN: "Ada", "grace@example.com": "Grace"}.items()


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_dry_run_foretells_who_gets_a_record_of_its_own(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    alone, shared, other = (table.add(email) for email in ("a@example.com", SHARED, SHARED))
    assert program.run("sync-queue").code == 0
    correct(table, alone, "b@example.com")
    correct(table, shared, OWN)
    document = program.run("sync-queue", "--dry-run", "--json").document
    actions = {each["id"]: each["action"] for each in document["contacts"]}
    assert actions == {str(alone): "update", str(shared): "create"}
    assert program.run("sync-queue").code == 0
    assert held(hubspot).keys() == {"b@example.com", SHARED, OWN}
    assert table.row(other)["hubspot_contact_id"] != table.row(shared)["hubspot_contact_id"]


@pytest.mark.parametrize("shape", ["app"])
@each_lane
def test_database_that_takes_too_long_to_answer_renames_nothing(
    table: Contacts,
    queue: ContactQueue,
    runs: Runs,
    hubspot: Emulator,
    deliver: Deliver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask = queue.may_be_renamed

    def ask_of_a_locked_table(renames: Sequence[Rename]) -> frozenset[str]:
        with table.engine.begin() as connection:
            connection.execute(text("LOCK TABLE contacts"))
            return ask(renames)

    monkeypatch.setattr(shared_rows, "ANSWER_TIMEOUT_MS", 50)
    monkeypatch.setattr(queue, "may_be_renamed", ask_of_a_locked_table)
    key = table.add(SHARED, name="Ada")
    deliver(runs, [key])
    correct(table, key, OWN)
    deliver(runs, [key])
    assert held(hubspot) == {SHARED: "Ada", OWN: "Ada"}


def test_rows_without_an_address_or_an_id_block_no_rename() -> None:
    rename = Rename("7", None, frozenset())
    assert free_to_rename([rename], [Bearer(str(uuid4()), None, None)]) == {"7"}


# Any order of events

NAMES = ("Ada", "Grace", "Edsger", "Barbara")
ADDRESSES = tuple(f"{letter}@example.com" for letter in "abc")
address = st.sampled_from(ADDRESSES)
row = st.integers(0, len(NAMES) - 1)
event = st.one_of(
    st.tuples(st.just("correct"), row, address),
    st.tuples(st.just("deliver"), row, st.none()),
    st.tuples(st.just("run"), st.none(), st.none()),
)


@dataclass
class World:
    """Four people on one page, and who bore which address."""

    table: Contacts
    runs: Runs
    hubspot: Emulator
    keys: list[str] = field(default_factory=list)
    bore: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def fill(self, emails: Sequence[str]) -> None:
        page: dict[str, Any] = {"domain_id": str(UUID(int=1)), "page_id": str(UUID(int=2))}
        for name, email in zip(NAMES, emails, strict=True):
            self.keys.append(self.table.add(email, name=name, **page))
            self.bore[email].add(name)

    def do(self, what: str, number: int | None, email: str | None) -> None:
        if number is None:
            self.runs.queue()
        elif email is None:
            self.runs.one(self.keys[number])
        else:
            correct(self.table, self.keys[number], email)
            self.bore[email].add(NAMES[number])

    def check(self) -> None:
        names = {
            email: each["properties"]["firstname"]
            for each in self.hubspot.contacts()
            for email in (each["properties"]["email"], *each["additional_emails"])
        }
        for entry in self.table.rows():
            if entry["hubspot_sync_status"] == "Complete":
                assert entry["email"] in names, "who is Complete has a record with its address"
        for email, name in names.items():
            assert name in self.bore[email], "nobody's name is on a record that was never theirs"


def world(engine: Engine, hubspot: Emulator) -> World:
    pulse = Pulse()
    client = contacts_client(Transport(hubspot.url, TOKEN, timeout_seconds=5, pulse=pulse))
    queue = ContactQueue(engine, CONTACTS, policy=POLICY, lease=LEASE)
    return World(Contacts(engine, "sqlite"), Runs(queue, client, pulse), hubspot)


@settings(max_examples=12, deadline=timedelta(seconds=5))
@given(
    emails=st.lists(address, min_size=4, max_size=4),
    events=st.lists(event, min_size=4, max_size=12),
)
def test_no_order_of_edits_and_deliveries_gives_a_record_to_another(
    emails: list[str], events: list[tuple[str, int | None, str | None]]
) -> None:
    with TemporaryDirectory() as folder, Emulator(token=TOKEN) as hubspot:
        add_custom_properties(hubspot)
        engine = make_engine(f"sqlite:///{Path(folder) / 'contacts.db'}", create=True)
        create_table(engine, BUILT_IN_SOURCE)
        made = world(engine, hubspot)
        made.fill(emails)
        for each in [*events, ("run", None, None)]:
            made.do(*each)
            made.check()
        engine.dispose()
