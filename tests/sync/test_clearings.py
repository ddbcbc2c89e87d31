"""Empty values clear HubSpot's, unless another row of the contact has one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.rules.clearing import Clearing
from hubspot_sync.rules.mapping import Field, NullPolicy, PropertyMapping
from hubspot_sync.store import shared_rows
from hubspot_sync.store.contact_queue import ContactQueue
from tests.conftest import Runs
from tests.contacts import MAPPING
from tests.tables import Contacts

CLEARING = replace(
    MAPPING,
    fields=tuple(
        Field("phone", "phone_number", null=NullPolicy.CLEAR)
        if each.property_name == "phone"
        else each
        for each in MAPPING.fields
    ),
)
DELIVERED: dict[str, Any] = {"hubspot_sync_status": "Complete", "hubspot_processing_status": None}


def phone(hubspot: Emulator, email: str = "ada@example.com") -> str | None:
    record = hubspot.contact_by_email(email)
    assert record
    return record["properties"].get("phone") or None


@pytest.fixture
def known(hubspot: Emulator) -> str:
    """A record with a phone number, and its id."""
    return hubspot.add_contact({"email": "ada@example.com", "phone": "1"})


@pytest.mark.parametrize("way", ["batch", "alone"])
def test_value_that_no_row_has_any_more_is_cleared(
    table: Contacts, runs: Runs, hubspot: Emulator, known: str, way: str
) -> None:
    key = table.add(phone_number=None)
    table.add("other@example.com", phone_number="2", hubspot_contact_id="999", **DELIVERED)
    if way == "batch":
        runs.queue(mapping=CLEARING)
    else:
        runs.make(mapping=CLEARING).run_one(key)
    assert phone(hubspot) is None
    assert table.row(key)["hubspot_contact_id"] == known


@pytest.mark.parametrize("way", ["batch", "alone"])
@pytest.mark.parametrize("shared", ["record", "address"])
def test_value_that_another_row_of_the_contact_has_is_kept(
    table: Contacts, runs: Runs, hubspot: Emulator, known: str, way: str, shared: str
) -> None:
    key = table.add(phone_number=" ")
    email, record = (" ADA@example.com", None) if shared == "address" else ("b@x.org", known)
    table.add(email, phone_number="1", hubspot_contact_id=record, **DELIVERED)
    if way == "batch":
        runs.queue(mapping=CLEARING)
    else:
        runs.make(mapping=CLEARING).run_one(key)
    assert phone(hubspot) == "1"


def test_rows_that_share_a_record_and_have_nothing_clear_it(
    table: Contacts, runs: Runs, hubspot: Emulator, known: str
) -> None:
    table.add(phone_number="", hubspot_contact_id=known)
    table.add("b@x.org", phone_number=None, hubspot_contact_id=known, **DELIVERED)
    runs.queue(mapping=CLEARING)
    assert phone(hubspot) is None


@pytest.mark.parametrize("shape", ["app"])
def test_database_that_takes_too_long_to_answer_clears_nothing(
    table: Contacts,
    queue: ContactQueue,
    runs: Runs,
    hubspot: Emulator,
    known: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ask = queue.may_be_cleared

    def ask_of_a_locked_table(
        clearings: Sequence[Clearing], mapping: PropertyMapping
    ) -> Mapping[str, frozenset[str]]:
        with table.engine.begin() as connection:
            connection.execute(text("LOCK TABLE contacts"))
            return ask(clearings, mapping)

    monkeypatch.setattr(shared_rows, "ANSWER_TIMEOUT_MS", 50)
    monkeypatch.setattr(queue, "may_be_cleared", ask_of_a_locked_table)
    table.add(phone_number=None)
    runs.queue(mapping=CLEARING)
    assert phone(hubspot) == "1"
    assert "1 record keeps its values" in caplog.text
    assert "which program keeps the table locked" in caplog.text
