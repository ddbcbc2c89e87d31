"""docs/mapping.md is true: its fragments are without a fault, and its examples run as a whole."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from hubspot_sync.config.field_lines import ORIGINS
from hubspot_sync.config.mapping_file import read_mapping
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.rules.mapping import Generated, NullPolicy, OnInvalid, WritePolicy
from hubspot_sync.rules.source import BUILT_IN_SOURCE, QueueColumns
from hubspot_sync.rules.transforms import TransformName
from hubspot_sync.rules.value_types import ValueType
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.embedded import create_table
from tests.acceptance.program import ROOT, Program, environment
from tests.conftest import TOKEN, make_database
from tests.tables import APP_TABLE, Contacts
from tests.test_project import assert_links_lead_somewhere, console_lines, parse_as_command

PAGE = (ROOT / "docs" / "mapping.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))
FRAGMENTS = [
    block
    for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    if block not in EXAMPLES.values()
]


def lay(folder: Path, *names: str) -> None:
    """Put examples where a command finds them."""
    for name in names:
        (folder / name).write_text(EXAMPLES[name], encoding="utf-8")


def records(hubspot: Emulator) -> dict[str, dict[str, Any]]:
    """Return the records by address, with what is filled."""
    held = (contact["properties"] for contact in hubspot.contacts())
    return {each["email"]: {name: value for name, value in each.items() if value} for each in held}


# The words of the page


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda text: text.splitlines()[0][:40])
def test_each_fragment_is_without_a_fault(fragment: str) -> None:
    needed = "" if fragment.startswith("version") else "version = 1\n"
    fields = "" if "[fields]" in fragment else '[fields]\nphone = { column = "phone" }\n'
    read_mapping(needed + fragment + fields, "fragment")


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name.endswith(".toml")])
def test_each_example_is_without_a_fault(name: str) -> None:
    assert read_mapping(EXAMPLES[name], name).mapping.fields


@pytest.mark.parametrize(
    "word",
    [
        *map(str, [*WritePolicy, *NullPolicy, *OnInvalid, *Generated, *TransformName, *ValueType]),
        *(*ORIGINS, *QueueColumns.__slots__, "crm_name", "prefix", "proof", "stamp", "create"),
        *("timezone", "reject_emails", "split", "mode", "format", "options", "true", "false"),
    ],
)
def test_every_word_of_the_file_stands_on_the_page(word: str) -> None:
    assert re.search(rf"`{word}(:\w+)?`|\b{word} = |\"{word}\"", PAGE), word


def test_default_columns_on_the_page_are_the_programs() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", PAGE, re.MULTILINE))
    columns = QueueColumns()
    names = {name: getattr(columns, name) for name in QueueColumns.__slots__}
    assert {name: told[name] for name in names} == names


def test_every_command_on_the_page_is_one_that_the_program_takes() -> None:
    lines = console_lines(PAGE)
    assert len(lines) > 2
    for line in lines:
        parse_as_command(line)


def test_links_on_the_page_lead_somewhere() -> None:
    assert_links_lead_somewhere(ROOT / "docs" / "mapping.md")


# A portal that people work in


@pytest.fixture(params=["sqlite", "app"])
def shape(request: pytest.FixtureRequest) -> str:
    """ScraperSky's table is run on both kinds of database."""
    return str(request.param)


