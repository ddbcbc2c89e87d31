"""A TOML file read table by table, which keeps everything that is wrong with it and where."""

import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeVar

Word = TypeVar("Word", bound=StrEnum)
Path = tuple[str, ...]

_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_KEYS = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*\[\[?\s*({_KEYS})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*({_KEYS})\s*=")
_LONG_STRING = re.compile("\"\"\"|'''")
_HINT = "Each key stands once in its table, and what { } encloses stands on one line."
_MOST_SHOWN = 60
_ALIKE = 0.6


class Page:
    """A TOML file, and what is wrong with it.

    Args:
        file: its name, for messages.
        text: what it holds.

    """

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self._faults: list[tuple[int, str]] = []
        self._lines = _lines_of(text)
        self._content: Mapping[str, object] = {}
        try:
            self._content = tomllib.loads(text, parse_float=Decimal)
        except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
            self._faults.append((0, f"{file} is not TOML: {error}. {_HINT}"))

    @property
    def faults(self) -> list[str]:
        """One sentence for each fault, with its place, in the file's order."""
        return [words for _, words in sorted(self._faults, key=lambda fault: fault[0])]

    def fault(self, path: Path, words: str) -> None:
        """Keep a fault.

        Args:
            path: the key that it is about, from the top.
            words: what is wrong, to be read after the key.
        """
        line = self.line_of(path)
        place = f"{self.file}, line {line}" if line else self.file
        told = f"{'.'.join(path)} {words}" if path else words
        self._faults.append((line, f"{place}: {told}"))

    def line_of(self, path: Path) -> int:
        """Return the line of a key, or of the nearest key around it; 0 where there is none."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 0)

    @property
    def top(self) -> "Table":
        """The tables of the file."""
        return Table(self, (), self._content)


class Table:
    """A table of the file; each key that is asked for counts as known.

    Args:
        page: the file.
        path: the table's keys, from the top.
        content: what it holds.
    """

    def __init__(self, page: Page, path: Path, content: Mapping[str, object]) -> None:
        self.page = page
        self.path = path
        self._content = content
        self._known: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self._content

    @property
    def keys(self) -> tuple[str, ...]:
        """What it holds, in the file's order."""
        return tuple(self._content)

    def fault(self, key: str, words: str) -> None:
        """Keep a fault of a key; of the table itself where the key is empty."""
        self.page.fault((*self.path, key) if key else self.path, words)

    def take(self, key: str) -> object:
        """Return a value as TOML has it; None where there is none."""
        self._known.append(key)
        return self._content.get(key)

    def table(self, key: str) -> "Table":
        """Return a table within this one; an empty one where there is none."""
        found = self.take(key)
        if found is not None and not isinstance(found, dict):
            self.fault(key, f"is {shown(found)}; it must be a table.")
        return Table(self.page, (*self.path, key), found if isinstance(found, dict) else {})

    def text(
        self,
        key: str,
        default: str = "",
        *,
        check: Callable[[str], bool] | None = None,
        may_be: str = "a text",
    ) -> str:
        """Return a text.

        Args:
            key: its key.
            default: where there is none, or it is wrong.
            check: tells whether it may be.
            may_be: what it may be, for the message.
        """
        found = self.take(key)
        if found is None:
            return default
        if isinstance(found, str) and is_printable(found) and (check is None or check(found)):
            return found
        self.fault(key, f"is {shown(found)}; it must be {may_be}.")
        return default

    def texts(self, key: str, *, may_be: str = "a list of texts") -> tuple[str, ...]:
        """Return a list of texts, none of them empty."""
        found = self.take(key)
        if found is None:
            return ()
        if isinstance(found, list) and all(isinstance(e, str) and is_printable(e) for e in found):
            return tuple(found)
        self.fault(key, f"is {shown(found)}; it must be {may_be}.")
        return ()

    def flag(self, key: str) -> bool:
        """Return true or false; false where there is none."""
        found = self.take(key)
        if found is None or isinstance(found, bool):
            return bool(found)
        self.fault(key, f"is {shown(found)}; it must be true or false.")
        return False

    def word(self, key: str, kind: type[Word]) -> Word | None:
        """Return one of several words; None where there is none, or it is wrong."""
        found = self.take(key)
        if found is None:
            return None
        words = [str(each) for each in kind]
        if isinstance(found, str) and found in words:
            return kind(found)
        hint = hint_for(found, words)
        self.fault(key, f"is {shown(found)}; it must be {one_of(words)}.{hint}")
        return None

    def pairs(self, key: str, *, may_be: str) -> tuple[tuple[str, str], ...]:
        """Return a table of texts, in the file's order."""
        found = self.take(key)
        if found is None:
            return ()
        pairs = found if isinstance(found, dict) else {}
        if pairs and all(isinstance(each, str) and is_printable(each) for each in pairs.values()):
            return tuple((str(ours), str(theirs)) for ours, theirs in pairs.items())
        self.fault(key, f"is {shown(found)}; it must be {may_be}.")
        return ()

    def end(self, what: str) -> None:
        """Keep a fault for each key that nobody asked for."""
        for key in self._content:
            if key not in self._known:
                hint = hint_for(key, self._known)
                may_be = (
                    f" It may hold {', '.join(dict.fromkeys(self._known))}." if not hint else ""
                )
                self.fault(key, f"is not a key of {what}.{hint}{may_be}")


def shown(value: object) -> str:
    """Return a value as a message may show it, much as TOML writes it."""
    match value:
        case bool():
            text = str(value).lower()
        case str() if "pat-" in value:
            # A secret in the wrong line stays one.
            return "a token"
        case str():
            text = repr(value)
        case dict():
            return "a table"
        case list():
            text = f"[{', '.join(map(shown, value))}]"
        case datetime() | date() | time():
            text = value.isoformat()
        case _:
            text = str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def one_of(words: Collection[str]) -> str:
    """Return words as a choice: a, b or c."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def hint_for(found: object, known: Collection[str]) -> str:
    """Return a question whether another word was meant; empty where none is near."""
    near = get_close_matches(str(found), dict.fromkeys(known), n=1, cutoff=_ALIKE)
    return f" Did you mean {near[0]}?" if near else ""


def is_printable(text: str) -> bool:
    """Tell whether a text is more than blanks, and holds nothing that no name or word holds."""
    return bool(text.strip()) and not any(each < " " or each == "\x7f" for each in text)


def _lines_of(text: str) -> dict[Path, int]:
    """Find the line of each key; tomllib does not tell it.

    It need not understand TOML: a line that it takes for another only moves a message.
    """
    found: dict[Path, int] = {}
    header: Path = ()
    is_within = False
    for number, line in enumerate(text.splitlines(), start=1):
        if not is_within and (match := _HEADER.match(line)):
            header = _path(match[1])
            found.setdefault(header, number)
        elif not is_within and (match := _ASSIGNMENT.match(line)):
            keys = _path(match[1])
            for end in range(1, len(keys) + 1):
                found.setdefault((*header, *keys[:end]), number)
        is_within ^= len(_LONG_STRING.findall(line)) % 2 == 1
    return found


def _path(keys: str) -> Path:
    return tuple(each.strip("\"'") for each in re.findall(_KEY, keys))
