"""Wrong mapping files, made by changing a good one: each fault names its place, in a sentence."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from hubspot_sync.config.mapping_file import read_mapping
from hubspot_sync.errors import SettingsError
from tests.config.test_mapping_file import FULL
from tests.for_each import for_each

GOOD = FULL.read_text(encoding="utf-8")
LINES = GOOD.splitlines()
FIELD = next(number for number, line in enumerate(LINES, start=1) if line.startswith("firstname"))
WRONG_VALUES = (
    "5",
    "true",
    '""',
    "[]",
    "{}",
    '["a", 5]',
    '"no\\nsense"',
    '"nonsense"',
    "1979-05-27",
)
TAKES_ANY_TEXT = {
    "table", "key", "email", "on", "prefix", "updated_at", "crm_name", "column", "label",
    "constant", "split",
}  # fmt: skip
TAKES = {
    "constant": ("5", "true", "1979-05-27"),
    "stamp": ("true",),
    "transform": ("[]",),
    "proof": ("[]",),
    "reject_emails": ("[]",),
    "true": ("[]",),
    "false": ("[]",),
    "prefix": ('""',),
    "timezone": (),
    "split": ('"no\\nsense"',),
}
_VALUE = r"""("[^"]*"|\[[^\]]*\]|\{[^{}]*\}|true|false|\d+)"""
_KEY_VALUE = re.compile(rf"(?<![\w.-])([\w-]+) = {_VALUE}")
_WITHIN_OPTIONS = {"A", "B", "gold", "silver"}


class Wrong(NamedTuple):
    """A wrong file, the line that is to be named, and a word of the message."""

    text: str
    line: int
    word: str


def with_line(number: int, line: str) -> str:
    return "\n".join([*LINES[: number - 1], line, *LINES[number:]]) + "\n"


def wrong_values() -> Iterator[Wrong]:
    """Each value of the file, replaced by one that its key cannot have."""
    for number, line in enumerate(LINES, start=1):
        for match in _KEY_VALUE.finditer(line):
            key = match[1]
            if key in _WITHIN_OPTIONS:
                continue
            for value in WRONG_VALUES:
                takes = TAKES.get(key, ())
                if value in takes or (value == '"nonsense"' and key in TAKES_ANY_TEXT):
                    continue
                changed = f"{line[: match.start(2)]}{value}{line[match.end(2) :]}"
                yield Wrong(with_line(number, changed), number, key)


def misspelt_keys() -> Iterator[Wrong]:
    """Each key of the file, with a letter too many."""
    for number, line in enumerate(LINES, start=1):
        for match in _KEY_VALUE.finditer(line):
            key = match[1]
            # What a property may be called is the portal's business.
            is_property = number >= FIELD - 1 and match.start() == 0
            if key not in _WITHIN_OPTIONS and not is_property:
                changed = f"{line[: match.start(1)]}{key}x{line[match.end(1) :]}"
                yield Wrong(with_line(number, changed), number, f"Did you mean {key}?")


def misspelt_tables() -> Iterator[Wrong]:
    for number, line in enumerate(LINES, start=1):
        if line.startswith("["):
            name = line.strip("[]")
            if name != "lookup.company":
                yield Wrong(with_line(number, f"[{name}x]"), number, f"Did you mean {name}?")


def created(kind: str, field_type: str, before: str = "", options: str = "") -> str:
    """A line that makes a property."""
    listed = f", options = {options}" if options else ""
    made = f"{{ type = '{kind}', field_type = '{field_type}', label = 'X'{listed} }}"
    return f"x = {{ column = 'x', {before}create = {made} }}"


