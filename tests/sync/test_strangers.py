"""Contacts as strangers wrote them: no value harms the run, the other contacts or the reader."""

import io
import json
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from sqlalchemy import text

from hubspot_sync import console
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.outcome_file import OutcomeFile
from hubspot_sync.report import ContactReport, RunReport
from hubspot_sync.rules.mapping import (
    MAX_EMAIL_LENGTH,
    PropertyDefinition,
    email_fault,
    normalise_email,
)
from hubspot_sync.rules.portal_fit import fitted
from hubspot_sync.rules.settlement import MAX_ERROR_LENGTH, error_text, shown_error
from hubspot_sync.rules.words import visible
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.marking import Marking
from hubspot_sync.store.reset_copy import ResetCopy
from hubspot_sync.store.selection import Selection
from tests.conftest import LEASE, Runs
from tests.contacts import MAPPING, edited, properties_of, scraped
from tests.messages import said
from tests.tables import CONTACTS, Contacts

EXAMPLES = int(os.environ.get("STRANGERS_EXAMPLES", "6"))
"""Batches of contacts a table; a night's search may take thousands."""

PURE_EXAMPLES = 25 * EXAMPLES
"""Of what needs no table."""

BYSTANDER = "good@example.com"
WIDTHS = ("80", "100")
MOST_LINES_A_CONTACT = 60
"""An error of 500 characters in the narrowest column, and some to spare."""

DANGEROUS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What a terminal obeys, and what turns the text around it (Unicode's Bidi_Control)."""

LOG_LINE = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+Z (DEBUG|INFO|WARNING|ERROR) [-0-9a-f]+ [a-z_.]+: .*"
)
OUR_WORDS = (
    "The contact has no email address",
    "The email address cannot be one: ",
    "HubSpot refused the contact: email: ",
    "HubSpot refused the contact: firstname: ",
    "HubSpot refused the contact: lastname: ",
    "HubSpot refused the contact: phone: ",
)

ODD = (
    *("\x1b[31m", "\x1b]8;;http://evil.example\x1b\\", "\x9b2J", "\x9d0;x\x9c", "\x07", "\x7f"),
    *("\u202e", "\u2066", "\u061c", "\u200f", "\u200b", "\ufeff", "\u2028", "\u2029"),
    *("\n", "\r\n", "\r", "\t", "\x0b", "\x85", " ", "\u00a0", "\u3000"),
    *("[bold]", "[/]", "[/bold]", "[link=http://evil.example]", "[red]x[/red]", ":smile:", "\\["),
    *("'", '"', "\\", "`", "%s", "%(x)s", "%%", ":name", "{0}", "${HOME}", "'); DROP TABLE x; --"),
    *(
        "محمد علي",
        "שלום",
        "李小龍",
        "é",
        "e\u0301",
        "😀",
        "👩\u200d👩\u200d👧",
        "ß",
        "İ",
        "\U000e0041",
    ),
    *("null", "NaN", "=cmd()", "<script>", "&amp;", "..", "/", ";", ",", "@"),
)
LONG = ("a" * 100_000, "\x1b[31m" * 20_000, "[bold]" * 20_000, "李" * 70_000, "x " * 50_000)
SCRAPED_EMAILS = (
    *("mailto:ada@x.org", "MAILTO:ada@x.org?subject=hi", "Ada <ada@x.org>", "<ada@x.org>"),
    *("ada@x.org.", "ada@x.org,", ".ada@x.org", "ada.@x.org", "ada@x..org", "ada@-x.org"),
    *("a@x.org;b@x.org", "a@x.org, b@x.org", "a@x.org b@x.org", "a@x.org\nb@x.org", "a@b@c.org"),
    *("ADA@X.ORG", " Ada@x.org ", "ada+tag@x.org", "ada/x@x.org", "ada#x@x.org", "ada%41@x.org"),
    *("ada?x=y&z@x.org", "o'brien@x.org", '"ada b"@x.org', "a'or'1'='1@x.org", "%s@x.org"),
    *("ada@münchen.de", "ada@xn--mnchen-3ya.de", "ada@例子.中国", "josé@x.org", "😀@x.org"),
    *("ada@x.org\x00", "ada\u202e@x.org", "ada\u200b@x.org", "ada@[127.0.0.1]", "ada@localhost"),
    *("ada (at) x.org", "ada[at]x.org", "[bold]@x.org", "[/]@x.org", "@", "@@", "@x.org", "ada@"),
    *("", " ", "N/A", "..@x.org", "../..@x.org", "ada@x.con", "a" * 65 + "@x.org", "İ@x.org"),
)

