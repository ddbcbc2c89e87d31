"""What people see: every table narrow and short, every word shown and none obeyed."""

import io
import json
import logging
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from hubspot_sync import console
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import RunStopped, SettingsError
from hubspot_sync.report import (
    ContactReport,
    LogFormat,
    PlannedAction,
    PlannedContact,
    PropertyReport,
    PropertyState,
    RunReport,
    RunState,
)
from hubspot_sync.rules.lifecycle import Row
from hubspot_sync.rules.mapping import CustomProperty
from hubspot_sync.rules.settlement import OutcomeName, shown_error
from hubspot_sync.rules.words import visible
from hubspot_sync.store.marking import Preview
from tests.contacts import scraped
from tests.for_each import for_each
from tests.messages import said

EXAMPLES = 5 * int(os.environ.get("STRANGERS_EXAMPLES", "6"))
NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
KEY = str(UUID(int=1))
MOST_LINES_A_ROW = 60
"""An error of 500 characters in the narrowest column, and some to spare."""

DANGEROUS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What a terminal obeys, and what turns the text around it (Unicode's Bidi_Control)."""

MARKUP = ("[b]", "[/]", "[/b]", "[red]", "[link=x]", "[@click]", ":smile:", r"\[b]", "[[", "%s")
ODD = (
    *("\x1b[31m", "\x1b]8;;http://x\x1b\\", "\x9b2J", "\x07", "\x7f", "\x00", "\x85", "\u2028"),
    *("\u202e", "\u2066", "\u200f", "\u200b", "\ufeff", "\n", "\r\n", "\r", "\t", "\x0b", "\x0c"),
    *("محمد علي", "李小龍", "e\u0301", "😀", "👩\u200d👧", "\U000e0041", "\u00ad", "İ", "ß"),
)
LONG = ("a" * 100_000, "\x1b[31m" * 20_000, "[b]" * 30_000, "李" * 70_000, "x\n" * 50_000)
words = st.lists(st.sampled_from((*MARKUP, *ODD)) | st.text(max_size=20), max_size=8).map("".join)
emails = st.none() | words

cheaply = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="STRANGERS_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)


def shown(show: Callable[[], object], columns: str, *, is_seen: bool = True) -> tuple[str, str]:
    """Return what a person sees at a width, or what goes to a file: standard output and error."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("COLUMNS", columns)
        patch.setenv("NO_COLOR", "1")
        patch.setattr("hubspot_sync.console.runs.is_seen", lambda: is_seen)
        show()
    return out.getvalue(), err.getvalue()


def check_table(show: Callable[[], object], columns: str, rows: int) -> str:
    """The table, which a sentence follows, is as narrow and short as it must be."""
    out, err = shown(show, columns)
    assert not DANGEROUS.search((out + err).replace("\n", ""))
    *table, _sentence = out.splitlines()
    assert max(map(cell_len, table)) <= int(columns)
    assert len(table) <= MOST_LINES_A_ROW * (rows + 1)
    return out


def contact(email: str | None, error: str = "", hubspot_id: str | None = "20001") -> ContactReport:
    return ContactReport(
        KEY, email, OutcomeName.SUPERSEDED, 4, 4, hubspot_id,
        shown_error(said(error)) if error else None, NOW,
        ended_at=NOW,
    )  # fmt: skip


def run_report(*contacts: ContactReport, reason: str | None = None) -> RunReport:
    return RunReport(
        command="sync-queue",
        run_id="5d0c0ffe",
        state=RunState.STOPPED if reason else RunState.DONE,
        reason=said(reason) if reason else None,
        counts={OutcomeName.SUPERSEDED: len(contacts)},
        contacts=contacts,
    )


def row(email: str | None, **columns: Any) -> Row:
    held: dict[str, Any] = {
        "sync_status": "Processing",
        "processing_status": "Processing",
        "error": None,
        "retry_count": 3,
        "last_failed_crm": None,
        "next_retry_at": None,
        "last_retry_at": None,
        "updated_at": NOW,
    }
    stored_id = columns.pop("hubspot_contact_id", "20001")
    return Row(scraped(KEY, email, hubspot_contact_id=stored_id), **(held | columns))


each_width = pytest.mark.parametrize("columns", ["80", "100"])


@each_width
@cheaply
@given(st.lists(st.tuples(emails, words), min_size=1, max_size=5))
@example([(odd, odd) for odd in (*ODD, *MARKUP)])
def test_table_of_a_run_obeys_no_word(columns: str, told: list[tuple[str | None, str]]) -> None:
    report = run_report(*(contact(email, error) for email, error in told))
    check_table(lambda: console.show_run(report, as_json=False), columns, len(told))


@each_width
@cheaply
@given(st.lists(st.tuples(emails, words), min_size=1, max_size=5))
@example([(odd, odd) for odd in (*ODD, *MARKUP)])
def test_table_of_a_dry_run_obeys_no_word(columns: str, told: list[tuple[str | None, str]]) -> None:
    plans = [
        PlannedContact(KEY, email, PlannedAction.FAIL, "20001", said(error))
        for email, error in told
    ]
    check_table(
        lambda: console.show_plan(plans, 9, command="sync-queue", as_json=False),
        columns,
        len(plans),
    )


@each_width
@cheaply
@given(st.lists(st.tuples(emails, words, words, words, words), min_size=1, max_size=5))
@example([(odd, odd, odd, odd, odd) for odd in (*ODD, *MARKUP)])
def test_table_of_a_reset_obeys_no_word(
    columns: str, told: list[tuple[str | None, str, str, str, str]]
) -> None:
    rows = [
        row(email, error=error, sync_status=decision, processing_status=state, hubspot_contact_id=i)
        for email, error, decision, state, i in told
    ]
    check_table(lambda: console.show_reset(rows, len(rows)), columns, len(rows))


@for_each("markup", MARKUP)
@each_width
def test_markup_is_shown_as_it_is(columns: str, markup: str) -> None:
    email = f"{markup}@x.org"
    report = run_report(contact(email, error=f"no {markup}"))
    plans = [PlannedContact(KEY, email, PlannedAction.FAIL, None, said(f"no {markup}"))]
    rows = [row(email, error=f"no {markup}")]
    for show in (
        lambda: console.show_run(report, as_json=False),
        lambda: console.show_plan(plans, None, command="sync-queue", as_json=False),
        lambda: console.show_reset(rows, 1),
    ):
        out = " ".join(check_table(show, columns, 1).split())
        assert email in out
        assert f"no {markup}" in out


# shows a fault: each of these columns folds all of it, however long
@for_each("long", LONG, ids=["plain", "escapes", "markup", "wide", "lines"])
@for_each(
    "table",
    [
        pytest.param(
            lambda long: console.show_run(run_report(contact(long, long)), as_json=False), id="run"
        ),
        pytest.param(
            lambda long: console.show_plan(
                [PlannedContact(KEY, long, PlannedAction.FAIL, None, said(long))],
                None,
                command="sync-one",
                as_json=False,
            ),
            id="plan",
        ),
        pytest.param(
            lambda long: console.show_reset(
                [
                    row(
                        long,
                        error=long,
                        sync_status=long,
                        processing_status=long,
                        hubspot_contact_id=long,
                    )
                ],
                1,
            ),
            id="reset",
        ),
    ],
)
def test_table_is_bounded_however_long_a_word_is(table: Callable[[str], None], long: str) -> None:
    check_table(lambda: table(long), "80", 1)


# shows a fault: a column of a row that is too wide crowds the others out
@each_width
def test_table_of_a_reset_keeps_every_column_readable(columns: str) -> None:
    rows = [row("ada@x.org"), row("bob@x.org", sync_status="x" * 200, hubspot_contact_id="9" * 200)]
    out = check_table(lambda: console.show_reset(rows, 2), columns, 2)
    assert "ada@x.org" in out
    assert "20001" in out


@cheaply
@given(st.lists(st.tuples(emails, words), min_size=1, max_size=5))
@example([(odd, odd) for odd in (*ODD, *MARKUP)])
def test_table_in_a_log_is_a_line_a_contact_and_obeys_no_word(
    told: list[tuple[str | None, str]],
) -> None:
    report = run_report(*(contact(email, error) for email, error in told))
    out, _ = shown(lambda: console.show_run(report, as_json=False), "40", is_seen=False)
    assert not DANGEROUS.search(out.replace("\n", ""))
    heads, *rows, _sentence = out.split("\n")[:-1]
    assert heads.startswith("Time ")
    assert len(rows) == len(told)
    assert all(line.startswith("2026-11-24T09:30:00Z  5d0c0ffe  ") for line in rows)


def test_table_in_a_log_is_as_wide_as_its_content_and_has_every_contact() -> None:
    long, error = f"{'a' * 64}@{'d' * 60}.example", "no " * 150
    report = run_report(
        contact("李@x.org", error),
        *(contact(long) for _ in range(80)),
        replace(contact("back@x.org"), outcome=OutcomeName.RELEASED),
    )
    report = replace(report, counts={OutcomeName.SUPERSEDED: 81, OutcomeName.RELEASED: 1})
    out, _ = shown(lambda: console.show_run(report, as_json=False), "40", is_seen=False)
    heads, first, *others, total = out.splitlines()
    assert error.strip() in first
    assert [line for line in others if long not in line] == []
    assert {cell_len(line[: line.index("superseded")]) for line in (first, *others)} == {
        heads.index("Outcome")
    }
    assert (len(others), "back@x.org" in out) == (80, False)
    assert "81 superseded" in total
    assert "1 released" in total
    assert "not shown" not in total


def test_table_shows_no_more_than_fifty_rows() -> None:
    report = run_report(*[contact(f"c{number}@x.org") for number in range(80)])
    out, _ = shown(lambda: console.show_run(report, as_json=False), "100")
    assert (out.count("@x.org"), "30 not shown" in out) == (50, True)


@cheaply
@given(words)
def test_sentences_and_errors_obey_no_word(told: str) -> None:
    error = RunStopped(ErrorCode.HUBSPOTS_WORDS, words=told)
    properties = [PropertyReport(CustomProperty("x", "x", "x", "x"), PropertyState.DIFFERS, told)]
    held = [{"id": "1", "properties": {"email": told, "firstname": told, "phone": told}}]
    for show in (
        lambda: console.say(told),
        lambda: console.warn(told),
        lambda: console.show_error("sync-queue", error, as_json=False),
        lambda: console.show_run(run_report(reason=told or "x"), as_json=False),
        lambda: console.show_properties(properties, as_json=False),
        lambda: console.show_hubspot_contacts(held),
    ):
        out, err = shown(show, "100")
        assert not DANGEROUS.search((out + err).replace("\n", ""))


@cheaply
@given(words | st.sampled_from(LONG))
@example("half an emoji \\ud83d")
def test_json_means_what_was_told_and_is_safe_to_look_at(told: str) -> None:
    document = {"error": told, told: [told]}
    out, err = shown(lambda: console.print_json(document), "80")
    assert (out.count("\n"), err) == (1, "")
    assert not DANGEROUS.search(out.removesuffix("\n"))
    assert json.loads(out) == document


# shows a fault: what the encoding lacks is written as \xe9 or \U0001f600, which is no JSON
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
def test_json_is_valid_in_every_locale(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding) as stream, program_logging():
        monkeypatch.setattr(sys, "stdout", stream)
        console.start_logging(verbose=False)
        document = {"error": "é … 😀 李 \u202e \x1b[31m ß"}
        console.print_json(document)
        stream.flush()
        assert json.loads(raw.getvalue().decode(encoding)) == document
        monkeypatch.undo()


@contextmanager
def program_logging() -> Iterator[None]:
    """Leave the root logger as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def logged(write: Callable[[logging.Logger], object], *, verbose: bool) -> str:
    """Return what stands on standard error after something was logged."""
    err = io.StringIO()
    with program_logging(), redirect_stderr(err):
        console.start_logging(verbose=verbose)
        write(logging.getLogger("hubspot_sync.test"))
    return err.getvalue()


@cheaply
@given(words | st.sampled_from(LONG), st.sampled_from([10, 20, 30, 40]))
@example("\n".join(ODD), 30)
def test_log_record_is_one_line(told: str, level: int) -> None:
    log = logged(lambda logger: logger.log(level, "told %s and %s", told, told), verbose=True)
    line, end, rest = log.partition("\n")
    assert (end, rest) == ("\n", "")
    assert not DANGEROUS.search(line)
    assert re.match(r"2\d{3}-\d\d-\d\dT[\d:.]+Z [A-Z]+ - hubspot_sync\.test: told ", line)


# shows a fault: a traceback is written as it is, with the strangers' words in its last line
def test_traceback_obeys_no_word() -> None:
    def fail() -> None:
        raise ValueError("\x1b]0;owned\x07 \x9b2J \u202e")

    def write(logger: logging.Logger) -> None:
        try:
            fail()
        except ValueError:
            logger.exception("it failed")

    log = logged(write, verbose=True)
    assert "Traceback" in log
    assert not DANGEROUS.search(log.replace("\n", ""))


def test_log_is_quiet_below_a_warning_unless_verbose() -> None:
    def write(logger: logging.Logger) -> None:
        for level in (10, 20, 30):
            logger.log(level, "level %d", level)

    assert logged(write, verbose=False).count("level") == 1
    assert logged(write, verbose=True).count("level") == 3


def test_json_log_has_the_code_of_a_message() -> None:
    err = io.StringIO()
    with program_logging(), redirect_stderr(err):
        console.start_logging(verbose=False, log_format=LogFormat.JSON)
        logging.getLogger("hubspot_sync.test").warning(said("100 % odd"))
        logging.getLogger("hubspot_sync.test").warning("odd")
    first, second = map(json.loads, err.getvalue().splitlines())
    assert (first["error_code"], first["message"]) == ("HUBSPOTS_WORDS", "100 % odd")
    assert "error_code" not in second


def test_settings_faults_are_a_line_each() -> None:
    error = SettingsError([said("A is '\x1b[31m'; no."), said("B is '[b]'; no.")])
    _, err = shown(lambda: console.show_error("status", error, as_json=False), "80")
    assert err.splitlines() == ["A is '�[31m'; no.", "B is '[b]'; no."]


def test_every_character_that_a_terminal_obeys_is_taken_out() -> None:
    obeyed = [letter for letter in map(chr, range(0x110000)) if DANGEROUS.match(letter)]
    controls = [
        letter for letter in map(chr, range(0x110000)) if unicodedata.category(letter) == "Cc"
    ]
    assert set(controls) <= set(obeyed)
    left = [letter for letter in obeyed if DANGEROUS.search(visible(letter))]
    # shows a fault: U+061C, the Arabic letter mark, is a bidirectional control too
    assert left == []


def test_copy_and_report_are_named_as_they_are(tmp_path: Path) -> None:
    copy = tmp_path / "[b]copy[/b].jsonl"
    out, _ = shown(
        lambda: console.show_reset_end(1, Preview(1, [], []), [], copy, as_json=False), "80"
    )
    assert out == f"1 contact brought back to never synced. The copy: {copy}\n"
