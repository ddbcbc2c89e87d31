"""Runs by a mapping of one's own: what it keeps, rejects and drops."""

from dataclasses import replace
from typing import Any

import pytest

from hubspot_sync.codes import ErrorCode
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
    assert rejected.error
    assert rejected.error.code is ErrorCode.VALUE_CANNOT_BE_SENT


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


NAMES = ("Dr.", "Ada Lovelace", "info", "  ", None, "ADA  KING", "Contact us", "Ada")
PHONES = ("ext. 4", None, "+49 30 1", "call", "", "0", "(030) 12 34")
KNOWN = 344
SCRAPED = 3_000


def test_scraped_contacts_replace_nothing_that_people_typed(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    """3,000 dirty contacts against a portal that has 344 of them: what is empty is filled alone."""
    cautious = replace(
        MAPPING, fields=tuple(replace(each, write=WritePolicy.IF_EMPTY) for each in MAPPING.fields)
    )
    typed = {
        f"c{n}@example.com": {
            name: f"typed {name} {n}"
            for place, name in enumerate(("firstname", "lastname", "phone"))
            if (n >> place) % 2
        }
        for n in range(KNOWN)
    }
    for email, values in typed.items():
        hubspot.add_contact({"email": email, **values})
    kinds = [(name, phone) for name in NAMES for phone in PHONES]
    for start, (name, phone) in enumerate(kinds):
        emails = [f"c{n}@example.com" for n in range(start, SCRAPED, len(kinds))]
        table.add_all(emails, name=name, phone_number=phone)
    report = runs.queue(limit=None, mapping=cautious)
    assert report.counts == {"created": SCRAPED - KNOWN, "updated": KNOWN}

    def held() -> dict[str, dict[str, str]]:
        return {each["properties"]["email"]: each["properties"] for each in hubspot.contacts()}

    found = held()
    assert len(found) == SCRAPED
    for number, (email, values) in enumerate(typed.items()):
        name, phone = kinds[number % len(kinds)]
        first, _, last = " ".join((name or "").split()).partition(" ")
        scraped = {"firstname": first, "lastname": last, "phone": (phone or "").strip()}
        expected = {each: values.get(each) or scraped[each] for each in scraped}
        assert {each: found[email].get(each) or "" for each in expected} == expected
    # What a person corrects stays so, however often the contact is sent again.
    corrected = hubspot.contact_by_email("c1@example.com")
    assert corrected
    runs.client.update(corrected["id"], {"firstname": "Annabelle"})
    (key,) = [row["id"] for row in table.rows() if row["email"] == "c1@example.com"]
    for _ in range(10):
        table.change(str(key), hubspot_sync_status="Selected", hubspot_processing_status="Queued")
        assert runs.queue(mapping=cautious).counts == {"unchanged": 1}
    assert held()["c1@example.com"]["firstname"] == "Annabelle"
