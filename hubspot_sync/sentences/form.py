"""What a sentence is made of."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from hubspot_sync.codes import ErrorCode


class Form(NamedTuple):
    """A sentence in parts, with `{…}` for data.

    Attributes:
        what: what happened.
        fix: what to do; without it `what` is the whole sentence.
        rest: what becomes of the contacts, which interests a run alone.
    """

    what: str
    fix: str = ""
    rest: str = ""


Forms = Mapping[ErrorCode, str | Form | Callable[..., str | Form]]
"""By code: a template, its parts, or what makes either from the data."""


def ended(sentence: str) -> str:
    """Return a sentence with its period. A command has none: it is to be copied."""
    is_command = sentence.endswith(";") or sentence[:1].islower()
    return sentence if is_command or sentence.endswith(".") else f"{sentence}."


def counted(count: int, one: str, many: str) -> str:
    """Return the words for one, or for several."""
    return one if count == 1 else many
