"""What a property stores for a value that it is given, and which values it refuses."""

import re
from datetime import date, datetime, timedelta

from hubspot_sync.hubspot.emulator.answers import Json, iso

_STRING_MAXIMUM = 65_536
_DAY_MS = 86_400_000

# Which addresses HubSpot takes is not published beyond this: a top-level domain that does not
# exist is refused ('test.con'), and internationalised domains pass in both spellings.
_LOCAL_PART = r"(?a:[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*)"
_LABEL = r"[^\W_](?:(?:[^\W_]|-)*[^\W_])?"
_EMAIL = re.compile(rf"{_LOCAL_PART}@(?:{_LABEL}\.)+(?!con\Z)(?:xn--[a-z0-9-]+|[^\W\d_]{{2,}})")


class InvalidValueError(Exception):
    """A value that HubSpot refuses: HubSpot's error code, and its message."""


def stored_value(definition: Json, value: str, held: str = "") -> str:
    """Return what HubSpot stores for a value, or raise `InvalidValueError`.

    `held` is what the record holds already; only checkboxes make use of it.

    Documented: the forms of numbers, dates and moments, that options go by their internal value
    and their case, the semicolons of checkboxes, and the 65,536 characters. Seen: the codes and
    words of the refusals. Guessed: that nothing else is taken, such as an exponent, a moment with
    an offset or a `True`.
    """
    if definition["name"] == "email":
        return _email(value)
    match definition["type"]:
        case "number" if not re.fullmatch(r"-?(\d+\.?\d*|\.\d+)", value):
            raise InvalidValueError("INVALID_INTEGER", f"{value} was not a valid number")
        case "enumeration" if definition["fieldType"] == "checkbox":
            return _checkboxes(definition, value, held)
        case "enumeration" | "bool":
            return _option(definition, value)
        case "date":
            return _date(value)
        case "datetime":
            return _datetime(value)
    if len(value) > _STRING_MAXIMUM:
        # The limit is documented; code and words are not.
        raise InvalidValueError("VALUE_TOO_LONG", f"Over {_STRING_MAXIMUM} characters")
    return value


def reformatted_phone(value: str) -> str:
    """Return a phone number with its country's code, a national one as if it were German."""
    digits = re.sub(r"\(0\)|[^0-9]", "", value)
    if not digits:
        return value
    if value.strip().startswith("+"):
        return f"+{digits}"
    if digits.startswith("00"):
        return f"+{digits[2:]}"
    return f"+49 {digits[1:3]} {digits[3:]}" if digits.startswith("0") else f"+49 {digits}"


def normal_email(email: object) -> str:
    """Return an address as HubSpot stores and compares it."""
    return str(email).strip().lower()


def _email(value: str) -> str:
    email = normal_email(value)
    if len(email) > 254 or email.find("@") > 64 or not _EMAIL.fullmatch(email):
        raise InvalidValueError("INVALID_EMAIL", f"Email address {value} is invalid")
    return email


def _option(definition: Json, value: str) -> str:
    options = [option["value"] for option in definition["options"]]
    if value not in options:
        message = f"{value} was not one of the allowed options: [{', '.join(options)}]"
        raise InvalidValueError("INVALID_OPTION", message)
    return value


def _checkboxes(definition: Json, value: str, held: str) -> str:
    """Return the options chosen; a semicolon in front adds them to those that are held."""
    # Not documented: in which order they are kept, and that repeated and empty ones are dropped.
    chosen = [_option(definition, each) for each in value.split(";") if each]
    before = held.split(";") if held and value.startswith(";") else []
    return ";".join(dict.fromkeys((*before, *chosen)))


def _date(value: str) -> str:
    if _is_iso(value, r"\d{4}-\d\d-\d\d"):
        return value
    day, rest = divmod(_milliseconds(value), _DAY_MS)
    if rest:
        minutes, milliseconds = divmod(rest, 60_000)
        clock = f"{minutes // 60}:{minutes % 60}:{milliseconds // 1000}.{milliseconds % 1000:03d}"
        raise InvalidValueError("INVALID_DATE", f"{value} is at {clock} UTC, not midnight!")
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def _datetime(value: str) -> str:
    if _is_iso(value, r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?Z"):
        return iso(datetime.fromisoformat(value).timestamp())
    return iso(_milliseconds(value) / 1000)


def _is_iso(value: str, pattern: str) -> bool:
    try:
        return bool(re.fullmatch(pattern, value) and datetime.fromisoformat(value))
    except ValueError:
        return False


def _milliseconds(value: str) -> int:
    if not re.fullmatch(r"-?\d{1,13}", value):
        raise InvalidValueError("INVALID_LONG", f"{value} was not a valid long.")
    return int(value)
