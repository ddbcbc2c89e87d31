"""What must hold of table and HubSpot together: nothing lost, nothing twice, Complete is true."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from hubspot_sync.hubspot.emulator import Emulator
from tests.tables import Contacts

Row = dict[str, Any]


def states(rows: Sequence[Row]) -> set[tuple[str, str]]:
    """Return the pairs of statuses that rows have."""
    return {(row["hubspot_sync_status"], row["hubspot_processing_status"]) for row in rows}


def email_of(row: Row) -> str:
    """Return a contact's email as HubSpot keeps it."""
    return str(row["email"]).strip().lower()


def retry_columns(row: Row) -> tuple[Any, ...]:
    """Return the four shared columns of a contact."""
    return (
        row["retry_count"],
        row["next_retry_at"],
        row["last_retry_at"],
        row["last_failed_crm"],
    )


def expected_values(row: Row) -> dict[str, str]:
    """Return what HubSpot must hold of a contact, the date aside."""
    first, _, last = (row["name"] or "").partition(" ")
    values = {
        "firstname": first,
        "lastname": last,
        "phone": row["phone_number"],
        "scrapersky_domain_id": row["domain_id"],
        "scrapersky_page_id": row["page_id"],
    }
    return {name: str(value) for name, value in values.items() if value}


def assert_nobody_twice(hubspot: Emulator) -> None:
    """HubSpot holds each email once."""
    emails = [contact["properties"]["email"] for contact in hubspot.contacts()]
    assert len(emails) == len(set(emails))


def assert_shown(hubspot: Emulator, row: Row, sharing: Sequence[Row] = ()) -> None:
    """HubSpot holds a contact under the id stored, with its values.

    Args:
        hubspot: the account.
        row: the contact.
        sharing: those with its email: which of them came last the table no longer tells.
    """
    held = hubspot.contact_by_email(email_of(row))
    assert held is not None, row["email"]
    assert row["hubspot_contact_id"] == held["id"]
    wanted = [expected_values(each) for each in sharing or [row]]
    assert any(each.items() <= held["properties"].items() for each in wanted), (wanted, held)


def assert_complete_is_true(table: Contacts, hubspot: Emulator) -> None:
    """Nothing is called Complete that HubSpot does not hold with the values sent."""
    sharing: dict[str, list[Row]] = defaultdict(list)
    rows = table.rows()
    for row in rows:
        sharing[email_of(row)].append(row)
    for row in rows:
        if "Complete" in (row["hubspot_sync_status"], row["hubspot_processing_status"]):
            assert_shown(hubspot, row, sharing[email_of(row)])


def assert_all_delivered(table: Contacts, hubspot: Emulator) -> None:
    """Every contact is Complete, and HubSpot holds each email once and nobody else's."""
    rows = table.rows()
    assert states(rows) == {("Complete", "Complete")}
    assert_complete_is_true(table, hubspot)
    emails = sorted(contact["properties"]["email"] for contact in hubspot.contacts())
    assert emails == sorted({email_of(row) for row in rows})
    for row in rows:
        assert row["hubspot_processing_error"] is None
        assert retry_columns(row) == (0, None, None, None)
