"""What a write does, decided before it."""

from dataclasses import replace
from datetime import date
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubspot_sync.rules.grouping import Group, group_by_email
from hubspot_sync.rules.identity import HubSpotRecord
from hubspot_sync.rules.mapping import CONTACTS, Contact, Field, Generated, PropertyMapping
from hubspot_sync.rules.plan import (
    Absence,
    Need,
    PlannedWrite,
    Seen,
    Target,
    WriteKind,
    plan,
    plan_records,
    target_of,
)
from hubspot_sync.rules.policies import Change
from hubspot_sync.rules.shaping import to_properties
from hubspot_sync.rules.transforms import Transform, TransformName
from hubspot_sync.rules.value_types import TypeSpec, ValueType
from tests.contacts import MAPPING, context_of, edited, properties_of, scraped
from tests.for_each import for_each

TODAY = date(2026, 11, 24)
EMAIL = "ada@example.com"
ADA = scraped(str(uuid4()), EMAIL, "Ada King", "+44 1", "domain-1", "page-1", "501")
OURS = {"scrapersky_domain_id": "domain-1", "scrapersky_page_id": "page-1"}
UNKNOWN_ADDRESS = Seen(by_email=Absence.GONE)


def group_of(*members: Contact, mapping: PropertyMapping = MAPPING) -> Group:
    mapped = [(each, to_properties(each, mapping, context_of(TODAY))) for each in members]
    (group,) = group_by_email(mapped)
    return group


def record(record_id: str = "501", **properties: str) -> HubSpotRecord:
    return HubSpotRecord(record_id, properties)


@for_each(
    ("seen", "expected"),
    [
        (Seen(by_email=record("7", email=EMAIL)), Target(record("7", email=EMAIL))),
        (Seen(), Need.CARE),
        (Seen(by_email=Absence.UNKNOWN), Need.CARE),
        (UNKNOWN_ADDRESS, Need.STORED_RECORD),
        (replace(UNKNOWN_ADDRESS, by_id=Absence.UNKNOWN), Need.CARE),
        (replace(UNKNOWN_ADDRESS, by_id=Absence.GONE), Target(None)),
        (replace(UNKNOWN_ADDRESS, by_id=record(email="stranger@x.org")), Target(None)),
        (
            replace(UNKNOWN_ADDRESS, by_id=record(email="old@x.org", **OURS)),
            Need.RENAME,
        ),
        (
            replace(UNKNOWN_ADDRESS, by_id=record(email="old@x.org", **OURS), may_rename=True),
            Target(record(email="old@x.org", **OURS), takes_key=True),
        ),
        (
            replace(UNKNOWN_ADDRESS, by_id=record(email="old@x.org", **OURS), may_rename=False),
            Target(None),
        ),
        (
            # A merge answers under another id, which no stored id proves.
            replace(UNKNOWN_ADDRESS, by_id=record("777", email="old@x.org", **OURS)),
            Target(None),
        ),
        (
            replace(UNKNOWN_ADDRESS, by_id=record(hs_additional_emails=EMAIL)),
            Target(record(hs_additional_emails=EMAIL)),
        ),
    ],
)
def test_which_record_a_group_is(seen: Seen, expected: Target | Need) -> None:
    assert target_of(group_of(ADA), seen, MAPPING) == expected


@pytest.mark.parametrize("stored", [None, "", "not-a-number"])
def test_group_without_a_stored_id_gets_a_record_of_its_own(stored: str | None) -> None:
    group = group_of(edited(ADA, hubspot_contact_id=stored))
    assert target_of(group, UNKNOWN_ADDRESS, MAPPING) == Target(None)


def test_create_sends_everything() -> None:
    write = plan(group_of(ADA), replace(UNKNOWN_ADDRESS, by_id=Absence.GONE), MAPPING, CONTACTS)
    assert isinstance(write, PlannedWrite)
    assert (write.kind, write.record_id) == (WriteKind.CREATE, None)
    assert write.properties == properties_of(ADA, MAPPING, TODAY)
    assert {change.before for change in write.changes} == {None}


def test_update_sends_what_differs_with_the_stamp_and_not_the_address() -> None:
    held = record("7", email="main@x.org", firstname="Ada", lastname="Old", phone="+44 1", **OURS)
    write = plan(group_of(ADA), Seen(by_email=held), MAPPING, CONTACTS)
    assert write == PlannedWrite(
        WriteKind.UPDATE,
        "7",
        (Change("lastname", "Old", "King"), Change("scrapersky_sync_date", None, "2026-11-24")),
        same=4,
    )


