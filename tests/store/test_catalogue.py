"""What a mapping names is looked for in the catalogue: all faults at once, before any claim."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import Engine, text

from hubspot_sync.errors import SettingsError
from hubspot_sync.report import CheckState
from hubspot_sync.rules.mapping import Field, Lookup, PropertyMapping
from hubspot_sync.rules.source import BUILT_IN_SOURCE, QueueColumns, Source
from hubspot_sync.store.catalogue import require_tables
from hubspot_sync.store.check_up import look_at_database
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.source_table import SourceTable

QUEUE = "decision state error record_id retry_count next_retry_at last_retry_at failed_crm updated"
SOURCE = Source(
    "People", "No", "mail", ("Size", "domain_id"), QueueColumns(*QUEUE.split()), "hubspot"
)
MAPPING = PropertyMapping(
    (Field("size", "Size", line=9), Field("company", lookup="domain.name", line=10)),
    lookups=(Lookup("domain", "Domains", "key", "domain_id", ("name",)),),
    file="m.toml",
)
PEOPLE = """
CREATE TABLE "People" ("No" bigint PRIMARY KEY, mail text, "Size" text, domain_id text,
    decision text, state text, error text, record_id text, retry_count integer NOT NULL,
    next_retry_at timestamp, last_retry_at timestamp, failed_crm text, updated timestamp)
"""
DOMAINS = 'CREATE TABLE "Domains" (key varchar(9) UNIQUE, name text)'


def engine_with(url: str, *statements: str) -> Engine:
    engine = make_engine(url, table=SOURCE.table)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    return engine


def faults(engine: Engine, source: Source = SOURCE, mapping: PropertyMapping = MAPPING) -> str:
    """Return what a run and doctor say of the tables, which is the same."""
    try:
        require_tables(engine, source, mapping)
        told = ""
    except SettingsError as wrong:
        told = str(wrong)
    checks = look_at_database(engine, SourceTable(source), mapping)
    by_doctor = [
        f"{check.words}. {check.fix}"
        for check in checks
        if check.about in ("table", "lookups") and check.state is CheckState.FIX
    ]
    assert "\n".join(by_doctor) == told
    engine.dispose()
    return told


def test_tables_with_all_that_is_named_are_taken(url: str) -> None:
    engine = engine_with(url, PEOPLE, DOMAINS)
    assert faults(engine) == ""
    (check,) = [
        each
        for each in look_at_database(engine, SourceTable(SOURCE), MAPPING)
        if each.about == "lookups"
    ]
    assert (check.state, check.words) == (CheckState.OK, "domain")


def test_all_faults_come_together_each_with_its_place(url: str) -> None:
    without = PEOPLE.replace('"Size" text, ', "").replace("failed_crm text, ", "")
    engine = engine_with(url, without, DOMAINS.replace("UNIQUE", "").replace("name", "title"))
    assert [line.partition(". ")[0] for line in faults(engine).splitlines()] == [
        "m.toml, [queue] failed_crm: the table 'People' has no column failed_crm",
        "m.toml, line 9, size: the table 'People' has no column Size",
        "m.toml, line 10, company: the table 'Domains' has no column name",
        "m.toml, [lookup.domain] key: 'Domains' has no primary key or unique index on key alone",
    ]


def test_table_that_is_missing_is_named_with_its_part_of_the_file(url: str) -> None:
    told = faults(engine_with(url))
    assert [line.partition(". ")[0] for line in told.splitlines()] == [
        "m.toml, [source]: there is no table 'People' in the database",
        "m.toml, [lookup.domain]: there is no table 'Domains' in the database",
    ]


def test_view_will_not_do(url: str) -> None:
    engine = engine_with(
        url, PEOPLE.replace('"People"', "p"), 'CREATE VIEW "People" AS SELECT * FROM p', DOMAINS
    )
    assert faults(engine).startswith("People is a view, whose rows the sync cannot lock")


@pytest.mark.parametrize(
    ("keys", "is_unique"),
    [
        (['CREATE UNIQUE INDEX one ON "People" ("No")'], True),
        (['CREATE INDEX one ON "People" ("No")'], False),
        (['CREATE UNIQUE INDEX one ON "People" ("No", mail)'], False),
        (['CREATE UNIQUE INDEX one ON "People" ("No") WHERE mail IS NULL'], False),
        (['CREATE UNIQUE INDEX one ON "People" (abs("No"))'], False),
    ],
)
def test_key_counts_as_unique_by_an_index_on_it_alone(
    url: str, keys: Sequence[str], is_unique: bool
) -> None:
    told = faults(engine_with(url, PEOPLE.replace("PRIMARY KEY", ""), DOMAINS, *keys))
    assert (told == "") is is_unique
    assert is_unique or "'People' has no primary key or unique index on No alone" in told


def test_key_of_several_columns_is_not_unique_by_one(url: str) -> None:
    two = (
        PEOPLE.replace(" PRIMARY KEY", "").rstrip().removesuffix(")")
        + ', PRIMARY KEY ("No", mail))'
    )
    assert "on No alone" in faults(engine_with(url, two, DOMAINS))


def test_built_in_mapping_is_left_to_its_statements(url: str) -> None:
    engine = engine_with(url)
    require_tables(engine, BUILT_IN_SOURCE, replace(MAPPING, file=None))
    engine.dispose()


def test_columns_that_this_user_may_not_read_are_named(postgres_url: str, url: str) -> None:
    if url.startswith("sqlite"):
        pytest.skip("SQLite has no rights")
    engine = engine_with(
        url,
        PEOPLE,
        DOMAINS,
        "DROP ROLE IF EXISTS reader_of_people",
        "CREATE ROLE reader_of_people LOGIN",
        'GRANT SELECT, UPDATE ON "People" TO reader_of_people',
        'GRANT SELECT (key) ON "Domains" TO reader_of_people',
    )
    user = make_engine(str(engine.url.set(username="reader_of_people")))
    told = faults(user)
    with engine.begin() as connection:
        connection.execute(text("DROP OWNED BY reader_of_people"))
        connection.execute(text("DROP ROLE reader_of_people"))
    engine.dispose()
    assert told.startswith(
        "m.toml, line 10, company: this user may not read the column name of 'Domains'. GRANT"
    )
