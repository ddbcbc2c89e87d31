"""The steps that shape a text."""

import pytest

from hubspot_sync.rules.invalid import InvalidCode, InvalidValue
from hubspot_sync.rules.transforms import (
    knows_region,
    read_transform,
    transformed,
)
from tests.for_each import for_each


def shaped(text: str, *steps: str) -> str:
    read = [read_transform(step) for step in steps]
    assert None not in read
    return transformed(text, tuple(step for step in read if step))


@for_each(
    ("steps", "text", "expected"),
    [
        ([], "  Ada \n", "Ada"),
        ([], "A\x00d\x7fa", "Ada"),
        ([], " \x00 ", ""),
        (["trim"], " Ada ", "Ada"),
        (["lower"], "ADA Ö", "ada ö"),
        (["upper"], "ada ö", "ADA Ö"),
        (["first-word"], "  Ada  King Lovelace", "Ada"),
        (["first-word"], "Ada", "Ada"),
        (["after-first-word"], "Ada  King Lovelace ", "King Lovelace"),
        (["after-first-word"], "Ada", ""),
        (["digits"], "+49 (0)30 / 12-34", "490301234"),
        (["digits"], "٣٤", "34"),
        (["digits"], "ext.", ""),
        (["max-length:3"], "Lovelace", "Lov"),
        (["max-length:4"], "Ada King", "Ada"),
        (["max-length:99"], "Ada", "Ada"),
        (["phone-e164:DE"], "030 123456", "+4930123456"),
        (["phone-e164:DE"], "+44 20 7946 0018", "+442079460018"),
        (["phone-e164:US"], "(212) 555-0123 ext. 4", "+12125550123"),
        (["domain-of"], "Ada@Mail.Example.org", "mail.example.org"),
        (["domain-of"], "https://www.Example.org/a?b#c", "example.org"),
        (["domain-of"], "http://user:word@example.org:8080/x", "example.org"),
        (["domain-of"], "example.org/about", "example.org"),
        (["domain-of"], "//example.org", "example.org"),
        (["domain-of"], "münchen.example", "münchen.example"),
        (["first-word", "upper", "max-length:2"], "ada king", "AD"),
        (["max-length:2", "first-word"], "a king", "a"),
        (["digits", "phone-e164:DE"], "no number", ""),
    ],
)
def test_text_is_shaped_step_by_step(steps: list[str], text: str, expected: str) -> None:
    assert shaped(text, *steps) == expected


@for_each(
    ("step", "text", "code"),
    [
        ("phone-e164:DE", "ext. 4", InvalidCode.NOT_A_PHONE_NUMBER),
        ("phone-e164:DE", "12", InvalidCode.NOT_A_PHONE_NUMBER),
        ("phone-e164:DE", "+999 123 456", InvalidCode.NOT_A_PHONE_NUMBER),
        ("phone-e164:US", "555-0123 or ask", InvalidCode.NOT_A_PHONE_NUMBER),
        ("domain-of", "nowhere", InvalidCode.NO_DOMAIN),
        ("domain-of", "ada@", InvalidCode.NO_DOMAIN),
        ("domain-of", "https:///path", InvalidCode.NO_DOMAIN),
        ("domain-of", "http://[half", InvalidCode.NO_DOMAIN),
        ("domain-of", "a b.org", InvalidCode.NO_DOMAIN),
    ],
)
def test_step_that_can_make_nothing_of_a_text_says_why(
    step: str, text: str, code: InvalidCode
) -> None:
    with pytest.raises(InvalidValue) as raised:
        shaped(text, step)
    assert raised.value.code is code


@for_each(
    "text", ["", "lowr", "Lower", "lower:", "trim:5", "phone-e164", "phone-e164:de",
             "phone-e164:DEU", "max-length", "max-length:", "max-length:0", "max-length:-1",
             "max-length:1e3", "max-length:100000"],
)  # fmt: skip
def test_step_that_there_is_not_is_none(text: str) -> None:
    assert read_transform(text) is None


@for_each("text", ["trim", "first-word", "max-length:40", "phone-e164:DE"])
def test_step_reads_as_it_is_written(text: str) -> None:
    assert str(read_transform(text)) == text


def test_countries_are_known() -> None:
    assert knows_region("DE")
    assert not knows_region("XX")