def test_stamp_does_not_travel_alone() -> None:
    held = properties_of(ADA, MAPPING, TODAY) | {"scrapersky_sync_date": "2020-01-01"}
    write = plan(group_of(ADA), Seen(by_email=record("7", **held)), MAPPING, CONTACTS)
    assert write == PlannedWrite(WriteKind.NOTHING, "7", (), same=6)


def test_moment_that_hubspot_writes_with_fewer_digits_is_no_change() -> None:
    fields = tuple(
        replace(each, stamp=False, type=TypeSpec(ValueType.DATETIME)) for each in MAPPING.fields
    )
    mapping = replace(MAPPING, fields=fields)
    group = group_of(ADA, mapping=mapping)
    held = dict(group.properties) | {"scrapersky_sync_date": "2026-11-24T00:00:00Z"}
    write = plan(group, Seen(by_email=record("7", **held)), mapping, CONTACTS)
    assert isinstance(write, PlannedWrite)
    assert write.kind is WriteKind.NOTHING


def test_groups_that_meet_in_one_record_are_one_write_and_later_values_count() -> None:
    held = record("7", email=EMAIL, hs_additional_emails="b@x.org", firstname="Old")
    first, second = group_of(ADA), group_of(scraped(str(uuid4()), "b@x.org", "Grace"))
    targets = [(first, Target(held)), (second, Target(held))]
    (together,) = plan_records(targets, MAPPING, CONTACTS)
    assert together.groups == (first, second)
    assert together.write.properties["firstname"] == "Grace"
    assert "email" not in together.write.properties


def test_address_of_the_group_that_brings_a_new_one_is_sent_and_no_other() -> None:
    held = record("501", email="old@x.org", hs_additional_emails="b@x.org", **OURS)
    moved, other = group_of(ADA), group_of(scraped(str(uuid4()), "b@x.org", "Grace"))
    targets = [(moved, Target(held, takes_key=True)), (other, Target(held))]
    (together,) = plan_records(targets, MAPPING, CONTACTS)
    assert together.write.properties["email"] == EMAIL


# Any rows, records and mappings

names = st.sampled_from(["alpha", "beta", "gamma", "delta"])
columns = st.sampled_from(["one", "two", "three"])
texts = st.sampled_from(["", " ", "x", "x y", "X", "2026-11-24"]) | st.none()
words = [TransformName.FIRST_WORD, TransformName.AFTER_FIRST_WORD, TransformName.UPPER]
filled = st.builds(
    Field,
    property_name=names,
    column=columns,
    transform=st.lists(st.sampled_from(words).map(Transform), max_size=2).map(tuple),
    stamp=st.booleans(),
)
dated = st.builds(
    Field, property_name=names, generated=st.just(Generated.TODAY), stamp=st.booleans()
)
lines = filled | dated
mappings = st.lists(lines, max_size=5, unique_by=lambda line: line.property_name).map(
    lambda fields: PropertyMapping(fields=tuple(fields))
)
rows = st.lists(st.dictionaries(columns, texts), min_size=1, max_size=3)
records = st.none() | st.dictionaries(names, st.sampled_from(["x", "y", "2026-11-24"]))


def applied(write: PlannedWrite, held: dict[str, str]) -> dict[str, str]:
    """The record after the write, in a HubSpot that stores values as they are sent."""
    return held | write.properties


@given(mapping=mappings, drawn=rows, held=records)
def test_plan_gives_what_the_mapping_promises_and_planning_again_gives_nothing(
    mapping: PropertyMapping, drawn: list[dict[str, str | None]], held: dict[str, str] | None
) -> None:
    members = [Contact(number, EMAIL, tuple(row.items())) for number, row in enumerate(drawn)]
    group = group_of(*members, mapping=mapping)
    before = {"email": EMAIL} | held if held is not None else {}
    seen = Seen(by_email=record("7", **before) if held is not None else Absence.GONE)
    write = plan(group, seen, mapping, CONTACTS)
    assert isinstance(write, PlannedWrite)
    after = applied(write, before)
    promised = dict(group.properties)
    stamps = {name: promised.pop(name) for name in mapping.stamps & promised.keys()}
    assert promised.items() <= after.items()
    # A stamp shows the last write, be it this one or an earlier one.
    is_written = write.kind is not WriteKind.NOTHING
    assert is_written == bool(held is None or promised.items() - before.items())
    assert not is_written or stamps.items() <= after.items()
    assert {name: after[name] for name in before.keys() - group.properties.keys()} == {
        name: before[name] for name in before.keys() - group.properties.keys()
    }
    assert all(change.before == before.get(change.property_name) for change in write.changes)
    again = plan(group, Seen(by_email=record("7", **after)), mapping, CONTACTS)
    assert isinstance(again, PlannedWrite)
    assert (again.kind, again.changes) == (WriteKind.NOTHING, ())
