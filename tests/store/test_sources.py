"""Tables that are not ScraperSky's: other names, other keys, other columns, on both databases."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from hubspot_sync.errors import DatabaseUnavailable, WrongUsage
from hubspot_sync.report import CheckState
from hubspot_sync.rules.identity import Rename
from hubspot_sync.rules.lifecycle import Claim
from hubspot_sync.rules.settlement import Delivered, Failed, Outcome, OutcomeName
from hubspot_sync.rules.source import BUILT_IN_SOURCE, Key, QueueColumns, Source
from hubspot_sync.store.check_up import look_at_database
from hubspot_sync.store.contact_queue import ContactQueue, Held, NotThere
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.indexes import create_indexes, missing_indexes, wanted_indexes
from hubspot_sync.store.marking import Marking
from hubspot_sync.store.overview import look_at_queue
from hubspot_sync.store.run_places import count_taken, take_place
from hubspot_sync.store.selection import Selection, find_keys
from hubspot_sync.store.source_table import SourceTable
from tests.conftest import LEASE, POLICY
from tests.messages import said

PEOPLE = Source(
    table="People",
    key="No",
    email="e-mail",
    # One that bears the name that another table gives a column of the queue, and the address again.
    columns=("score", "born", "is_vip", "retry_count", "e-mail"),
    queue=QueueColumns(
        decision="crm wish",
        state="crm_state",
        error="crm_error",
        record_id="crm_record",
        retry_count="crm_tries",
        next_retry_at="crm_next",
        last_retry_at="crm_last",
        failed_crm="crm_failed",
        updated_at="Changed",
    ),
    crm_name="hubspot_eu",
)
CONTACTS = SourceTable(PEOPLE)
CREATE = """
CREATE TABLE "People" (
    "No" {key} PRIMARY KEY, "e-mail" varchar, score numeric(9, 2), born date, is_vip boolean,
    retry_count varchar, "crm wish" varchar, crm_state varchar, crm_error varchar,
    crm_record varchar, crm_tries integer NOT NULL DEFAULT 0, crm_next {moment}, crm_last {moment},
    crm_failed varchar, "Changed" {moment}
)
"""


@dataclass
class Place:
    """A table of people and what the program does with it."""

    engine: Engine
    keys: Sequence[Key]
    contacts: SourceTable = CONTACTS

    @property
    def queue(self) -> ContactQueue:
        """The queue in it."""
        return ContactQueue(self.engine, self.contacts, policy=POLICY, lease=LEASE)

    @property
    def marking(self) -> Marking:
        """What operators do to it."""
        return Marking(self.engine, self.contacts, lease=LEASE)

    def run(self, sql: str, **values: object) -> None:
        """Change the table as its owner would."""
        with self.engine.begin() as connection:
            connection.execute(text(sql), values)

    def row(self, key: Key) -> dict[str, Any]:
        """Return a row as it stands."""
        with self.engine.begin() as connection:
            query = text('SELECT * FROM "People" WHERE "No" = :key')
            return dict(connection.execute(query, {"key": key}).mappings().one())

    def settle(self, claim: Claim, outcome: Outcome) -> OutcomeName:
        """End a claim."""
        (settled,) = self.queue.settle([(claim, outcome)])
        return settled.name


@pytest.fixture(params=["bigint", "text"])
def place(request: pytest.FixtureRequest, url: str) -> Iterator[Place]:
    """A table with three people who are marked, and a key of this type."""
    is_sqlite = url.startswith("sqlite")
    engine = make_engine(url, table=PEOPLE.table, pool_size=4)
    moment = "datetime" if is_sqlite else "timestamptz"
    keys: list[Key] = (
        [7, 2**40, 12] if request.param == "bigint" else ["a/1", "Ö'", "9b2d6ad2-0000-4000-8000-0"]
    )
    place = Place(engine, keys)
    place.run(CREATE.format(key=request.param, moment=moment))
    ago = (
        "strftime('%Y-%m-%d %H:%M:%f000', 'now', :ago)"
        if is_sqlite
        else "now() + CAST(:ago AS interval)"
    )
    for number, key in enumerate(keys):
        place.run(
            'INSERT INTO "People" ("No", "e-mail", score, born, is_vip, retry_count, "crm wish", '
            f"crm_state, \"Changed\") VALUES (:key, :email, 1.50, '2001-02-03', true, 'many', "
            f"'Selected', 'Queued', {ago})",
            key=key,
            email=f"p{number}@x.org",
            ago=f"{number - 60} seconds",
        )
    yield place
    engine.dispose()


def test_contacts_are_claimed_in_turn_with_their_keys_and_values(place: Place) -> None:
    claims = place.queue.claim(10)
    assert [claim.contact.id for claim in claims] == place.keys
    values = dict(claims[0].contact.values)
    is_sqlite = place.engine.dialect.name == "sqlite"
    assert values["e-mail"] == claims[0].contact.email == "p0@x.org"
    assert values["retry_count"] == "many"
    assert Decimal(str(values["score"])) == Decimal("1.5")
    assert str(values["born"]) == "2001-02-03"
    assert values["is_vip"] in ((1,) if is_sqlite else (True,))
    assert place.row(place.keys[0])["crm wish"] == "Processing"
    assert place.queue.claim(10) == []


def test_outcomes_are_written_into_the_columns_of_the_table(place: Place) -> None:
    first, second, third = place.queue.claim(10)
    assert place.settle(first, Delivered("501", created=True)) is OutcomeName.CREATED
    assert place.settle(second, Failed(said("HubSpot says no"))) is OutcomeName.FAILED
    place.run('UPDATE "People" SET score = 2 WHERE "No" = :key', key=third.contact.id)
    assert place.settle(third, Delivered("503", created=True)) is OutcomeName.REQUEUED
    delivered, failed, edited = (place.row(claim.contact.id) for claim in (first, second, third))
    assert (delivered["crm_state"], delivered["crm_record"]) == ("Complete", "501")
    assert (failed["crm_tries"], failed["crm_failed"]) == (1, "hubspot_eu")
    assert (failed["crm wish"], failed["crm_state"]) == ("Queued", "Error")
    assert (edited["crm wish"], edited["crm_state"]) == ("Queued", "Queued")
    # What only bears a name that another table gives to the queue is left alone.
    assert {row["retry_count"] for row in (delivered, failed, edited)} == {"many"}


def test_another_name_in_the_shared_columns_is_another_crm(place: Place) -> None:
    place.run("UPDATE \"People\" SET crm_tries = 9, crm_failed = 'hubspot'")
    (claim,) = place.queue.claim(1)
    assert claim.attempt == 1
    assert place.settle(claim, Failed(said("no"))) is OutcomeName.FAILED
    assert place.row(claim.contact.id)["crm_failed"] == "hubspot_eu"


def test_what_a_dead_worker_left_is_taken_over(place: Place) -> None:
    claimed = place.queue.claim(10)
    place.run('UPDATE "People" SET "Changed" = NULL')
    again = ContactQueue(place.engine, place.contacts, policy=POLICY, lease=timedelta(0)).claim(10)
    assert {claim.contact.id for claim in again} == {claim.contact.id for claim in claimed}
    assert all(claim.is_takeover for claim in again)


def test_one_contact_is_named_by_its_key_as_a_person_types_it(place: Place) -> None:
    typed = str(place.keys[1])
    assert place.queue.read_one(typed).contact.id == place.keys[1]
    claim = place.queue.claim_one(typed)
    assert isinstance(claim, Claim)
    assert claim.contact.id == place.keys[1]
    assert isinstance(place.queue.claim_one(typed), Held)
    assert find_keys(place.engine, place.contacts, Selection(email="P2@x.org ")) == [place.keys[2]]


def test_key_that_the_column_cannot_hold_names_no_contact(place: Place) -> None:
    with pytest.raises((NotThere, WrongUsage), match=r"no such key|There is no contact"):
        place.queue.read_one("no such key")


def test_people_mark_skip_and_reset_contacts(place: Place) -> None:
    place.run('UPDATE "People" SET "crm wish" = NULL, crm_state = NULL')
    assert place.marking.enqueue(Selection(every=True))[0] == 3
    assert place.queue.count_due() == 3
    assert place.marking.skip(Selection(contact_ids=[str(place.keys[0])]))[0] == 1
    assert place.marking.look_at_reset(Selection(every=True), rows_wanted=9).total == 2
    kept: list[Key] = []
    count, held = place.marking.reset(
        Selection(every=True), keep_copy=lambda rows: kept.extend(row.contact.id for row in rows)
    )
    assert (count, held, sorted(map(str, kept))) == (2, [], sorted(map(str, place.keys[1:])))


def test_state_of_the_queue_is_counted(place: Place) -> None:
    claim, *_ = place.queue.claim(2)
    place.settle(claim, Failed(said("no")))
    found = look_at_queue(place.engine, place.contacts, LEASE)
    assert (found.due, found.held, sum(found.retries)) == (1, 1, 1)
    assert found.oldest_due == str(place.keys[2])
    assert found.last_failure is not None


def test_indexes_bear_the_names_of_table_and_crm(place: Place) -> None:
    made = create_indexes(place.engine, place.contacts)
    assert made[0] == ("People_hubspot_eu_sync_ready", True)
    assert len(made) == len(wanted_indexes(place.contacts))
    assert missing_indexes(place.engine, place.contacts) == []
    other = SourceTable(replace(PEOPLE, crm_name="hubspot_'%us"))
    assert missing_indexes(place.engine, other) != []
    assert all(is_new for _, is_new in create_indexes(place.engine, other))
    assert missing_indexes(place.engine, other) == []
    assert all(not is_new for _, is_new in create_indexes(place.engine, place.contacts))


def test_runs_of_one_sync_share_places_and_those_of_another_have_their_own(
    place: Place, url: str
) -> None:
    others = [replace(PEOPLE, crm_name="hubspot_us"), replace(PEOPLE, table="Persons")]
    others.append(BUILT_IN_SOURCE)
    with take_place(place.engine, url, PEOPLE, 1) as first:
        assert first
        with take_place(place.engine, url, replace(PEOPLE, columns=()), 1) as second:
            assert not second
        assert count_taken(place.engine, url, PEOPLE, 1) == 1
        for other in others:
            assert count_taken(place.engine, url, other, 1) == 0
            with take_place(place.engine, url, other, 1) as has_place:
                assert has_place
                assert count_taken(place.engine, url, other, 1) == 1
    assert count_taken(place.engine, url, PEOPLE, 1) == 0


def test_doctor_looks_at_the_table_of_the_source(place: Place) -> None:
    checks = {check.about: check for check in look_at_database(place.engine, place.contacts)}
    assert checks["table"].state is CheckState.OK
    place.run('ALTER TABLE "People" DROP COLUMN born')
    checks = {check.about: check for check in look_at_database(place.engine, place.contacts)}
    assert checks["table"].words == "People lacks born"


def test_shared_records_are_found_by_the_columns_of_the_table(place: Place) -> None:
    first, second, _ = place.queue.claim(3)
    place.settle(first, Delivered("501", created=True))
    asked = Rename("501", None, frozenset({second.contact.id}))
    assert place.queue.may_be_renamed([asked]) == frozenset()
    own = replace(asked, members=frozenset({first.contact.id}))
    assert place.queue.may_be_renamed([own]) == frozenset({"501"})


def test_key_that_no_statement_finds_ends_the_claim(tmp_path: Path) -> None:
    path = tmp_path / "people.db"
    path.touch()
    place = Place(make_engine(f"sqlite:///{path}", table=PEOPLE.table), [])
    place.run(CREATE.format(key="", moment="datetime"))
    place.run(
        'INSERT INTO "People" ("No", "e-mail", "crm wish", "Changed") '
        "VALUES (x'0102', 'a@x.org', 'Selected', '2026-01-01 00:00:00')"
    )
    with pytest.raises(DatabaseUnavailable, match="neither text nor a whole number"):
        place.queue.claim(10)
    place.engine.dispose()
