"""Contacts that share an email, and groups that are one HubSpot contact."""

from uuid import uuid4

from hubspot_sync.rules.grouping import Group, group_by_email
from hubspot_sync.rules.mapping import Contact
from tests.contacts import scraped


def group(email: str, *members: Contact, **properties: str) -> Group:
    contacts = members or (scraped(str(uuid4()), email),)
    return Group(email, contacts, {"email": email} | properties)


def test_group_by_email_keeps_the_order_of_claims() -> None:
    a, b, c = (scraped(str(uuid4()), email) for email in ("a@x.com", "b@x.com", "c@x.com"))
    groups = group_by_email([(each, {"email": str(each.email)}) for each in (c, a, b)])
    assert [each.members for each in groups] == [(c,), (a,), (b,)]


def test_group_by_email_lets_later_values_win() -> None:
    first, second = scraped(str(uuid4()), "A@x.com"), scraped(str(uuid4()), "a@x.com")
    (shared,) = group_by_email(
        [
            (first, {"email": "a@x.com", "phone": "1", "firstname": "Ada"}),
            (second, {"email": "a@x.com", "phone": "2"}),
        ]
    )
    assert shared.members == (first, second)
    assert shared.properties == {"email": "a@x.com", "phone": "2", "firstname": "Ada"}
    assert shared.trace_id == str(first.id)
    assert shared.shared_with(first.id) == (second.id,)


def test_group_contact_carries_the_last_stored_id() -> None:
    first = scraped(str(uuid4()), "a@x.com", hubspot_contact_id="1")
    second = scraped(str(uuid4()), "a@x.com")
    assert group("a@x.com", first, second).contact == scraped(
        second.id, "a@x.com", hubspot_contact_id="1"
    )
