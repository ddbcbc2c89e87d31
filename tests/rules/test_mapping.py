"""What a contact is, and what HubSpot is told about it."""

import re
from dataclasses import replace
from datetime import date
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hubspot_sync.rules.mapping import (
    CONTACTS,
    MAX_EMAIL_LENGTH,
    Contact,
    CustomProperty,
    PropertyDefinition,
    PropertyMapping,
    PropertyNames,
    built_in_mapping,
    email_fault,
    normalise_email,
)
from hubspot_sync.rules.portal_fit import differences, fitted
from tests.contacts import MAPPING, edited, properties_of, scraped
from tests.for_each import for_each

TODAY = date(2026, 11, 24)
CONTACT = scraped(
    str(UUID(int=1)),
    email="ada@example.com",
    name="Ada Lovelace",
    phone_number="+44 20 7946 0000",
    domain_id="domain-1",
    page_id="page-1",
    hubspot_contact_id="501",
)
PROPERTIES = {
    "email": "ada@example.com",
    "firstname": "Ada",
    "lastname": "Lovelace",
    "phone": "+44 20 7946 0000",
    "scrapersky_domain_id": "domain-1",
    "scrapersky_page_id": "page-1",
    "scrapersky_sync_date": "2026-11-24",
}
LONGEST_EMAIL = "a" * (MAX_EMAIL_LENGTH - len("@example.com")) + "@example.com"
OURS = ("scrapersky_domain_id", "scrapersky_page_id", "scrapersky_sync_date")
NAMES = PropertyNames("site", "page", "synced_on")
WANTED = CustomProperty("synced_on", "date", "date", "Synced on")
_CONTROL_BUT_NOT_WHITE = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")


def split_name(name: str | None) -> tuple[str | None, str | None]:
    """The first and the last name that HubSpot is told."""
    properties = properties_of(edited(CONTACT, name=name), MAPPING, TODAY)
    return properties.get("firstname"), properties.get("lastname")


def _typed(hubspot_type: str) -> PropertyMapping:
    definition = PropertyDefinition("scrapersky_sync_date", hubspot_type, "date")
    return fitted(MAPPING, {definition.name: definition})


def _without(*names: str) -> dict[str, str]:
    return {name: value for name, value in PROPERTIES.items() if name not in names}


@for_each(
    ("email", "normalised"),
    [
        ("ada@example.com", "ada@example.com"),
        ("Ada.LOVELACE@Example.COM", "ada.lovelace@example.com"),
        ("  ada@example.com\r\n", "ada@example.com"),
        ("\u00a0ada@example.com\u3000", "ada@example.com"),
        ("Ada+News@example.com", "ada+news@example.com"),
        ("JOSÉ@example.com", "josé@example.com"),
        ("ada@MÜNCHEN.example", "ada@münchen.example"),
        ("", ""),
    ],
)
def test_email_is_normalised_to_trimmed_lower_case(email: str, normalised: str) -> None:
    assert normalise_email(email) == normalised


@for_each(
    "email",
    [
        "ada@example.com",
        "ADA@EXAMPLE.COM",
        "  ada@example.com \n",
        "ada+news@example.com",
        "ada.lovelace@mail.example.co.uk",
        "a@b.c",
        "_@example.com",
        "1815@example.com",
        "o'brien@example.com",
        '"ada.lovelace"@example.com',
        '"ada@home"@example.com',
        "josé@example.com",
        "用户@例子.example",
        "ada@münchen.example",
        "ada@xn--mnchen-3ya.example",
        "ada@exam-ple.com",
        "ada/tag=x@example.com",
        LONGEST_EMAIL,
        f"  {LONGEST_EMAIL}  ",
    ],
)
def test_email_that_could_be_one_has_no_fault(email: str) -> None:
    assert email_fault(email) is None


@for_each("email", [None, "", " ", "\t\r\n", "\u00a0"])
def test_email_that_is_missing_is_called_missing(email: str | None) -> None:
    assert "has no email address" in (email_fault(email) or "")


