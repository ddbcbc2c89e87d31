"""A dry run tells what a run would do, on both databases, and writes nowhere."""

import json
import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from hubspot_sync.hubspot.emulator import Emulator
from tests.acceptance import held
from tests.acceptance.program import Ended, Program
from tests.tables import Contacts

READS = {
    ("GET", "/account-info/v3/details"),
    ("POST", "/crm/v3/properties/contacts/batch/read"),
    ("POST", "/crm/v3/objects/contacts/batch/read"),
}
ANSI = re.compile(r"\x1b\[[0-9;]*m")
ON_TERMINAL = {"NO_COLOR": "", "TERM": "xterm-256color", "COLORTERM": ""}
DEAD: dict[str, Any] = {
    "hubspot_sync_status": "Processing",
    "hubspot_processing_status": "Processing",
    "age": timedelta(minutes=11),
}
"""A contact that a dead worker left behind."""

both_databases = pytest.mark.parametrize("shape", ["sqlite", "app"])
on_sqlite = pytest.mark.parametrize("shape", ["sqlite"])
each_width = pytest.mark.parametrize("columns", [80, 100])
each_form = pytest.mark.parametrize("form", [[], ["--json"]], ids=["screen", "json"])


def fill(table: Contacts, hubspot: Emulator) -> list[str]:
    """Queue a contact of each kind, the longest waiting first."""
    hubspot.add_contact(
        {"email": "known@x.org", "firstname": "Ida", "lastname": "King", "phone": "+44 20"},
        additional_emails=["second@x.org"],
    )
    kinds: list[dict[str, Any]] = [
        {"email": "new@x.org", "name": "Ada King"},
        {"email": "known@x.org", "name": "Ada King", "phone_number": "+44 1"},
        {"email": "stored@x.org", "hubspot_contact_id": "999999999"},
        {"email": "twice@x.org", "name": "Bo"},
        {"email": "Twice@x.org", "name": "Cy"},
        {"email": "bad"},
        {"email": "dead@x.org", **DEAD},
    ]
    return [
        table.add(**({"age": timedelta(minutes=29 - number)} | kind))
        for number, kind in enumerate(kinds)
    ]


def add_many(table: Contacts, number: int) -> list[str]:
    """Queue so many new contacts, the longest waiting first, and return their addresses."""
    emails = [f"c{each}@x.org" for each in range(number)]
    held.add_many(table, emails, oldest=timedelta(minutes=30))
    return emails


def files() -> dict[str, bytes]:
    """Return what stands in the current folder: the database, and whatever was left there."""
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def dry(program: Program, *arguments: str, **more: str) -> dict[str, Any]:
    ended = program.run("sync-queue", "--dry-run", "--json", *arguments, **more)
    assert (ended.code, ended.err) == (0, "")
    return ended.document


def actions(document: dict[str, Any]) -> dict[str, str]:
    return {each["id"]: each["action"] for each in document["contacts"]}


# It writes nowhere


@both_databases
@each_form
def test_dry_run_of_the_queue_writes_nowhere(
    table: Contacts, program: Program, hubspot: Emulator, form: list[str]
) -> None:
    fill(table, hubspot)
    rows, contacts, before = table.rows(), hubspot.contacts(), files()
    assert program.run("sync-queue", "--dry-run", *form, HUBSPOT_PORTAL_ID="24680135").code == 0
    assert set(hubspot.requests) == READS
    assert (table.rows(), hubspot.contacts(), files()) == (rows, contacts, before)


@both_databases
@each_form
def test_dry_run_of_each_contact_writes_nowhere(
    table: Contacts, program: Program, hubspot: Emulator, form: list[str]
) -> None:
    keys = fill(table, hubspot)
    rows, contacts, before = table.rows(), hubspot.contacts(), files()
    for key in keys:
        assert program.run("sync-one", str(key), "--dry-run", *form).code == 0
    assert set(hubspot.requests) <= READS
    assert (table.rows(), hubspot.contacts(), files()) == (rows, contacts, before)


@both_databases
@pytest.mark.parametrize(
    "fault", [{"status": 401}, {"status": 403}, {"status": 429, "policy": "DAILY"}, {"drop": True}]
)
def test_dry_run_that_hubspot_stops_exits_3_and_writes_nowhere(
    table: Contacts,
    program: Program,
    hubspot: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, Any],
) -> None:
    monkeypatch.setattr("hubspot_sync.clock.Ending.sleep", lambda *_: None)
    fill(table, hubspot)
    rows, contacts = table.rows(), hubspot.contacts()
    hubspot.fault(path="/contacts/batch/read", times=None, **fault)
    ended = program.run("sync-queue", "--dry-run", "--json")
    assert (ended.code, ended.document["state"]) == (3, "stopped")
    assert (table.rows(), hubspot.contacts()) == (rows, contacts)