_any_text = st.text(max_size=20)
_odd_text = st.lists(st.sampled_from(ODD) | _any_text, min_size=1, max_size=5).map("".join)
_mailbox = st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,12}", fullmatch=True)
_emails = (
    st.sampled_from(SCRAPED_EMAILS)
    | st.emails()
    | _odd_text.map(lambda words: f"{words}@x.org")
    | _odd_text.map(lambda words: f"ada@{words}.org")
    | _odd_text
    | _mailbox.map(lambda mailbox: f"{mailbox}@x.org")
    | st.sampled_from(LONG).map(lambda words: f"{words}@x.org")
)
_words = st.none() | _odd_text | _any_text | st.sampled_from(LONG)
strangers = st.tuples(_emails, _words, _words)
Stranger = tuple[str, str | None, str | None]

in_batches = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="STRANGERS_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
    # To make a batch of strangers smaller takes minutes, and tells little more.
    phases=(Phase.explicit, Phase.generate),
)
cheaply = settings(in_batches, max_examples=PURE_EXAMPLES, phases=tuple(Phase))


def storable(words: str | None, shape: str) -> str | None:
    """Leave out what the database cannot hold: NUL in PostgreSQL."""
    return words if words is None or shape == "sqlite" else words.replace("\x00", "")


def storable_email(email: str, shape: str) -> str:
    """The app's table has an index on the email, which takes no more than 2,704 bytes."""
    kept = storable(email, shape) or ""
    return kept[:500] if shape == "app" else kept


@contextmanager
def program_log(stream: io.StringIO) -> Iterator[None]:
    """Log as the program does with --verbose, into a stream."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        with redirect_stderr(stream):
            console.start_logging(verbose=True)
            yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def shown(report: RunReport, columns: str, *, as_json: bool = False) -> tuple[str, str]:
    """Return what `show_run` prints at a width: standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("COLUMNS", columns)
        patch.setattr("hubspot_sync.console.runs.is_seen", lambda: True)
        console.show_run(report, as_json=as_json)
    return out.getvalue(), err.getvalue()


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines; only a line feed ends a line."""
    content = path.read_text(encoding="utf-8")
    assert not DANGEROUS.search(content.replace("\n", ""))
    return [json.loads(line) for line in content.split("\n")[:-1]]


def check_table(report: RunReport, columns: str) -> None:
    """The table is narrow, bounded, and holds nothing that a terminal would obey."""
    out, err = shown(report, columns)
    assert not DANGEROUS.search((out + err).replace("\n", ""))
    *table, _summary = out.splitlines()
    assert max(map(cell_len, table)) <= int(columns)
    assert len(table) <= MOST_LINES_A_CONTACT * (len(report.contacts) + 1)
    assert len(err) < 2_500


def check_json(report: RunReport) -> None:
    """`--json` prints one document on one line, without raw characters that are obeyed."""
    out, _ = shown(report, "100", as_json=True)
    assert not DANGEROUS.search(out.removesuffix("\n"))
    document = json.loads(out)
    assert [each["error"] for each in document["contacts"]] == [
        each.error for each in report.contacts
    ]


def check_log(log: str, emails: Sequence[str]) -> None:
    """Each record is one line, and no email stands in one that is not for debugging."""
    lines = log.split("\n")[:-1]
    assert lines
    for line in lines:
        assert not DANGEROUS.search(line)
        assert LOG_LINE.fullmatch(line), line[:200]
    loud = "\n".join(line for line in lines if " DEBUG " not in line)
    assert not [email for email in emails if len(email) > 5 and email in loud]


def check_error(error: str | None) -> None:
    """An error says why, in one short line."""
    assert error is not None
    assert len(error) <= MAX_ERROR_LENGTH
    assert not DANGEROUS.search(error)
    assert error.startswith(OUR_WORDS), error
    assert "could not handle" not in error


def expected_name(name: str | None) -> tuple[str | None, str | None]:
    """First and last name, told once more in other words than the mapping's."""
    kept = "".join(
        letter for letter in name or "" if letter.isspace() or unicodedata.category(letter) != "Cc"
    )
    first, _, last = " ".join(kept.split(maxsplit=1)).partition(" ")
    return first or None, last.strip() or None