@for_each(
    ("email", "words"),
    [
        ("ada", "one @"),
        ("ada.example.com", "one @"),
        ("@example.com", "one @"),
        ("  @example.com", "one @"),
        ("ada@", "one @"),
        ("ada@ ", "one @"),
        ("@", "one @"),
        ("ada lovelace@example.com", "no blanks"),
        ("ada@exam ple.com", "no blanks"),
        ("ada @example.com", "no blanks"),
        ("ada@example.com bob@example.com", "no blanks"),
        ("ada\u00a0lovelace@example.com", "no blanks"),
        ("ada\t@example.com", "no blanks"),
        ("ada\n@example.com", "no blanks"),
        ("ada\x00@example.com", "control characters"),
        ("ada@exam\x7fple.com", "control characters"),
        ("ada@exam\x9fple.com", "control characters"),
        ("ada@localhost", "has a dot"),
        ("ada@.com", "has a dot"),
        ("ada@com.", "has a dot"),
        ("ada@...", "has a dot"),
        ("a" + LONGEST_EMAIL, "254 characters"),
    ],
)
def test_email_that_cannot_be_one_is_told_why(email: str, words: str) -> None:
    assert words in (email_fault(email) or "")


@given(st.text(st.sampled_from("aB1@.. +'\"\t\x00\x85é;\u3000")) | st.text() | st.emails())
@settings(derandomize=True, deadline=None, database=None)
def test_email_without_fault_can_be_sent(email: str) -> None:
    address = normalise_email(email)
    can_be_sent = "@" in address and not any(
        letter.isspace() or ord(letter) < 32 for letter in address
    )
    assert can_be_sent or email_fault(email) is not None


@given(st.emails())
@settings(derandomize=True, deadline=None, database=None)
def test_email_of_the_standard_has_no_fault(email: str) -> None:
    assert email_fault(email) is None


@for_each("separator", [" ", "   ", "\t", "\n", "\r\n", " \t ", "\u00a0", "\u3000"])
def test_name_is_split_at_any_white_space(separator: str) -> None:
    assert split_name(f"Ada{separator}Lovelace") == ("Ada", "Lovelace")


@for_each(
    ("name", "first", "last"),
    [
        ("Ada King Lovelace", "Ada", "King Lovelace"),
        ("Vincent  van Gogh", "Vincent", "van Gogh"),
        ("Jean-Luc O'Neill", "Jean-Luc", "O'Neill"),
        ("José Núñez", "José", "Núñez"),
        ("Zoë D\u2019Artagnan", "Zoë", "D\u2019Artagnan"),
        ("李 小龍", "李", "小龍"),
        ("Анна Ахматова", "Анна", "Ахматова"),
        ("محمد علي", "محمد", "علي"),
        ("Ada 🚀", "Ada", "🚀"),
    ],
)
def test_name_is_split_at_its_first_white_space(name: str, first: str, last: str) -> None:
    assert split_name(name) == (first, last)


@for_each("name", ["Ada", "  Ada", "Ada  ", "\tAda\n"])
def test_name_of_one_word_is_the_first_name(name: str) -> None:
    assert split_name(name) == ("Ada", None)


def test_name_has_the_blanks_around_it_taken_off() -> None:
    assert split_name("  Ada Lovelace ") == ("Ada", "Lovelace")


@for_each("name", [None, "", "   ", "\t\n", "\u3000", "\x00", " \x07 \x7f\x9f"])
def test_name_that_says_nothing_is_no_name(name: str | None) -> None:
    assert split_name(name) == (None, None)


@for_each("control", ["\x00", "\x01", "\x07", "\x1b", "\x7f", "\x80", "\x9f"])
def test_name_has_control_characters_taken_out(control: str) -> None:
    assert split_name(f"{control}A{control}da Love{control}lace") == ("Ada", "Lovelace")


def test_properties_are_the_whole_contact() -> None:
    assert properties_of(CONTACT, MAPPING, TODAY) == PROPERTIES


@for_each("nothing", [None, "", "  ", "\x00"])
def test_properties_leave_out_a_missing_name(nothing: str | None) -> None:
    properties = properties_of(edited(CONTACT, name=nothing), MAPPING, TODAY)
    assert properties == _without("firstname", "lastname")


