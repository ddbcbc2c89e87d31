"""What cron hears of a run, and what a person at a terminal sees while it goes on."""

import io
import os
import pty
import re
import threading
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.main import get_command
from typer.testing import CliRunner

from hubspot_sync.cli import app
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.run_places import take_place
from tests.acceptance.program import Ended, Program, read_terminal
from tests.conftest import TOKEN
from tests.tables import Contacts

on_sqlite = pytest.mark.parametrize("shape", ["sqlite"])
DEAD: dict[str, Any] = {
    "hubspot_sync_status": "Processing",
    "hubspot_processing_status": "Processing",
    "age": timedelta(minutes=11),
}
"""A contact that a dead worker left behind."""


def quiet(program: Program, *arguments: str, **more: str) -> Ended:
    return program.run("sync-queue", "--quiet", *arguments, **more)


def rejected(key: str) -> str:
    return (
        f"1 rejected, which no retry can change: not an email address (contact {key}). Correct the "
        "contact and mark it again (enqueue), or skip it.\n"
    )


# Quiet


@on_sqlite
def test_quiet_run_with_nothing_due_prints_nothing(table: Contacts, program: Program) -> None:
    assert quiet(program) == Ended(0, "", "")


@on_sqlite
def test_quiet_run_that_is_done_prints_nothing(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    for number in range(12):
        table.add(f"c{number}@x.org")
    assert quiet(program) == Ended(0, "", "")
    assert program.run("sync-queue", "-q") == Ended(0, "", "")
    assert len(hubspot.contacts()) == 12


@on_sqlite
def test_quiet_process_prints_nothing(table: Contacts, program: Program) -> None:
    table.add()
    assert program.run_process("sync-queue", "--quiet") == Ended(0, "", "")


@on_sqlite
def test_quiet_run_that_is_one_too_many_prints_nothing(
    table: Contacts, program: Program, engine: Engine, database_url: str
) -> None:
    table.add()
    with take_place(engine, database_url, BUILT_IN_SOURCE, 1) as has_place:
        assert has_place
        assert quiet(program) == Ended(0, "", "")
        assert "Another run is active" in program.run("sync-queue").out
        document = quiet(program, "--json").document
    assert document["state"] == "busy"


@on_sqlite
def test_quiet_run_with_failures_says_all_that_matters(table: Contacts, program: Program) -> None:
    table.add("ada@x.org")
    key = table.add("bad")
    ended = quiet(program, HUBSPOT_SYNC_MAIL="failures")
    assert ended.code == 1
    assert re.search(r"bad +rejected +1/4", ended.out)
    assert "ada@x.org" not in ended.out
    assert "2 contacts: 1 created, 1 rejected" in ended.out
    assert ended.err == rejected(key)


@pytest.mark.parametrize("option", [["--quiet"], ["--report", "outcomes.jsonl"]])
def test_dry_run_is_no_run_to_report_of(option: list[str]) -> None:
    ended = Program({"HUBSPOT_API_KEY": TOKEN}).run("sync-queue", "--dry-run", *option)
    assert ended.code == 2
    assert "--report and --quiet are for runs" in ended.err


@on_sqlite
def test_quiet_run_that_stops_says_why(table: Contacts, program: Program) -> None:
    table.add()
    ended = quiet(program, HUBSPOT_API_KEY="pat-na1-wrong")
    assert ended.code == 3
    assert "CRITICAL" in ended.err
    assert "The run stopped: HubSpot does not accept the token (401)" in ended.err
    assert "released " not in ended.out
    assert "1 released" in ended.out


@on_sqlite
def test_quiet_run_that_is_disabled_says_so(table: Contacts, program: Program) -> None:
    ended = quiet(program, HUBSPOT_API_KEY="")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.startswith("HUBSPOT_API_KEY is empty: the sync is disabled.")


@on_sqlite
def test_contact_that_has_to_wait_is_told_beside_those_that_were_delivered(
    table: Contacts, program: Program, hubspot: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trickle of good contacts must not hide that others never get through."""
    monkeypatch.setattr("hubspot_sync.clock.Ending.sleep", lambda *_: None)
    table.add("ada@x.org")
    key = table.add("bob@x.org")
    hubspot.fault(
        method="POST", contains="bob@x.org", path=r"/objects/contacts$|/create", status=429,
        policy="SECONDLY", times=None,
    )  # fmt: skip
    assert quiet(program) == Ended(0, "", "")
    table.age_all(timedelta(minutes=6))
    table.add("cyd@x.org")
    ended = quiet(program, HUBSPOT_SYNC_MAIL="failures")
    told = (
        "1 could not be sent now, and will be tried again: HubSpot's limits were used up (contact "
        f"{key}).\n"
    )
    assert (ended.code, ended.err) == (0, told)
    assert "rate limit is used up" in " ".join(ended.out.split())
    assert "cyd@x.org" not in ended.out


@on_sqlite
def test_run_that_an_empty_file_disables_names_the_file(table: Contacts, program: Program) -> None:
    ended = quiet(program, HUBSPOT_API_KEY="", HUBSPOT_API_KEY_FILE="/dev/null")
    assert ended.code == 0
    assert "HUBSPOT_API_KEY_FILE" in ended.err


@on_sqlite
def test_quiet_run_tells_of_a_dead_worker(table: Contacts, program: Program) -> None:
    key = table.add(**DEAD)
    ended = quiet(program)
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.startswith("1 contact was taken over from a run that died")
    assert len(ended.err.splitlines()) == 1
    assert str(key) not in ended.err


# Mail


@on_sqlite
def test_kill_that_left_four_hundred_contacts_is_one_line(
    table: Contacts, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubspot_sync.clock.Ending.sleep", lambda *_: None)
    table.add_all([f"c{number}@x.org" for number in range(400)], **DEAD)
    ended = program.run("sync-queue", "--limit", "400", HUBSPOT_SYNC_MAIL="failures")
    assert (ended.code, "400 contacts: 400 created" in ended.out) == (0, True)
    (line,) = ended.err.splitlines()
    assert line.startswith("400 contacts were taken over from a run that died")


@pytest.mark.parametrize("option", [[], ["--quiet"], ["--json"]])
@on_sqlite
def test_single_failures_are_mailed_on_request_alone(
    table: Contacts, program: Program, option: list[str]
) -> None:
    def run(**more: str) -> Ended:
        table.clear()
        table.add_all(["bad", "also bad", None])
        table.add(name="x" * 70_000)
        return program.run("sync-queue", *option, **more)

    ended = run()
    assert (ended.code, ended.err) == (1, "")
    assert (ended.out == "") == (option == ["--quiet"])
    ended = run(HUBSPOT_SYNC_MAIL="failures")
    assert ended.code == 1
    assert [line.partition(" (")[0] for line in ended.err.splitlines()] == [
        "2 rejected, which no retry can change: not an email address",
        "1 rejected, which no retry can change: no email address",
        "1 failed and will be tried again: HubSpot refuses it: VALUE_TOO_LONG on firstname",
    ]
    assert "@" not in ended.err


@on_sqlite
def test_run_whose_every_contact_was_rejected_is_mailed(table: Contacts, program: Program) -> None:
    table.add_all(["bad", "also bad", "worse"])
    ended = program.run("sync-queue", "--quiet")
    (line,) = ended.err.splitlines()
    assert line.startswith("3 rejected, which no retry can change: not an email address")
    assert len(re.findall(r"(?:bad|worse) +rejected", ended.out)) == 3


@on_sqlite
def test_contact_that_used_up_its_attempts_is_mailed(table: Contacts, program: Program) -> None:
    key = table.add(
        name="x" * 70_000, hubspot_sync_status="Queued", hubspot_processing_status="Error",
        retry_count=3, last_failed_crm="hubspot",
    )  # fmt: skip
    table.add("ada@x.org")
    ended = program.run("sync-queue")
    (line,) = ended.err.splitlines()
    assert line.startswith("1 stays in Error until marked again: HubSpot refuses it: VALUE_TOO_LO")
    assert f"(contact {key})" in line


@on_sqlite
def test_many_reasons_leave_a_mail_short(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    table.add("ada@x.org")
    for number in range(12):
        email = f"c{number}@x.org"
        table.add(email)
        problem = {"message": "odd", "code": f"ODD_{number}", "in": "phone"}
        refused: dict[str, Any] = {"status": "error", "message": "odd", "errors": [problem]}
        hubspot.fault(
            method="POST", path="/contacts", contains=email, status=400, body=refused, times=None
        )
    ended = program.run("sync-queue", "--limit", "20", HUBSPOT_SYNC_MAIL="failures")
    assert "1 created, 12 failed" in ended.out
    lines = ended.err.splitlines()
    assert (len(lines), lines[-1][:25]) == (8, "5 more lines are left out")


@on_sqlite
def test_whoever_sends_one_contact_is_told_all(table: Contacts, program: Program) -> None:
    key = table.add(name="x" * 70_000)
    assert "1 failed and will be tried again" in program.run("sync-one", str(key)).err


@on_sqlite
def test_log_has_a_line_a_contact_with_its_address_whole(table: Contacts, program: Program) -> None:
    long = f"{'a' * 60}@{'d' * 60}.example"
    table.add(long)
    table.add("bad")
    ended = CliRunner().invoke(app, ["sync-queue"], env=program.environment, catch_exceptions=False)
    heads, *rows, total = ended.stdout.splitlines()
    run_id = re.search(r"\(run (\w+)\)", total)
    assert heads.split()[:4] == ["Time", "Run", "Email", "Outcome"]
    assert run_id
    assert len(rows) == 2
    for row in rows:
        assert re.match(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ  {run_id[1]}  ", row)
    assert [row for row in rows if f" {long} " in row and "created" in row]
    assert [row for row in rows if " bad " in row and row.endswith("mark the contact again.")]


@on_sqlite
def test_quiet_run_with_wrong_settings_says_so(table: Contacts, program: Program) -> None:
    ended = quiet(program, HUBSPOT_SYNC_WORKERS="x")
    assert (ended.code, ended.out) == (2, "")
    assert "HUBSPOT_SYNC_WORKERS is 'x'" in ended.err


@pytest.mark.parametrize(
    ("state", "email", "more"),
    [
        ("done", "ada@x.org", {}),
        ("partial", "bad", {}),
        ("stopped", "ada@x.org", {"HUBSPOT_API_KEY": "pat-na1-wrong"}),
        ("disabled", "ada@x.org", {"HUBSPOT_API_KEY": ""}),
    ],
)
@on_sqlite
def test_quiet_run_prints_its_document_all_the_same(
    table: Contacts, program: Program, state: str, email: str, more: dict[str, str]
) -> None:
    table.add(email)
    assert quiet(program, "--json", **more).document["state"] == state


@on_sqlite
def test_wait_for_the_rest_is_not_told_quietly(table: Contacts, program: Program) -> None:
    for number in range(30):
        table.add(f"c{number}@x.org")
    assert "sync-queue --drain takes it now" in program.run("sync-queue", "--limit", "10").out
    assert quiet(program).out == ""


# Progress


def on_terminal(program: Program, *arguments: str, columns: int = 100, **more: str) -> Ended:
    """Run a command whose standard error is a terminal, and return all that went there."""
    ours, theirs = pty.openpty()
    shown: list[bytes] = []
    reader = threading.Thread(target=lambda: shown.extend(iter(lambda: read_terminal(ours), b"")))
    reader.start()
    terminal = {"TERM": "xterm-256color", "COLUMNS": str(columns), "NO_COLOR": "1"}
    try:
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(io.StringIO()) as out,
            os.fdopen(theirs, "w", encoding="utf-8") as stderr,
            redirect_stderr(stderr),
        ):
            for name, value in (program.environment | terminal | more).items():
                patch.setenv(name, value)
            code = get_command(app).main(list(arguments), "hubspot-sync", standalone_mode=False)
    finally:
        reader.join(20)
        os.close(ours)
    return Ended(int(code or 0), out.getvalue(), b"".join(shown).decode())


def screen(shown: str) -> list[str]:
    """Return what is left on a terminal that was shown this: lines, cursor up, erased lines."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", shown):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part.startswith("\x1b["):
            if part.endswith("A"):
                row = max(0, row - int(part[2:-1] or 1))
            elif part == "\x1b[2K":
                lines[row] = ""
        else:
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines if line.strip()]