def check_delivered(row: dict[str, Any], held: dict[str, Any], *, is_alone: bool) -> None:
    """HubSpot holds what the mapping promises; values of contacts that share an email are mixed."""
    properties = held["properties"]
    assert properties["email"] == row["email"].strip().lower()
    assert row["hubspot_contact_id"] == held["id"]
    if is_alone:
        names = (properties.get("firstname"), properties.get("lastname"))
        assert names == expected_name(row["name"])
        assert properties["scrapersky_domain_id"] == str(row["domain_id"])
    assert all(value.strip() for value in properties.values())


def check_row(row: dict[str, Any], told: ContactReport, hubspot: Emulator, shared: bool) -> None:
    """A contact is in HubSpot and Complete, or it is not and has an error."""
    held = hubspot.contact_by_email((row["email"] or "").strip().lower())
    state = (row["hubspot_sync_status"], row["hubspot_processing_status"])
    assert row["hubspot_processing_error"] == (error_text(told.error) if told.error else None)
    if state == ("Complete", "Complete"):
        assert told.outcome in ("created", "updated")
        assert told.error is None
        assert held is not None
        check_delivered(row, held, is_alone=not shared)
    elif state == ("Error", "Error"):
        assert told.outcome == "rejected"
        check_error(told.error)
        assert row["retry_count"] == 0
    else:
        assert state == ("Queued", "Error")
        assert told.outcome == "failed"
        check_error(told.error)
        assert row["retry_count"] == 1


def check_rows(table: Contacts, report: RunReport, hubspot: Emulator) -> None:
    """Every contact has exactly one end, and table, report and HubSpot agree on it."""
    rows = table.rows()
    told = {each.id: each for each in report.contacts}
    assert report.state in ("done", "partial")
    assert len(told) == len(report.contacts) == len(rows) == report.claimed
    sharing = Counter((row["email"] or "").strip().lower() for row in rows)
    for row in rows:
        is_shared = sharing[(row["email"] or "").strip().lower()] > 1
        check_row(row, told[str(UUID(str(row["id"])))], hubspot, is_shared)


def start_afresh(table: Contacts, hubspot: Emulator) -> str:
    """Empty both sides, and put one plain good contact into the table."""
    table.clear()
    for held in hubspot.contacts():
        hubspot.delete_contact(held["id"])
    return table.add(BYSTANDER, name="Grace Hopper", phone_number="+1 2")


def check_bystander(table: Contacts, hubspot: Emulator, key: str) -> None:
    held = hubspot.contact_by_email(BYSTANDER)
    assert held is not None
    assert table.state(key) == ("Complete", "Complete")
    assert table.row(key)["hubspot_contact_id"] == held["id"]
    properties = held["properties"]
    assert [properties[name] for name in ("firstname", "lastname", "phone")] == [
        "Grace",
        "Hopper",
        "+1 2",
    ]


def add_strangers(table: Contacts, batch: Sequence[Stranger], shape: str) -> list[str]:
    emails = [storable_email(email, shape) for email, _, _ in batch]
    for number, (email, (_, name, phone)) in enumerate(zip(emails, batch, strict=True)):
        table.add(
            email,
            age=timedelta(minutes=20, seconds=number),
            name=storable(name, shape),
            phone_number=storable(phone, shape),
        )
    return emails


def run_and_listen(runs: Runs, report_file: Path) -> tuple[RunReport, str]:
    """Run the queue with --report and --verbose; return the report and the log."""
    log = io.StringIO()
    report_file.unlink(missing_ok=True)
    with program_log(log), OutcomeFile(report_file, "run") as file:
        runs.on_settled = file.note
        report = runs.queue()
    return report, log.getvalue()


def keep_copy(table: Contacts, path: Path) -> list[dict[str, Any]]:
    """Reset everything, and return the copy that was kept."""
    path.unlink(missing_ok=True)
    copy = ResetCopy(path)
    try:
        Marking(table.engine, CONTACTS, lease=LEASE).reset(
            Selection(every=True), keep_copy=copy.keep
        )
    finally:
        copy.close()
    return json_lines(path)