@both_databases
def test_dry_run_takes_no_place_from_a_run(
    table: Contacts, program: Program, hubspot: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a dry run takes a place")

    monkeypatch.setattr("hubspot_sync.store.run_places.take_place", refuse)
    table.add()
    assert len(dry(program)["contacts"]) == 1


# What it costs


@pytest.mark.parametrize(
    ("contacts", "stored", "requests"), [(0, 0, 0), (1, 0, 2), (100, 0, 2), (120, 0, 3), (3, 2, 3)]
)
@on_sqlite
def test_dry_run_asks_once_for_the_portal_and_once_a_hundred(
    table: Contacts,
    program: Program,
    hubspot: Emulator,
    contacts: int,
    stored: int,
    requests: int,
) -> None:
    for number in range(stored):
        table.add(f"s{number}@x.org", hubspot_contact_id=str(number))
    add_many(table, contacts - stored)
    assert len(dry(program, "--limit", "200")["contacts"]) == contacts
    assert hubspot.request_count == requests


@both_databases
def test_dry_run_of_one_asks_twice(table: Contacts, program: Program, hubspot: Emulator) -> None:
    key = table.add()
    assert program.run("sync-one", str(key), "--dry-run").code == 0
    assert hubspot.request_count == 2


# What it says is what a run does


@both_databases
def test_run_does_what_the_dry_run_said(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    keys = fill(table, hubspot)
    planned = dry(program)
    told = ["create", "update", "create", "create", "create", "reject", "create"]
    assert actions(planned) == dict(zip(map(str, keys), told, strict=True))
    done = program.run("sync-queue", "--json").document
    words = {"created": "create", "updated": "update", "rejected": "reject"}
    assert {each["id"]: words[each["outcome"]] for each in done["contacts"]} == actions(planned)
    errors = {each["id"]: each["error"] for each in planned["contacts"]}
    assert {each["id"]: each["error"] for each in done["contacts"]} == errors
    assert_held(hubspot, done, planned)


def assert_held(hubspot: Emulator, done: dict[str, Any], planned: dict[str, Any]) -> None:
    """HubSpot holds the new value of every change that was foretold."""
    records = {each["id"]: each["properties"] for each in hubspot.contacts()}
    record = {each["id"]: each["hubspot_contact_id"] for each in done["contacts"]}
    for plan in planned["contacts"]:
        for change in plan["changes"]:
            assert records[record[plan["id"]]][change["property"]] == change["new"]


@both_databases
def test_sync_one_does_what_its_dry_run_said(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    keys = fill(table, hubspot)
    for key in (keys[1], keys[0]):
        planned = program.run("sync-one", str(key), "--dry-run", "--json").document
        done = program.run("sync-one", str(key), "--json").document
        (plan,), (end,) = planned["contacts"], done["contacts"]
        assert end["outcome"] == f"{plan['action']}d"
        assert_held(hubspot, done, planned)


@both_databases
def test_dry_run_takes_the_batch_size_or_the_limit(table: Contacts, program: Program) -> None:
    emails = add_many(table, 14)
    by_email = {row["email"]: str(row["id"]) for row in table.rows()}
    keys = [by_email[email] for email in emails]
    assert list(actions(dry(program))) == keys[:10]
    assert list(actions(dry(program, "--limit", "3"))) == keys[:3]
    assert dry(program, "--limit", "3")["due"] == 14


@both_databases
def test_dry_run_of_a_drain_tells_of_all_that_is_due(table: Contacts, program: Program) -> None:
    add_many(table, 14)
    assert set(actions(dry(program, "--drain"))) == {str(row["id"]) for row in table.rows()}


@both_databases
def test_contact_whose_workers_died_at_each_attempt_is_foretold_to_fail(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    key = str(table.add(retry_count=3, last_failed_crm="hubspot", **DEAD))
    by_queue = dry(program)
    by_id = program.run("sync-one", key, "--dry-run", "--json").document
    (end,) = program.run("sync-queue", "--json").document["contacts"]
    assert (end["outcome"], hubspot.contacts()) == ("exhausted", [])
    assert actions(by_queue) == {key: "fail"}
    assert actions(by_id) == {key: "fail"}


@both_databases
def test_dry_run_tells_of_the_contacts_that_the_run_would_take(
    table: Contacts, program: Program
) -> None:
    table.add("waits@x.org", age=timedelta(minutes=30))
    table.add("dead@x.org", **DEAD)
    planned = dry(program, "--limit", "1")
    done = program.run("sync-queue", "--limit", "1", "--json").document
    assert [each["id"] for each in done["contacts"]] == list(actions(planned))


@both_databases
def test_dry_run_of_what_a_live_run_holds_is_refused_without_a_request(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    key = table.add(**(DEAD | {"age": timedelta(minutes=1)}))
    ended = program.run("sync-one", str(key), "--dry-run", "--json")
    assert (ended.code, ended.document["state"], hubspot.request_count) == (1, "refused", 0)
    assert dry(program)["contacts"] == []


@on_sqlite
def test_dry_run_without_a_key_is_disabled(table: Contacts, program: Program) -> None:
    table.add()
    ended = program.run("sync-queue", "--dry-run", "--json", HUBSPOT_API_KEY="")
    assert (ended.code, ended.document["state"]) == (0, "disabled")


# The document


@on_sqlite
def test_document_has_each_contact_whole(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    long = "x" * 900
    record = hubspot.add_contact({"email": "ada@x.org", "firstname": "y" * 900, "phone": "+44 1"})
    key = table.add(name=long, email="ada@x.org", phone_number="+44 1")
    document = dry(program)
    (plan,) = document.pop("contacts")
    assert document == {"schema_version": 2, "command": "sync-queue", "dry_run": True, "due": 1}
    changes = {each["property"]: (each["old"], each["new"]) for each in plan["changes"]}
    assert changes.pop("firstname") == ("y" * 900, long)
    assert {name: old for name, (old, _) in changes.items()} == {
        "scrapersky_domain_id": None,
        "scrapersky_page_id": None,
        "scrapersky_sync_date": None,
    }
    assert (plan["id"], plan["action"], plan["hubspot_contact_id"]) == (str(key), "update", record)
    assert (plan["error"], plan["unchanged"]) == (None, 1)
    assert "ada@x.org" not in json.dumps(plan)


@on_sqlite
def test_document_of_one_is_of_the_same_shape(table: Contacts, program: Program) -> None:
    key = table.add()
    one = program.run("sync-one", str(key), "--dry-run", "--json").document
    queue = dry(program)
    assert (one["command"], one["due"]) == ("sync-one", None)
    assert one | {"command": "sync-queue", "due": 1} == queue


@on_sqlite
def test_document_has_every_contact_however_many(table: Contacts, program: Program) -> None:
    add_many(table, 130)
    assert len(dry(program, "--limit", "130")["contacts"]) == 130


@on_sqlite
def test_document_says_which_contacts_share_a_delivery(table: Contacts, program: Program) -> None:
    first = table.add("a@x.org", age=timedelta(minutes=9))
    last = table.add("A@x.org", age=timedelta(minutes=8))
    told = [each.get("shared_with") for each in dry(program)["contacts"]]
    assert told == [[str(last)], [str(first)]]


@pytest.mark.parametrize("shape", ["sqlite"])
def test_contact_that_could_not_be_checked_is_told_with_the_reason(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    table.add("left@x.org")
    hubspot.fault(
        path="/contacts/batch/read", contains="left@x.org", body={"results": []}, times=None
    )
    (plan,) = dry(program)["contacts"]
    assert (plan["action"], plan["changes"]) == ("not known", [])
    shown = program.run("sync-queue", "--dry-run")
    assert "1 contact of 1 due: 1 not known." in shown.out
    assert plan["error"]
    assert plan["error"].split()[0] in shown.out


# The screen


def screen(program: Program, columns: int, *arguments: str, **more: str) -> Ended:
    return program.run("sync-queue", "--dry-run", *arguments, COLUMNS=str(columns), **more)


def last_column(out: str) -> str:
    """Return what stands in the last column, its folded lines joined."""
    lines = out.splitlines()
    start = next(line.index("What would") for line in lines if "What would" in line)
    return "".join(line[start:].strip() for line in lines)


@each_width
@on_sqlite
def test_screen_fits_and_loses_no_value(
    table: Contacts, program: Program, hubspot: Emulator, columns: int
) -> None:
    keys = fill(table, hubspot)
    ended = screen(program, columns)
    assert (ended.code, ended.err) == (0, "")
    *shown, _, _ = ended.out.splitlines()
    assert max(map(cell_len, shown)) <= columns
    told = last_column(ended.out)
    assert str(table.row(keys[0])["domain_id"]) in told
    assert "firstname: Ida -> Ada" in told
    assert "phone: +44 20 -> +44 1" in told
    assert "1 unchanged" in told
    assert "one delivery with" in told
    assert "Correctitandmarkthecontactagain." in told.replace(" ", "")


@each_width
@on_sqlite
def test_screen_counts_and_says_that_nothing_was_written(
    table: Contacts, program: Program, hubspot: Emulator, columns: int
) -> None:
    fill(table, hubspot)
    out = screen(program, columns).out
    assert "7 contacts of 7 due: 5 create, 1 reject, 1 update." in out
    assert "nothing was written" in out


@both_databases
def test_screen_with_nothing_due_says_so(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    ended = program.run("sync-queue", "--dry-run")
    assert "0 contacts of 0 due: nothing to do." in ended.out
    assert (ended.code, ended.err, hubspot.request_count) == (0, "", 0)


@on_sqlite
def test_screen_of_many_is_cut_and_says_where_all_are(table: Contacts, program: Program) -> None:
    add_many(table, 60)
    out = screen(program, 100, "--limit", "60").out
    assert len(re.findall(r"^ c\d+@x\.org ", out, re.MULTILINE)) == 50
    assert "10 not shown; --json has all." in out


@on_sqlite
def test_screen_cuts_a_value_that_is_too_long_to_read(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    table.add(name="x" * 900)
    out = screen(program, 100).out
    assert out.count("x") < 200
    assert "…" in out


@pytest.mark.parametrize("forced", [{"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}])
@on_sqlite
def test_screen_on_a_terminal_is_a_diff_in_colour(
    table: Contacts, program: Program, hubspot: Emulator, forced: dict[str, str]
) -> None:
    fill(table, hubspot)
    coloured = screen(program, 100, **forced, **ON_TERMINAL).out
    assert "firstname: \x1b[31mIda\x1b[0m -> \x1b[32mAda\x1b[0m" in coloured
    assert "phone: \x1b[31m+44 20\x1b[0m -> \x1b[32m+44 1\x1b[0m" in coloured
    assert "\x1b[32mcreate\x1b[0m" in coloured
    assert "\x1b[31mreject" in coloured
    assert "\x1b[2m1 unchanged" in coloured
    assert ANSI.sub("", coloured) == screen(program, 100).out


def no_terminal(environment: dict[str, str]) -> dict[str, str]:
    return {"FORCE_COLOR": "", **ON_TERMINAL} | environment


@pytest.mark.parametrize(
    "plain",
    [
        pytest.param(no_terminal({}), id="no-terminal"),
        pytest.param(ON_TERMINAL | {"FORCE_COLOR": "1", "NO_COLOR": "1"}, id="no-color"),
        pytest.param(ON_TERMINAL | {"FORCE_COLOR": "1", "TERM": "dumb"}, id="dumb"),
        pytest.param(ON_TERMINAL | {"TTY_COMPATIBLE": "0"}, id="not-compatible"),
    ],
)
@on_sqlite
def test_screen_has_no_colour_elsewhere(
    table: Contacts, program: Program, hubspot: Emulator, plain: dict[str, str]
) -> None:
    fill(table, hubspot)
    out = screen(program, 100, **plain).out
    assert not re.search(r"\x1b\[(?:\d+;)*3\d", out)


@on_sqlite
def test_document_has_no_colour(table: Contacts, program: Program, hubspot: Emulator) -> None:
    fill(table, hubspot)
    ended = program.run("sync-queue", "--dry-run", "--json", **ON_TERMINAL, FORCE_COLOR="1")
    assert "\x1b" not in ended.out
    assert len(ended.document["contacts"]) == 7


AsCommand = Callable[[str], list[str]]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(lambda _: ["sync-queue"], id="queue"),
        pytest.param(lambda key: ["sync-one", str(key)], id="one"),
    ],
)
@on_sqlite
def test_dry_run_obeys_no_word_of_a_stranger(
    table: Contacts, program: Program, hubspot: Emulator, command: AsCommand
) -> None:
    hubspot.add_contact({"email": "ada@x.org", "firstname": "\x1b[31mOld\x07 [b]"})
    key = table.add("ada@x.org", name="[red]New\u202e")
    ended = program.run(*command(key), "--dry-run", COLUMNS="200")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", ended.out)
    assert "[b] -> [red]New" in ended.out
    assert os.linesep in ended.out


@on_sqlite
@pytest.mark.parametrize("status", [401, 403, 502])
@pytest.mark.parametrize(
    "command", [["sync-queue", "--dry-run"], ["sync-one", "{key}", "--dry-run"],
                ["create-properties"], ["doctor"], ["sync-queue"]]
)  # fmt: skip
def test_a_run_alone_says_that_the_contacts_are_safe_in_the_queue(
    table: Contacts,
    program: Program,
    hubspot: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    status: int,
) -> None:
    monkeypatch.setattr("hubspot_sync.clock.Ending.sleep", lambda *_: None)
    key = table.add()
    hubspot.fault(status=status, times=None)
    ended = program.run(*(part.format(key=key) for part in command))
    assert ended.code in (1, 3)
    told = " ".join((ended.out + ended.err).split())
    assert ("safe in the queue" in told) is (command == ["sync-queue"])
