"""Runs by a mapping of one's own: what it keeps, rejects and drops."""

from dataclasses import replace
from typing import Any

import pytest

from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.rules.mapping import Field, OnInvalid, PropertyMapping, WritePolicy
from hubspot_sync.rules.value_types import TypeSpec, ValueType
from tests.conftest import Runs
from tests.contacts import MAPPING
from tests.tables import Contacts

pytestmark = pytest.mark.parametrize("shape", ["sqlite"])

NUMBER = TypeSpec(ValueType.NUMBER)


def with_phone(**line: Any) -> PropertyMapping:
    """The built-in mapping with another line for the phone number."""
    return replace(
        MAPPING,
        fields=tuple(
            Field("phone", "phone_number", **line) if each.property_name == "phone" else each
            for each in MAPPING.fields
        ),
    )


def phones(hubspot: Emulator) -> dict[str, str | None]:
    held = (contact["properties"] for contact in hubspot.contacts())
    return {each["email"]: each.get("phone") or None for each in held}


@pytest.mark.parametrize("way", ["batch", "alone"])
def test_what_people_typed_is_kept_and_what_is_empty_is_filled(
    table: Contacts, runs: Runs, hubspot: Emulator, way: str
) -> None:
    hubspot.add_contact({"email": "known@example.com", "phone": "typed"})
    hubspot.add_contact({"email": "empty@example.com"})
    keys = [
        table.add(f"{name}@example.com", phone_number="scraped")
        for name in ("known", "empty", "new")
    ]
    mapping = with_phone(write=WritePolicy.IF_EMPTY)
    if way == "batch":
        runs.queue(mapping=mapping)
    else:
        for key in keys:
            runs.make(mapping=mapping).run_one(key, force=False)
    assert phones(hubspot) == {
        "known@example.com": "typed",
        "empty@example.com": "scraped",
        "new@example.com": "scraped",
    }


def test_contact_that_the_mapping_rejects_ends_so_without_a_request(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    bad = table.add("bad@example.com", phone_number="ext. 4")
    table.add("good@example.com", phone_number="5")
    report = runs.queue(mapping=with_phone(type=NUMBER))
    assert report.counts == {"rejected": 1, "created": 1}
    assert table.state(bad) == ("Error", "Error")
    assert set(phones(hubspot)) == {"good@example.com"}
    (rejected,) = [each for each in report.contacts if each.outcome == "rejected"]
    assert "'ext. 4' is not a number" in (rejected.error or "")
    assert rejected.code == "NOT_A_NUMBER"


def test_value_that_is_dropped_leaves_the_rest_of_the_contact(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    table.add("bad@example.com", phone_number="ext. 4")
    report = runs.queue(mapping=with_phone(type=NUMBER, on_invalid=OnInvalid.DROP))
    assert report.counts == {"created": 1}
    assert phones(hubspot) == {"bad@example.com": None}


def test_line_that_rejects_contact_after_contact_stops_the_run(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    keys = [table.add(f"c{n}@example.com", phone_number="24.11.2026") for n in range(30)]
    report = runs.queue(mapping=with_phone(type=TypeSpec(ValueType.DATE)))
    assert report.exit_code == 3
    assert "The mapping rejects every contact alike (NOT_A_DATE on phone)" in (report.reason or "")
    assert "rejected" not in report.counts
    assert {table.state(key)[0] for key in keys} == {"Queued"}
    assert hubspot.contacts() == []


def test_bad_values_of_single_contacts_stop_no_run(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    for number in range(30):
        table.add(f"bad{number}@example.com", phone_number="ext. 4")
    table.add("good@example.com", phone_number="5")
    report = runs.queue(mapping=with_phone(type=NUMBER))
    assert report.counts == {"rejected": 30, "created": 1}
    assert len(hubspot.contacts()) == 1


def test_rejected_contacts_use_up_no_place_of_a_tick(table: Contacts, runs: Runs) -> None:
    for number in range(8):
        table.add(f"bad{number}@example.com", phone_number="ext. 4")
    for number in range(8):
        table.add(f"good{number}@example.com", phone_number="5")
    report = runs.queue(limit=8, mapping=with_phone(type=NUMBER))
    assert report.counts == {"rejected": 8, "created": 8}