@pytest.mark.timeout(60 + EXAMPLES)
def test_whatever_strangers_wrote_every_contact_comes_to_one_good_end(
    table: Contacts, runs: Runs, hubspot: Emulator, shape: str, tmp_path: Path
) -> None:
    @in_batches
    @given(st.lists(strangers, min_size=5, max_size=12))
    @example([(email, None, None) for email in SCRAPED_EMAILS])
    @example([(f"c{number}@x.org", odd, odd) for number, odd in enumerate(ODD)])
    def run_one_batch(batch: list[Stranger]) -> None:
        bystander = start_afresh(table, hubspot)
        emails = add_strangers(table, batch, shape)
        report, log = run_and_listen(runs, tmp_path / "report.jsonl")
        check_rows(table, report, hubspot)
        check_bystander(table, hubspot, bystander)
        check_log(log, emails)
        check_json(report)
        lines = json_lines(tmp_path / "report.jsonl")
        assert [line["id"] for line in lines] == [str(each.id) for each in report.contacts]

    run_one_batch()


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("shape", ["sqlite"])
def test_table_of_a_run_shows_strangers_words_and_obeys_none(
    table: Contacts, runs: Runs, columns: str
) -> None:
    for email in SCRAPED_EMAILS[:-5]:
        table.add(email)
    for odd in ODD:
        table.add(f"{odd}@x.org")
    report = runs.queue(60)
    check_table(report, columns)
    check_json(report)


# shows a fault: the Email column folds all of it, however long
@pytest.mark.parametrize("words", LONG, ids=["plain", "escapes", "markup", "wide", "blanks"])
@pytest.mark.parametrize("shape", ["sqlite"])
def test_table_of_a_run_is_bounded_however_long_an_email_is(
    table: Contacts, runs: Runs, words: str
) -> None:
    table.add(f"{words}@x.org")
    check_table(runs.queue(), "80")


# shows a fault: U+061C is a bidirectional control character too
def test_error_and_display_take_out_every_bidirectional_control_character() -> None:
    controls = "".join(
        letter
        for letter in map(chr, range(0x3000))
        if DANGEROUS.match(letter) and unicodedata.category(letter) == "Cf"
    )
    assert len(controls) == 12
    assert shown_error(said(f"a{controls}b")) == "a b"
    assert not DANGEROUS.search(visible(controls))


# shows a fault: control characters stand in the copy as they are
def test_copy_of_a_reset_is_json_lines_whatever_strangers_wrote(
    table: Contacts, runs: Runs, queue: ContactQueue, hubspot: Emulator, shape: str, tmp_path: Path
) -> None:
    emails = {storable_email(f"{odd}@x.org", shape) for odd in (*ODD, LONG[1])}
    keys = {str(table.add(email)): email for email in sorted(emails)}
    runs.queue()
    lines = keep_copy(table, tmp_path / "copy.jsonl")
    assert {line["id"]: line["email"] for line in lines} == keys
    assert {row["hubspot_sync_status"] for row in table.rows()} == {table.never_synced}


SQL = (
    "'); DROP TABLE contacts; --",
    "' OR '1'='1",
    "%s %(x)s %% %",
    ":name :email :id ::text",
    "{0} {name} $1 $$ @p1 ?",
    'a" b` c\\',
    "E'\\x27'; DELETE FROM contacts",
)


def test_values_that_look_like_sql_are_delivered_as_they_are(
    table: Contacts, runs: Runs, hubspot: Emulator, shape: str
) -> None:
    keys = []
    for number, sql in enumerate(SQL):
        ours: dict[str, Any] = {"domain_id": sql, "page_id": sql} if shape == "sqlite" else {}
        keys.append(table.add(f"c{number}@x.org", name=f"x {sql}", phone_number=sql, **ours))
        table.change(keys[-1], hubspot_contact_id=sql)
    assert runs.queue().counts == {"created": len(SQL)}
    for number, (key, sql) in enumerate(zip(keys, SQL, strict=True)):
        held = hubspot.contact_by_email(f"c{number}@x.org")
        assert held is not None
        assert (held["properties"]["lastname"], held["properties"]["phone"]) == (sql, sql)
        row = table.row(key)
        assert (row["name"], row["phone_number"]) == (f"x {sql}", sql)
        assert row["hubspot_contact_id"] == held["id"]
        if shape == "sqlite":
            assert held["properties"]["scrapersky_domain_id"] == row["domain_id"] == sql
    assert len(table.rows()) == len(SQL)


