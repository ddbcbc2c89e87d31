"""Contacts that are rejected for a value before anything is sent."""

from hubspot_sync.errors import Signature
from hubspot_sync.rules.advice import reason_for
from hubspot_sync.rules.grouping import Group, group_by_email
from hubspot_sync.rules.invalid import InvalidCode
from hubspot_sync.rules.mapping import Contact, Field, OnInvalid, PropertyMapping
from hubspot_sync.rules.rejection import rejection_of, usable_fields
from hubspot_sync.rules.shaping import to_properties
from hubspot_sync.rules.value_types import TypeSpec, ValueType
from tests.contacts import context_of
from tests.for_each import for_each
from tests.rules.test_plan import TODAY

NUMBER = TypeSpec(ValueType.NUMBER)
MAPPING = PropertyMapping(
    (
        Field("age", "age", type=NUMBER, line=12),
        Field("size", "size", type=NUMBER, on_invalid=OnInvalid.DROP, line=13),
    ),
    file="m.toml",
)


def group_of(*rows: dict[str, str | None]) -> Group:
    contacts = [Contact(n, "ada@x.org", tuple(row.items())) for n, row in enumerate(rows)]
    (group,) = group_by_email((c, to_properties(c, MAPPING, context_of(TODAY))) for c in contacts)
    return group


def test_value_that_cannot_be_sent_rejects_the_contact_and_names_field_and_value() -> None:
    rejected = rejection_of(group_of({"age": "old"}), MAPPING)
    assert rejected
    assert rejected.message == (
        "The value of age cannot be sent to age: 'old' is not a number. Correct it and mark the "
        "contact again, or correct the mapping (m.toml, line 12, age)."
    )
    assert rejected.signature == Signature(InvalidCode.NOT_A_NUMBER, "age")
    assert reason_for(rejected.message).words == "a value that age cannot take"


@for_each(
    "rows",
    [
        ({"age": "5"},),
        ({"age": None},),
        ({"size": "big"},),
        ({"age": "old"}, {"age": "5"}),
        ({"age": "5"}, {"age": "old"}),
    ],
)
def test_contact_is_not_rejected(rows: tuple[dict[str, str | None], ...]) -> None:
    assert rejection_of(group_of(*rows), MAPPING) is None


def test_empty_value_does_not_make_up_for_an_invalid_one() -> None:
    assert rejection_of(group_of({"age": "old"}, {"age": None}), MAPPING)


def test_usable_fields_had_a_value_that_can_be_sent() -> None:
    groups = [group_of({"age": "old", "size": "5"}), group_of({"age": None})]
    assert usable_fields(groups, MAPPING) == {"size"}
