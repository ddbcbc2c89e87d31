"""Types: how HubSpot wants a value written, which values it cannot take, and which are equal.

What HubSpot takes is from its guide to properties: numbers with digits and at most one point, dates
as YYYY-MM-DD, points in time as YYYY-MM-DDTHH:MM:SS.sssZ, the internal values of options, several
of them joined by semicolons. To add a type, add a line to `ValueType`, `_WRITERS` and `_EQUALS`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from enum import StrEnum

from hubspot_sync.rules.invalid import Invalid, InvalidCode, InvalidValue
from hubspot_sync.rules.source import Value
from hubspot_sync.rules.transforms import Transform, cleaned, transformed

LONGEST_STRING = 65_536
"""The longest text that a property takes (HubSpot docs, "Properties")."""

LONGEST_NUMBER = 100
"""More digits than this are no number that HubSpot could keep."""

SEPARATOR = ";"
"""What HubSpot joins several options by; before the first it means: add them to what is there."""

TRUE = ("true", "yes", "y", "t", "on", "1")
FALSE = ("false", "no", "n", "f", "off", "0")

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", re.ASCII)
_MILLISECONDS = re.compile(r"-?\d{1,14}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ValueType(StrEnum):
    """The types of a property's values, as the mapping file names them."""

    STRING = "string"
    NUMBER = "number"
    BOOL = "bool"
    DATE = "date"
    DATETIME = "datetime"
    ENUMERATION = "enumeration"
    MULTI_CHECKBOX = "multi-checkbox"


@dataclass(frozen=True, slots=True)
class TypeSpec:
    """How one property's values are written.

    Attributes:
        type: None where it is left to the portal's definition, and that is not known or of a type
            that is written as it is.
        true: what counts as true, in lower case.
        false: what counts as false.
        format: how the source writes a date or a point in time (`strptime`); None for ISO 8601.
        zone: where a point in time without a zone is meant; None where that is not known.
        options: from the source's options to HubSpot's; empty where they are the same.
        split: what separates several options in the source's text.
        appends: options are added to those that the record has, and none is taken away.
        allowed: the options that the portal has; None where that is not known.
    """

    type: ValueType | None = None
    true: tuple[str, ...] = TRUE
    false: tuple[str, ...] = FALSE
    format: str | None = None
    zone: tzinfo | None = None
    options: tuple[tuple[str, str], ...] = ()
    split: str = SEPARATOR
    appends: bool = False
    allowed: frozenset[str] | None = None


def written(value: Value, spec: TypeSpec, steps: tuple[Transform, ...] = ()) -> str | Invalid:
    """Return a value as HubSpot wants it; empty where there is none.

    Args:
        value: as the source has it.
        spec: the type.
        steps: how its text is shaped first.
    """
    try:
        if spec.type is ValueType.MULTI_CHECKBOX:
            return _options(value, spec, steps)
        native = _NATIVE.get(spec.type) if spec.type else None
        if native and isinstance(value, native[0]):
            return native[1](value, spec)
        text = transformed(_text_of(value), steps)
        return _WRITERS[spec.type](text, spec) if text and spec.type else text
    except InvalidValue as trouble:
        return Invalid(_text_of(value), trouble.code, trouble.words)


def is_equal(spec: TypeSpec, ours: str, held: str) -> bool:
    """Tell whether HubSpot holds our value already, however it writes it.

    Args:
        spec: the type.
        ours: as `written` gives it.
        held: what the record has; empty where it has nothing.
    """
    if ours == held:
        return True
    if not ours or not held:
        return False
    if spec.type is ValueType.MULTI_CHECKBOX:
        mine, theirs = options_of(ours), options_of(held)
        return mine <= theirs if spec.appends else mine == theirs
    read = _COMPARED[spec.type]
    mine_read, theirs_read = read(ours), read(held)
    return mine_read is not None and mine_read == theirs_read


def options_of(text: str) -> frozenset[str]:
    """Return the options that a property's text lists."""
    return frozenset(each for each in text.split(SEPARATOR) if each)


def is_same_moment(one: str, other: str) -> bool:
    """Tell whether two texts are one point in time, written with more digits or fewer."""
    read = _iso_moment(one)
    return read is not None and read == _iso_moment(other)


def moment_text(moment: datetime) -> str:
    """Return a point in time as HubSpot wants it: UTC, with milliseconds.

    Args:
        moment: with its zone.
    """
    in_utc = moment.astimezone(UTC).replace(tzinfo=None)
    return f"{in_utc.isoformat(timespec='milliseconds')}Z"


