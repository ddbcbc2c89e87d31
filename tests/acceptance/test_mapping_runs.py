"""A mapping file from the first command to the last: its tables, its lookups, its checks."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.store.database import make_engine
from tests.acceptance.program import Program, environment

FILE = """
version = 1
[source]
table = "people"
key = "no"
email = "mail"
[queue]
prefix = "crm_"
crm_name = "ours"
[lookup.site]
table = "sites"
key = "id"
on = "site_id"
[fields]
firstname = { column = "first" }
website = { lookup = "site.url", write = "if-empty" }
"""
PEOPLE = (
    "CREATE TABLE sites (id integer PRIMARY KEY, url text)",
    "CREATE TABLE people (no integer PRIMARY KEY, mail text, first text, site_id integer)",
    "INSERT INTO sites VALUES (1, 'https://one.example')",
    "INSERT INTO people VALUES (1, 'ada@x.org', 'Ada', 1), (2, 'bob@x.org', 'Bob', 9)",
)


@pytest.fixture
def place(tmp_path: Path) -> Engine:
    """A table of people without a queue, and a file that maps it."""
    (tmp_path / "m.toml").write_text(FILE, encoding="utf-8")
    engine = make_engine(f"sqlite:///{tmp_path / 'people.db'}", create=True)
    run(engine, *PEOPLE)
    return engine


@pytest.fixture
def program(place: Engine, tmp_path: Path, hubspot: Emulator) -> Program:
    """The program with that file."""
    found = environment(f"sqlite:///{tmp_path / 'people.db'}", hubspot.url)
    return Program(found | {"HUBSPOT_SYNC_MAPPING": str(tmp_path / "m.toml")})


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def website(hubspot: Emulator, email: str) -> str | None:
    found = hubspot.contact_by_email(email)
    assert found
    return found["properties"].get("website") or None


def test_table_without_a_queue_is_delivered_with_what_another_table_has(
    place: Engine, program: Program, hubspot: Emulator
) -> None:
    ended = program.run("sync-queue")
    assert (ended.code, ended.out) == (2, "")
    assert "crm_hubspot_sync_status" in ended.err
    assert program.run("init-db", "--queue-columns", "--apply").code == 0
    assert program.run("enqueue", "--all").code == 0
    (ada, bob) = program.run("sync-queue", "--dry-run", "--json").document["contacts"]
    assert [(each["property"], each["new"]) for each in ada["changes"]][-1] == (
        "website",
        "https://one.example",
    )
    assert "website" not in {each["property"] for each in bob["changes"]}
    assert program.run("sync-queue", "--json").document["counts"]["created"] == 2
    assert website(hubspot, "ada@x.org") == "https://one.example"
    assert website(hubspot, "bob@x.org") is None
    place.dispose()


def test_person_keeps_what_a_lookup_would_replace(
    place: Engine, program: Program, hubspot: Emulator
) -> None:
    hubspot.add_contact({"email": "ada@x.org", "website": "https://typed.example"})
    program.run("init-db", "--queue-columns", "--apply")
    program.run("enqueue", "1")
    assert program.run("sync-queue").code == 0
    assert website(hubspot, "ada@x.org") == "https://typed.example"
    place.dispose()


def test_lookup_without_its_table_stops_every_run_before_it_claims(
    place: Engine, program: Program, hubspot: Emulator
) -> None:
    program.run("init-db", "--queue-columns", "--apply")
    program.run("enqueue", "--all")
    run(place, "DROP TABLE sites")
    for command in (("sync-queue",), ("sync-queue", "--dry-run"), ("sync-one", "1")):
        ended = program.run(*command)
        assert (ended.code, ended.out) == (2, "")
        assert "[lookup.site]" in ended.err
    assert hubspot.contacts() == []
    assert "sites" in program.run("doctor").out
    place.dispose()


def test_domain_that_the_mapping_does_not_read_selects_nothing(
    place: Engine, program: Program
) -> None:
    program.run("init-db", "--queue-columns", "--apply")
    ended = program.run("enqueue", "--domain-id", "3")
    assert (ended.code, ended.out) == (2, "")
    assert "domain_id, which the mapping of 'people' does not read" in ended.err
    place.dispose()
