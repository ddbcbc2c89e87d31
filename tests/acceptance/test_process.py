"""The program as a process: entry points, signals, places, quiet, and the token kept secret."""

import json
import re
import signal
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from typer.main import get_command

from hubspot_sync.cli import app
from hubspot_sync.hubspot.emulator import Emulator
from tests.acceptance.program import Program
from tests.conftest import TOKEN
from tests.tables import Contacts


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_module_and_quiet_tick(table: Contacts, program: Program, hubspot: Emulator) -> None:
    ended = program.run_afresh("sync-queue")
    assert (ended.code, ended.out, ended.err) == (0, "Nothing is due.\n", "")
    assert hubspot.request_count == 0


@pytest.mark.parametrize("shape", ["sqlite"])
def test_log_of_a_tick_says_when(table: Contacts, program: Program) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    with program.start("sync-queue") as process:
        out, _ = process.communicate(timeout=50)
    told = re.fullmatch(r"(\S+Z) Nothing is due\.\n", out)
    assert told
    assert before <= datetime.fromisoformat(told[1]) <= datetime.now(UTC)


@pytest.mark.parametrize("shape", ["sqlite"])
def test_json_leaves_standard_output_to_the_document(table: Contacts, program: Program) -> None:
    table.add("bad")
    ended = program.run_process("sync-queue", "--json", "--verbose")
    assert json.loads(ended.out)["state"] == "partial"
    assert "1 rejected, which no retry can change" in ended.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("shape", ["app"])
def test_signal_ends_cleanly(
    table: Contacts, program: Program, hubspot: Emulator, number: signal.Signals
) -> None:
    for minutes in (9, 8, 7):
        table.add(f"c{minutes}@example.com", age=timedelta(minutes=minutes))
    for minutes in (8, 7):
        hubspot.add_contact({"email": f"c{minutes}@example.com"})
    release = threading.Event()
    fault = hubspot.fault(method="POST", path="/batch/create", after_write=True, release=release)
    with program.start("sync-queue") as process:
        assert fault.reached.wait(20)
        process.send_signal(number)
        release.set()
        out, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert "1 created, 2 released" in out
    assert number.name in err
    states = [
        (row["hubspot_sync_status"], row["hubspot_processing_status"]) for row in table.rows()
    ]
    assert sorted(states) == [("Complete", "Complete")] + [("Selected", "Queued")] * 2


@pytest.mark.parametrize("shape", ["sqlite"])
def test_second_signal_ends_at_once(table: Contacts, program: Program, hubspot: Emulator) -> None:
    key = table.add()
    release = threading.Event()
    fault = hubspot.fault(method="POST", path="/batch/create", release=release)
    with program.start("sync-queue") as process:
        assert fault.reached.wait(20)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    release.set()
    assert process.returncode in (-signal.SIGTERM, -signal.SIGINT)
    assert table.state(key) == ("Processing", "Processing")


@pytest.mark.parametrize("shape", ["sqlite"])
def test_one_run_too_many_is_busy_and_quiet(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    table.add()
    release = threading.Event()
    fault = hubspot.fault(method="POST", path="/batch/create", release=release)
    with program.start("sync-queue") as process:
        assert fault.reached.wait(20)
        busy = program.run_process("sync-queue", "--json")
        beside = program.run_process("sync-queue", HUBSPOT_SYNC_SCHEDULER_MAX_INSTANCES="2")
        process.kill()
        process.communicate(timeout=20)
    release.set()
    assert (busy.code, busy.err, busy.document["state"]) == (0, "", "busy")
    assert (beside.code, beside.out) == (0, "Nothing is due.\n")
    assert program.run_process("sync-queue").out == "Nothing is due.\n"


@pytest.mark.parametrize("shape", ["sqlite"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 423, 429, 477, 500])
def test_token_is_in_no_output_and_no_column(
    table: Contacts, program: Program, hubspot: Emulator, status: int
) -> None:
    key = table.add()
    hubspot.fault(path="/contacts", status=status, times=None, headers={"Retry-After": "0"})
    ended = program.run("sync-queue", "--verbose")
    assert ended.code in (1, 3)
    assert TOKEN not in ended.out + ended.err
    assert "ada@example.com" not in "".join(
        line for line in ended.err.splitlines() if " DEBUG " not in line
    )
    assert TOKEN not in json.dumps(table.row(key), default=str)


def test_token_cannot_be_given_where_the_process_list_shows_it() -> None:
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        options = [option for each in command.params for option in each.opts]
        assert "--json" in options, name
        assert not [option for option in options if "key" in option or "token" in option], name


def test_demo_runs_the_whole_job(
    tmp_path: Path, forked_script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its commands are processes, but begin at once; the README's demo is all as users have it.
    monkeypatch.setattr(sys, "executable", str(forked_script))
    ended = Program().run("demo", "--json", "--keep", str(tmp_path / "kept"))
    assert ended.code == 0, ended.err
    document = ended.document
    commands = [run["command"] for run in document["runs"]]
    assert commands[0] == "init-db"
    assert commands[1] == "create-properties"
    assert commands[-1] == "sync-one"
    assert set(commands[2:-1]) == {"sync-queue"}
    names = {name for run in document["runs"] for name, n in run.get("counts", {}).items() if n}
    assert {"created", "updated", "failed", "rejected"} <= names
    emails = [contact["email"] for contact in document["hubspot"]]
    assert len(emails) == len(set(emails)) >= 20
    assert (tmp_path / "kept" / "contacts.db").exists()


def test_emulator_says_where_it_answers() -> None:
    with Program().start_afresh("emulator", "--port", "0", "--json") as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        answer = requests.get(
            f"{said['url']}/crm/v3/objects/contacts",
            headers={"Authorization": f"Bearer {said['token']}"},
            timeout=5,
        )
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert answer.status_code == 200
    assert process.returncode == 130