def test_emails_and_errors_that_look_like_sql_are_kept_as_they_are(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    keys = {}
    for sql in SQL:
        email = f"({sql})@x.org".replace(" ", "_")
        keys[email] = table.add(email)
    mailbox = table.add("a'or'1'='1%s%%{0}@x.org")
    report = runs.queue()
    assert report.counts == {"rejected": len(SQL), "created": 1}
    assert table.state(mailbox) == ("Complete", "Complete")
    assert hubspot.contact_by_email("a'or'1'='1%s%%{0}@x.org") is not None
    for email, key in keys.items():
        error = table.row(key)["hubspot_processing_error"]
        assert f"Email address {email.lower()} is invalid" in error


STORED_IDS = (*SQL, *ODD, "", " ", "9" * 400, "../20001", "20001/../20001", "20001?archived=true")


@pytest.mark.parametrize("shape", ["sqlite", "app"])
@pytest.mark.parametrize("lane", ["batch", "careful"])
def test_stored_id_that_is_none_counts_for_nothing(
    table: Contacts, runs: Runs, hubspot: Emulator, shape: str, lane: str
) -> None:
    other = {"email": "other@example.com", "firstname": "Other"}
    assert hubspot.add_contact(other) == "20001"
    stored_ids = [storable(each, shape) for each in STORED_IDS]
    keys = [table.add(f"c{n}@x.org", hubspot_contact_id=each) for n, each in enumerate(stored_ids)]
    if lane == "batch":
        assert runs.queue().counts == {"created": len(keys)}
    else:
        assert [runs.one(key).counts for key in keys] == [{"created": 1}] * len(keys)
    for number, key in enumerate(keys):
        held = hubspot.contact_by_email(f"c{number}@x.org")
        assert held is not None
        assert table.row(key)["hubspot_contact_id"] == held["id"] != "20001"
    kept = hubspot.contact_by_email("other@example.com")
    assert kept is not None
    assert kept["properties"] == other


# shows a fault: an endless stored id makes an address that no server takes
@pytest.mark.parametrize("shape", ["sqlite"])
def test_stored_id_without_end_counts_for_nothing(table: Contacts, runs: Runs) -> None:
    key = table.add(hubspot_contact_id="9" * 100_000)
    assert runs.one(key).counts == {"created": 1}


@pytest.mark.parametrize("shape", ["sqlite", "plain"])
def test_decision_that_is_none_of_ours_is_given_back_as_it_was(
    table: Contacts, runs: Runs, hubspot: Emulator, shape: str
) -> None:
    odd = [storable(words, shape) for words in (*ODD, *SQL, *LONG)]
    keys = [table.add(f"c{n}@x.org", hubspot_sync_status=words) for n, words in enumerate(odd)]
    hubspot.fault(status=401, body={"message": "no"}, times=None)
    report = runs.queue()
    assert report.counts == {"released": len(odd)}
    assert [table.state(key) for key in keys] == [(words, "Queued") for words in odd]
    hubspot.clear_faults()
    assert runs.queue().counts == {"created": len(odd)}
    assert {table.state(key) for key in keys} == {("Complete", "Complete")}


@pytest.mark.parametrize("shape", ["sqlite", "plain"])
def test_state_that_is_none_of_ours_is_left_alone(
    table: Contacts, runs: Runs, hubspot: Emulator, shape: str
) -> None:
    odd = [storable(words, shape) for words in (*ODD, *SQL, *LONG)]
    keys = [
        table.add(f"c{n}@x.org", hubspot_processing_status=words) for n, words in enumerate(odd)
    ]
    bystander = table.add(BYSTANDER, name="Grace Hopper", phone_number="+1 2")
    assert runs.queue().counts == {"created": 1}
    assert [table.state(key) for key in keys] == [("Selected", words) for words in odd]
    check_bystander(table, hubspot, bystander)


NO_UTF8 = "CAST(x'4164EDA08061C328' AS TEXT)"
"""Half an emoji and half a letter, as a program in another language may leave them."""


# shows a fault: one text that is no UTF-8 stops every run, and nobody is delivered any more
@pytest.mark.parametrize("column", ["email", "name", "phone_number", "domain_id"])
@pytest.mark.parametrize("shape", ["sqlite"])
def test_text_that_is_no_utf8_harms_no_other_contact(
    table: Contacts, runs: Runs, hubspot: Emulator, column: str
) -> None:
    bad = table.add("bad@example.com", age=timedelta(minutes=9))
    bystander = table.add(BYSTANDER, name="Grace Hopper", phone_number="+1 2")
    with table.engine.begin() as connection:
        changed = text(f"UPDATE contacts SET {column} = {NO_UTF8} WHERE id = :id")
        connection.execute(changed, {"id": str(bad)})
    report = runs.queue()
    assert report.claimed == 2
    check_bystander(table, hubspot, bystander)


# shows a fault: a blob where the email should be ends the run with a TypeError
@pytest.mark.parametrize("column", ["email", "name", "phone_number"])
@pytest.mark.parametrize("shape", ["sqlite"])
def test_blob_that_is_no_text_harms_no_other_contact(
    table: Contacts, runs: Runs, hubspot: Emulator, column: str
) -> None:
    bad = table.add("bad@example.com", age=timedelta(minutes=9))
    bystander = table.add(BYSTANDER, name="Grace Hopper", phone_number="+1 2")
    with table.engine.begin() as connection:
        changed = text(f"UPDATE contacts SET {column} = x'61400062' WHERE id = :id")
        connection.execute(changed, {"id": str(bad)})
    report = runs.queue()
    assert report.claimed == 2
    check_bystander(table, hubspot, bystander)


ODD_WORDS = "".join(ODD) * 200
"""HubSpot's own words at their worst: over 100,000 characters, no line of them harmless."""

PROBLEM = {"message": ODD_WORDS, "code": ODD_WORDS, "context": {"propertyName": ["phone"]}}
REFUSALS: list[Any] = [
    pytest.param(400, {"message": ODD_WORDS, "category": "VALIDATION_ERROR"}, id="message"),
    pytest.param(400, {"message": ODD_WORDS, "category": ODD_WORDS}, id="category"),
    pytest.param(400, {"message": "no", "errors": [PROBLEM]}, id="errors"),
    pytest.param(409, {"message": ODD_WORDS, "category": "CONFLICT"}, id="conflict"),
    pytest.param(404, {"message": ODD_WORDS}, id="not-found"),
    pytest.param(422, {"message": ODD_WORDS, "correlationId": ODD_WORDS}, id="correlation-id"),
    pytest.param(418, {"message": "half an emoji: \ud83d."}, id="half-an-emoji"),
    pytest.param(400, {"message": {"no": "text"}, "errors": "no list"}, id="no-text"),
    pytest.param(400, {}, id="nothing"),
]


@pytest.mark.parametrize(("status", "body"), REFUSALS)
def test_refusal_in_the_oddest_words_is_one_short_line(
    table: Contacts, runs: Runs, hubspot: Emulator, tmp_path: Path, status: int, body: object
) -> None:
    bystander = table.add(BYSTANDER, name="Grace Hopper", phone_number="+1 2")
    key = table.add("odd@example.com")
    hubspot.fault(
        path="/contacts(/batch/create)?$", contains="odd@", status=status, body=body, times=None
    )
    report, log = run_and_listen(runs, tmp_path / "report.jsonl")
    assert report.counts == {"created": 1, "failed": 1}
    check_bystander(table, hubspot, bystander)
    error = table.row(key)["hubspot_processing_error"]
    assert 0 < len(error) <= MAX_ERROR_LENGTH
    assert not DANGEROUS.search(error)
    for columns in WIDTHS:
        check_table(report, columns)
    check_json(report)
    check_log(log, ["odd@example.com"])
    assert len(json_lines(tmp_path / "report.jsonl")) == 2


# shows a fault: the reason of a stopped run is as long as HubSpot's words are
@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(400, {"message": ODD_WORDS, "category": "VALIDATION_ERROR"}, id="everyone"),
        pytest.param(400, {"message": "no", "category": ODD_WORDS}, id="everyone-code"),
        pytest.param(403, {"message": ODD_WORDS}, id="forbidden"),
        pytest.param(
            403,
            {"errors": [{"context": {"requiredGranularScopes": [ODD_WORDS] * 3}}]},
            id="scopes",
        ),
        pytest.param(401, {"message": ODD_WORDS}, id="denied"),
    ],
)
@pytest.mark.parametrize("shape", ["sqlite"])
def test_reason_of_a_stopped_run_is_short_whatever_hubspot_says(
    table: Contacts, runs: Runs, hubspot: Emulator, status: int, body: object
) -> None:
    for number in range(12):
        table.add(f"c{number}@example.com")
    hubspot.fault(path="/contacts(/batch/create)?$", status=status, body=body, times=None)
    report = runs.queue()
    assert report.state == "stopped"
    assert report.counts.keys() <= {"stopped", "released"}
    check_json(report)
    check_table(report, "80")
    assert report.reason is not None
    assert len(report.reason) < 2_000
    assert len(report.reason.splitlines()) == 1