def wrong_lines() -> Iterator[Wrong]:
    """Lines of `[fields]` whose parts are good, but not together."""
    for line, word in [
        ("email = { column = 'mail' }", "cannot be a field"),
        ("hs_additional_emails = { column = 'mail' }", "cannot be a field"),
        ("First_Name = { column = 'x' }", "internal name"),
        ("_x = { column = 'x' }", "internal name"),
        ("x = 'column'", "must be a table"),
        ("x = { }", "must be a table"),
        ("x = { write = 'always' }", "where its value comes from"),
        ("x = { column = 'x', constant = 'y' }", "column and constant"),
        ("x = { column = 'x', value = 'now' }", "column and value"),
        ("x = { constant = 'y', lookup = 'company.name' }", "constant and lookup"),
        ("x = { column = 'eu_hubspot_sync_status' }", "queue"),
        ("x = { column = 'changed_at' }", "queue"),
        ("x = { column = 'eu_retry_count' }", "queue"),
        ("x = { lookup = 'company' }", "domain.name"),
        ("x = { lookup = '.name' }", "domain.name"),
        ("x = { lookup = 'company.' }", "domain.name"),
        ("x = { lookup = 'compnay.name' }", "Did you mean company?"),
        ("x = { constant = 'x', type = 'number' }", "not a number"),
        ("x = { constant = 'x', type = 'date' }", "not a date"),
        ("x = { constant = 'x', type = 'bool' }", "neither true nor false"),
        ("x = { constant = nan }", "must be a text"),
        ("x = { constant = 07:32:00 }", "must be a text"),
        ("x = { constant = 'x', transform = ['digits'] }", "is nothing"),
        ("x = { constant = 'C', type = 'enumeration', options = { A = 'a' } }", "options"),
        ("x = { value = 'tomorrow' }", "today, now or run-id"),
        ("x = { value = 'todya' }", "Did you mean today?"),
        ("x = { value = 'today', type = 'number' }", "for today"),
        ("x = { value = 'run-id', type = 'date' }", "for run-id"),
        ("x = { value = 'today', transform = ['lower'] }", "shapes what a column holds"),
        ("x = { column = 'x', transform = ['lowr'] }", "Did you mean lower?"),
        ("x = { column = 'x', transform = 'lower' }", "a list of transforms"),
        ("x = { column = 'x', transform = ['lower:5'] }", "each must be"),
        ("x = { column = 'x', transform = ['max-length'] }", "each must be"),
        ("x = { column = 'x', transform = ['max-length:0'] }", "each must be"),
        ("x = { column = 'x', transform = ['max-length:x'] }", "each must be"),
        ("x = { column = 'x', transform = ['phone-e164'] }", "each must be"),
        ("x = { column = 'x', transform = ['phone-e164:de'] }", "each must be"),
        ("x = { column = 'x', transform = ['phone-e164:XX'] }", "no country XX"),
        ("x = { column = 'x', type = 'text' }", "string, number"),
        ("x = { column = 'x', type = 'boolean' }", "Did you mean bool?"),
        ("x = { column = 'x', format = '%Y' }", "date or datetime alone"),
        ("x = { column = 'x', type = 'number', format = '%Y' }", "date or datetime alone"),
        ("x = { column = 'x', type = 'date', format = '%d.%m.' }", "with the year"),
        ("x = { column = 'x', type = 'date', format = 'YYYY' }", "with the year"),
        ("x = { column = 'x', type = 'date', format = '%Q%Y' }", "with the year"),
        ("x = { column = 'x', true = ['ja'] }", "bool alone"),
        ("x = { column = 'x', type = 'string', false = ['no'] }", "bool alone"),
        ("x = { column = 'x', type = 'bool', true = ['no'] }", "both 'no'"),
        ("x = { column = 'x', options = { a = 'b' } }", "enumeration or multi-checkbox alone"),
        ("x = { column = 'x', type = 'enumeration', split = ',' }", "multi-checkbox alone"),
        ("x = { column = 'x', type = 'enumeration', mode = 'append' }", "multi-checkbox alone"),
        ("x = { column = 'x', type = 'multi-checkbox', mode = 'add' }", "replace or append"),
        ("x = { column = 'x', write = 'if-ours' }", "no history"),
        ("x = { column = 'x', write = 'if_empty' }", "Did you mean if-empty?"),
        ("x = { column = 'x', null = 'clear' }", "always or if-ours"),
        ("x = { column = 'x', write = 'create-only', null = 'clear' }", "always or if-ours"),
        ("x = { constant = 'x', write = 'always', null = 'clear' }", "only a column"),
        ("x = { value = 'now', write = 'always', null = 'clear' }", "only a column"),
        ("x = { lookup = 'company.name', write = 'always', null = 'clear' }", "only a column"),
        ("x = { column = 'x', on_invalid = 'ignore' }", "reject or drop"),
        ("x = { column = 'x', stamp = 'yes' }", "true or false"),
        ("x = { column = 'x', create = true }", "must be a table"),
        ("x = { column = 'x', create = { type = 'string', label = 'X' } }", "lacks field_type"),
        (
            "x = { column = 'x', create = { type = 'date', field_type = 'text', label = 'X' } }",
            "must be date for type date",
        ),
        (
            "x = { column = 'x', create = { type = 'json', field_type = 'text', label = 'X' } }",
            "string, number",
        ),
        (created("enumeration", "select"), "lacks options"),
        (created("enumeration", "select", options="[]"), "a list of values"),
        (created("string", "text", options="['a']"), "enumeration alone"),
        (created("bool", "booleancheckbox", options="['yes', 'no']"), "true and false"),
        (
            created(
                "enumeration", "select", "type = 'enumeration', options = { a = 'b' }, ", "['c']"
            ),
            "lack 'b'",
        ),
        (created("string", "text", "type = 'number', "), "written as number"),
        (
            created("enumeration", "checkbox", "type = 'enumeration', ", "['c']"),
            "written as enumeration",
        ),
    ]:
        yield Wrong(with_line(FIELD, line), FIELD, word)


