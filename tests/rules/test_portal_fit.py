"""What a mapping file fills that the portal does not have, or has otherwise."""

from dataclasses import replace

from hubspot_sync.rules.mapping import (
    CustomProperty,
    Field,
    PropertyDefinition,
    PropertyMapping,
    built_in_mapping,
)
from hubspot_sync.rules.portal_fit import differences, faults_against
from hubspot_sync.rules.value_types import TypeSpec, ValueType
from tests.for_each import for_each

STRING = PropertyDefinition("it", "string", "text")
SELECT = PropertyDefinition("it", "enumeration", "select", options=("gold", "tin"))
MADE = CustomProperty("it", "string", "text", "It")


def of_type(kind: ValueType | None, options: tuple[tuple[str, str], ...] = ()) -> Field:
    return Field("it", "it", type=TypeSpec(kind, options=options), line=7)


def faults(line: Field, found: PropertyDefinition | None) -> list[str]:
    mapping = PropertyMapping((line,), file="m.toml")
    return faults_against(mapping, {"it": found} if found else {})


@for_each(
    ("line", "found", "words"),
    [
        (of_type(None), None, "correct it, or make one"),
        (replace(of_type(None), create=MADE), None, "run hubspot-sync create-properties"),
        (of_type(None), replace(STRING, archived=True), "archived"),
        (of_type(None), replace(STRING, read_only=True), "read-only"),
        (
            of_type(ValueType.NUMBER),
            STRING,
            "is string (text), and the mapping writes it as number",
        ),
        (of_type(ValueType.STRING), SELECT, "is enumeration (select)"),
        (of_type(ValueType.MULTI_CHECKBOX), SELECT, "as multi-checkbox"),
        (
            of_type(ValueType.ENUMERATION, options=(("A", "gold"), ("B", "iron"))),
            SELECT,
            "lacks the options 'iron'",
        ),
        (Field("it", constant="iron", line=7), SELECT, "constant 'iron'"),
        (Field("it", constant="x", line=7), PropertyDefinition("it", "date", "date"), "not a date"),
    ],
)
def test_what_the_portal_lacks_is_told_with_the_line(
    line: Field, found: PropertyDefinition | None, words: str
) -> None:
    (fault,) = faults(line, found)
    assert fault.startswith("m.toml, line 7, it: ")
    assert words in fault


@for_each(
    ("line", "found"),
    [
        (of_type(None), STRING),
        (of_type(None), SELECT),
        (of_type(ValueType.STRING), STRING),
        (of_type(ValueType.STRING), PropertyDefinition("it", "phone_number", "phonenumber")),
        (of_type(ValueType.BOOL), PropertyDefinition("it", "enumeration", "booleancheckbox")),
        (of_type(ValueType.DATETIME), PropertyDefinition("it", "datetime", "date")),
        (of_type(ValueType.MULTI_CHECKBOX), replace(SELECT, field_type="checkbox")),
        (of_type(ValueType.ENUMERATION, options=(("A", "gold"),)), SELECT),
        (Field("it", constant="gold"), SELECT),
        # What `create` would make is no demand on what there is.
        (replace(of_type(None), create=replace(MADE, type="number")), STRING),
    ],
)
def test_what_fits_is_no_fault(line: Field, found: PropertyDefinition) -> None:
    assert faults(line, found) == []


def test_all_faults_of_a_line_and_of_all_lines_are_told() -> None:
    lines = (of_type(ValueType.DATE), replace(of_type(None), property_name="other", line=8))
    found = replace(STRING, archived=True, read_only=True)
    told = faults_against(PropertyMapping(lines, file="m.toml"), {"it": found})
    assert len(told) == 4
    assert told[-1].startswith("m.toml, line 8, other: ")


def test_built_in_mapping_takes_what_the_portal_has() -> None:
    mapping = built_in_mapping()
    odd = PropertyDefinition("", "number", "number", read_only=True, archived=True)
    found = {name: replace(odd, name=name) for name in mapping.checked_properties}
    assert faults_against(mapping, found) == []
    del found["scrapersky_page_id"]
    (fault,) = faults_against(mapping, found)
    assert "scrapersky_page_id" in fault


def test_options_that_are_lacking_are_a_difference() -> None:
    wanted = CustomProperty("it", "enumeration", "select", "It", (("gold", "G"), ("iron", "I")))
    assert differences(wanted, SELECT) == ["it lacks the options iron"]
