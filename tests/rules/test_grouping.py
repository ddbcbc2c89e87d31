"""Contacts that share an email, and groups that are one HubSpot contact."""

from uuid import UUID, uuid4

from hubspot_sync.rules.grouping import Group, group_by_email, merge_updates, read_look_up
from hubspot_sync.rules.identity import HubSpotRecord
from hubspot_sync.rules.mapping import Contact


def group(email: str, *members: Contact, **properties: str) -> Group:
    contacts = members or (Contact(uuid4(), email),)
    return Group(email, contacts, {"email": email} | properties)


def test_group_by_email_keeps_the_order_of_claims() -> None:
    a, b, c = (Contact(uuid4(), email) for email in ("a@x.com", "b@x.com", "c@x.com"))
    groups = group_by_email([(each, {"email": str(each.email)}) for each in (c, a, b)])
    assert [each.members for each in groups] == [(c,), (a,), (b,)]


def test_group_by_email_lets_later_values_win() -> None:
    first, second = Contact(uuid4(), "A@x.com"), Contact(uuid4(), "a@x.com")
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
    first = Contact(uuid4(), "a@x.com", hubspot_contact_id="1")
    second = Contact(uuid4(), "a@x.com")
    assert group("a@x.com", first, second).contact == Contact(
        second.id, "a@x.com", hubspot_contact_id="1"
    )


def test_group_without_email_is_what_an_update_is_told() -> None:
    assert group("a@x.com", phone="1").without_email == {"phone": "1"}


def test_merge_updates_meet_in_one_record() -> None:
    primary, secondary, other = group("a@x.com"), group("b@x.com"), group("c@x.com")
    merged = merge_updates(
        [
            ("1", primary, {"phone": "1", "firstname": "Ada"}),
            ("2", other, {"phone": "9"}),
            ("1", secondary, {"phone": "2"}),
        ]
    )
    assert [(each.record_id, each.groups, each.properties) for each in merged] == [
        ("1", (primary, secondary), {"phone": "2", "firstname": "Ada"}),
        ("2", (other,), {"phone": "9"}),
    ]
    assert merged[0].trace_id == primary.trace_id


def test_read_look_up_places_each_group_once() -> None:
    known, secondary, unknown, silent = (
        group(email) for email in ("a@x.com", "b@x.com", "c@x.com", "d@x.com")
    )
    record = HubSpotRecord("1", {"email": "A@x.com", "hs_additional_emails": "b@x.com;e@x.com"})
    look_up = read_look_up([known, secondary, unknown, silent], [record], {"c@x.com"})
    assert look_up.found == [(known, record), (secondary, record)]
    assert look_up.unknown == [unknown]
    assert look_up.undecided == [silent]


def test_read_look_up_believes_a_record_before_a_missing_list() -> None:
    known = group("a@x.com", Contact(UUID(int=1), "a@x.com"))
    record = HubSpotRecord("1", {"email": "a@x.com"})
    assert read_look_up([known], [record], {"a@x.com"}).found == [(known, record)]
