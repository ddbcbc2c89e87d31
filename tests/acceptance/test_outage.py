"""HubSpot is away for hours: ticks stay cheap, nobody pays, and afterwards everything goes out."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from hubspot_sync.hubspot.emulator import Emulator
from tests.acceptance.program import Ended, Program
from tests.oracle import assert_all_delivered
from tests.tables import Contacts

MOST_REQUESTS = 6
"""What a run may cost while HubSpot is away: the three tries of its first request, for each worker
that began before the first had learnt of it."""


def add_many(table: Contacts, count: int) -> None:
    rows = [
        {
            "id": str(uuid4()),
            "domain": str(uuid4()),
            "page": str(uuid4()),
            "email": f"c{number}@example.com",
        }
        for number in range(count)
    ]
    with table.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO contacts (id, domain_id, page_id, email, hubspot_sync_status, "
                "hubspot_processing_status) VALUES (:id, :domain, :page, :email, 'Selected', "
                "'Queued')"
            ),
            rows,
        )


def state_of_all(table: Contacts) -> list[tuple[Any, ...]]:
    return [(row["id"], row["retry_count"], row["hubspot_sync_status"]) for row in table.rows()]


@pytest.fixture
def program(program: Program, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program, which waits for nobody."""
    monkeypatch.setattr("hubspot_sync.clock.Ending.sleep", lambda *_: None)
    return program


def is_one_line(ended: Ended) -> bool:
    return len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("shape", ["sqlite", "app"])
@pytest.mark.parametrize(
    "count", [400, pytest.param(40_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
def test_outage_of_two_hours_costs_nothing(
    table: Contacts, program: Program, hubspot: Emulator, count: int
) -> None:
    add_many(table, count)
    before = state_of_all(table)
    hubspot.fault(status=502, times=None)
    for number in range(24):
        table.age_all(timedelta(minutes=5))
        hubspot.reset_requests()
        arguments = ["--drain", "--workers", "2"] if number % 6 == 0 else []
        ended = program.run("sync-queue", *arguments)
        assert (ended.code, is_one_line(ended)) == (3, True), ended.err
        assert "HubSpot is down or cannot be reached" in ended.err
        assert 1 <= hubspot.request_count <= MOST_REQUESTS
    assert state_of_all(table) == before
    hubspot.clear_faults()
    table.age_all(timedelta(minutes=5))
    document = program.run("sync-queue", "--drain", "--json").document
    assert document["counts"]["created"] == count
    assert_all_delivered(table, hubspot)


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_contact_that_hubspot_stumbles_over_pays_alone(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    add_many(table, 200)
    hubspot.fault(contains="c77@example.com", method="POST", status=500, times=None)
    ended = program.run("sync-queue", "--drain", "--json")
    assert ended.code == 1
    assert ended.document["counts"]["created"] == 199
    (failed,) = [row for row in table.rows() if row["hubspot_sync_status"] != "Complete"]
    assert (failed["email"], failed["retry_count"]) == ("c77@example.com", 1)
    assert "HTTP 500" in failed["hubspot_processing_error"]
    assert sum(row["retry_count"] for row in table.rows()) == 1
    for _ in range(3):
        table.age_all(timedelta(minutes=30))
        program.run("sync-queue")
    assert table.state(failed["id"]) == ("Error", "Error")
    assert len(hubspot.contacts()) == 199