def test_in_a_portal_that_people_work_in_nothing_typed_is_replaced(
    table: Contacts, program: Program, hubspot: Emulator, tmp_path: Path
) -> None:
    lay(tmp_path, "cautious.toml")
    program.environment["HUBSPOT_SYNC_MAPPING"] = "cautious.toml"
    hubspot.add_contact({"email": "ada@x.org", "firstname": "Augusta", "phone": "+44 20 1"})
    known = table.add("ada@x.org", name="Ada King", phone_number="ext. 4")
    table.add("bo@x.org", name="Bo Diddley", phone_number="5")
    placeholder = table.add("flag@2x.png", name="Flag")
    checks = program.run("doctor", "--json").document["checks"]
    of_file = [each for each in checks if each["about"] in ("mapping", "properties")]
    assert [each["state"] for each in of_file] == ["ok", "ok"]
    shown = " ".join(program.run("sync-queue", "--dry-run").out.split())
    assert "firstname: kept: HubSpot has Augusta" in shown
    document = program.run("sync-queue", "--json").document
    assert {name: count for name, count in document["counts"].items() if count} == {
        "claimed": 3,
        "created": 1,
        "updated": 1,
        "rejected": 1,
    }
    held = records(hubspot)
    row = table.row(known)
    assert (held["ada@x.org"]["firstname"], held["ada@x.org"]["phone"]) == ("Augusta", "+44 20 1")
    assert held["ada@x.org"]["lastname"] == "King"
    assert held["ada@x.org"]["scrapersky_domain_id"] == str(row["domain_id"])
    assert held["bo@x.org"]["firstname"] == "Bo"
    assert "flag@2x.png" not in held
    assert table.state(placeholder) == ("Error", "Error")
    assert "[EMAIL_PLACEHOLDER]" in table.row(placeholder)["hubspot_processing_error"]


# A table of another kind

MEMBERS = (
    (7, "ada@x.org", "Ada", "King", "030 901820", "M", "2020-02-29", 2.5, "{news,events}", True),
    (2**40, "bo@x.org", "Bo", None, "ext. 4", "L", None, None, "{}", False),
    (9, "cy@x.org", "Cy", None, None, "XL", None, None, None, None),
)


@pytest.fixture
def members(postgres_url: str) -> Iterator[Engine]:
    """A table of members, three of whom are marked."""
    url = make_database(postgres_url, "members", EXAMPLES["members.sql"])
    engine = make_engine(f"postgresql+psycopg2://{url.partition('://')[2]}", table="members")
    names = "member_no, mail, first_name, last_name, phone, tariff, joined_on, seats, topics"
    insert = text(
        f"INSERT INTO members ({names}, is_active, last_login, sync_wish, changed_at) VALUES "
        "(:a, :b, :c, :d, :e, :f, CAST(:g AS date), :h, CAST(:i AS text[]), :j, "
        "'2026-07-01 12:00', 'Selected', now() - interval '5 minutes')"
    )
    with engine.begin() as connection:
        rows = [dict(zip("abcdefghij", member, strict=True)) for member in MEMBERS]
        connection.execute(insert, rows)
    yield engine
    engine.dispose()


@pytest.fixture
def club(members: Engine, tmp_path: Path) -> Iterator[tuple[Program, Emulator]]:
    """The program with the members' mapping, and a portal that has its properties."""
    lay(tmp_path, "members.toml")
    with Emulator(token=TOKEN) as hubspot:
        url = members.url.render_as_string(hide_password=False)
        settings = environment(url, hubspot.url) | {"HUBSPOT_SYNC_MAPPING": "members.toml"}
        program = Program(settings)
        made = program.run("create-properties", "--json").document["properties"]
        assert {each["state"] for each in made} == {"created"}
        yield program, hubspot


def member(engine: Engine, number: int) -> dict[str, Any]:
    with engine.begin() as connection:
        query = text("SELECT * FROM members WHERE member_no = :number")
        return dict(connection.execute(query, {"number": number}).mappings().one())


def test_table_of_another_kind_is_delivered_value_by_value(
    club: tuple[Program, Emulator], members: Engine
) -> None:
    program, hubspot = club
    hubspot.add_contact(
        {"email": "bo@x.org", "phone": "+49 30 5", "member_topics": "shop", "member_seats": "4"}
    )
    counts = program.run("sync-queue", "--json").document["counts"]
    assert (counts["created"], counts["updated"], counts["rejected"]) == (1, 1, 1)
    held = records(hubspot)
    ada = {name: value for name, value in held["ada@x.org"].items() if "member" in name}
    assert ada == {
        "member_no": "7",
        "member_tariff": "medium",
        "member_since": "2020-02-29",
        "member_seats": "2.5",
        "member_topics": "news;events",
        "member_active": "true",
        "member_login": "2026-07-01T10:00:00.000Z",
    }
    assert held["ada@x.org"]["phone"] == "+4930901820"
    assert held["ada@x.org"]["lifecyclestage"] == "customer"
    # What cannot be a number is dropped, options are added, and the record was there before.
    assert held["bo@x.org"]["phone"] == "+49 30 5"
    assert held["bo@x.org"]["member_topics"] == "shop"
    assert held["bo@x.org"].get("lifecyclestage") != "customer"
    assert (member(members, 7)["sync_wish"], member(members, 7)["sync_crm"]) == ("Complete", None)
    rejected = member(members, 9)
    assert rejected["sync_state"] == "Error"
    assert "members.toml, line 24, member_tariff" in rejected["sync_error"]


