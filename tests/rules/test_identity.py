"""Which HubSpot record is this contact."""

from uuid import UUID

import pytest

from hubspot_sync.rules.identity import (
    HubSpotRecord,
    holds_what_was_sent,
    is_same_contact,
    is_same_value,
)
from hubspot_sync.rules.mapping import PropertyNames, built_in_mapping
from tests.contacts import MAPPING, edited, scraped
from tests.for_each import for_each

CONTACT = scraped(
    str(UUID(int=1)),
    email="ada@example.com",
    domain_id="domain-1",
    page_id="page-1",
    hubspot_contact_id="501",
)
RECORD = HubSpotRecord(
    "501",
    {
        "email": "ada@example.com",
        "hs_additional_emails": "a.king@example.com;lovelace@example.com",
        "scrapersky_domain_id": "domain-1",
        "scrapersky_page_id": "page-1",
    },
)


def _record(record_id: str = "501", **properties: str) -> HubSpotRecord:
    return HubSpotRecord(record_id, properties)


def test_record_primary_email_is_normalised() -> None:
    assert _record(email=" Ada@Example.COM ").primary_email == "ada@example.com"


@pytest.mark.parametrize("properties", [{}, {"email": ""}])
def test_record_without_an_email_has_no_primary_email(properties: dict[str, str]) -> None:
    assert HubSpotRecord("501", properties).primary_email is None


def test_record_emails_are_the_primary_and_the_secondary_ones() -> None:
    assert RECORD.emails == {"ada@example.com", "a.king@example.com", "lovelace@example.com"}


@pytest.mark.parametrize(
    "additional", ["A.King@Example.com", "a.king@example.com;", ";a.king@example.com; "]
)
def test_record_emails_are_normalised(additional: str) -> None:
    record = _record(email="ADA@example.com", hs_additional_emails=additional)
    assert record.emails >= {"ada@example.com", "a.king@example.com"}


def test_record_emails_are_the_secondary_ones_where_there_is_no_primary() -> None:
    assert _record(hs_additional_emails="ada@example.com").emails == {"ada@example.com"}


def test_record_without_any_email_has_no_emails() -> None:
    assert _record().emails == frozenset()


def test_record_with_both_our_ids_is_the_same_contact() -> None:
    assert is_same_contact(RECORD, CONTACT, MAPPING)


@pytest.mark.parametrize("missing", ["domain_id", "page_id"])
def test_record_is_the_same_contact_by_the_one_id_that_the_contact_has(missing: str) -> None:
    contact = edited(CONTACT, **{missing: None})
    assert is_same_contact(RECORD, contact, MAPPING)


def test_record_under_another_email_is_the_same_contact() -> None:
    assert is_same_contact(RECORD, edited(CONTACT, email="new@example.com"), MAPPING)


@for_each(
    "properties",
    [
        pytest.param({}, id="neither-id"),
        pytest.param({"scrapersky_domain_id": "domain-1"}, id="page-missing"),
        pytest.param({"scrapersky_page_id": "page-1"}, id="domain-missing"),
        pytest.param(
            {"scrapersky_domain_id": "domain-1", "scrapersky_page_id": "page-2"}, id="other-page"
        ),
        pytest.param(
            {"scrapersky_domain_id": "domain-2", "scrapersky_page_id": "page-1"}, id="other-domain"
        ),
        pytest.param(
            {"scrapersky_domain_id": "page-1", "scrapersky_page_id": "domain-1"}, id="swapped"
        ),
        pytest.param({"email": "ada@example.com"}, id="email-alone"),
    ],
)
def test_record_without_our_very_ids_is_not_the_same_contact(properties: dict[str, str]) -> None:
    assert not is_same_contact(HubSpotRecord("501", properties), CONTACT, MAPPING)


@pytest.mark.parametrize("empty", [None, ""])
def test_contact_without_ids_of_its_own_is_no_records_contact(empty: str | None) -> None:
    contact = edited(CONTACT, domain_id=empty, page_id=empty)
    assert not is_same_contact(RECORD, contact, MAPPING)


def test_record_that_answers_under_another_id_is_not_the_same_contact() -> None:
    merged = HubSpotRecord("777", RECORD.properties)
    assert not is_same_contact(merged, CONTACT, MAPPING)


def test_contact_without_a_stored_id_is_no_records_contact() -> None:
    assert not is_same_contact(RECORD, edited(CONTACT, hubspot_contact_id=None), MAPPING)


def test_our_ids_are_looked_for_under_this_portals_names() -> None:
    names = PropertyNames(domain_id="site", page_id="page")
    record = _record(site="domain-1", page="page-1")
    assert is_same_contact(record, CONTACT, built_in_mapping(names))


def test_record_that_shows_every_property_holds_what_was_sent() -> None:
    sent = {"email": "ada@example.com", "scrapersky_page_id": "page-1"}
    assert holds_what_was_sent(RECORD, sent, MAPPING)


def test_record_holds_an_email_that_is_a_secondary_one() -> None:
    assert holds_what_was_sent(RECORD, {"email": "lovelace@example.com"}, MAPPING)


@for_each(
    "sent",
    [
        pytest.param({"email": "other@example.com"}, id="other-email"),
        pytest.param({"scrapersky_page_id": "page-2"}, id="other-value"),
        pytest.param({"phone": "+44 20 7946 0000"}, id="no-value"),
        pytest.param({"email": "ada@example.com", "firstname": "Ada"}, id="one-of-two"),
    ],
)
def test_record_that_lacks_a_property_does_not_hold_what_was_sent(sent: dict[str, str]) -> None:
    assert not holds_what_was_sent(RECORD, sent, MAPPING)


@for_each(
    ("name", "sent", "held", "is_same"),
    [
        ("phone", "(030) 123 456", "+49 30 123456", True),
        ("phone", "+44 (0)20 7946 0000", "+442079460000", True),
        ("phone", "0049 30 123456", "+4930123456", True),
        ("phone", "+49 30 123456", "030/123456", True),
        ("phone", "030 123456", "+49 30 123457", False),
        ("phone", "030 123456", "", False),
        ("phone", "3456", "+49 30 123456", False),
        ("phone", "123456", "+49 30 99 123456", False),
        ("phone", "ask Ada", "ask Bob", False),
        ("lastname", "(030) 123 456", "+49 30 123456", False),
        ("synced", "2026-11-24T00:00:00.000Z", "2026-11-24T00:00:00Z", True),
        ("synced", "2026-11-24T00:00:00.000Z", "2026-11-25T00:00:00Z", False),
        ("synced", "2026-11-24Tea", "2026-11-24Teapot", False),
    ],
)
def test_value_is_the_same_in_the_forms_that_hubspot_gives_it(
    name: str, sent: str, held: str, is_same: bool
) -> None:
    assert is_same_value(name, sent, held) is is_same
