"""A heap of contacts that come to nothing keeps no other contact waiting."""

from datetime import timedelta
from typing import Any

import pytest

from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.rules.settlement import OutcomeName
from tests.conftest import Runs
from tests.tables import Contacts

JUNK = 370
TICK = 10
RETRIED: dict[str, Any] = {
    "hubspot_sync_status": "Queued",
    "hubspot_processing_status": "Error",
    "retry_count": 1,
    "last_failed_crm": "hubspot",
    "next_retry_at": "2026-01-01 00:00:00.000000",
}


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_fresh_contact_overtakes_a_heap_of_hopeless_retries(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    table.add_all([f"junk{number}@example.com" for number in range(JUNK)], **RETRIED)
    creates = r"/contacts(/batch/create)?$"
    hubspot.fault(path=creates, contains="junk", status=400, body={"message": "odd"}, times=None)
    fresh = table.add("fresh@example.com", age=timedelta(0))
    assert runs.queue(limit=TICK).claimed == TICK
    assert table.state(fresh) == ("Complete", "Complete")


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_contacts_that_need_no_request_use_up_no_place_of_a_tick(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    table.add_all(
        [f"junk{number}(at)example.com" for number in range(JUNK)], age=timedelta(hours=1)
    )
    fresh = table.add("fresh@example.com", age=timedelta(0))
    report = runs.queue(limit=TICK)
    assert report.counts == {"rejected": JUNK, "created": 1}
    assert table.state(fresh) == ("Complete", "Complete")


def test_limit_still_holds_for_all_that_is_sent(table: Contacts, runs: Runs) -> None:
    emails = [f"c{number}{'(at)' if number % 2 else '@'}example.com" for number in range(40)]
    for number, email in enumerate(emails):
        table.add(email, age=timedelta(minutes=60 - number))
    report = runs.queue(limit=TICK)
    assert report.counts[OutcomeName.CREATED] == TICK
