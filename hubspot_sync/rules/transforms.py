"""Transforms: how the text of a value is shaped on its way to HubSpot, step by step.

To add a transform, add a line to `TransformName` and one to `_STEPS`.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from hubspot_sync.rules.invalid import InvalidCode, InvalidValue

# What Python takes for white space (\x0b, \x0c, \x1c to \x1f, \x85) separates words, so it stays.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_LENGTH = re.compile(r"[1-9][0-9]{0,4}")
_REGION = re.compile(r"[A-Z]{2}")
_DOMAIN = re.compile(r"[^\W_](?:[\w-]*[^\W_])?(?:\.[^\W_](?:[\w-]*[^\W_])?)+")


class TransformName(StrEnum):
    """The transforms, as the mapping file names them."""

    TRIM = "trim"
    LOWER = "lower"
    UPPER = "upper"
    FIRST_WORD = "first-word"
    AFTER_FIRST_WORD = "after-first-word"
    DIGITS = "digits"
    PHONE_E164 = "phone-e164"
    DOMAIN_OF = "domain-of"
    MAX_LENGTH = "max-length"


@dataclass(frozen=True, slots=True)
class Transform:
    """One step.

    Attributes:
        name: which one.
        argument: what follows the colon: a country for `phone-e164`, a length for `max-length`.
    """

    name: TransformName
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.argument}" if self.argument else str(self.name)

    def __call__(self, text: str) -> str:
        """Return the text as this step shapes it; empty where nothing is left.

        Raises:
            InvalidValue: the step can make nothing of it.
        """
        return _STEPS[self.name](text, self.argument)


MAY_BE = (
    "trim, lower, upper, first-word, after-first-word, digits, domain-of, phone-e164:DE (a country)"
    " or max-length:40 (a number of characters)"
)
"""What a step of `transform` may be, for messages."""


def read_transform(text: str) -> Transform | None:
    """Return the step that a mapping file names; None where there is no such step."""
    name, colon, argument = text.partition(":")
    if name not in set(TransformName):
        return None
    step = Transform(TransformName(name), argument)
    match step.name:
        case TransformName.PHONE_E164:
            return step if _REGION.fullmatch(argument) else None
        case TransformName.MAX_LENGTH:
            return step if _LENGTH.fullmatch(argument) else None
    return None if colon else step


def cleaned(text: str) -> str:
    """Return a text without control characters and without the white space around it."""
    return _CONTROL.sub("", text).strip()


def transformed(text: str, steps: tuple[Transform, ...]) -> str:
    """Return a text cleaned, and then shaped by each step in turn.

    Raises:
        InvalidValue: a step can make nothing of it.
    """
    text = cleaned(text)
    for step in steps:
        if text:
            text = step(text)
    return text


def knows_region(region: str) -> bool:
    """Tell whether there is a country under these two letters; needs `phonenumberslite`."""
    import phonenumbers

    return region in phonenumbers.SUPPORTED_REGIONS


def _first_word(text: str, _: str) -> str:
    return next(iter(text.split(maxsplit=1)), "")


def _after_first_word(text: str, _: str) -> str:
    return next(iter(text.split(maxsplit=1)[1:]), "")


def _digits(text: str, _: str) -> str:
    return "".join(str(unicodedata.decimal(each)) for each in text if each.isdecimal())


def _phone_e164(text: str, region: str) -> str:
    # The library is an extra, and its import costs more than an idle run may take.
    import phonenumbers

    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        number = None
    if number is None or not phonenumbers.is_valid_number(number):
        raise InvalidValue(InvalidCode.NOT_A_PHONE_NUMBER, f"is not a phone number ({region})")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _domain_of(text: str, _: str) -> str:
    """Return the domain of an email address or a URL, in lower case and without `www.`."""
    host = text.rpartition("@")[2] if "@" in text and "/" not in text else _host_of(text)
    host = host.lower().removeprefix("www.").rstrip(".")
    if not _DOMAIN.fullmatch(host):
        raise InvalidValue(
            InvalidCode.NO_DOMAIN, "is neither an email address nor a URL with a domain"
        )
    return host


def _host_of(url: str) -> str:
    try:
        return urlsplit(url if "//" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""


_STEPS: dict[TransformName, Callable[[str, str], str]] = {
    TransformName.TRIM: lambda text, _: text.strip(),
    TransformName.LOWER: lambda text, _: text.lower(),
    TransformName.UPPER: lambda text, _: text.upper(),
    TransformName.FIRST_WORD: _first_word,
    TransformName.AFTER_FIRST_WORD: _after_first_word,
    TransformName.DIGITS: _digits,
    TransformName.PHONE_E164: _phone_e164,
    TransformName.DOMAIN_OF: _domain_of,
    TransformName.MAX_LENGTH: lambda text, length: text[: int(length)].rstrip(),
}
