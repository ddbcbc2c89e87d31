"""The log: one line a record, in UTC, with the run, the contact and what HubSpot's support asks."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hubspot_sync.hubspot.emulator import Emulator
from tests.acceptance.program import Ended, Program
from tests.conftest import TOKEN
from tests.tables import Contacts

FIELDS = {
    *("time", "level", "logger", "run_id", "contact_id", "correlation_id", "error_code"),
    *("message", "traceback"),
}
CREATES = {"method": "POST", "path": "/contacts(/batch/create)?$"}
SENTENCES = (
    "The run stopped:",
    "1 failed and will be tried again: ",
    "1 rejected, which no retry can change: ",
    "2 rejected, which no retry can change: ",
    "1 contact was taken over",
)
"""How the sentences for people begin, which stand beside the log."""

on_sqlite = pytest.mark.parametrize("shape", ["sqlite"])

Record = dict[str, Any]


def header(correlation_id: str) -> dict[str, str]:
    return {"X-HubSpot-Correlation-Id": correlation_id}


def refusal(message: str = "no", **more: Any) -> dict[str, Any]:
    return {"status": "error", "category": "VALIDATION_ERROR", "message": message} | more


def records(ended: Ended) -> list[Record]:
    """Return the log; every other line of standard error must be a sentence for people."""
    lines = ended.err.splitlines()
    log = [json.loads(line) for line in lines if line.startswith("{")]
    others = [line for line in lines if not line.startswith("{")]
    assert [line for line in others if not line.startswith(SENTENCES)] == []
    return log


def refusals(log: list[Record]) -> dict[str, str | None]:
    """Return the correlation ids of the refusals, by contact."""
    return {
        record["contact_id"]: record.get("correlation_id")
        for record in log
        if "HubSpot refused it" in record["message"]
    }


def run(program: Program, *arguments: str, **more: str) -> Ended:
    return program.run("sync-queue", "--log-format", "json", "--json", *arguments, **more)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off takes no time."""
    monkeypatch.setattr("hubspot_sync.clock.Ending.sleep", lambda *_: None)


# JSON


@on_sqlite
@pytest.mark.parametrize("verbose", [[], ["--verbose"]], ids=["usual", "verbose"])
def test_every_record_is_one_document_with_the_fields_that_it_has(
    table: Contacts, program: Program, verbose: list[str]
) -> None:
    table.add("ada@x.org")
    table.add("ada@test.con")
    ended = run(program, *verbose)
    log = records(ended)
    assert log
    for record in log:
        assert set(record) <= FIELDS
        assert {"time", "level", "logger", "run_id", "message"} <= set(record)
        assert None not in record.values()
        assert record["logger"].startswith("hubspot_sync.")
    assert {record["run_id"] for record in log} == {ended.document["run_id"]}