def test_what_hubspot_holds_already_costs_no_write(
    club: tuple[Program, Emulator], members: Engine
) -> None:
    program, hubspot = club
    assert program.run("sync-queue").code == 1
    assert program.run("enqueue", "7", str(2**40)).code == 0
    before = hubspot.contacts()
    assert program.run("sync-queue", "--json").document["counts"]["unchanged"] == 2
    assert hubspot.contacts() == before


def test_topics_are_added_to_those_that_people_ticked(
    club: tuple[Program, Emulator], members: Engine
) -> None:
    program, hubspot = club
    hubspot.add_contact({"email": "ada@x.org", "member_topics": "shop"})
    assert program.run("sync-one", "7").code == 0
    assert records(hubspot)["ada@x.org"]["member_topics"] == "shop;news;events"


# Two portals from one table


@pytest.fixture
def doubled(
    request: pytest.FixtureRequest, shape: str, tmp_path: Path
) -> Iterator[tuple[Contacts, str]]:
    """A table of contacts with two sets of queue columns, in a database of its own."""
    if shape == "sqlite":
        url = f"sqlite:///{tmp_path / 'contacts.db'}"
        engine = make_engine(url, create=True)
        create_table(engine, BUILT_IN_SOURCE)
    else:
        url = make_database(request.getfixturevalue("postgres_url"), "doubled", APP_TABLE)
        engine = make_engine(f"postgresql+psycopg2://{url.partition('://')[2]}")
    with engine.begin() as connection:
        for statement in EXAMPLES["second.sql"].strip().splitlines():
            connection.exec_driver_sql(statement)
    yield Contacts(engine, shape), url
    engine.dispose()


def test_two_portals_are_fed_from_one_table_and_neither_touches_the_others_queue(
    doubled: tuple[Contacts, str], hubspot: Emulator, tmp_path: Path
) -> None:
    table, database_url = doubled
    folder = tmp_path / "etc"
    folder.mkdir()
    lay(folder, "us.toml", "eu.toml")
    both: dict[str, Any] = {"eu_hubspot_sync_status": "Selected"}
    us_only, of_both = table.add("us@x.org", name="Ada"), table.add("both@x.org", name="Bo", **both)
    with Emulator(token=TOKEN) as second:
        for name, url in (("us", hubspot.url), ("eu", second.url)):
            settings = environment(database_url, url) | {"HUBSPOT_SYNC_MAPPING": f"{name}.toml"}
            lines = "".join(f"{each}={value}\n" for each, value in settings.items())
            (folder / f"{name}.env").write_text(lines)
            (folder / f"{name}.env").chmod(0o600)
        before = table.row(of_both)
        eu = Program().run("sync-queue", "--env-file", str(folder / "eu.env"))
        after = table.row(of_both)
        us = Program().run("sync-queue", "--env-file", str(folder / "us.env"))
        assert "1 contact: 1 created" in eu.out, eu
        assert "2 contacts: 2 created" in us.out, us
        assert set(records(second)) == {"both@x.org"}
        assert set(records(hubspot)) == {"us@x.org", "both@x.org"}
        assert records(second)["both@x.org"]["website"] == "x.org"
    changed = {name for name, value in after.items() if before[name] != value}
    assert changed
    assert all(name.startswith("eu_") for name in changed)
    row = table.row(of_both)
    assert row["hubspot_sync_status"] == row["eu_hubspot_sync_status"] == "Complete"
    assert table.row(us_only)["eu_hubspot_sync_status"] is None
