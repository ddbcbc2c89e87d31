"""The account is at fault, not the contacts: none of them pays, however long it lasts."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from hubspot_sync.hubspot.emulator import Emulator
from tests.acceptance.program import Program
from tests.conftest import TOKEN
from tests.tables import Contacts

FEW = 13
"""Not a multiple of the ten of a tick, so that some ticks meet fewer than ten contacts."""

Mend = Callable[[], None]


def wrong_token(hubspot: Emulator, settings: dict[str, str]) -> Mend:
    settings["HUBSPOT_API_KEY"] = "pat-na1-yyyyyyyy"
    return lambda: settings.update(HUBSPOT_API_KEY=TOKEN)


def missing_scope(hubspot: Emulator, settings: dict[str, str]) -> Mend:
    hubspot.scopes = ["crm.objects.contacts.read", "crm.schemas.contacts.read"]
    return lambda: setattr(hubspot, "scopes", None)


def daily_limit(hubspot: Emulator, settings: dict[str, str]) -> Mend:
    hubspot.fault(path="/crm/", status=429, policy="DAILY", times=None)
    return hubspot.clear_faults


def contact_quota(hubspot: Emulator, settings: dict[str, str]) -> Mend:
    hubspot.contact_quota = 1
    return lambda: setattr(hubspot, "contact_quota", None)


def deleted_property(hubspot: Emulator, settings: dict[str, str]) -> Mend:
    hubspot.archive_property("scrapersky_page_id")

    def create_again() -> None:
        assert Program(settings).run("create-properties").code == 0

    return create_again


def property_deleted_in_the_middle(hubspot: Emulator, settings: dict[str, str]) -> Mend:
    problem = {"isValid": False, "message": "gone", "error": "PROPERTY_DOESNT_EXIST"}
    body = {
        "status": "error",
        "category": "VALIDATION_ERROR",
        "message": "refused",
        "errors": [
            {
                "message": problem["message"],
                "code": problem["error"],
                "context": {"propertyName": ["scrapersky_page_id"]},
            }
        ],
    }
    hubspot.fault(path="/batch/(create|update)", status=400, body=body, times=None)
    return hubspot.clear_faults


def new_required_property(hubspot: Emulator, settings: dict[str, str]) -> Mend:
    settings["HUBSPOT_API_VERSION"] = "2026-09"
    hubspot.add_property({"name": "industry"})
    hubspot.require_property("industry")
    return lambda: hubspot._portal.required.clear()


def wrong_portal(hubspot: Emulator, settings: dict[str, str]) -> Mend:
    settings["HUBSPOT_PORTAL_ID"] = "999"
    return lambda: settings.update(HUBSPOT_PORTAL_ID=str(hubspot.portal_id))


FAULTS = [
    wrong_token,
    missing_scope,
    daily_limit,
    contact_quota,
    deleted_property,
    property_deleted_in_the_middle,
    new_required_property,
    wrong_portal,
]


def tick(program: Program, table: Contacts) -> Any:
    """Run what cron runs, five minutes after the last time."""
    table.age_all(timedelta(minutes=5))
    return program.run("sync-queue", "--json").document


@pytest.mark.parametrize("shape", ["app"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    "runs", [4, pytest.param(600, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
def test_fault_of_the_account_costs_no_contact_an_attempt(
    table: Contacts,
    program: Program,
    hubspot: Emulator,
    fault: Callable[[Emulator, dict[str, str]], Mend],
    runs: int,
) -> None:
    hubspot.add_contact({"email": "c0@example.com"})
    for number in range(FEW):
        table.add(f"c{number}@example.com")
    mend = fault(hubspot, program.environment)
    ended: Counter[str] = Counter()
    for _ in range(runs):
        document = tick(program, table)
        ended[document["state"]] += 1
        assert {row["retry_count"] for row in table.rows()} == {0}, document
        assert all(row["hubspot_sync_status"] != "Error" for row in table.rows())
    assert ended["partial"] == 0
    assert ended["stopped"] >= runs / 2
    mend()
    table.age_all(timedelta(hours=1))
    assert program.run("sync-queue", "--drain").code == 0
    assert {row["hubspot_sync_status"] for row in table.rows()} == {"Complete"}
    assert {row["hubspot_processing_status"] for row in table.rows()} == {"Complete"}
    emails = sorted(contact["properties"]["email"] for contact in hubspot.contacts())
    assert emails == sorted(f"c{number}@example.com" for number in range(FEW))


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_reserve_of_the_days_quota_is_left_to_others(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    keys = [table.add(f"c{number}@example.com") for number in range(30)]
    before = table.rows()
    hubspot.daily_limit = 40
    program.environment["HUBSPOT_SYNC_QUOTA_RESERVE_PERCENT"] = "90"
    document = program.run("sync-queue", "--limit", "10", "--json").document
    assert document["state"] == "done"
    ended = program.run("sync-queue", "--limit", "10", "--json")
    assert (ended.code, ended.document["state"]) == (3, "stopped")
    assert ended.document["counts"]["released"] == 10
    reason = ended.document["reason"]
    assert "the reserve of 90 % that HUBSPOT_SYNC_QUOTA_RESERVE_PERCENT keeps" in reason
    assert "It can go on at 20" in reason
    assert [row for row in table.rows() if row["hubspot_sync_status"] != "Complete"] == [
        row
        for row in before
        if row["email"] not in {c["properties"]["email"] for c in hubspot.contacts()}
    ]
    # A person who sends one contact may use what is kept from cron.
    left = next(key for key in keys if table.state(key) != ("Complete", "Complete"))
    assert program.run("sync-one", str(left)).code == 0
