"""The operator's desk as people and programs see it: status, doctor and enqueue."""

import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
import typer
from rich.cells import cell_len

from hubspot_sync.hubspot.emulator import Emulator, Fault
from hubspot_sync.store.indexes import create_indexes
from tests.acceptance.held import add_many, hold, kill_at, wait_until_let_go
from tests.acceptance.program import Ended, Program
from tests.conftest import LEASE, TOKEN
from tests.tables import CONTACTS, Contacts

OVER = LEASE + timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
NARROW = {"COLUMNS": "80"}
NO_DATABASE = "postgresql://me:pw-not-shown@127.0.0.1:1/none"

NEVER: dict[str, Any] = {"hubspot_sync_status": "New", "hubspot_processing_status": None}
SKIPPED: dict[str, Any] = {"hubspot_sync_status": "Skipped", "hubspot_processing_status": None}
DELIVERED: dict[str, Any] = {
    "hubspot_sync_status": "Complete",
    "hubspot_processing_status": "Complete",
    "hubspot_contact_id": "9001",
}
FAILED: dict[str, Any] = {
    "hubspot_sync_status": "Error",
    "hubspot_processing_status": "Error",
    "hubspot_processing_error": "[NO_EMAIL] The contact has no email address; add one.",
    "retry_count": 3,
    "last_failed_crm": "hubspot",
}
HELD: dict[str, Any] = {
    "hubspot_sync_status": "Processing",
    "hubspot_processing_status": "Processing",
}

embedded = pytest.mark.parametrize("shape", ["sqlite"])
both = pytest.mark.parametrize("shape", ["sqlite", "app"])


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the waits between tries take no time."""
    monkeypatch.setattr("hubspot_sync.clock.Ending.sleep", lambda *_: None)


class Seat:
    """A standard input that somebody sits at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[str]]:
    """Give the program a person at a terminal, who answers; return what it asks."""

    def sit_down(answer: bool) -> list[str]:
        asked: list[str] = []

        def confirm(question: str, **options: Any) -> bool:
            asked.append(question)
            if not answer and options.get("abort"):
                raise typer.Abort
            return answer

        monkeypatch.setattr("hubspot_sync.cli.frame.sys", SimpleNamespace(stdin=Seat()))
        monkeypatch.setattr("hubspot_sync.cli.frame.typer.confirm", confirm)
        return asked

    return sit_down


def let_go(fault: Fault) -> None:
    """Let a request be answered that is held."""
    assert fault.release is not None
    fault.release.set()


def widest(ended: Ended) -> int:
    return max(map(cell_len, ended.out.splitlines()))


def add_everything(table: Contacts) -> None:
    """Add contacts of every kind that `status` speaks of."""
    table.add("a@x.org", age=timedelta(hours=5))
    table.add("b@x.org", **FAILED)
    refused = "[HUBSPOT_REFUSED: INVALID_PHONE on phone] phone: '+44' is no number"
    table.add("c@x.org", **(FAILED | {"hubspot_processing_error": refused}))
    for comes_in in (1, 30, 600):
        key = table.add("d@x.org", **(FAILED | {"hubspot_sync_status": "Queued", "retry_count": 1}))
        table.move(key, "next_retry_at", -comes_in * MINUTE)
    table.add("e@x.org", age=timedelta(hours=1), **DELIVERED)
    table.add("f@x.org", age=OVER, **HELD)
    table.add("g@x.org", **HELD)
    table.add("h@x.org", **SKIPPED)
    table.add("i@x.org", **NEVER)


# status


@embedded
def test_status_of_an_empty_table_fits_and_is_quiet(table: Contacts, program: Program) -> None:
    ended = program.run("status", **NARROW)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "Due        0 now",
        "Retries    none to come",
        "Runs       none active",
        "Delivered  0 in the last day",
    ]


@both
def test_status_shows_everything_that_matters(table: Contacts, program: Program) -> None:
    add_everything(table)
    before = table.rows()
    ended = program.run("status", **NARROW)
    assert ended.code == 0
    for words in (
        "2 now; ",
        " has waited 5 hours",
        "1 within five minutes, 1 within an hour, 1 later",
        "1 contact held by sync-one, or by a dead run's lease",
        "1 in the last day",
        "no email address",
        "INVALID_PHONE on phone",
        "such as ",
        "mark it again",
        "left by a run that died",
        "Skipped",
    ):
        assert words in ended.out, words
    assert table.rows() == before


@both
def test_status_json_is_one_document(table: Contacts, program: Program) -> None:
    add_everything(table)
    before = table.rows()
    ended = program.run("status", "--json")
    document = ended.document
    assert (ended.code, ended.err) == (0, "")
    assert list(document) == [
        "schema_version", "command", "now", "states", "due", "oldest_due_since", "oldest_due",
        "retries", "failures", "delivered_last_day", "last_delivery", "held", "left_behind", "runs",
        "warnings", "warning_codes",
    ]  # fmt: skip
    assert (document["schema_version"], document["command"]) == (2, "status")
    assert sum(each["contacts"] for each in document["states"]) == len(before)
    assert document["retries"] == {"five_minutes": 1, "hour": 1, "later": 1}
    assert (document["due"], document["held"], document["left_behind"]) == (2, 1, 1)
    assert all(document[name].endswith("+00:00") for name in ("now", "last_delivery"))
    for group in document["failures"]:
        assert list(group) == ["reason", "advice", "contacts", "retried", "example"]
        assert str(UUID(group["example"])) in {str(UUID(str(row["id"]))) for row in before}
    assert sum(group["contacts"] for group in document["failures"]) == 5
    assert len(document["warnings"]) == 2
    assert document["warning_codes"] == ["CRON_STOPPED", "CONTACTS_LEFT_BEHIND"]
    assert table.rows() == before