@on_sqlite
def test_time_of_a_record_is_utc(
    table: Contacts, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        before = datetime.now(UTC)
        log = records(run(program))
        after = datetime.now(UTC)
    finally:
        monkeypatch.undo()
        time.tzset()
    for record in log:
        told = datetime.fromisoformat(record["time"])
        assert told.utcoffset() == timedelta(0)
        assert before - timedelta(milliseconds=1) <= told <= after


@on_sqlite
def test_runs_have_ids_of_their_own(table: Contacts, program: Program) -> None:
    ids = {record["run_id"] for _ in range(2) for record in records(run(program))}
    assert len(ids) == 2


@on_sqlite
def test_record_of_a_process_is_like_that_of_a_call(table: Contacts, program: Program) -> None:
    key = table.add("ada@test.con")
    ended = program.run_process("sync-queue", "--log-format", "json", "--json")
    log = records(ended)
    assert {record["run_id"] for record in log} == {ended.document["run_id"]}
    assert list(refusals(log)) == [str(key)]


@on_sqlite
def test_record_stays_one_line_whatever_hubspot_says(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    table.add()
    odd = "a\nb\r\n\x1b[31m\u2028\u202e\x85 c"
    body = refusal(odd, category=odd)
    hubspot.fault(**CREATES, status=400, body=body, times=None)
    ended = run(program, "--verbose")
    assert records(ended)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]", ended.err)
    assert len(ended.err.splitlines()) == ended.err.count("\n")


# What HubSpot's support asks for


@on_sqlite
def test_refusal_in_a_batch_names_contact_and_correlation_id(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    table.add("ada@x.org")
    keys = [table.add("ada@test.con"), table.add("bob@test.con")]
    hubspot.fault(path="/batch/create", headers=header("corr-207"))
    ended = run(program)
    assert ended.document["counts"]["rejected"] == 2
    assert refusals(records(ended)) == dict.fromkeys(map(str, keys), "corr-207")
    codes = [each["error_code"] for each in records(ended) if "contact_id" in each]
    assert codes == ["HUBSPOT_REFUSED"] * 2


@on_sqlite
def test_refusal_of_one_names_contact_and_correlation_id(
    table: Contacts, program: Program, hubspot: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubspot_sync.hubspot.emulator.answers.uuid4", lambda: "corr-body")
    key = table.add("ada@test.con")
    ended = program.run("sync-one", str(key), "--log-format", "json", "--json")
    log = records(ended)
    assert refusals(log) == {str(key): "corr-body"}
    assert {record["run_id"] for record in log} == {ended.document["run_id"]}


@on_sqlite
def test_refusal_of_a_whole_request_is_told_of_each_contact(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    keys = [table.add("ada@x.org"), table.add("bob@x.org")]
    body = refusal(correlationId="corr-whole")
    hubspot.fault(**CREATES, status=400, body=body, times=None)
    log = records(run(program))
    assert refusals(log) == dict.fromkeys(map(str, keys), "corr-whole")


@on_sqlite
def test_refusal_is_told_of_each_contact_that_shares_the_email(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    keys = [table.add("ada@test.con"), table.add("Ada@test.con")]
    hubspot.fault(path="/batch/create", headers=header("corr-207"))
    assert refusals(records(run(program))) == dict.fromkeys(map(str, keys), "corr-207")


@on_sqlite
def test_refusal_by_the_account_names_contact_and_correlation_id(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    key = table.add()
    hubspot.require_property("city")
    hubspot.fault(path="/batch/create", headers=header("corr-rule"))
    ended = run(program, HUBSPOT_API_VERSION="2026-09")
    assert ended.document["counts"]["stopped"] == 1
    assert refusals(records(ended)) == {str(key): "corr-rule"}


@on_sqlite
def test_correlation_id_is_taken_from_the_header_where_the_body_has_none(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    key = table.add()
    hubspot.fault(**CREATES, status=400, body=refusal(), headers=header("corr-header"), times=None)
    assert refusals(records(run(program))) == {str(key): "corr-header"}


@pytest.mark.parametrize("status", [404, 409, 500])
@on_sqlite
def test_refusal_of_any_kind_has_its_correlation_id(
    table: Contacts, program: Program, hubspot: Emulator, at_once: None, status: int
) -> None:
    key = table.add()
    hubspot.add_contact({"email": "ada@example.com"})
    body = refusal(correlationId="corr-any")
    hubspot.fault(
        path=r"/contacts(/batch/update|/\d+)$",
        status=status,
        body=body,
        headers=header("corr-any"),
        times=None,
    )
    assert refusals(records(run(program))) == {str(key): "corr-any"}


@pytest.mark.parametrize("status", [423, 429, 500, 502])
@on_sqlite
def test_request_that_is_tried_again_has_its_correlation_id(
    table: Contacts, program: Program, hubspot: Emulator, at_once: None, status: int
) -> None:
    table.add()
    hubspot.fault(
        path="/contacts/batch/read", status=status, body="<p>no", headers=header("corr-again")
    )
    ended = run(program)
    assert ended.document["counts"]["created"] == 1
    again = [record for record in records(ended) if "(try 1)" in record["message"]]
    assert [record.get("correlation_id") for record in again] == ["corr-again"]


# A token that is refused


@pytest.mark.parametrize(("status", "where"), [(401, "/"), (403, "/"), (403, "/batch/create")])
@on_sqlite
def test_token_that_is_refused_is_critical(
    table: Contacts, program: Program, hubspot: Emulator, status: int, where: str
) -> None:
    table.add()
    hubspot.fault(path=where, status=status, times=None)
    ended = run(program)
    (critical,) = [each for each in records(ended) if each["level"] == "CRITICAL"]
    assert (ended.code, critical["run_id"]) == (3, ended.document["run_id"])
    assert "token" in critical["message"]
    table.add("bob@x.org")
    text = program.run("sync-queue", "--json")
    assert f"Z CRITICAL {text.document['run_id']} hubspot_sync.run: " in text.err


@pytest.mark.parametrize("status", [401, 403])
@on_sqlite
def test_token_that_is_refused_has_its_correlation_id(
    table: Contacts, program: Program, hubspot: Emulator, status: int
) -> None:
    table.add()
    body = refusal(correlationId="corr-token")
    hubspot.fault(path="/", status=status, body=body, times=None)
    (critical,) = [each for each in records(run(program)) if each["level"] == "CRITICAL"]
    assert critical.get("correlation_id") == "corr-token"


@pytest.mark.parametrize(
    "command", [["sync-queue", "--dry-run"], ["sync-one", "{key}", "--dry-run"]]
)
@on_sqlite
def test_token_that_is_refused_is_critical_in_a_dry_run_too(
    table: Contacts, program: Program, hubspot: Emulator, command: list[str]
) -> None:
    key = table.add()
    hubspot.fault(path="/", status=401, times=None)
    words = [word.format(key=key) for word in command]
    ended = program.run(*words, "--log-format", "json")
    assert ended.code == 3
    assert '"level": "CRITICAL"' in ended.err


# Other records about one contact


@pytest.fixture
def left_behind(table: Contacts) -> dict[str, str]:
    """Contacts of dead workers: one that is wanted, and one that nobody wants any more."""
    dead: dict[str, Any] = {
        "hubspot_processing_status": "Processing",
        "age": timedelta(minutes=11),
    }
    return {
        "taken over": table.add("a@x.org", hubspot_sync_status="Processing", **dead),
        "freed": table.add("b@x.org", hubspot_sync_status="Complete", **dead),
    }


@on_sqlite
def test_contact_of_a_dead_worker_is_named(
    table: Contacts, program: Program, left_behind: dict[str, str]
) -> None:
    told = {
        event: record.get("contact_id")
        for record in records(run(program))
        for event in left_behind
        if event in record["message"]
    }
    assert told == {event: str(key) for event, key in left_behind.items()}


@on_sqlite
def test_contact_that_the_program_stumbles_over_is_named(
    table: Contacts, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: object) -> None:
        raise KeyError("ada@example.com")

    monkeypatch.setattr("hubspot_sync.worker.to_properties", stumble)
    key = table.add()
    ended = run(program)
    (told,) = [each for each in records(ended) if "stumbled" in each["message"]]
    assert "ada@" not in json.dumps(records(ended))
    assert told.get("contact_id") == str(key)


@on_sqlite
def test_end_of_each_contact_is_told_with_verbose(table: Contacts, program: Program) -> None:
    keys = {str(table.add("ada@x.org")): "created", str(table.add("bad")): "rejected"}
    log = records(run(program, "--verbose"))
    ended = {
        record["contact_id"]: record["message"]
        for record in log
        if record["level"] == "DEBUG" and record["logger"] == "hubspot_sync.run"
    }
    assert ended == {key: f"contact {key}: {outcome}" for key, outcome in keys.items()}


# Levels and text


@on_sqlite
@pytest.mark.parametrize(
    ("arguments", "levels"),
    [
        pytest.param([], set(), id="text"),
        pytest.param(["--log-format", "text"], set(), id="text-by-name"),
        pytest.param(["--log-format", "json"], {"INFO"}, id="json"),
        pytest.param(["--verbose"], {"INFO", "DEBUG"}, id="text-verbose"),
        pytest.param(["--log-format", "json", "-v"], {"INFO", "DEBUG"}, id="json-verbose"),
    ],
)
def test_level_is_a_warning_in_text_and_info_in_json(
    table: Contacts, program: Program, arguments: list[str], levels: set[str]
) -> None:
    table.add("ada@test.con")
    ended = program.run("sync-queue", *arguments)
    assert set(re.findall(r'"level": "([A-Z]+)"|Z ([A-Z]+) ', ended.err)) == {
        (level, "") if "json" in arguments else ("", level) for level in levels
    }


@on_sqlite
def test_text_has_time_level_run_and_what_happened(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    key = table.add("ada@test.con")
    hubspot.fault(path="/batch/create", headers=header("corr-207"))
    ended = program.run("sync-queue", "--verbose", "--json")
    *log, _sentence = ended.err.splitlines()
    shape = (
        rf"\d{{4}}-\d\d-\d\dT[\d:]{{8}}\.\d{{3}}Z [A-Z]+ {ended.document['run_id']} hubspot_sync"
    )
    assert [line for line in log if not re.match(shape + r"\.[a-z_.]+: \S", line)] == []
    (told,) = [line for line in log if "refused it" in line]
    assert f"contact {key}: " in told
    assert told.endswith("INVALID_EMAIL on email; correlation id corr-207")


@on_sqlite
def test_format_that_there_is_not_is_wrong_usage(table: Contacts, program: Program) -> None:
    ended = program.run("sync-queue", "--log-format", "xml")
    assert ended.code == 2
    assert "json" in ended.err


@on_sqlite
def test_log_goes_to_standard_error_alone(table: Contacts, program: Program) -> None:
    table.add("ada@test.con")
    ended = program.run("sync-queue", "--log-format", "json")
    assert '"level"' not in ended.out
    assert '"level"' in ended.err


# What no record says

EMAIL = "ada.lovelace@x.org"
FAULTS: dict[str, dict[str, Any]] = {
    **{str(status): {"status": status} for status in (302, 401, 403, 423, 429, 477, 500, 502)},
    "daily": {"status": 429, "policy": "DAILY"},
    "validation": {"status": 400, "body": refusal(f"{EMAIL} is bad {TOKEN}", correlationId="c")},
    "conflict": {"status": 409, "body": refusal(f"Contact {EMAIL} exists. Existing ID: 7")},
    "not-found": {"status": 404, "body": refusal(f"no {EMAIL}")},
    "page": {"body": f"<p>{EMAIL} {TOKEN}</p>"},
    "nothing": {"drop": True},
    "lost": {"drop": True, "after_write": True},
    "odd": {"body": {"results": [{"id": EMAIL, "properties": {"email": EMAIL}}]}},
}


def each_command(key: str) -> Iterator[list[str]]:
    yield ["sync-one", str(key)]
    yield ["sync-queue"]
    yield ["sync-queue", "--dry-run"]


@pytest.mark.parametrize("fault", FAULTS)
@on_sqlite
def test_no_email_above_debug_and_no_token_anywhere(
    table: Contacts, program: Program, hubspot: Emulator, at_once: None, fault: str
) -> None:
    hubspot.fault(path="/contacts", times=None, headers={"Retry-After": "0"}, **FAULTS[fault])
    key = table.add(EMAIL, hubspot_contact_id="9001")
    for command in each_command(key):
        ended = program.run(*command, "--verbose", "--log-format", "json")
        assert TOKEN not in ended.out + ended.err
        log = [json.loads(line) for line in ended.err.splitlines() if line.startswith("{")]
        told = json.dumps([record for record in log if record["level"] != "DEBUG"])
        assert "lovelace" not in told
        assert "%40" not in told
