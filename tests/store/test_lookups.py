"""Values of other tables: one query a batch, whatever the keys' types, on both databases."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import Engine, event, text

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import DatabaseUnavailable
from hubspot_sync.rules.mapping import Contact, Lookup
from hubspot_sync.rules.source import Value
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.lookups import look_up

UUID = "9b2d6ad2-0000-4000-8000-00000000000a"
KEYS: dict[str, tuple[Value, ...]] = {
    # What contacts may hold of a row's key: as it is, and in other types and spellings.
    "bigint": (7, "7"),
    "text": ("Ö'1", "Ö'1"),
    "uuid": (UUID, UUID.upper(), UUID.replace("-", "")),
}


@dataclass
class Other:
    """Another table, and the queries that it is asked."""

    engine: Engine
    kind: str
    queries: list[str]

    @property
    def keys(self) -> tuple[Value, ...]:
        return KEYS[self.kind]

    def look_up(self, *values: Value) -> list[dict[str, Value]]:
        lookup = Lookup("domain", "Other Table", "Key", "domain_id", ("name", "Size"))
        contacts = [Contact(n, values=(("domain_id", each),)) for n, each in enumerate(values)]
        return [dict(each.looked_up) for each in look_up(self.engine, contacts, [lookup])]


@pytest.fixture(params=KEYS)
def other(request: pytest.FixtureRequest, url: str) -> Iterator[Other]:
    engine = make_engine(url)
    kind = str(request.param)
    if url.startswith("sqlite") and kind == "uuid":
        pytest.skip("SQLite has no UUIDs")
    with engine.begin() as connection:
        connection.execute(
            text(
                f'CREATE TABLE "Other Table" ("Key" {kind} PRIMARY KEY, name text, "Size" numeric)'
            )
        )
        connection.execute(
            text("INSERT INTO \"Other Table\" VALUES (:key, 'ACME', 5)"), {"key": KEYS[kind][0]}
        )
    queries: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(_c: object, _u: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            queries.append(statement)

    yield Other(engine, kind, queries)
    engine.dispose()


def test_each_contact_gets_the_values_of_its_row(other: Other) -> None:
    found = other.look_up(*other.keys, None, "")
    assert [str(each["domain.name"]) for each in found[:-2]] == ["ACME"] * len(other.keys)
    assert [int(str(each["domain.Size"])) for each in found[:-2]] == [5] * len(other.keys)
    assert found[-2:] == [{}, {}]
    assert len(other.queries) == 1


def test_key_that_no_row_has_is_empty_even_if_it_cannot_be_one(other: Other) -> None:
    none: dict[str, Value] = {"bigint": 8, "text": "b", "uuid": UUID[:-1] + "b"}
    missing = none[other.kind]
    *lacking, found = other.look_up(missing, "n/a", "also none", other.keys[0])
    assert lacking == [{}, {}, {}]
    assert found["domain.name"] == "ACME"


def test_table_that_cannot_be_read_is_named_with_its_lookup(other: Other) -> None:
    with other.engine.begin() as connection:
        connection.execute(text('ALTER TABLE "Other Table" DROP COLUMN name'))
    with pytest.raises(DatabaseUnavailable, match="lookup domain cannot be read") as caught:
        other.look_up(other.keys[0])
    assert caught.value.code is ErrorCode.LOOKUP_UNUSABLE
    with other.engine.begin() as connection:
        connection.execute(text('DROP TABLE "Other Table"'))
    with pytest.raises(DatabaseUnavailable, match="lookup domain cannot be read"):
        other.look_up(other.keys[0])


def test_without_lookups_nothing_is_asked(other: Other) -> None:
    contacts = [Contact(1, values=(("domain_id", other.keys[0]),))]
    assert look_up(other.engine, contacts, []) == contacts
    assert other.queries == []
