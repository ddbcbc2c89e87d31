"""docs/messages.md has every message of trouble of the program, by its code, and no other."""

import re
from typing import NamedTuple

from hubspot_sync.codes import ErrorCode
from hubspot_sync.rules.advice import reasons
from hubspot_sync.settings import known_names
from hubspot_sync.store.overview import OTHER
from tests.for_each import for_each
from tests.messages import FILLED_IN, sample
from tests.test_project import (
    COMMANDS,
    README,
    ROOT,
    parse_as_command,
    table_rows,
)

PAGE_PATH = ROOT / "docs" / "messages.md"
PAGE = PAGE_PATH.read_text(encoding="utf-8")

REASONS = "Why contacts failed"
"""The group of the reasons of `status`, each of which may be that of several codes."""


class Row(NamedTuple):
    """A row of the page.

    Attributes:
        starts: the beginnings of its message.
    """

    group: str
    code: str
    starts: list[str]
    rest: list[str]


def read_page() -> list[Row]:
    """Return the rows of the messages that have codes, in their order."""
    groups = re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", PAGE, re.MULTILINE)
    return [
        Row(group, code.strip("`"), re.findall(r"`([^`]+)`", message), rest)
        for group, text in groups
        if group != REASONS
        for code, message, *rest in table_rows(text)
    ]


ROWS = read_page()


def begins(start: str, message: str) -> bool:
    """Tell whether a message begins as the page says, whatever is filled in."""
    pattern = ".*".join(map(re.escape, start.split(FILLED_IN)))
    return re.match(pattern, message, re.DOTALL) is not None


def test_the_page_has_every_code_once_and_in_the_programs_order() -> None:
    assert [row.code for row in ROWS] == list(ErrorCode)


@for_each("row", ROWS, ids=lambda row: row.code)
def test_each_message_begins_as_the_page_says(row: Row) -> None:
    code = ErrorCode(row.code)
    messages = [sample(code), sample(code, count=1), sample(code, meant=None)]

    assert row.starts
    for start in row.starts:
        assert any(begins(start, message) for message in messages), messages[0]


@for_each("row", ROWS, ids=lambda row: row.code)
def test_each_row_says_where_a_message_is_seen_and_what_to_do(row: Row) -> None:
    seen, to_do = row.rest

    assert seen
    assert to_do.endswith(".")


def test_the_page_has_every_reason_of_status_and_no_other() -> None:
    (group,) = re.findall(rf"^## {REASONS}\n((?:(?!## ).*\n?)*)", PAGE, re.MULTILINE)
    words = [row[0].strip("`") for row in table_rows(group)]

    assert sorted(words) == sorted(reason.words for reason in [*reasons(), OTHER])


def test_the_settings_on_the_page_are_the_programs() -> None:
    named = set(re.findall(r"\b(?:HUBSPOT_[A-Z_]*[A-Z]|DATABASE_URL)\b", PAGE))
    cut = {name for name in named if f"{name}_{FILLED_IN}" in PAGE}

    assert len(named) > 10
    assert named - cut - set(ErrorCode) <= known_names()


def test_the_commands_on_the_page_are_those_that_the_program_takes() -> None:
    starts = [start for row in ROWS for start in row.starts]
    lines = re.findall(r"`((?:DATABASE_URL=\S+ )?hubspot-sync [^`]+)`", PAGE)
    commands = [line for line in lines if line not in starts and _is_command(line)]

    assert len(commands) > 10
    for line in commands:
        parse_as_command(f"{line} {ANY_CONTACT}" if line.endswith("sync-one") else line)


ANY_CONTACT = "6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b"


def _is_command(line: str) -> bool:
    first = line.partition("hubspot-sync ")[2].split()[0]
    return first in COMMANDS or first.startswith("--")


def test_the_links_on_the_page_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", PAGE)

    assert len(targets) > 10
    for target in targets:
        page, _, anchor = target.partition("#")
        document = README if page == "../README.md" else PAGE
        headings = re.findall(r"^##+ (.+)$", document, re.MULTILINE)
        anchors = [re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings]
        assert not page or (PAGE_PATH.parent / page).exists(), target
        assert anchor in anchors, target
