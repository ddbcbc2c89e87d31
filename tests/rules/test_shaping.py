"""From a contact to the values of properties, where they come from elsewhere than text columns."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

from hubspot_sync.rules.invalid import Invalid, InvalidCode
from hubspot_sync.rules.mapping import (
    Contact,
    Field,
    Generated,
    Lookup,
    PropertyDefinition,
    PropertyMapping,
    email_fault,
)
from hubspot_sync.rules.portal_fit import fitted
from hubspot_sync.rules.shaping import LookedUp, RunContext, looked_up, to_properties
from hubspot_sync.rules.source import Value
from hubspot_sync.rules.value_types import TypeSpec, ValueType
from tests.for_each import for_each

CONTEXT = RunContext(datetime(2026, 11, 24, 23, 30, tzinfo=UTC), "c0ffee00")
CONTACT = Contact(7, "ada@x.org", (("born", date(1815, 12, 10)), ("paid", Decimal("1E+2"))))


def filled(line: Field, contact: Contact = CONTACT) -> str | Invalid | None:
    return to_properties(contact, PropertyMapping((line,)), CONTEXT).get(line.property_name)


@for_each(
    ("generated", "kind", "expected"),
    [
        (Generated.TODAY, None, "2026-11-24"),
        (Generated.TODAY, ValueType.DATE, "2026-11-24"),
        (Generated.TODAY, ValueType.STRING, "2026-11-24"),
        (Generated.TODAY, ValueType.DATETIME, "2026-11-24T00:00:00.000Z"),
        (Generated.NOW, None, "2026-11-24T23:30:00.000Z"),
        (Generated.NOW, ValueType.DATETIME, "2026-11-24T23:30:00.000Z"),
        (Generated.NOW, ValueType.STRING, "2026-11-24T23:30:00.000Z"),
        (Generated.NOW, ValueType.DATE, "2026-11-24"),
        (Generated.RUN_ID, None, "c0ffee00"),
    ],
)
def test_generated_value(generated: Generated, kind: ValueType | None, expected: str) -> None:
    assert filled(Field("it", generated=generated, type=TypeSpec(kind))) == expected


@for_each(
    ("line", "expected"),
    [
        (Field("it", "born"), "1815-12-10"),
        (Field("it", "paid"), "100"),
        (Field("it", "nowhere"), None),
        (Field("it", constant="import"), "import"),
        (Field("it", constant=Decimal("1.50"), type=TypeSpec(ValueType.NUMBER)), "1.50"),
        (Field("it", constant=False, type=TypeSpec(ValueType.BOOL)), "false"),
    ],
)
def test_value_of_a_column_and_constant(line: Field, expected: str | None) -> None:
    assert filled(line) == expected


def test_value_that_cannot_be_sent_stands_among_the_others() -> None:
    value = filled(Field("it", "born", type=TypeSpec(ValueType.NUMBER)))
    assert value == Invalid("1815-12-10", InvalidCode.NOT_A_NUMBER, "is not a number")


COMPANY = Lookup("company", "companies", "id", "company_id", ("name", "size"))


@for_each(("company_id", "expected"), [(5, "Analytical"), (6, None), (None, None), ("5", None)])
def test_value_is_looked_up_by_the_key_that_the_row_holds(
    company_id: Value, expected: str | None
) -> None:
    contact = Contact(7, "ada@x.org", (("company_id", company_id),))
    found: LookedUp = {"company": {5: {"name": "Analytical", "size": 2}}}
    (with_company,) = looked_up([contact], [COMPANY], found)
    assert filled(Field("it", lookup="company.name"), with_company) == expected
    # What another table holds asks for no other delivery of this row.
    assert with_company.sent_values == contact.sent_values


@for_each(
    ("hubspot_type", "field_type", "value", "expected"),
    [
        ("string", "text", True, "true"),
        ("phone_number", "phonenumber", "030", "030"),
        ("number", "number", " +7 ", "7"),
        ("bool", "booleancheckbox", "yes", "true"),
        ("enumeration", "booleancheckbox", 0, "false"),
        ("date", "date", "1815-12-10T00:00", "1815-12-10"),
        ("datetime", "date", date(1815, 12, 10), "1815-12-10T00:00:00.000Z"),
        ("enumeration", "select", "gold", "gold"),
        ("enumeration", "checkbox", "gold; tin", "gold;tin"),
        ("object_coordinates", "text", " 1,2 ", "1,2"),
    ],
)
def test_type_that_is_left_out_is_the_portals(
    hubspot_type: str, field_type: str, value: Value, expected: str
) -> None:
    options = ("gold", "tin") if "o" in str(value) and hubspot_type == "enumeration" else ()
    found = PropertyDefinition("it", hubspot_type, field_type, options=options)
    mapping = fitted(PropertyMapping((Field("it", "it"),)), {"it": found})
    contact = Contact(7, "ada@x.org", (("it", value),))
    assert to_properties(contact, mapping, CONTEXT)["it"] == expected


def test_type_of_the_mapping_counts_over_the_portals() -> None:
    line = Field("it", "it", type=TypeSpec(ValueType.STRING))
    found = PropertyDefinition("it", "number", "number")
    mapping = fitted(PropertyMapping((line,)), {"it": found})
    contact = Contact(7, "ada@x.org", (("it", "x"),))
    assert to_properties(contact, mapping, CONTEXT)["it"] == "x"


@for_each(
    ("email", "is_placeholder"),
    [
        ("logo@2x.png", True),
        (" LOGO@2X.PNG ", True),
        ("ada@example.com", True),
        ("ada@example.community", False),
        ("ada@mail.example.com", False),
    ],
)
def test_placeholder_address_is_told(email: str, is_placeholder: bool) -> None:
    fault = email_fault(email, ("*@2x.png", "*@example.com"))
    assert (fault is not None and "reject_emails" in fault) is is_placeholder


def test_lookups_leave_contacts_as_they_are_where_there_are_none() -> None:
    assert looked_up([CONTACT], (), {}) == [replace(CONTACT)]
