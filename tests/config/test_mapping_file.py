"""What a mapping file says, as frozen values."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from hubspot_sync.config.mapping_file import default_text, load_mapping, read_mapping
from hubspot_sync.errors import SettingsError
from hubspot_sync.rules.mapping import (
    CustomProperty,
    Field,
    Generated,
    Lookup,
    NullPolicy,
    OnInvalid,
    WritePolicy,
    built_in_mapping,
)
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.rules.transforms import Transform, TransformName
from hubspot_sync.rules.value_types import TypeSpec, ValueType
from tests.for_each import for_each

FULL = Path(__file__).with_name("full_mapping.toml")
BERLIN = ZoneInfo("Europe/Berlin")
FIELDS = "[fields]\nphone = { column = 'phone' }\n"


def field_of(line: str, before: str = "") -> Field:
    """The one line of a file that has nothing else."""
    (field,) = read_mapping(f"version = 1\n{before}\n[fields]\nit = {line}\n", "m").mapping.fields
    return field


def faults_of(text: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        read_mapping(text, "m.toml")
    return [str(fault) for fault in raised.value.faults]


def test_file_that_is_shipped_is_the_built_in_mapping() -> None:
    read = read_mapping(default_text(), "default.toml")
    assert (read.source, read.mapping) == (BUILT_IN_SOURCE, built_in_mapping())
    assert [line.line for line in read.mapping.fields] == [23, 24, 25, 26, 27, 28]


def test_source_and_queue_are_read() -> None:
    source = load_mapping(FULL).source
    assert (source.table, source.key, source.email) == ("sales.people", "person_no", "mail")
    assert source.queue.decision == "eu_hubspot_sync_status"
    assert source.queue.failed_crm == "eu_last_failed_crm"
    assert (source.queue.updated_at, source.crm_name) == ("changed_at", "hubspot-eu")
    assert source.columns == (
        "person_no",
        "first_name",
        "phone",
        "mail",
        "born",
        "ordered_at",
        "news",
        "tier",
        "topics",
        "company_ref",
    )


def test_mapping_is_read() -> None:
    mapping = load_mapping(FULL).mapping
    assert mapping.file == str(FULL)
    assert mapping.proof == ("person_no", "company_no")
    assert mapping.reject_emails == ("*@2x.png", "*@example.com")
    assert mapping.lookups == (
        Lookup("company", "sales.companies", "company_id", "company_ref", ("number", "name")),
    )
    assert mapping.stamps == {"synced_on", "synced_by"}


@for_each(
    "expected",
    [
        Field(
            "firstname",
            "first_name",
            (
                Transform(TransformName.TRIM),
                Transform(TransformName.FIRST_WORD),
                Transform(TransformName.MAX_LENGTH, "40"),
            ),
            type=TypeSpec(zone=BERLIN),
            write=WritePolicy.IF_EMPTY,
        ),
        Field(
            "phone",
            "phone",
            (Transform(TransformName.PHONE_E164, "DE"),),
            type=TypeSpec(zone=BERLIN),
            on_invalid=OnInvalid.DROP,
            write=WritePolicy.IF_EMPTY,
        ),
        Field(
            "company_no",
            lookup="company.number",
            type=TypeSpec(zone=BERLIN),
            create=CustomProperty("company_no", "string", "text", "Company"),
        ),
        Field(
            "lead_source",
            constant="import",
            type=TypeSpec(zone=BERLIN),
            write=WritePolicy.CREATE_ONLY,
        ),
        Field(
            "birthday",
            "born",
            type=TypeSpec(ValueType.DATE, format="%d.%m.%Y", zone=BERLIN),
            null=NullPolicy.CLEAR,
        ),
        Field(
            "newsletter",
            "news",
            type=TypeSpec(ValueType.BOOL, true=("ja",), false=("nein", "nie"), zone=BERLIN),
            write=WritePolicy.IF_EMPTY,
        ),
        Field(
            "tier",
            "tier",
            type=TypeSpec(
                ValueType.ENUMERATION, options=(("A", "gold"), ("B", "silver")), zone=BERLIN
            ),
            write=WritePolicy.IF_EMPTY,
            create=CustomProperty(
                "tier", "enumeration", "select", "Tier", (("gold", "Gold"), ("silver", "Silver"))
            ),
        ),
        Field(
            "topics",
            "topics",
            type=TypeSpec(ValueType.MULTI_CHECKBOX, split=",", appends=True, zone=BERLIN),
        ),
        Field(
            "synced_on",
            generated=Generated.NOW,
            stamp=True,
            type=TypeSpec(ValueType.DATETIME, zone=BERLIN),
            create=CustomProperty("synced_on", "datetime", "date", "Synced"),
        ),
    ],
    ids=lambda line: line.property_name,
)
def test_line_is_read(expected: Field) -> None:
    assert load_mapping(FULL).mapping.field_of(expected.property_name) == expected


def test_what_a_file_leaves_out_is_as_in_the_built_in_mapping() -> None:
    read = read_mapping(f"version = 1\n{FIELDS}", "m.toml")
    assert read.source.queue == BUILT_IN_SOURCE.queue
    assert (read.source.table, read.source.crm_name) == ("contacts", "hubspot")
    assert (read.mapping.proof, read.mapping.reject_emails) == ((), ())


@pytest.mark.parametrize(
    ("created", "options"),
    [
        ("type = 'bool', field_type = 'booleancheckbox'", (("true", "Yes"), ("false", "No"))),
        ("type = 'enumeration', field_type = 'select'", (("gold", "gold"), ("iron", "iron"))),
        (
            "type = 'enumeration', field_type = 'radio', options = ['gold', 'iron', 'tin']",
            (("gold", "gold"), ("iron", "iron"), ("tin", "tin")),
        ),
    ],
)
def test_created_options_come_from_the_field_or_the_type(
    created: str, options: tuple[tuple[str, str], ...]
) -> None:
    is_enumeration = "enumeration" in created
    spec = "type = 'enumeration', options = { a = 'gold', b = 'iron' }, " if is_enumeration else ""
    made = field_of(f"{{ column = 'c', {spec}create = {{ {created}, label = 'L' }} }}").create
    assert made
    assert made.options == options


@for_each(
    ("line", "expected"),
    [
        ("{ constant = 7 }", NullPolicy.KEEP),
        ("{ value = 'today' }", NullPolicy.KEEP),
        ("{ column = 'c' }", NullPolicy.CLEAR),
        ("{ column = 'c', null = 'keep' }", NullPolicy.KEEP),
        ("{ column = 'c', write = 'if-empty', null = 'keep' }", NullPolicy.KEEP),
    ],
)
def test_default_of_clear_holds_for_columns(line: str, expected: NullPolicy) -> None:
    assert field_of(line, "[defaults]\nnull = 'clear'").null is expected


def test_if_ours_is_a_fault_without_history_and_none_with_it() -> None:
    text = "version = 1\n[fields]\nphone = { column = 'phone', write = 'if-ours' }\n"
    (fault,) = faults_of(text)
    assert fault.startswith("m.toml, line 3: fields.phone.write is 'if-ours'")
    read = read_mapping(text, "m.toml", has_history=True)
    assert read.mapping.fields[0].write is WritePolicy.IF_OURS


def test_names_of_properties_in_the_settings_are_a_fault_beside_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text(f"version = 1\n{FIELDS}", encoding="utf-8")
    with pytest.raises(SettingsError, match="HUBSPOT_CUSTOM_PROPERTY_PAGE_ID is set"):
        load_mapping(path, property_settings=["HUBSPOT_CUSTOM_PROPERTY_PAGE_ID"])


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b"version = \xff", "UTF-8"), (b"version = 1 1", "line 1")],
)
def test_file_that_cannot_be_read_is_told(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "m.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as raised:
        load_mapping(path)
    (fault,) = raised.value.faults
    assert str(path) in fault
    assert words in fault


def test_phone_numbers_need_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubspot_sync.config.field_lines.find_spec", lambda _: None)
    (fault,) = faults_of(
        "version = 1\n[fields]\nphone = { column = 'p', transform = ['phone-e164:DE'] }\n"
    )
    assert "pip install 'hubspot-sync[phone]'" in fault


def test_lines_are_found_in_tables_of_their_own_and_behind_long_strings() -> None:
    text = (
        "version = 1\n[fields.note]\nconstant = '''\nphone = 1\n[fields.phone]\n'''\n"
        "[fields.phone]\ncolumn = 5\n[fields]\nfax.column = 6\n"
    )
    places = [fault.partition(" is ")[0] for fault in faults_of(text)]
    assert "m.toml, line 8: fields.phone.column" in places
    assert "m.toml, line 10: fields.fax.column" in places


def test_all_faults_are_told_in_the_order_of_the_file() -> None:
    text = (
        "version = 2\n[source]\ntable = 5\n[fields]\na = { colum = 'x' }\n"
        "b = { column = 'c', type = 'date', format = 'x' }\n"
    )
    faults = faults_of(text)
    lines = [int(fault.partition("line ")[2].partition(":")[0]) for fault in faults]
    assert lines == [1, 3, 5, 5, 6]
    assert "Did you mean column?" in "".join(faults)


def test_secret_in_the_wrong_place_stays_one() -> None:
    faults = faults_of("version = 'pat-na1-xxxxxxxx'\n" + FIELDS)
    assert "xxxx" not in "".join(faults)
