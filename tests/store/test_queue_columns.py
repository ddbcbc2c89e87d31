"""`init-db --queue-columns` on an app's table: shown, added, and then a queue works in it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine, text

from hubspot_sync.rules.settlement import Delivered, Failed, OutcomeName
from hubspot_sync.rules.source import BUILT_IN_SOURCE, Source, is_built_in
from hubspot_sync.store.check_up import look_at_database
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.marking import Marking
from hubspot_sync.store.selection import Selection
from hubspot_sync.store.source_table import SourceTable
from tests.acceptance.program import Ended, Program
from tests.conftest import LEASE, POLICY
from tests.messages import said
from tests.store.test_sources import PEOPLE

SOURCE = replace(PEOPLE, columns=("score",))
BARE = """CREATE TABLE "People" ("No" integer PRIMARY KEY, "e-mail" text, score numeric,
    "crm wish" text, crm_tries integer NOT NULL DEFAULT 0)"""
ROW = """INSERT INTO "People" ("No", "e-mail", score) VALUES ({key}, 'p{key}@x.org', 5)"""


@dataclass
class Command:
    """The command on an app's table."""

    url: str
    engine: Engine
    monkeypatch: pytest.MonkeyPatch

    def run(self, *arguments: str, source: Source = SOURCE) -> Ended:
        settings = SimpleNamespace(database_url=self.url, source=source)
        self.monkeypatch.setattr("hubspot_sync.cli.set_up.read_settings", lambda _: settings)
        return Program().run("init-db", *arguments)

    def make(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))


@pytest.fixture
def command(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    engine = make_engine(url, table=SOURCE.table)
    yield Command(url, engine, monkeypatch)
    engine.dispose()


def test_statements_are_printed_and_nothing_is_changed(command: Command) -> None:
    command.make(BARE)
    shown = command.run("--queue-columns")
    assert shown.code == 0
    statements = [line for line in shown.out.splitlines() if line.startswith("ALTER")]
    is_sqlite = command.url.startswith("sqlite")
    moment = "DATETIME" if is_sqlite else "TIMESTAMP WITH TIME ZONE"
    assert f'ALTER TABLE "People" ADD COLUMN crm_next {moment};' in statements
    assert f'ALTER TABLE "People" ADD COLUMN "Changed" {moment}' in " ".join(statements)
    assert ("DEFAULT now() NOT NULL;" in shown.out) is not is_sqlite
    document = command.run("--queue-columns", "--json").document
    assert document["statements"] == statements
    assert document["columns"]["crm_next"] == "would add"
    assert document["columns"]["crm_tries"] == "exists"
    assert command.run("--queue-columns", "--dry-run", "--apply").out == shown.out


def test_statements_work_as_they_are_printed(command: Command) -> None:
    command.make(BARE, ROW.format(key=1))
    command.make(*command.run("--queue-columns", "--json").document["statements"])
    assert "nothing to do" in command.run("--queue-columns").out


def test_queue_works_in_a_table_that_got_its_columns(command: Command) -> None:
    command.make(BARE, ROW.format(key=1))
    added = command.run("--queue-columns", "--apply")
    assert "Column crm_next: added." in added.out
    assert "Column crm_tries" not in added.out
    again = command.run("--queue-columns", "--apply")
    assert again.out == ("Table People: exists.\nIt has all columns of the queue; nothing to do.\n")
    command.make(ROW.format(key=2))
    contacts = SourceTable(SOURCE)
    assert Marking(command.engine, contacts, lease=LEASE).enqueue(Selection(every=True))[0] == 2
    queue = ContactQueue(command.engine, contacts, policy=POLICY, lease=LEASE)
    first, second = queue.claim(10)
    names = [
        settled.name
        for settled in queue.settle([
            (first, Delivered("501", created=True)), (second, Failed(said("no"))),
        ])
    ]  # fmt: skip
    assert names == [OutcomeName.CREATED, OutcomeName.FAILED]
    (check,) = [
        each for each in look_at_database(command.engine, contacts) if each.about == "table"
    ]
    assert check.words.startswith("People, with all")


def test_table_of_a_mapping_is_never_made(command: Command) -> None:
    for arguments in ([], ["--dry-run"], ["--queue-columns"]):
        ended = command.run(*arguments)
        assert ended.code == 2
        assert "no table 'People'" in ended.err
        assert "init-db --queue-columns" in ended.err


def test_built_in_table_is_made_for_fewer_of_its_columns(command: Command) -> None:
    fewer = replace(BUILT_IN_SOURCE, columns=("name",))
    assert is_built_in(fewer)
    assert not is_built_in(replace(fewer, crm_name="eu"))
    assert "created" in command.run(source=fewer).out
    assert "nothing to do" in command.run("--queue-columns", source=BUILT_IN_SOURCE).out


def test_apply_alone_is_refused(command: Command) -> None:
    ended = command.run("--apply")
    assert ended.code == 2
    assert "name both" in ended.err


def test_only_the_owner_adds_columns(command: Command) -> None:
    if command.url.startswith("sqlite"):
        pytest.skip("SQLite has no owners")
    command.make(
        BARE,
        "DROP ROLE IF EXISTS stranger_to_people",
        "CREATE ROLE stranger_to_people LOGIN",
        'GRANT SELECT, UPDATE ON "People" TO stranger_to_people',
    )
    owner, command.url = command.url, str(command.engine.url.set(username="stranger_to_people"))
    ended = command.run("--queue-columns", "--apply")
    command.make("DROP OWNED BY stranger_to_people", "DROP ROLE stranger_to_people")
    command.url = owner
    assert ended.code == 3
    assert "Only the owner of 'People' can add columns" in ended.err