def test_properties_leave_out_the_last_name_that_is_missing() -> None:
    properties = properties_of(edited(CONTACT, name="Ada"), MAPPING, TODAY)
    assert properties == _without("lastname")


@for_each("nothing", [None, "", "  ", "\t\x00"])
def test_properties_leave_out_a_missing_phone_number(nothing: str | None) -> None:
    properties = properties_of(edited(CONTACT, phone_number=nothing), MAPPING, TODAY)
    assert properties == _without("phone")


@pytest.mark.parametrize("nothing", [None, ""])
def test_properties_leave_out_a_missing_domain_id(nothing: str | None) -> None:
    properties = properties_of(edited(CONTACT, domain_id=nothing), MAPPING, TODAY)
    assert properties == _without("scrapersky_domain_id")


@pytest.mark.parametrize("nothing", [None, ""])
def test_properties_leave_out_a_missing_page_id(nothing: str | None) -> None:
    properties = properties_of(edited(CONTACT, page_id=nothing), MAPPING, TODAY)
    assert properties == _without("scrapersky_page_id")


def test_properties_have_the_email_normalised() -> None:
    contact = edited(CONTACT, email=" Ada@Example.COM\n")
    assert properties_of(contact, MAPPING, TODAY)["email"] == "ada@example.com"


@pytest.mark.parametrize(
    ("phone_number", "phone"),
    [
        ("  020 7946 0000 \n", "020 7946 0000"),
        ("020\x00 7946\x7f 0000", "020 7946 0000"),
        ("(020) 7946-0000 ext. 7", "(020) 7946-0000 ext. 7"),
    ],
)
def test_properties_have_the_phone_number_cleaned(phone_number: str, phone: str) -> None:
    contact = edited(CONTACT, phone_number=phone_number)
    assert properties_of(contact, MAPPING, TODAY)["phone"] == phone


@pytest.mark.parametrize(
    ("hubspot_type", "written"),
    [
        ("date", "2026-11-24"),
        ("string", "2026-11-24"),
        ("datetime", "2026-11-24T00:00:00.000Z"),
    ],
)
def test_properties_write_the_sync_date_as_its_type_wants_it(
    hubspot_type: str, written: str
) -> None:
    mapping = _typed(hubspot_type)
    assert properties_of(CONTACT, mapping, TODAY)["scrapersky_sync_date"] == written


def test_properties_write_a_date_with_its_zeros() -> None:
    properties = properties_of(CONTACT, MAPPING, date(2027, 1, 2))
    assert properties["scrapersky_sync_date"] == "2027-01-02"


def test_properties_have_the_names_of_this_portal() -> None:
    properties = properties_of(CONTACT, built_in_mapping(NAMES), TODAY)
    assert properties == _without(*OURS) | {
        "site": "domain-1",
        "page": "page-1",
        "synced_on": "2026-11-24",
    }


@for_each("name", PROPERTIES)
def test_properties_leave_out_what_is_read_only(name: str) -> None:
    mapping = replace(MAPPING, read_only=frozenset({name, "createdate"}))
    assert properties_of(CONTACT, mapping, TODAY) == _without(name)


any_text = st.none() | st.text() | st.text(st.sampled_from(" \t\n\x00\x0b\x0c\x1f\x7f\x85\u3000a"))


@given(any_text, any_text, any_text, any_text, st.sampled_from(["date", "datetime", "string"]))
@example(" \x00 ", "\x0b", "\x1f\x85", "", "date")
@settings(derandomize=True, deadline=None, database=None)
def test_properties_of_any_contact_are_never_empty(
    name: str | None,
    phone_number: str | None,
    domain_id: str | None,
    page_id: str | None,
    hubspot_type: str,
) -> None:
    contact = scraped(str(UUID(int=1)), "ada@example.com", name, phone_number, domain_id, page_id)
    properties = properties_of(contact, _typed(hubspot_type), TODAY)
    assert all(properties.values())


@given(any_text, any_text)
@settings(derandomize=True, deadline=None, database=None)
def test_properties_of_any_name_and_phone_number_have_no_control_characters(
    name: str | None, phone_number: str | None
) -> None:
    contact = edited(CONTACT, name=name, phone_number=phone_number)
    properties = properties_of(contact, MAPPING, TODAY)
    assert not any(_CONTROL_BUT_NOT_WHITE.search(value) for value in properties.values())


