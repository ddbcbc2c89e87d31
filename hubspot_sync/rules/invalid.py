"""Values that their HubSpot property cannot take, found out before anything is sent."""

from dataclasses import dataclass
from enum import StrEnum

_MOST_SHOWN = 60


class InvalidCode(StrEnum):
    """Why a value cannot be sent; by field and code such contacts are counted."""

    NOT_A_NUMBER = "NOT_A_NUMBER"
    NOT_A_BOOLEAN = "NOT_A_BOOLEAN"
    NOT_A_DATE = "NOT_A_DATE"
    NO_TIME_ZONE = "NO_TIME_ZONE"
    NOT_AN_OPTION = "NOT_AN_OPTION"
    TOO_LONG = "TOO_LONG"
    NOT_A_PHONE_NUMBER = "NOT_A_PHONE_NUMBER"
    NO_DOMAIN = "NO_DOMAIN"


@dataclass(frozen=True, slots=True)
class Invalid:
    """A value that cannot be sent.

    Attributes:
        text: the value as the source has it.
        code: why, in a form that can be counted.
        words: why, to be read after the value.
    """

    text: str
    code: InvalidCode
    words: str

    def __str__(self) -> str:
        is_long = len(self.text) > _MOST_SHOWN
        shown = f"{self.text[:_MOST_SHOWN]}…" if is_long else self.text
        return f"{shown!r} {self.words}"


class InvalidValue(ValueError):
    """Raised on the way from a value to its text, and turned into `Invalid` at the end of it."""

    def __init__(self, code: InvalidCode, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words
