"""Runs with values of another table: sent, shown in a dry run, and never compared at settle."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text

from hubspot_sync.cli import deliver
from hubspot_sync.errors import SettingsError
from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.rules.mapping import Field, Lookup
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.settling import Delivery
from tests.conftest import Runs
from tests.contacts import MAPPING
from tests.tables import Contacts

DOMAIN = Lookup("domain", "domains", "id", "domain_id", ("name",))
WITH_LOOKUP = replace(
    MAPPING, fields=(*MAPPING.fields, Field("company", lookup="domain.name")), lookups=(DOMAIN,)
)


@pytest.fixture
def domain(table: Contacts) -> str:
    key = "9b2d6ad2-0000-4000-8000-00000000000a"
    kind = "text" if table.shape == "sqlite" else "uuid"
    with table.engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS domains"))
        connection.execute(text(f"CREATE TABLE domains (id {kind} PRIMARY KEY, name text)"))
        connection.execute(text("INSERT INTO domains VALUES (:key, 'ACME')"), {"key": key})
    return key


def companies(hubspot: Emulator) -> dict[str, str | None]:
    held = (each["properties"] for each in hubspot.contacts())
    return {each["email"]: each.get("company") for each in held}


@pytest.mark.parametrize("way", ["batch", "alone"])
def test_values_of_another_table_are_sent(
    table: Contacts, runs: Runs, hubspot: Emulator, domain: str, way: str
) -> None:
    keys = [table.add("a@example.com", domain_id=domain), table.add("b@example.com")]
    if way == "batch":
        runs.queue(mapping=WITH_LOOKUP)
    else:
        for key in keys:
            runs.make(mapping=WITH_LOOKUP).run_one(key)
    assert companies(hubspot) == {"a@example.com": "ACME", "b@example.com": None}
    assert BUILT_IN_SOURCE.columns.count("domain_id") == 1


def test_dry_run_shows_the_values_of_the_other_table(
    table: Contacts,
    queue: ContactQueue,
    client: HubSpotClient,
    domain: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table.add(domain_id=domain)
    monkeypatch.setattr(deliver, "open_client", lambda *_: client)
    monkeypatch.setattr(deliver, "close_with_command", lambda _: None)
    settings: Any = SimpleNamespace(mapping=WITH_LOOKUP, portal_id=None)
    (planned,) = deliver._plan_contacts(settings, queue, queue.peek_due(10))
    assert {change.name: change.new for change in planned.changes}["company"] == "ACME"


def test_edit_of_the_other_table_is_no_edit_of_the_contact(
    table: Contacts,
    runs: Runs,
    queue: ContactQueue,
    domain: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = table.add(domain_id=domain)
    settle = queue.settle

    def edit_and_settle(deliveries: list[Delivery]) -> object:
        with table.engine.begin() as connection:
            connection.execute(text("UPDATE domains SET name = 'Other'"))
        return settle(deliveries)

    monkeypatch.setattr(queue, "settle", edit_and_settle)
    assert runs.queue(mapping=WITH_LOOKUP).counts == {"created": 1}
    assert table.state(key) == ("Complete", "Complete")


@pytest.mark.parametrize("way", ["batch", "alone"])
def test_run_by_a_file_claims_nothing_where_a_table_is_missing(
    table: Contacts, runs: Runs, domain: str, way: str
) -> None:
    key = table.add(domain_id=domain)
    before = table.row(key)
    with table.engine.begin() as connection:
        connection.execute(text("DROP TABLE domains"))
    sync = runs.make(mapping=replace(WITH_LOOKUP, file="m.toml"))
    with pytest.raises(SettingsError, match=r"m\.toml, \[lookup\.domain\]: there is no") as caught:
        sync.run_queue() if way == "batch" else sync.run_one(key)
    assert caught.value.exit_code == 2
    assert table.row(key) == before


def test_run_whose_lookup_breaks_gives_its_contacts_back(
    table: Contacts, runs: Runs, hubspot: Emulator, domain: str
) -> None:
    key = table.add(domain_id=domain)
    before = table.state(key)
    with table.engine.begin() as connection:
        connection.execute(text("DROP TABLE domains"))
    report = runs.queue(mapping=WITH_LOOKUP)
    assert report.exit_code == 3
    assert "The lookup domain cannot be read from 'domains'" in (report.reason or "")
    assert table.state(key) == before
    assert hubspot.contacts() == []