ANY_ID = "'); DROP\x1b[31m\u202e"


@pytest.mark.parametrize("hubspot_id", [ANY_ID, "\ud83d", "7" * 100_000, 20_001, "x\x00y"])
def test_record_id_that_hubspot_never_gives_ends_no_run(
    table: Contacts, runs: Runs, hubspot: Emulator, hubspot_id: object
) -> None:
    bystander = table.add(BYSTANDER, name="Grace Hopper", phone_number="+1 2")
    key = table.add("odd@example.com", age=timedelta(minutes=9))
    hubspot.fault(
        path="/contacts/batch/create",
        contains="odd@",
        body={"results": [{"id": hubspot_id, "properties": {"email": "odd@example.com"}}]},
    )
    report = runs.queue()
    assert report.claimed == 2
    check_bystander(table, hubspot, bystander)
    assert "Processing" not in table.state(key)
    check_table(report, "80")
    check_json(report)


many_examples = pytest.mark.timeout(60 + EXAMPLES)


@many_examples
@cheaply
@given(_emails)
def test_normal_form_of_an_email_is_its_own_normal_form(email: str) -> None:
    normal = normalise_email(email)
    assert normalise_email(normal) == normal == email.strip().lower()


@many_examples
@cheaply
@given(_emails | st.text(st.sampled_from("aB1@.;<> \t\x00\x85\u3000\u2028\x9b")))
@example("ada@.x.org")
@example("\x85a@b.c\u2028")
def test_email_that_is_sent_has_two_sides_and_no_blanks(email: str) -> None:
    if email_fault(email) is not None:
        return
    normal = normalise_email(email)
    mailbox, at, domain = normal.rpartition("@")
    assert at
    assert mailbox
    assert "." in domain.strip(".")
    assert len(normal) <= MAX_EMAIL_LENGTH
    assert not any(letter.isspace() or unicodedata.category(letter) == "Cc" for letter in normal)