def wrong_sections() -> Iterator[Wrong]:
    """Other lines of the file, by what they are replaced with."""
    for old, new, word in [
        ("version = 1", "version = 2", "must be 1"),
        ("version = 1", 'version = "1"', "must be 1"),
        ("version = 1", "version = 0", "must be 1"),
        ('table = "sales.people"', 'table = "a.b.c"', "schema.table"),
        ('table = "sales.people"', 'table = "sales."', "schema.table"),
        ('timezone = "Europe/Berlin"', 'timezone = "Europe"', "time zone"),
        ('timezone = "Europe/Berlin"', 'timezone = "../etc/passwd"', "time zone"),
        ('timezone = "Europe/Berlin"', 'timezone = "CEST+1"', "time zone"),
        ('reject_emails = ["*@2x.png", "*@Example.com"]', 'reject_emails = ["*"]', "every address"),
        ('reject_emails = ["*@2x.png", "*@Example.com"]', 'reject_emails = ["*@*"]', "every"),
        ('key = "person_no"', 'key = "changed_at"', "queue"),
        ('email = "mail"', 'email = "eu_retry_count"', "queue"),
        ('updated_at = "changed_at"', 'updated_at = "eu_retry_count"', "so is retry_count"),
        ('crm_name = "hubspot-eu"', 'state = "eu_hubspot_sync_status"', "so is decision"),
        ('proof = ["person_no", "company_no"]', 'proof = ["persn_no"]', "mean person_no?"),
        ('proof = ["person_no", "company_no"]', 'proof = ["lead_source"]', "all contacts share"),
        ('proof = ["person_no", "company_no"]', 'proof = ["synced_on"]', "all contacts share"),
        ('write = "if-empty"', 'write = "if-ours"', "no history"),
        ('on = "company_ref"', 'on = "eu_retry_count"', "queue"),
        ('on = "company_ref"', "", "lacks on"),
        ('key = "company_id"', "", "lacks key"),
        ('table = "sales.companies"', "", "lacks table"),
    ]:  # fmt: skip
        number = next(at for at, line in enumerate(LINES, start=1) if line == old)
        # What is not there is told of its table.
        told = number if new else next(n for n in range(number, 0, -1) if LINES[n - 1][:1] == "[")
        yield Wrong(with_line(number, new), told, word)


def no_toml() -> Iterator[Wrong]:
    for line in [
        "table = ",
        "= 5",
        "[source",
        "key = 'a' 'b'",
        'table = "a"\ntable = "b"',
        "x = tru",
    ]:
        yield Wrong(with_line(4, line), 4 + line.count("\n"), "is not TOML")


CASES = [
    *wrong_values(),
    *misspelt_keys(),
    *misspelt_tables(),
    *wrong_lines(),
    *wrong_sections(),
    *no_toml(),
]


def test_there_are_many_cases() -> None:
    assert len(CASES) >= 200


@for_each("wrong", CASES, ids=lambda wrong: f"{wrong.line}-{wrong.word}"[:50])
def test_wrong_file_is_told_with_its_place(wrong: Wrong) -> None:
    with pytest.raises(SettingsError) as raised:
        read_mapping(wrong.text, "wrong.toml")
    faults = raised.value.faults
    assert all(fault.startswith("wrong.toml") and fault.endswith((".", "?")) for fault in faults)
    place = re.compile(rf"line {wrong.line}\b")
    assert any(place.search(fault) and wrong.word in fault for fault in faults), faults


def test_file_without_fields_or_version_says_what_is_missing() -> None:
    with pytest.raises(SettingsError) as raised:
        read_mapping("", "empty.toml")
    told = str(raised.value)
    assert "version is missing" in told
    assert "[fields] is missing" in told
