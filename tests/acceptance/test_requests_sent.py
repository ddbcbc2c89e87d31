"""Without a mapping file creates are, to the byte, what version 1.0.0 sent."""

import re
from typing import Any

import pytest
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from hubspot_sync.hubspot.emulator import Emulator
from tests.acceptance.program import Program
from tests.tables import Contacts

pytestmark = pytest.mark.parametrize("shape", ["sqlite"])

KEY = "11111111-2222-4333-8444-55555555555{}"
SITE: dict[str, Any] = {"domain_id": KEY.format(8), "page_id": KEY.format(9)}
NOWHERE: dict[str, Any] = {"domain_id": None, "page_id": None}

DOMAIN_ID = (
    b'{"name": "scrapersky_domain_id", "label": "ScraperSky Domain ID", "type": "string", '
    b'"fieldType": "text", "groupName": "contactinformation"}'
)
PAGE_ID = (
    b'{"name": "scrapersky_page_id", "label": "ScraperSky Page ID", "type": "string", '
    b'"fieldType": "text", "groupName": "contactinformation"}'
)
SYNC_DATE = (
    b'{"name": "scrapersky_sync_date", "label": "ScraperSky Sync Date", "type": "date", '
    b'"fieldType": "date", "groupName": "contactinformation"}'
)
BATCH = (
    b'{"inputs": [{"properties": {"email": "ada@example.com", "firstname": "Ada", '
    b'"lastname": "King Noel", "phone": "+44 20 7946 0000", '
    b'"scrapersky_domain_id": "11111111-2222-4333-8444-555555555558", '
    b'"scrapersky_page_id": "11111111-2222-4333-8444-555555555559", '
    b'"scrapersky_sync_date": "2026-11-25"}, '
    b'"objectWriteTraceId": "11111111-2222-4333-8444-555555555551"}, '
    b'{"properties": {"email": "info@example.org", "firstname": "Info", '
    b'"scrapersky_domain_id": "11111111-2222-4333-8444-555555555558", '
    b'"scrapersky_page_id": "11111111-2222-4333-8444-555555555559", '
    b'"scrapersky_sync_date": "2026-11-25"}, '
    b'"objectWriteTraceId": "11111111-2222-4333-8444-555555555552"}, '
    b'{"properties": {"email": "zoe@example.org", "firstname": "Zo\\u00eb", '
    b'"lastname": "\\u00dcmlaut", "scrapersky_sync_date": "2026-11-25"}, '
    b'"objectWriteTraceId": "11111111-2222-4333-8444-555555555553"}]}'
)
ALONE = b'{"properties": {"email": "solo@example.org", "scrapersky_sync_date": "2026-11-25"}}'
"""Recorded from version 1.0.0."""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """The bodies of all writes, as they go over the wire, with one day for all."""
    bodies: list[tuple[str, bytes]] = []
    send = HTTPAdapter.send

    def note(adapter: HTTPAdapter, request: PreparedRequest, **options: Any) -> Response:
        path = str(request.url).partition("/crm/v3")[2].partition("?")[0]
        if request.method in ("POST", "PATCH") and not path.endswith("/read"):
            body = bytes(request.body) if isinstance(request.body, bytes) else b""
            on_one_day = re.sub(rb'(_sync_date": ")[\d-]{10}', rb"\g<1>2026-11-25", body)
            bodies.append((f"{request.method} {path}", on_one_day))
        return send(adapter, request, **options)

    monkeypatch.setattr(HTTPAdapter, "send", note)
    return bodies


def fill(table: Contacts) -> None:
    """Queue three contacts, and leave one to be sent by hand."""
    ada = {"name": "Ada  King Noel", "phone_number": "+44 20 7946 0000", **SITE}
    table.add(" Ada@Example.com ", id=KEY.format(1), **ada)
    table.add("info@example.org", id=KEY.format(2), name="Info", phone_number=None, **SITE)
    zoe = {"name": "Zoë Ümlaut", "phone_number": "  ", **NOWHERE}
    table.add("zoe@example.org", id=KEY.format(3), **zoe)
    unmarked = {"hubspot_sync_status": "New", "hubspot_processing_status": None, **NOWHERE}
    table.add("solo@example.org", id=KEY.format(4), **unmarked)


def test_creates_are_what_they_were_before_there_were_mapping_files(
    table: Contacts, program: Program, hubspot: Emulator, sent: list[tuple[str, bytes]]
) -> None:
    for name in ("domain_id", "page_id", "sync_date"):
        hubspot.archive_property(f"scrapersky_{name}")
    fill(table)
    assert program.run("create-properties").code == 0
    assert program.run("sync-queue").code == 0
    assert program.run("sync-one", KEY.format(4)).code == 0
    assert sent == [
        *(("POST /properties/contacts", each) for each in (DOMAIN_ID, PAGE_ID, SYNC_DATE)),
        ("POST /objects/contacts/batch/create", BATCH),
        ("POST /objects/contacts", ALONE),
    ]


def test_updates_send_what_differs_and_no_more(
    table: Contacts, program: Program, hubspot: Emulator, sent: list[tuple[str, bytes]]
) -> None:
    fill(table)
    assert program.run("sync-queue").code == 0
    sent.clear()
    again = {"hubspot_sync_status": "Selected", "hubspot_processing_status": "Queued"}
    for number in (1, 2, 3):
        table.change(KEY.format(number), **again)
    table.change(KEY.format(1), phone_number="5")
    record_id = table.row(KEY.format(1))["hubspot_contact_id"]
    assert program.run("sync-queue", "--json").document["counts"]["unchanged"] == 2
    # The sync date travels along where it differs; here it is of the same day.
    body = f'{{"inputs": [{{"id": "{record_id}", "properties": {{"phone": "5"}}, '
    body += f'"objectWriteTraceId": "{KEY.format(1)}"}}]}}'
    assert sent == [("POST /objects/contacts/batch/update", body.encode())]