@many_examples
@cheaply
@given(_emails)
def test_fault_of_an_email_does_not_depend_on_blanks_around_it_or_on_its_case(email: str) -> None:
    assert email_fault(f"\n {email}\t") == email_fault(email) == email_fault(normalise_email(email))


# shows a fault: the ids are sent as they are, blanks alone included
@many_examples
@cheaply
@given(_words, _words, _words, _words, st.sampled_from(["date", "datetime", "string"]))
@example(None, None, " ", "\u3000", "date")
def test_no_property_is_ever_blank(
    name: str | None, phone: str | None, domain: str | None, page: str | None, kind: str
) -> None:
    contact = scraped(str(uuid4()), "ada@x.org", name, phone, domain, page)
    definition = PropertyDefinition("scrapersky_sync_date", kind, "date")
    mapping = fitted(MAPPING, {definition.name: definition})
    properties = properties_of(contact, mapping, date(2026, 11, 24))
    assert all(isinstance(value, str) and value.strip() for value in properties.values())
    assert {"email", "scrapersky_sync_date"} <= properties.keys()


@many_examples
@cheaply
@given(_words, _words)
def test_mapping_is_stable(name: str | None, phone: str | None) -> None:
    today = date(2026, 11, 24)
    contact = scraped(str(uuid4()), "ada@x.org", name, phone)
    once = properties_of(contact, MAPPING, today)
    names = [once[part] for part in ("firstname", "lastname") if part in once]
    again = edited(contact, name=" ".join(names), phone_number=once.get("phone"))
    assert properties_of(again, MAPPING, today) == once


@many_examples
@cheaply
@given(_odd_text | st.text() | st.sampled_from(LONG))
@example("half an emoji \ud83d")
def test_error_of_any_words_is_one_short_line(words: str) -> None:
    error = error_text(said(words))
    assert len(error) <= MAX_ERROR_LENGTH
    assert not DANGEROUS.search(error)
    assert error.encode().decode() == error