def bars(shown: str) -> list[str]:
    """Return each state in which the bar was shown."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
    return re.findall(r"Delivering [^\r\n\x1b]*", plain)


@on_sqlite
def test_progress_shows_on_a_terminal_and_leaves_nothing_behind(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    hubspot.daily_limit = 250_000
    for number in range(10):
        key = table.add(f"c{number}@x.org" if number < 9 else "bad")
    ended = on_terminal(program, "sync-queue", columns=300)
    assert "10 contacts: 9 created, 1 rejected" in ended.out
    last = bars(ended.err)[-1]
    assert "10/10" in last
    assert re.search(r"\d/s", last)
    assert "1 not delivered, 249,99" in last
    assert "requests left today" in last
    assert screen(ended.err) == rejected(key).splitlines()


@on_sqlite
def test_progress_of_a_drain_counts_all_that_is_due(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    for number in range(12):
        table.add(f"c{number}@x.org")
    ended = on_terminal(program, "sync-queue", "--drain", "--json")
    assert ended.out.startswith('{"schema_version": 2')
    assert "12/12" in bars(ended.err)[-1]
    assert screen(ended.err) == []


@on_sqlite
def test_progress_counts_no_more_than_is_due(table: Contacts, program: Program) -> None:
    for number in range(3):
        table.add(f"c{number}@x.org")
    assert "3/3" in bars(on_terminal(program, "sync-queue").err)[-1]


@on_sqlite
def test_progress_fits_a_terminal_of_eighty_columns(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    hubspot.daily_limit = 250_000
    for number in range(10):
        table.add(f"c{number}@x.org" if number else "bad")
    last = bars(on_terminal(program, "sync-queue", columns=80).err)[-1]
    assert "1 not delivered" in last
    assert "left today" in last
    assert len(last.rstrip()) <= 80


@on_sqlite
def test_record_of_the_log_stands_on_a_line_of_its_own(table: Contacts, program: Program) -> None:
    table.add()
    report = "--report", "/dev/full"
    ended = on_terminal(program, "sync-queue", *report, columns=300)
    (line,) = screen(ended.err)
    assert re.match(r"2\d{3}-\d\d-\d\dT\S+Z WARNING ", line)
    assert "is incomplete" in line


@on_sqlite
def test_progress_ends_with_a_run_that_stops(table: Contacts, program: Program) -> None:
    table.add()
    ended = on_terminal(program, "sync-queue", "--json", columns=300, HUBSPOT_API_KEY="x")
    assert (ended.code, ended.err.count("\x1b[?25l")) == (3, ended.err.count("\x1b[?25h"))
    assert any(line.startswith("The run stopped:") for line in screen(ended.err))


@on_sqlite
def test_quiet_run_on_a_terminal_shows_no_progress(table: Contacts, program: Program) -> None:
    table.add()
    assert on_terminal(program, "sync-queue", "--quiet") == Ended(0, "", "")


@on_sqlite
def test_progress_is_not_shown_on_a_dumb_terminal(table: Contacts, program: Program) -> None:
    table.add()
    ended = on_terminal(program, "sync-queue", TERM="dumb")
    assert ended.code == 0
    assert "\x1b" not in ended.err


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every time that the contacts due are counted."""
    counts: list[str] = []
    count_due: Callable[[ContactQueue], int] = ContactQueue.count_due

    def count(queue: ContactQueue) -> int:
        counts.append("counted")
        return count_due(queue)

    monkeypatch.setattr(ContactQueue, "count_due", count)
    return counts


@pytest.mark.parametrize("arguments", [[], ["--drain"], ["--quiet"], ["--json"]])
@on_sqlite
def test_without_a_terminal_there_is_no_progress_and_no_query_for_it(
    table: Contacts, program: Program, counted: list[str], arguments: list[str]
) -> None:
    assert program.run("sync-queue", *arguments).err == ""
    assert counted == []
    table.add()
    assert program.run("sync-queue", *arguments).err == ""
    # What the report needs, which says how much is left.
    assert len(counted) == 1


@pytest.mark.parametrize("forced", [{"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}])
@on_sqlite
def test_colours_that_are_forced_are_no_terminal_for_the_progress(
    table: Contacts, program: Program, counted: list[str], forced: dict[str, str]
) -> None:
    assert program.run("sync-queue", "--drain", **forced).err == ""
    assert counted == []


@on_sqlite
def test_sync_one_shows_progress_on_a_terminal_alone(table: Contacts, program: Program) -> None:
    key = table.add()
    ended = on_terminal(program, "sync-one", str(key))
    assert "1/1" in bars(ended.err)[-1]
    assert screen(ended.err) == []
    assert program.run("sync-one", str(key)).err == ""
