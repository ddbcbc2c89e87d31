"""What cron hears of a run, and what a person at a terminal sees while it goes on."""

import errno
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

from hubspot_sync.cli import app
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.run_places import take_place
from tests.acceptance.program import Ended, Program
from tests.conftest import TOKEN
from tests.tables import Contacts

both_databases = pytest.mark.parametrize("shape", ["sqlite", "app"])
on_sqlite = pytest.mark.parametrize("shape", ["sqlite"])
DEAD: dict[str, Any] = {
    "hubspot_sync_status": "Processing",
    "hubspot_processing_status": "Processing",
    "age": timedelta(minutes=11),
}
"""A contact that a dead worker left behind."""


def quiet(program: Program, *arguments: str, **more: str) -> Ended:
    return program.run("sync-queue", "--quiet", *arguments, **more)


# Quiet


@both_databases
def test_quiet_run_with_nothing_due_prints_nothing(table: Contacts, program: Program) -> None:
    assert quiet(program) == Ended(0, "", "")


@both_databases
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


@both_databases
def test_quiet_run_that_is_one_too_many_prints_nothing(
    table: Contacts, program: Program, engine: Engine, database_url: str
) -> None:
    table.add()
    with take_place(engine, database_url, 1) as has_place:
        assert has_place
        assert quiet(program) == Ended(0, "", "")
        assert "Another run is active" in program.run("sync-queue").out
        document = quiet(program, "--json").document
    assert document["state"] == "busy"


@both_databases
def test_quiet_run_with_failures_says_all_that_matters(table: Contacts, program: Program) -> None:
    table.add("ada@x.org")
    table.add("bad")
    ended = quiet(program)
    assert ended.code == 1
    assert re.search(r"bad +rejected +1/4", ended.out)
    assert "ada@x.org" not in ended.out
    assert "2 contacts: 1 created, 1 rejected" in ended.out
    assert ended.err == "1 rejected: correct and mark again. The table says why.\n"


@pytest.mark.parametrize("option", [["--quiet"], ["--report", "outcomes.jsonl"]])
def test_dry_run_is_no_run_to_report_of(option: list[str]) -> None:
    ended = Program({"HUBSPOT_API_KEY": TOKEN}).run("sync-queue", "--dry-run", *option)
    assert ended.code == 2
    assert "--report and --quiet are for runs" in ended.err


@both_databases
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
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    """A trickle of good contacts must not hide that others never get through."""
    table.add("ada@x.org")
    table.add("bob@x.org")
    hubspot.fault(
        method="POST", contains="bob@x.org", path=r"/objects/contacts$|/create", status=429,
        policy="SECONDLY", times=None,
    )  # fmt: skip
    ended = quiet(program)
    told = "1 contact could not be sent now, and will be tried again. The table says why.\n"
    assert (ended.code, ended.err) == (0, told)
    assert "rate limit is used up" in " ".join(ended.out.split())
    assert "ada@x.org" not in ended.out


@on_sqlite
def test_run_that_an_empty_file_disables_names_the_file(table: Contacts, program: Program) -> None:
    ended = quiet(program, HUBSPOT_API_KEY="", HUBSPOT_API_KEY_FILE="/dev/null")
    assert ended.code == 0
    assert "HUBSPOT_API_KEY_FILE" in ended.err


@both_databases
def test_quiet_run_tells_of_a_dead_worker(table: Contacts, program: Program) -> None:
    key = table.add(**DEAD)
    ended = quiet(program)
    assert (ended.code, ended.out) == (0, "")
    (line,) = ended.err.splitlines()
    assert f"contact {key}: taken over; its worker died" in line


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
@both_databases
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
    reader = threading.Thread(target=lambda: shown.extend(iter(lambda: _read(ours), b"")))
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


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError as end:
        if end.errno == errno.EIO:
            # Nobody holds the other end any more.
            return b""
        raise


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


@both_databases
def test_progress_shows_on_a_terminal_and_leaves_nothing_behind(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    hubspot.daily_limit = 250_000
    for number in range(10):
        table.add(f"c{number}@x.org" if number else "bad")
    ended = on_terminal(program, "sync-queue")
    assert "10 contacts: 9 created, 1 rejected" in ended.out
    last = bars(ended.err)[-1]
    assert "10/10" in last
    assert re.search(r"\d/s", last)
    assert "1 not delivered, 249,99" in last
    assert "requests left today" in last
    assert screen(ended.err) == ["1 rejected: correct and mark again. The table says why."]


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
    table.add(**DEAD)
    ended = on_terminal(program, "sync-queue", columns=200)
    (line,) = screen(ended.err)
    assert re.match(r"2\d{3}-\d\d-\d\dT\S+Z WARNING ", line)
    assert line.endswith("its worker died")


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
@both_databases
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