@embedded
def test_status_has_no_line_longer_than_eighty_columns(table: Contacts, program: Program) -> None:
    add_everything(table)
    assert widest(program.run("status", **NARROW)) <= 80


@embedded
def test_status_tables_fit_eighty_columns_with_strangers_words(
    table: Contacts, program: Program
) -> None:
    for number in range(15):
        odd = f"[b]{number}\x1b[31m\u202e 李小龍" + "long " * 80
        table.add(**(FAILED | {"hubspot_processing_error": odd}))
    ended = program.run("status", **NARROW)
    assert ended.code == 0
    assert widest(ended) <= 80
    assert "\x1b" not in ended.out
    assert "\u202e" not in ended.out


@embedded
def test_status_shows_every_column_beside_a_long_word(table: Contacts, program: Program) -> None:
    for _ in range(17):
        table.add(hubspot_sync_status="x" * 200)
    out = program.run("status", **NARROW).out
    (row,) = (line for line in out.splitlines() if line.lstrip().startswith("x"))
    assert row.split()[-2:] == ["Queued", "17"]


@embedded
def test_status_shows_a_dozen_reasons_and_json_all(table: Contacts, program: Program) -> None:
    for number in range(15):
        refused = f"[HUBSPOT_REFUSED: CODE_{number} on phone] phone: no (CODE_{number})"
        table.add(**(FAILED | {"hubspot_processing_error": refused}))
    assert program.run("status", **NARROW).out.count("such as") == 12
    assert len(program.run("status", "--json").document["failures"]) == 15


@embedded
def test_status_says_how_many_reasons_it_leaves_out(table: Contacts, program: Program) -> None:
    for number in range(15):
        refused = f"[HUBSPOT_REFUSED: CODE_{number} on phone] phone: no (CODE_{number})"
        table.add(**(FAILED | {"hubspot_processing_error": refused}))
    out = program.run("status", **NARROW).out
    assert "3 more" in out
    assert "--json" in out


@embedded
def test_status_tells_when_cron_seems_to_have_stopped(table: Contacts, program: Program) -> None:
    table.add(age=16 * MINUTE)
    ended = program.run("status")
    assert ended.code == 0
    assert "Cron seems to have stopped" in ended.out
    assert "Cron" not in program.run("status", HUBSPOT_SYNC_SCHEDULER_INTERVAL_MINUTES="6").out


@embedded
def test_status_says_that_the_sync_is_switched_off(table: Contacts, program: Program) -> None:
    table.add(age=16 * MINUTE)
    ended = program.run("status", HUBSPOT_API_KEY="")
    assert "the sync is disabled" in ended.out
    assert "Cron seems to have stopped" not in ended.out