def _text_of(value: Value) -> str:
    """Return a value as text, the same in every database."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case Decimal():
            return _plain(value)
        case datetime():
            is_in_range = value.tzinfo and 1 < value.year < MAXYEAR
            return moment_text(value) if is_in_range else value.isoformat()
        case date():
            return value.isoformat()
        case tuple():
            return SEPARATOR.join(filter(None, map(cleaned, value)))
    return str(value)


# Numbers


def _number(text: str, _: TypeSpec) -> str:
    number = _read_number(text)
    if number is None:
        raise InvalidValue(InvalidCode.NOT_A_NUMBER, "is not a number")
    return _plain(number)


def _read_number(text: str) -> Decimal | None:
    if not _NUMBER.fullmatch(text):
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if _is_short(number) else None


def _plain(number: Decimal) -> str:
    """Return a number without an exponent, where that is no monster of zeros."""
    if not number.is_finite():
        return str(number)
    if not number:
        return "0"
    return f"{number:f}" if _is_short(number) else str(number)


def _is_short(number: Decimal) -> bool:
    return not number or (
        abs(number.adjusted()) < LONGEST_NUMBER and len(f"{number:f}") <= LONGEST_NUMBER
    )


# Booleans


def _bool(text: str, spec: TypeSpec) -> str:
    word = text.lower()
    if word in spec.true:
        return "true"
    if word in spec.false:
        return "false"
    raise InvalidValue(InvalidCode.NOT_A_BOOLEAN, "is neither true nor false")


# Dates and points in time


def _day(text: str, spec: TypeSpec) -> str:
    if spec.format:
        return _native_day(_by_format(text, spec.format), spec)
    if _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            raise _not_a_date("YYYY-MM-DD") from None
    moment = _read_iso(text)
    if moment is None:
        raise _not_a_date("YYYY-MM-DD")
    return _native_day(moment, spec)


def _moment(text: str, spec: TypeSpec) -> str:
    if spec.format:
        return _native_moment(_by_format(text, spec.format), spec)
    if _DATE.fullmatch(text):
        return _native_moment(date.fromisoformat(_day(text, spec)), spec)
    moment = _read_iso(text)
    if moment is None:
        raise _not_a_date("YYYY-MM-DDTHH:MM:SS")
    return _native_moment(moment, spec)


def _native_day(value: Value, spec: TypeSpec) -> str:
    if isinstance(value, datetime):
        # A date is the same day for all who look at it, so it is the source's day.
        return (_in_zone(value, spec.zone or UTC) if value.tzinfo else value).date().isoformat()
    return value.isoformat() if isinstance(value, date) else ""


def _native_moment(value: Value, spec: TypeSpec) -> str:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=spec.zone or UTC)
    if not isinstance(value, datetime):
        return ""
    if value.tzinfo is None and spec.zone is None:
        raise InvalidValue(
            InvalidCode.NO_TIME_ZONE, "has no time zone: set timezone under [source] in the mapping"
        )
    return moment_text(_in_zone(value if value.tzinfo else value.replace(tzinfo=spec.zone), UTC))


def _in_zone(moment: datetime, zone: tzinfo) -> datetime:
    try:
        return moment.astimezone(zone)
    except OverflowError:
        raise InvalidValue(InvalidCode.NOT_A_DATE, "is beyond the years 1 to 9999") from None


def _by_format(text: str, pattern: str) -> datetime:
    try:
        return datetime.strptime(text, pattern)  # noqa: DTZ007 - the zone is the mapping's
    except ValueError:
        raise _not_a_date(pattern) from None


def _read_iso(text: str) -> datetime | None:
    if not _MOMENT.match(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _iso_moment(text: str) -> datetime | None:
    return _read_iso(text) if "T" in text else None


def _not_a_date(wanted: str) -> InvalidValue:
    return InvalidValue(InvalidCode.NOT_A_DATE, f"is not a date of the form {wanted}")


# Options


def _option(text: str, spec: TypeSpec) -> str:
    option = dict(spec.options).get(text) if spec.options else text
    if option is None:
        raise InvalidValue(
            InvalidCode.NOT_AN_OPTION, "is not among the options that the mapping lists"
        )
    if spec.allowed is not None and option not in spec.allowed:
        raise InvalidValue(InvalidCode.NOT_AN_OPTION, "is not among the options that HubSpot has")
    return option


def _options(value: Value, spec: TypeSpec, steps: tuple[Transform, ...]) -> str:
    parts = value if isinstance(value, tuple) else _text_of(value).split(spec.split)
    texts = filter(None, (transformed(each, steps) for each in parts))
    options = list(dict.fromkeys(_option(text, spec) for text in texts))
    if any(SEPARATOR in option for option in options):
        raise InvalidValue(
            InvalidCode.NOT_AN_OPTION, "has a semicolon within an option, which HubSpot cannot take"
        )
    return SEPARATOR.join(options)


# Texts


def _string(text: str, _: TypeSpec) -> str:
    if len(text) > LONGEST_STRING:
        words = f"has {len(text):,} characters, and HubSpot takes {LONGEST_STRING:,} at most"
        raise InvalidValue(InvalidCode.TOO_LONG, words)
    return text


# Comparing


def _held_day(text: str) -> date | None:
    moment = _held_moment(text)
    return moment.date() if moment else None


def _held_moment(text: str) -> datetime | None:
    """Read a date or a point in time in any form that HubSpot has for it."""
    if _MILLISECONDS.fullmatch(text):
        try:
            return _EPOCH + timedelta(milliseconds=int(text))
        except OverflowError:
            return None
    if _DATE.fullmatch(text):
        text = f"{text}T00:00"
    moment = _read_iso(text)
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


_WRITERS: dict[ValueType, Callable[[str, TypeSpec], str]] = {
    ValueType.STRING: _string,
    ValueType.NUMBER: _number,
    ValueType.BOOL: _bool,
    ValueType.DATE: _day,
    ValueType.DATETIME: _moment,
    ValueType.ENUMERATION: _option,
}

_NATIVE: dict[ValueType, tuple[type, Callable[[Value, TypeSpec], str]]] = {
    ValueType.BOOL: (bool, lambda value, _: "true" if value else "false"),
    ValueType.DATE: (date, _native_day),
    ValueType.DATETIME: (date, _native_moment),
}
"""Values that need not go by their text, which only the source's own texts do."""

_COMPARED: dict[ValueType | None, Callable[[str], object]] = {
    ValueType.STRING: lambda text: text,
    ValueType.NUMBER: _read_number,
    ValueType.BOOL: str.lower,
    ValueType.DATE: _held_day,
    ValueType.DATETIME: _held_moment,
    ValueType.ENUMERATION: lambda text: text,
    # Of what type it is was left to the portal, which has said nothing about it.
    None: _iso_moment,
}