@given(any_text, any_text)
@settings(derandomize=True, deadline=None, database=None)
def test_properties_of_any_name_and_phone_number_have_no_blanks_around_them(
    name: str | None, phone_number: str | None
) -> None:
    contact = edited(CONTACT, name=name, phone_number=phone_number)
    properties = properties_of(contact, MAPPING, TODAY)
    assert all(value == value.strip() for value in properties.values())


@for_each(
    "other",
    [
        edited(CONTACT, email="new@example.com"),
        edited(CONTACT, name="Ada King"),
        edited(CONTACT, phone_number=None),
        edited(CONTACT, domain_id="domain-2"),
        edited(CONTACT, page_id="page-2"),
    ],
)
def test_sent_values_differ_where_a_value_that_is_sent_was_edited(other: Contact) -> None:
    assert other.sent_values != CONTACT.sent_values


def test_sent_values_do_not_hold_hubspots_record_id() -> None:
    assert edited(CONTACT, hubspot_contact_id="502").sent_values == CONTACT.sent_values


def test_custom_properties_are_as_documented() -> None:
    assert MAPPING.custom_properties == (
        CustomProperty("scrapersky_domain_id", "string", "text", "ScraperSky Domain ID"),
        CustomProperty("scrapersky_page_id", "string", "text", "ScraperSky Page ID"),
        CustomProperty("scrapersky_sync_date", "date", "date", "ScraperSky Sync Date"),
    )


def test_custom_properties_have_the_names_of_this_portal() -> None:
    names = [custom.name for custom in built_in_mapping(NAMES).custom_properties]
    assert names == ["site", "page", "synced_on"]


def test_custom_properties_belong_to_contact_information() -> None:
    assert CONTACTS.group == "contactinformation"


@for_each(
    ("found", "told"),
    [
        pytest.param(PropertyDefinition("synced_on", "date", "date"), [], id="as-wanted"),
        pytest.param(
            PropertyDefinition("synced_on", "datetime", "date"),
            ["type is datetime, not date"],
            id="type",
        ),
        pytest.param(
            PropertyDefinition("synced_on", "date", "text"),
            ["field type is text, not date"],
            id="field-type",
        ),
        pytest.param(
            PropertyDefinition("synced_on", "date", "date", read_only=True),
            ["it is read-only, so it is not filled"],
            id="read-only",
        ),
        pytest.param(
            PropertyDefinition("synced_on", "string", "text", read_only=True),
            [
                "type is string, not date",
                "field type is text, not date",
                "it is read-only, so it is not filled",
            ],
            id="everything",
        ),
    ],
)
def test_differences_name_what_is_otherwise(found: PropertyDefinition, told: list[str]) -> None:
    assert differences(WANTED, found) == told


def _found(
    sync_date_type: str = "date", *, read_only: bool = False
) -> dict[str, PropertyDefinition]:
    return {
        "site": PropertyDefinition("site", "string", "text"),
        "page": PropertyDefinition("page", "string", "text", read_only=read_only),
        "synced_on": PropertyDefinition("synced_on", sync_date_type, "date", read_only=read_only),
    }


@pytest.mark.parametrize("hubspot_type", ["date", "datetime", "string"])
def test_mapping_is_fitted_to_the_type_of_the_sync_date(hubspot_type: str) -> None:
    line = fitted(built_in_mapping(NAMES), _found(hubspot_type)).field_of("synced_on")
    assert line
    assert str(line.spec.type) == hubspot_type


def test_fitted_mapping_fills_the_same_properties() -> None:
    mapping = built_in_mapping(NAMES)
    assert fitted(mapping, _found()).property_names == mapping.property_names


@pytest.mark.parametrize(("read_only", "names"), [(True, {"page", "synced_on"}), (False, set())])
def test_fitted_mapping_knows_what_is_read_only(read_only: bool, names: set[str]) -> None:
    found = _found(read_only=read_only)
    assert fitted(built_in_mapping(NAMES), found).read_only == names