@both
def test_status_and_enqueue_while_a_run_is_active(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    key = table.add("a@x.org")
    with (
        hold(hubspot, method="POST", path="/batch/create") as fault,
        program.start("sync-queue") as process,
    ):
        assert fault.reached.wait(20)
        before = table.rows()
        document = program.run("status", "--json").document
        shown = program.run("status", **NARROW).out
        ended = program.run("enqueue", str(key))
        told = program.run("enqueue", str(key), "--json").document
        assert table.rows() == before
        let_go(fault)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert (document["runs"], document["held"], document["left_behind"]) == (1, 1, 0)
    assert "1 run active, holding 1 contact" in shown
    assert ended.code == 1
    assert f"Contact {key} was left as it is: held by a run, or left by one that" in ended.err
    assert (told["marked"], told["left"]) == (0, [str(key)])
    assert table.state(key) == ("Complete", "Complete")
    after = program.run("status", "--json").document
    assert (after["runs"], after["held"], after["delivered_last_day"]) == (0, 0, 1)


@both
def test_status_after_a_killed_run(table: Contacts, program: Program, hubspot: Emulator) -> None:
    table.add("a@x.org")
    with hold(hubspot, method="POST", path="/batch/create") as fault:
        kill_at(program.start("sync-queue"), fault)
    wait_until_let_go(table)
    document = program.run("status", "--json").document
    assert (document["held"], document["left_behind"], document["due"]) == (1, 0, 0)
    table.age_all(OVER)
    later = program.run("status", "--json").document
    assert (later["runs"], later["held"], later["left_behind"], later["due"]) == (0, 0, 1, 1)
    assert "left by a run that died" in program.run("status").out
    assert program.run("sync-queue").code == 0
    assert program.run("status", "--json").document["left_behind"] == 0


@embedded
def test_status_explains_what_no_run_holds(table: Contacts, program: Program) -> None:
    table.add(**HELD)
    out = program.run("status", **NARROW).out
    assert "none active, holding" not in out
    assert "lease" in out


@embedded
def test_status_does_not_take_a_killed_run_for_work(table: Contacts, program: Program) -> None:
    table.add("a@x.org", age=20 * MINUTE)
    table.add("b@x.org", age=9 * MINUTE, **HELD)
    out = program.run("status").out
    assert "The queue is longer than cron's runs take" not in out


@embedded
def test_status_needs_neither_token_nor_hubspot(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    assert program.run("status", HUBSPOT_API_KEY="").code == 0
    assert hubspot.request_count == 0


@pytest.mark.parametrize("arguments", [["status"], ["status", "--json"]])
def test_status_without_a_database_exits_3(arguments: list[str]) -> None:
    ended = Program({"DATABASE_URL": NO_DATABASE}).run(*arguments)
    assert ended.code == 3
    assert "pw-not-shown" not in ended.out + ended.err
    if "--json" in arguments:
        assert (ended.document["command"], ended.document["state"]) == ("status", "stopped")


def test_status_without_a_table_exits_2_and_makes_no_file(tmp_path: Path) -> None:
    ended = Program({"DATABASE_URL": f"sqlite:///{tmp_path / 'none.db'}"}).run("status")
    assert ended.code == 2
    assert "init-db" in ended.err
    assert list(tmp_path.iterdir()) == []


@embedded
def test_status_leaves_no_file_beside_the_database(
    table: Contacts, program: Program, tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    program.run("status")
    program.run("doctor")
    assert sorted(tmp_path.iterdir()) == before


# doctor


def checks_of(ended: Ended) -> dict[str, list[dict[str, Any]]]:
    """Return the checks of a document by what they are about."""
    found: dict[str, list[dict[str, Any]]] = {}
    for check in ended.document["checks"]:
        found.setdefault(check["about"], []).append(check)
    return found


def to_fix(ended: Ended) -> list[str]:
    return [each["about"] for each in ended.document["checks"] if each["state"] == "fix"]


@both
def test_doctor_of_a_healthy_set_up_exits_0(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    create_indexes(table.engine, CONTACTS)
    hubspot.daily_limit = 10_000
    table.add("a@x.org")
    table.add("e@x.org", **DELIVERED)
    before, held = table.rows(), hubspot.contacts()
    ended = program.run("doctor", **NARROW)
    # The test server's sessions may be in any zone.
    wrong = [about for about in to_fix(program.run("doctor", "--json")) if about != "time zone"]
    assert wrong == []
    if "time zone" not in ended.out:
        assert (ended.code, ended.err) == (0, "")
        assert "Everything that could be checked is in place." in ended.out
    assert widest(ended) <= 80
    for words in ("settings", "table", "clocks", "indexes", "portal 24680135", "requests left"):
        assert words in ended.out, words
    assert "last delivery 20" in ended.out
    assert TOKEN not in ended.out
    assert (table.rows(), hubspot.contacts()) == (before, held)


@embedded
def test_doctor_tells_five_faults_at_once_each_with_its_fix(
    table: Contacts, program: Program, hubspot: Emulator, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("HUBSPOT_API_KYE=x\n")
    (tmp_path / ".env").chmod(0o644)
    hubspot.scopes = ["crm.objects.contacts.read", "crm.objects.contacts.write"]
    hubspot.archive_property("scrapersky_page_id")
    hubspot.daily_limit = 10
    table.add(age=timedelta(days=1))
    before = table.rows()
    ended = program.run("doctor", HUBSPOT_PORTAL_ID="99", HUBSPOT_SYNC_QUOTA_RESERVE_PERCENT="90")
    assert ended.code == 1
    for words in (
        "HUBSPOT_API_KYE in the settings file is not a setting",
        "Did you mean HUBSPOT_API_KEY?",
        "chmod 600 .env",
        "Cron seems to have stopped",
        "but HUBSPOT_PORTAL_ID is 99",
        "missing: crm.schemas.contacts.read, crm.schemas.contacts.write",
        "no contact property scrapersky_page_id",
        "hubspot-sync create-properties",
        "requests left today",
    ):
        assert words in " ".join(ended.out.split()), words
    assert "7 things to fix." in ended.out
    document = program.run("doctor", "--json", HUBSPOT_PORTAL_ID="99").document
    assert {check["state"] for check in document["checks"]} >= {"ok", "fix"}
    assert {check["code"] for check in document["checks"] if check["state"] == "fix"} >= {
        "SETTING_MISSPELT",
        "FILE_EXPOSED",
        "WRONG_PORTAL",
        "SCOPES_NOT_GRANTED",
        "PROPERTY_MISSING",
        "CRON_STOPPED",
    }
    assert table.rows() == before


@embedded
def test_doctor_json_is_one_document(table: Contacts, program: Program) -> None:
    ended = program.run("doctor", "--json")
    document = ended.document
    assert (document["schema_version"], document["command"]) == (2, "doctor")
    assert ended.err == ""
    for check in document["checks"]:
        assert list(check) == ["about", "state", "words", "code", "fix"]
        assert check["state"] in ("ok", "fix", "unreachable", "not checked")
        assert check["fix"] is None or check["state"] in ("fix", "unreachable")
        assert (check["code"] is None) is (check["state"] == "ok")


@embedded
def test_doctor_without_a_token_checks_the_rest(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    ended = program.run("doctor", "--json", HUBSPOT_API_KEY="")
    checks = checks_of(ended)
    assert ended.code == 1
    assert checks["table"][0]["state"] == "ok"
    assert checks["token"][0]["code"] == "SYNC_DISABLED"
    assert checks["scopes"][0]["words"] == "not without a token"
    assert hubspot.request_count == 0


@embedded
def test_doctor_with_a_wrong_token_exits_1_and_does_not_show_it(
    table: Contacts, program: Program
) -> None:
    ended = program.run("doctor", HUBSPOT_API_KEY="pat-na1-wrong", **NARROW)
    assert ended.code == 1
    assert "does not accept the token" in " ".join(ended.out.split())
    assert "in the queue" not in " ".join(ended.out.split())
    assert "pat-na1-wrong" not in ended.out + ended.err
    assert widest(ended) <= 80


@embedded
def test_doctor_with_hubspot_down_exits_3_and_checks_the_rest(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    hubspot.stop()
    ended = program.run("doctor", "--json")
    hubspot.start()
    checks = checks_of(ended)
    assert ended.code == 3
    assert checks["token"][0]["state"] == "unreachable"
    assert checks["table"][0]["state"] == "ok"
    assert "queue" in checks


def test_doctor_without_a_database_exits_3_and_checks_hubspot(hubspot: Emulator) -> None:
    program = Program(
        {
            "DATABASE_URL": NO_DATABASE,
            "HUBSPOT_API_KEY": TOKEN,
            "HUBSPOT_API_BASE_URL": hubspot.url,
        }
    )
    ended = program.run("doctor", "--json")
    checks = checks_of(ended)
    assert ended.code == 3
    assert checks["database"][0]["state"] == "unreachable"
    assert checks["token"][0]["state"] == "ok"
    assert "pw-not-shown" not in ended.out + ended.err
    assert widest(program.run("doctor", **NARROW)) <= 80


def test_doctor_without_a_database_says_what_it_could_not_check() -> None:
    ended = Program({"DATABASE_URL": NO_DATABASE}).run("doctor", "--json")
    unknown = {each["about"] for each in ended.document["checks"] if each["state"] == "not checked"}
    assert {"table", "indexes", "queue"} <= unknown


@embedded
def test_doctor_says_of_an_empty_token_that_the_sync_is_disabled(
    table: Contacts, program: Program
) -> None:
    out = program.run("doctor", HUBSPOT_API_KEY="").out
    assert "disabled" in out


def test_doctor_of_wrong_settings_tells_all_and_what_was_not_checked() -> None:
    ended = Program(
        {"HUBSPOT_SYNC_LEASE_MINUTES": "soon", "DATABASE_URL": "mysql://me:pw-not-shown@x/y"}
    ).run("doctor", "--json")
    checks = checks_of(ended)
    assert ended.code == 1
    assert len(checks["settings"]) == 2
    assert all(check["state"] == "fix" for check in checks["settings"])
    assert checks["database"][0]["state"] == checks["HubSpot"][0]["state"] == "not checked"
    assert "pw-not-shown" not in ended.out


@embedded
def test_doctor_with_an_address_that_is_none_still_checks_hubspot(
    table: Contacts, program: Program
) -> None:
    ended = program.run("doctor", "--json", DATABASE_URL="postgresql://me:pw-not-shown@h:port/x")
    assert ended.code == 1
    checks = checks_of(ended)
    assert checks["database"][0]["state"] == "fix"
    assert checks["token"][0]["state"] == "ok"
    assert "pw-not-shown" not in ended.out + ended.err


def test_doctor_with_an_env_file_that_is_not_there_exits_2() -> None:
    ended = Program().run("doctor", "--env-file", "none.env")
    assert ended.code == 2
    assert "none.env" in ended.err


@embedded
@pytest.mark.parametrize(("mode", "is_exposed"), [(0o600, False), (0o640, False), (0o644, True)])
def test_doctor_looks_who_may_read_the_settings_file(
    table: Contacts, program: Program, tmp_path: Path, mode: int, is_exposed: bool
) -> None:
    path = tmp_path / "settings.env"
    path.write_text("HUBSPOT_SYNC_WORKERS=2\n")
    path.chmod(mode)
    ended = program.run("doctor", "--json", "--env-file", str(path))
    (check,) = checks_of(ended)["settings"]
    assert (check["fix"] == f"chmod 600 {path}") is is_exposed
    assert stat.S_IMODE(path.stat().st_mode) == mode
    shown = program.run("status", "--env-file", str(path))
    assert ("chmod 600" in shown.err) is is_exposed


@embedded
def test_doctor_looks_whether_the_metrics_file_can_be_written(
    table: Contacts, program: Program, tmp_path: Path
) -> None:
    there, missing = tmp_path / "x.prom", tmp_path / "none" / "x.prom"
    good = program.run("doctor", "--json", HUBSPOT_SYNC_METRICS_FILE=str(there))
    (check,) = checks_of(good)["monitors"]
    assert (check["state"], check["words"]) == ("ok", f"metrics in {there}")
    bad = program.run("doctor", "--json", HUBSPOT_SYNC_METRICS_FILE=str(missing))
    (check,) = checks_of(bad)["monitors"]
    assert check["state"] == "fix"
    assert f"{missing.parent}, cannot be written" in check["words"]


@embedded
def test_doctor_shows_of_the_heartbeat_its_host_alone(table: Contacts, program: Program) -> None:
    url = "https://hc-ping.example/5d38ecde-0000-4000-8000-000000000000"
    ended = program.run("doctor", "--json", HUBSPOT_SYNC_HEARTBEAT_URL=url)
    (check,) = checks_of(ended)["monitors"]
    assert check["words"] == "a heartbeat to hc-ping.example at each run"
    assert "5d38ecde" not in ended.out
    (none,) = checks_of(program.run("doctor", "--json"))["monitors"]
    assert (none["state"], none["words"]) == ("not checked", "none; nobody hears if cron stops")


@embedded
def test_settings_file_is_named_again_beside_commands(
    table: Contacts, program: Program, tmp_path: Path
) -> None:
    """A command that is copied without it would look at another database, or at none."""
    path = tmp_path / "my settings.env"
    path.write_text("HUBSPOT_SYNC_WORKERS=2\n")
    path.chmod(0o600)
    table.add("odd@x.org", age=timedelta(hours=1))
    table.add("ada@x.org", **DELIVERED)
    reminder = f"Give the commands named above the same --env-file '{path}'."
    for command in ("status", "doctor"):
        assert reminder in program.run(command, "--env-file", str(path)).out
        assert "--env-file" not in program.run(command).out
    table.clear()
    assert "--env-file" not in program.run("status", "--env-file", str(path)).out


@embedded
def test_settings_that_are_nowhere_are_said_to_be(
    table: Contacts, program: Program, tmp_path: Path
) -> None:
    nothing = Program().run("status")
    assert nothing.err.startswith("No settings were found: no .env in this folder holds any, and")
    (tmp_path / "other.env").write_text("PGPASSWORD=x\n")
    other = Program().run("status", "--env-file", "other.env")
    assert other.err.startswith("No settings were found: other.env holds none, and no variable")
    (check,) = checks_of(Program().run("doctor", "--json"))["settings"]
    assert (check["state"], check["code"]) == ("fix", "NO_SETTINGS")
    (check,) = checks_of(program.run("doctor", "--json"))["settings"]
    assert check["words"] == "all can be used, from the environment alone"
    (tmp_path / ".env").touch(mode=0o600)
    (check,) = checks_of(program.run("doctor", "--json"))["settings"]
    assert check["words"] == "all can be used, from the environment alone"
    (tmp_path / ".env").write_text("HUBSPOT_SYNC_WORKERS=2\n")
    (check,) = checks_of(program.run("doctor", "--json"))["settings"]
    assert check["words"] == "all can be used, from .env"
    assert program.run("status").err == ""


@embedded
def test_doctor_looks_who_may_read_the_token_file(
    table: Contacts, program: Program, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o644)
    ended = program.run("doctor", "--json", HUBSPOT_API_KEY="", HUBSPOT_API_KEY_FILE=str(path))
    assert f"chmod 600 {path}" in [check["fix"] for check in checks_of(ended)["settings"]]


@embedded
@pytest.mark.parametrize("name", ["HUBSPOT_APIKEY", "HUBSPOT_SYNC_WORKER", "DATABSE_URL"])
def test_doctor_names_what_was_misspelt(table: Contacts, program: Program, name: str) -> None:
    checks = checks_of(program.run("doctor", "--json", **{name: "x"}))
    told = [check["words"] for check in checks["settings"]]
    assert any(words.startswith(f"{name} in the environment is not a setting") for words in told)
    assert checks["table"][0]["state"] == "ok", "the rest is looked at all the same"


@embedded
@pytest.mark.parametrize(
    "name", ["HUBSPOT_TOKEN", "HUBSPOT_ACCESS_TOKEN", "HUBSPOT_SYNC_BATCH_SIZE"]
)
def test_doctor_names_every_setting_of_ours_that_is_none(
    table: Contacts, program: Program, name: str
) -> None:
    checks = checks_of(program.run("doctor", "--json", **{name: "x"}))
    assert any(name in check["words"] for check in checks["settings"])


@embedded
@pytest.mark.parametrize("name", ["PG_DATABASE_URL", "DATABASE_URL_RO", "XDATABASE_URL"])
def test_doctor_takes_no_other_programs_variable_for_a_misspelling(
    table: Contacts, program: Program, name: str
) -> None:
    checks = checks_of(program.run("doctor", "--json", **{name: "x"}))
    assert [check["state"] for check in checks["settings"]] == ["ok"]


@embedded
def test_doctor_reads_an_old_table_without_a_fault_of_its_own(
    table: Contacts, program: Program
) -> None:
    with table.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE contacts DROP COLUMN last_retry_at")
    ended = program.run("doctor", "--json")
    checks = checks_of(ended)
    assert ended.code == 1
    assert "last_retry_at" in checks["table"][0]["words"]
    assert checks["queue"][0]["state"] == "not checked"
    assert checks["token"][0]["state"] == "ok"


# misspelt settings


@embedded
@pytest.mark.parametrize(
    "command",
    [
        ["sync-queue"],
        ["sync-queue", "--dry-run"],
        ["sync-one", "a@x.org"],
        ["create-properties"],
        ["status"],
        ["enqueue", "--all"],
        ["skip", "a@x.org"],
        ["reset", "--all", "--yes"],
        ["init-db"],
    ],
    ids=" ".join,
)
def test_misspelt_setting_lets_nothing_run(
    table: Contacts, program: Program, hubspot: Emulator, command: list[str]
) -> None:
    """A run with HUBSPOT_PORTALID would write into whatever portal the token opens."""
    table.add("a@x.org")
    before = table.rows()
    ended = program.run(*command, HUBSPOT_PORTALID="111", HUBSPOT_SYNC_WORKERS="many")
    assert ended.code == 2
    words = "HUBSPOT_PORTALID in the environment is not a setting. Did you mean HUBSPOT_PORTAL_ID?"
    assert words in ended.err
    assert "HUBSPOT_SYNC_WORKERS is 'many'" in ended.err
    assert (table.rows(), hubspot.request_count) == (before, 0)


# enqueue


@both
def test_enqueue_marks_and_says_how_many(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    key, other = table.add("a@x.org", **FAILED), table.add("b@x.org", **FAILED)
    ended = program.run("enqueue", str(key))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "1 contact marked.\nThe next run of sync-queue delivers all that is due.\n"
    )
    assert table.state(key) == ("Selected", "Queued")
    assert table.state(other) == ("Error", "Error")
    assert hubspot.request_count == 0
    document = program.run("enqueue", "--status", "Error", "--json").document
    assert document == {
        "schema_version": 2,
        "command": "enqueue",
        "marked": 1,
        "would_mark": None,
        "retrying": 0,
        "left": [],
    }
    assert program.run("sync-queue", "--json").document["counts"]["created"] == 2


@embedded
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--all", "--status", "New"],
        ["--email", "a@x.org", "--all"],
        ["--email", ""],
        [str(uuid4()), "--status", "New"],
        ["--status", "Skipped"],
        ["--status", "Queued"],
        ["--limit", "0", "--all"],
        ["x"],
        [str(uuid4())],
    ],
)
def test_enqueue_that_is_not_clear_exits_2_and_does_nothing(
    table: Contacts, program: Program, arguments: list[str]
) -> None:
    table.add(**NEVER)
    before = table.rows()
    ended = program.run("enqueue", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err
    assert table.rows() == before


@embedded
def test_enqueue_of_some_that_are_not_there_does_nothing(table: Contacts, program: Program) -> None:
    key, nobody = table.add(**NEVER), str(uuid4())
    ended = program.run("enqueue", str(key), str(nobody))
    assert ended.code == 2
    assert f"There is no contact {nobody}. Nothing was done." in ended.err
    assert str(key) not in ended.err
    assert table.state(key) == ("New", None)


@embedded
def test_enqueue_calls_nobody_missing_who_is_there(table: Contacts, program: Program) -> None:
    keys = [str(table.add(f"{each}@x.org", **NEVER)) for each in range(2)]
    assert "There is no contact" not in program.run("enqueue", *keys, "--limit", "1").err


def add_new(table: Contacts, count: int) -> None:
    """Add contacts that nobody has marked."""
    add_many(table, [f"c{number}@x.org" for number in range(count)], oldest=timedelta(hours=1))
    with table.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE contacts SET hubspot_sync_status = 'New', hubspot_processing_status = NULL"
        )


@embedded
@pytest.mark.parametrize("count", [100, 101])
def test_enqueue_asks_above_a_hundred(table: Contacts, program: Program, count: int) -> None:
    add_new(table, count)
    before = table.rows()
    ended = program.run("enqueue", "--all")
    if count == 100:
        assert (ended.code, ended.out.split()[0]) == (0, "100")
        return
    assert (ended.code, ended.out) == (2, "")
    assert "add --yes" in ended.err
    assert table.rows() == before
    assert program.run("enqueue", "--all", "--json").document["state"] == "refused"
    assert program.run("enqueue", "--all", "--limit", "100").code == 0
    assert program.run("enqueue", "--all", "--yes").out.startswith("1 contact marked")


@embedded
@pytest.mark.parametrize("answer", [True, False])
def test_enqueue_does_what_the_person_answers(
    table: Contacts,
    program: Program,
    terminal: Callable[[bool], list[str]],
    answer: bool,
) -> None:
    add_new(table, 101)
    before = table.rows()
    asked = terminal(answer)
    ended = program.run("enqueue", "--all")
    assert asked == ["Mark 101 contacts for HubSpot?"]
    assert ended.code == (0 if answer else 1)
    assert (table.rows() == before) is not answer


@embedded
def test_enqueue_warns_before_a_first_large_run_alone(table: Contacts, program: Program) -> None:
    add_new(table, 101)
    few = program.run("enqueue", "--all", "--limit", "100", "--yes")
    assert few.err == ""
    with table.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE contacts SET hubspot_processing_status = NULL")
        connection.exec_driver_sql("UPDATE contacts SET hubspot_sync_status = 'New'")
    ended = program.run("enqueue", "--all", "--yes", "--json")
    for words in ("marketing contacts", "bills", "company", "--limit"):
        assert words in ended.err, words
    assert ended.document["marked"] == 101
    table.add("z@x.org", **DELIVERED)
    with table.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE contacts SET hubspot_processing_status = 'Complete'")
    assert program.run("enqueue", "--all", "--yes").err == ""


@embedded
def test_enqueue_dry_run_warns_of_a_first_large_run_too(table: Contacts, program: Program) -> None:
    add_new(table, 101)
    assert "marketing contacts" in program.run("enqueue", "--all", "--dry-run").err


@both
def test_enqueue_dry_run_writes_nowhere(table: Contacts, program: Program) -> None:
    add_everything(table)
    before = table.rows()
    shown = program.run("enqueue", "--all", "--dry-run")
    document = program.run("enqueue", "--all", "--dry-run", "--json").document
    assert (document["marked"], document["would_mark"]) == (0, 7)
    assert "7 contacts would be marked, 3 of them waiting for a retry." in shown.out
    assert "nothing was written" in shown.out
    assert table.rows() == before


@embedded
def test_enqueue_leaves_the_skipped_unless_they_are_named(
    table: Contacts, program: Program
) -> None:
    domain = str(uuid4())
    key = table.add("a@x.org", domain_id=domain, **SKIPPED)
    for arguments in (["--all"], ["--email", "a@x.org"], ["--domain-id", str(domain)]):
        ended = program.run("enqueue", *arguments)
        assert (ended.code, ended.out.split(":")[0]) == (0, "Nothing was marked")
    assert table.state(key) == ("Skipped", None)
    assert program.run("enqueue", str(key)).code == 0
    assert table.state(key) == ("Selected", "Queued")


@embedded
def test_enqueue_says_that_it_was_skipped(table: Contacts, program: Program) -> None:
    table.add("a@x.org", **SKIPPED)
    assert "1 skipped" in program.run("enqueue", "--email", "a@x.org").out


@embedded
def test_enqueue_says_when_all_that_is_due_will_be_delivered(
    table: Contacts, program: Program
) -> None:
    table.add_all([f"c{number}@x.org" for number in range(25)], **NEVER)
    assert program.run("enqueue", "--status", "New", "--limit", "10").out == (
        "10 contacts marked.\nThe next run of sync-queue delivers all that is due.\n"
    )
    assert program.run("enqueue", "--status", "New", "--limit", "1").out == (
        "1 contact marked.\nAt 10 contacts every 5 minutes the 11 that are due take about 10 "
        "minutes; sync-queue --drain takes it now.\n"
    )
    assert program.run("enqueue", "--status", "New", HUBSPOT_API_KEY="").out == (
        "14 contacts marked.\nNothing is sent while HUBSPOT_API_KEY is empty.\n"
    )
    assert program.run("enqueue", "--status", "New", "--dry-run").out == (
        "Nothing would be marked: no contact fits.\n"
    )


@embedded
def test_errors_are_those_given_up_and_those_that_wait_for_a_retry(
    table: Contacts, program: Program
) -> None:
    """`status` counts both as failed, and so do `reset` and `enqueue`."""
    given_up = table.add("a@x.org", **FAILED)
    waiting = table.add("b@x.org", **(FAILED | {"hubspot_sync_status": "Queued"}))
    table.move(waiting, "next_retry_at", -5 * MINUTE)
    table.add("c@x.org")
    looked = program.run("reset", "--status", "Error", "--dry-run")
    assert "2 contacts to bring back to never synced, 1 of them waiting for a retry." in looked.out
    document = program.run("reset", "--status", "Error", "--dry-run", "--json").document
    assert (document["would_reset"], document["retrying"]) == (2, 1)
    one = program.run("enqueue", "--status", "Error", "--dry-run", "--limit", "1", "--json")
    assert one.document["retrying"] == int(waiting < given_up)
    assert program.run("enqueue", "--status", "Error").out.startswith(
        "2 contacts marked, 1 of them waiting for a retry.\n"
    )
    assert {table.state(key) for key in (given_up, waiting)} == {("Selected", "Queued")}


@embedded
def test_enqueue_by_email_tells_that_a_live_run_holds_it(table: Contacts, program: Program) -> None:
    table.add("a@x.org", **HELD)
    ended = program.run("enqueue", "--email", "a@x.org")
    assert ended.code == 1
    assert "held by a run, or left by one that died" in ended.err
    assert "no such contact" not in ended.out


# what a run holds, or left when it died


@both
@pytest.mark.parametrize("command", [["reset", "--yes"], ["reset", "--dry-run"], ["enqueue"]])
def test_what_a_killed_run_left_is_one_line_until_its_lease_is_over(
    table: Contacts, program: Program, command: list[str]
) -> None:
    keys = {str(each) for each in table.add_all([f"c{each}@x.org" for each in range(3)], **HELD)}
    table.move(str(UUID(min(keys))), "updated_at", 5 * MINUTE)
    latest = max(row["updated_at"] for row in table.rows())
    free_at = datetime.fromisoformat(str(latest)) + LEASE + timedelta(seconds=59.999999)
    if free_at.tzinfo:
        free_at = free_at.astimezone(UTC)
    which = ["--all"] if command[0] == "enqueue" else ["--status", "Processing"]
    ended = program.run(*command, *which)
    assert ended.code == 1
    assert ended.err == (
        f"3 contacts, such as {min(keys)}, were left as they are: held by a run, or left by one "
        f"that died; free at {free_at:%H:%M} UTC at the latest.\n"
    )
    assert set(program.run(*command, *which, "--json").document["left"]) == keys


@both
def test_reset_takes_what_is_in_processing_when_its_lease_is_over(
    table: Contacts, program: Program
) -> None:
    key = table.add(age=OVER, **HELD)
    ended = program.run("reset", "--status", "Processing", "--yes")
    assert (ended.code, ended.err) == (0, "")
    assert table.state(key) == (table.never_synced, None)


# skip


@both
def test_skip_takes_contacts_out_of_the_queue(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    by_id, by_email = table.add("a@x.org"), table.add("Ada@X.org", **FAILED)
    already, other = table.add("c@x.org", **SKIPPED), table.add("d@x.org", **DELIVERED)
    failed = table.row(by_email)
    named = [str(by_id), "ada@x.ORG", str(already)]
    looked = program.run("skip", *named, "--dry-run", "--json").document
    assert (looked["skipped"], looked["would_skip"], looked["already"]) == (0, 2, 1)
    assert table.state(by_id) == ("Selected", "Queued")
    ended = program.run("skip", *named)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "2 contacts skipped; 1 skipped already.\n"
    assert table.state(by_id) == ("Skipped", None)
    assert table.row(by_email) == failed | {"hubspot_sync_status": "Skipped"}
    assert table.state(other) == ("Complete", "Complete")
    assert program.run("skip", *named, "--json").document == {
        "schema_version": 2,
        "command": "skip",
        "skipped": 0,
        "would_skip": None,
        "already": 3,
        "held": [],
    }
    assert program.run("sync-queue", "--json").document["counts"]["claimed"] == 0
    assert program.run("enqueue", str(by_id)).code == 0
    assert program.run("sync-queue", "--json").document["counts"]["created"] == 1


@both
def test_skip_while_a_run_holds_it_says_so_and_lasts(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    key = table.add("a@x.org")
    with (
        hold(hubspot, method="POST", path="/batch/create") as fault,
        program.start("sync-queue") as process,
    ):
        assert fault.reached.wait(20)
        ended = program.run("skip", str(key))
        let_go(fault)
        process.communicate(timeout=20)
    assert (ended.code, ended.out) == (0, "1 contact skipped.\n")
    assert f"Contact {key} is held by a run, or left by one that died, until" in ended.err
    assert table.state(key) == ("Skipped", None)
    assert table.row(key)["hubspot_contact_id"] == hubspot.contacts()[0]["id"]


@both
@pytest.mark.parametrize("is_over", [True, False])
def test_skip_of_what_a_dead_run_left_is_never_sent(
    table: Contacts, program: Program, hubspot: Emulator, is_over: bool
) -> None:
    key = table.add("a@x.org", age=OVER if is_over else MINUTE, **HELD)
    document = program.run("skip", str(key), "--json").document
    assert (document["skipped"], document["held"]) == (1, [] if is_over else [str(key)])
    table.age_all(OVER)
    assert program.run("sync-queue").code == 0
    assert table.state(key) == ("Skipped", None)
    assert hubspot.contacts() == []


# a contact by its email


@both
def test_one_contact_is_named_by_its_email(table: Contacts, program: Program) -> None:
    key = table.add(" Ada@X.org ", **NEVER)
    table.add("bob@x.org", **NEVER)
    assert "create" in program.run("sync-one", "ada@x.org", "--dry-run").out
    document = program.run("sync-one", "ada@x.org", "--json").document
    assert [each["id"] for each in document["contacts"]] == [str(key)]
    assert document["counts"]["created"] == 1


@both
@pytest.mark.parametrize("command", ["sync-one", "skip"])
def test_email_of_several_contacts_or_of_none_exits_2_and_does_nothing(
    table: Contacts, program: Program, hubspot: Emulator, command: str
) -> None:
    keys = [table.add("ada@x.org"), table.add("Ada@x.org")]
    before = table.rows()
    ended = program.run(command, "ada@x.org")
    assert ended.code == 2
    assert "2 contacts have the email 'ada@x.org'" in ended.err
    assert all(str(key) in ended.err for key in keys)
    nobody = program.run(command, "bob@x.org")
    assert nobody.code == 2
    assert nobody.err.startswith("No contact has the email 'bob@x.org'.")
    assert (table.rows(), hubspot.contacts()) == (before, [])


@embedded
def test_ids_of_very_many_with_one_email_are_not_all_listed(
    table: Contacts, program: Program
) -> None:
    table.add_all(["ada@x.org"] * 12, **NEVER)
    assert " and 2 more. Nothing was done; " in program.run("skip", "ada@x.org").err


@embedded
@pytest.mark.parametrize("wrong", ["12", "6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b"])
def test_skip_of_what_is_not_there_does_nothing(
    table: Contacts, program: Program, wrong: str
) -> None:
    key = table.add("a@x.org")
    ended = program.run("skip", str(key), wrong)
    assert (ended.code, ended.out) == (2, "")
    assert wrong in ended.err
    assert table.state(key) == ("Selected", "Queued")


@pytest.mark.parametrize("arguments", [["--all"], [str(uuid4())]])
def test_enqueue_without_a_database_exits_3(arguments: list[str]) -> None:
    ended = Program({"DATABASE_URL": NO_DATABASE}).run("enqueue", *arguments)
    assert ended.code == 3
    assert "pw-not-shown" not in ended.err


@embedded
def test_enqueue_json_is_one_document_whatever_happens(table: Contacts, program: Program) -> None:
    for arguments in (["--all"], ["x"], ["--all", "--dry-run"], [str(uuid4())]):
        ended = program.run("enqueue", "--json", *arguments)
        assert json.loads(ended.out)["command"] == "enqueue"
