"""What people and programs see of each command: output, exit code, and what is left behind."""

import json
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from hubspot_sync import __version__
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.rules.mapping import PropertyNames
from tests.acceptance.program import Program
from tests.conftest import TOKEN, make_database
from tests.tables import Contacts

TOO_LONG = "x" * 70_000
"""HubSpot refuses a name of this length, and may take it later as far as its code tells."""

COUNTS = [
    "claimed", "created", "updated", "unchanged", "failed", "exhausted", "rejected", "released",
    "stopped", "superseded", "requeued",
]  # fmt: skip


def test_version_is_shown() -> None:
    assert Program().run("--version").out == f"hubspot-sync {__version__}\n"


def test_sync_queue_shows_a_row_a_contact_and_counts(table: Contacts, program: Program) -> None:
    table.add("ada@example.com")
    table.add("no-at-sign")
    table.add("long@example.com", name=TOO_LONG)
    ended = program.run("sync-queue", HUBSPOT_SYNC_MAIL="failures")
    assert ended.code == 1
    lines = ended.out.splitlines()
    ada = next(line for line in lines if "ada@example.com" in line)
    assert "created" in ada
    assert "1/4" in ada
    assert any("no-at-sign" in line and "rejected" in line for line in lines)
    assert any("long@example.com" in line and "failed" in line for line in lines)
    assert "3 contacts: 1 created, 1 failed, 1 rejected" in ended.out
    assert "1 failed and will be tried again: HubSpot refuses it: VALUE_TOO_LONG" in ended.err
    assert "1 rejected, which no retry can change: not an email address" in ended.err


def test_sync_queue_json_is_one_document(table: Contacts, program: Program) -> None:
    key, bad = table.add("ada@example.com"), table.add("no-at-sign")
    long = table.add("long@example.com", name=TOO_LONG)
    ended = program.run("sync-queue", "--json")
    document = ended.document
    assert ended.code == 1
    assert list(document) == [
        "schema_version", "command", "run_id", "state", "reason", "error_code", "counts",
        "requests", "seconds",
        "due_remaining", "contacts",
    ]  # fmt: skip
    assert (document["schema_version"], document["command"]) == (2, "sync-queue")
    assert (document["state"], document["reason"], document["due_remaining"]) == (
        "partial",
        None,
        0,
    )
    assert list(document["counts"]) == COUNTS
    counts = dict(document["counts"])
    assert counts.pop("claimed") == sum(counts.values()) == 3
    by_id = {contact["id"]: contact for contact in document["contacts"]}
    assert by_id[str(key)]["outcome"] == "created"
    assert by_id[str(key)]["hubspot_contact_id"] == table.row(key)["hubspot_contact_id"]
    assert (by_id[str(bad)]["outcome"], by_id[str(bad)]["next_retry_at"]) == ("rejected", None)
    assert by_id[str(bad)]["error_code"] == "EMAIL_CANNOT_BE_ONE"
    assert by_id[str(long)]["outcome"] == "failed"
    assert by_id[str(long)]["error_code"] == "HUBSPOT_REFUSED"
    assert by_id[str(key)]["error_code"] is None
    assert "[HUBSPOT_REFUSED: VALUE_TOO_LONG on firstname] " in str(
        table.row(long)["hubspot_processing_error"]
    )
    assert by_id[str(long)]["next_retry_at"].endswith("+00:00")
    assert "email" not in by_id[str(key)]


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_sync_queue_with_nothing_due_says_so(table: Contacts, program: Program) -> None:
    ended = program.run("sync-queue")
    assert (ended.code, ended.out, ended.err) == (0, "Nothing is due.\n", "")


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_sync_queue_takes_the_batch_size_or_the_limit(table: Contacts, program: Program) -> None:
    for number in range(14):
        table.add(f"c{number}@example.com")
    assert program.run("sync-queue", "--json").document["counts"]["claimed"] == 10
    limited = program.run("sync-queue", "--json", "--limit", "1").document
    assert (limited["counts"]["claimed"], limited["due_remaining"]) == (1, 3)
    other = program.run("sync-queue", "--json", HUBSPOT_SYNC_SCHEDULER_BATCH_SIZE="2").document
    assert other["counts"]["claimed"] == 2


@pytest.mark.parametrize("shape", ["sqlite"])
def test_sync_queue_without_a_key_is_disabled(table: Contacts, program: Program) -> None:
    key = table.add()
    ended = program.run("sync-queue", HUBSPOT_API_KEY="")
    assert (ended.code, ended.out) == (0, "")
    assert "HUBSPOT_API_KEY is empty" in ended.err
    assert table.state(key) == ("Selected", "Queued")
    document = program.run("sync-queue", "--json", HUBSPOT_API_KEY=" ").document
    assert (document["state"], document["counts"]["claimed"]) == ("disabled", 0)


@pytest.mark.parametrize("command", [["sync-one", str(uuid4())], ["create-properties"]])
def test_other_commands_need_the_key(command: list[str]) -> None:
    ended = Program().run(*command)
    assert ended.code == 2
    assert "HUBSPOT_API_KEY is empty" in ended.err


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_sync_queue_stopped_exits_3(table: Contacts, program: Program) -> None:
    table.add()
    ended = program.run("sync-queue", HUBSPOT_API_KEY="pat-na1-wrong")
    assert ended.code == 3
    assert "HubSpot does not accept the token (401)" in ended.err
    assert "pat-na1-wrong" not in ended.err + ended.out
    document = program.run("sync-queue", "--json", HUBSPOT_API_KEY="pat-na1-wrong").document
    assert document["state"] == "stopped"
    assert "401" in document["reason"]


def test_sync_queue_dry_run_changes_neither_side(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    held = hubspot.add_contact({"email": "known@example.com"})
    table.add("new@example.com", age=timedelta(minutes=9))
    table.add("known@example.com", age=timedelta(minutes=8))
    table.add("bad", age=timedelta(minutes=7))
    before, contacts = table.rows(), hubspot.contacts()
    ended = program.run("sync-queue", "--dry-run", "--json")
    assert ended.code == 0
    planned = [(each["action"], each["hubspot_contact_id"]) for each in ended.document["contacts"]]
    assert planned == [("create", None), ("update", held), ("reject", None)]
    assert (table.rows(), hubspot.contacts()) == (before, contacts)
    shown = program.run("sync-queue", "--dry-run")
    assert "nothing was written" in shown.out
    assert table.rows() == before


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_sync_one_delivers_one(table: Contacts, program: Program) -> None:
    key, other = table.add("a@example.com"), table.add("b@example.com")
    ended = program.run("sync-one", str(key))
    assert ended.code == 0
    assert "1 contact: 1 created" in ended.out
    assert table.state(key) == ("Complete", "Complete")
    assert table.state(other) == ("Selected", "Queued")
    document = program.run("sync-one", str(key), "--json").document
    assert (document["command"], document["counts"]["unchanged"]) == ("sync-one", 1)


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_sync_one_of_nobody_exits_2(table: Contacts, program: Program) -> None:
    key = str(uuid4())
    ended = program.run("sync-one", str(key))
    assert (ended.code, ended.out) == (2, "")
    assert f"There is no contact {key}" in ended.err


@pytest.mark.parametrize("shape", ["sqlite"])
@pytest.mark.parametrize("text", ["12", "ada(at)example.com", "x" * 500, "[red]"])
def test_sync_one_of_what_is_no_key_exits_2(table: Contacts, program: Program, text: str) -> None:
    ended = program.run("sync-one", text)
    assert ended.code == 2
    assert "There is no contact" in ended.err
    assert len(ended.err) < 300


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_sync_one_refused_exits_1(table: Contacts, program: Program) -> None:
    key = table.add(hubspot_sync_status="Skipped", hubspot_processing_status=None)
    ended = program.run("sync-one", str(key))
    assert ended.code == 1
    assert "--force" in ended.err
    document = program.run("sync-one", str(key), "--json").document
    assert document["state"] == "refused"
    assert document["error_code"] == "CONTACT_NOT_SENT"
    assert document["cause_codes"] == ["CONTACT_SKIPPED"]
    assert program.run("sync-one", str(key), "--force").code == 0
    assert table.state(key) == ("Complete", "Complete"), "as the README says"


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_sync_one_that_fails_exits_1(table: Contacts, program: Program) -> None:
    key = table.add(name=TOO_LONG)
    ended = program.run("sync-one", str(key))
    assert ended.code == 1
    assert table.row(key)["retry_count"] == 1


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_sync_one_that_is_rejected_exits_1(table: Contacts, program: Program) -> None:
    key = table.add("not an email")
    ended = program.run("sync-one", str(key))
    assert ended.code == 1
    assert (table.state(key), table.row(key)["retry_count"]) == (("Error", "Error"), 0)


@pytest.mark.parametrize("shape", ["sqlite"])
def test_sync_one_dry_run_changes_neither_side(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    key = table.add()
    before = table.row(key)
    ended = program.run("sync-one", str(key), "--dry-run")
    assert (ended.code, table.row(key), hubspot.contacts()) == (0, before, [])
    assert "create" in ended.out


@pytest.mark.parametrize("shape", ["sqlite"])
def test_create_properties_again_and_again(program: Program, hubspot: Emulator) -> None:
    names = (PropertyNames().domain_id, PropertyNames().page_id, PropertyNames().sync_date)
    before = [hubspot.property(name) for name in names]
    ended = program.run("create-properties")
    assert ended.code == 0
    assert ended.out.count("exists") == 3
    assert [hubspot.property(name) for name in names] == before
    fresh = program.run("create-properties", "--json", HUBSPOT_CUSTOM_PROPERTY_PAGE_ID="other_page")
    states = {each["name"]: each["state"] for each in fresh.document["properties"]}
    assert states == {names[0]: "exists", "other_page": "created", names[2]: "exists"}


@pytest.mark.parametrize("shape", ["sqlite"])
def test_create_properties_that_differ_exit_1(program: Program, hubspot: Emulator) -> None:
    ended = program.run("create-properties", HUBSPOT_CUSTOM_PROPERTY_PAGE_ID="createdate")
    assert ended.code == 1
    assert "differs" in ended.out
    assert "never changed" in ended.err


@pytest.mark.parametrize("shape", ["sqlite"])
def test_create_properties_dry_run_creates_nothing(program: Program, hubspot: Emulator) -> None:
    ended = program.run(
        "create-properties", "--dry-run", HUBSPOT_CUSTOM_PROPERTY_PAGE_ID="other_page"
    )
    assert ended.code == 0
    assert "would create" in ended.out
    assert hubspot.property("other_page") is None


def test_reset_asks_and_keeps_a_copy(table: Contacts, program: Program) -> None:
    key = table.add()
    program.run("sync-queue")
    before = table.row(key)
    unasked = program.run("reset", "--all")
    assert unasked.code == 2
    assert "--yes" in unasked.err
    assert table.row(key) == before
    ended = program.run("reset", "--all", "--yes", "--backup", "copy.jsonl")
    assert ended.code == 0
    assert "1 contact brought back to never synced" in ended.out
    assert table.state(key) == (table.never_synced, None)
    (line,) = Path("copy.jsonl").read_text().splitlines()
    assert json.loads(line)["hubspot_contact_id"] == before["hubspot_contact_id"]


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_reset_dry_run_erases_nothing(table: Contacts, program: Program) -> None:
    key = table.add(hubspot_contact_id="9001")
    before = table.row(key)
    ended = program.run("reset", str(key), "--dry-run")
    assert (ended.code, table.row(key)) == (0, before)
    assert "9001" in ended.out
    assert list(Path().glob("*.jsonl")) == []


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_reset_says_which_contacts_a_run_holds(table: Contacts, program: Program) -> None:
    key = table.add(hubspot_sync_status="Processing", hubspot_processing_status="Processing")
    ended = program.run("reset", "--all", "--yes", "--json")
    assert ended.code == 1
    assert ended.document["left"] == [str(key)]
    assert str(key) in ended.err
    assert table.state(key) == ("Processing", "Processing")


@pytest.mark.parametrize("shape", ["sqlite"])
@pytest.mark.parametrize("arguments", [[], ["--all", "--status", "Error"], [str(uuid4()), "--all"]])
def test_reset_needs_one_choice(table: Contacts, program: Program, arguments: list[str]) -> None:
    ended = program.run("reset", *arguments)
    assert ended.code == 2
    assert "--all" in ended.err


@pytest.mark.parametrize("shape", ["sqlite"])
def test_reset_of_nobody_exits_2(table: Contacts, program: Program) -> None:
    key, there = str(uuid4()), table.add(hubspot_contact_id="9001")
    ended = program.run("reset", str(there), str(key), "--yes")
    assert ended.code == 2
    assert str(key) in ended.err
    assert table.row(there)["hubspot_contact_id"] == "9001"


@pytest.mark.parametrize(
    "command", [["sync-queue"], ["sync-one", str(uuid4())], ["reset", "--all"]]
)
def test_no_table_exits_2_and_says_what_to_do(command: list[str], tmp_path: Path) -> None:
    program = Program(
        {"DATABASE_URL": f"sqlite:///{tmp_path / 'none.db'}", "HUBSPOT_API_KEY": TOKEN}
    )
    ended = program.run(*command)
    assert ended.code == 2
    assert "init-db" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_no_table_in_postgresql_exits_2(postgres_url: str) -> None:
    url = make_database(postgres_url, "empty", "SELECT 1")
    ended = Program({"DATABASE_URL": url, "HUBSPOT_API_KEY": TOKEN}).run("sync-queue")
    assert ended.code == 2
    assert "init-db" in ended.err


def test_init_db_makes_the_table_once(tmp_path: Path) -> None:
    program = Program(
        {"DATABASE_URL": f"sqlite:///{tmp_path / 'new.db'}", "HUBSPOT_API_KEY": TOKEN}
    )
    assert program.run("init-db", "--dry-run").out == "Table contacts: would create.\n"
    assert list(tmp_path.iterdir()) == []
    assert program.run("init-db").out == "Table contacts: created.\n"
    assert program.run("init-db").out == "Table contacts: exists.\n"
    assert program.run("init-db", "--json").document["table"] == "exists"
    assert program.run("sync-queue").code == 0


def test_database_out_of_reach_exits_3() -> None:
    program = Program(
        {
            "DATABASE_URL": "postgresql://me:pw-not-shown@127.0.0.1:1/none",
            "HUBSPOT_API_KEY": TOKEN,
        }
    )
    ended = program.run("sync-queue")
    assert ended.code == 3
    assert "database cannot be used now" in ended.err
    assert "pw-not-shown" not in ended.err


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_form_of_postgresql_address_works(
    app_url: str, hubspot: Emulator, scheme: str
) -> None:
    url = f"{scheme}://{app_url.partition('://')[2]}"
    program = Program({"DATABASE_URL": url, "HUBSPOT_API_KEY": TOKEN})
    assert program.run("sync-queue", HUBSPOT_API_BASE_URL=hubspot.url).code in (0, 1)


def test_wrong_settings_are_told_together() -> None:
    ended = Program(
        {
            "HUBSPOT_API_KEY": "pat na1 xxxxxxxx",
            "HUBSPOT_SYNC_LEASE_MINUTES": "soon",
            "HUBSPOT_SYNC_RETRY_EXPONENTIAL": "perhaps",
        }
    ).run("sync-queue")
    assert ended.code == 2
    for word in ("HUBSPOT_API_KEY", "'soon'", "'perhaps'"):
        assert word in ended.err
    assert "xxxxxxxx" not in ended.err


def test_env_file_is_read_and_the_environment_wins(tmp_path: Path, hubspot: Emulator) -> None:
    (tmp_path / "settings").write_text(f"DATABASE_URL=sqlite:///{tmp_path}/a.db\n")
    (tmp_path / ".env").write_text(f"DATABASE_URL=sqlite:///{tmp_path}/b.db\n")
    program = Program()
    program.run("init-db", "--env-file", "settings")
    program.run("init-db")
    program.run("init-db", DATABASE_URL=f"sqlite:///{tmp_path}/c.db")
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["a.db", "b.db", "c.db"]
    missing = program.run("init-db", "--env-file", "none")
    assert missing.code == 2
    assert "none" in missing.err


def test_env_file_that_may_not_be_read_is_told_in_our_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings.env"
    path.touch(mode=0o000)
    # Root may read it; what the command line asks before us is what the system says of others.
    monkeypatch.setattr("os.access", lambda path, mode: False)

    def refuse(*arguments: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    ended = Program().run("status", "--env-file", str(path))
    assert ended.code == 2
    assert ended.err == (
        f"The settings file {path} cannot be read (Permission denied): let the program's user read "
        "it, or run as that user.\n"
    )


@pytest.mark.parametrize("shape", ["sqlite"])
def test_dry_run_begins_with_the_look_at_the_portal(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    key = table.add()
    assert program.run("sync-queue", "--dry-run", HUBSPOT_PORTAL_ID="1").code == 3
    hubspot.archive_property("scrapersky_page_id")
    for command in (["sync-queue"], ["sync-one", str(key)]):
        ended = program.run(*command, "--dry-run")
        assert ended.code == 3
        assert "create-properties" in ended.err


@pytest.mark.parametrize("shape", ["sqlite"])
def test_sync_one_dry_run_refuses_what_sync_one_refuses(table: Contacts, program: Program) -> None:
    key = table.add(hubspot_sync_status="Skipped", hubspot_processing_status=None)
    assert program.run("sync-one", str(key), "--dry-run").code == 1
    assert program.run("sync-one", str(key), "--dry-run", "--force").code == 0


@pytest.mark.parametrize("shape", ["sqlite", "app"])
def test_reset_all_leaves_the_skipped(table: Contacts, program: Program) -> None:
    skipped = table.add(hubspot_sync_status="Skipped", hubspot_processing_status=None)
    table.add(hubspot_sync_status="Error", hubspot_processing_status="Error")
    looked = program.run("reset", "--all", "--dry-run", "--json").document
    assert (looked["reset"], looked["would_reset"]) == (0, 1)
    assert program.run("reset", "--all", "--yes").code == 0
    assert table.state(skipped) == ("Skipped", None)
    program.run("reset", "--status", "Skipped", "--yes")
    assert table.state(skipped) == (table.never_synced, None)


@pytest.mark.parametrize("shape", ["sqlite"])
def test_sync_queue_drains_and_reports_every_outcome(table: Contacts, program: Program) -> None:
    keys = set(map(str, table.add_all([f"c{number}@example.com" for number in range(230)])))
    ended = program.run(
        "sync-queue", "--drain", "--workers", "3", "--report", "out.jsonl", "--json"
    )
    assert ended.code == 0
    assert ended.document["counts"]["created"] == 230
    assert (ended.document["contacts"], ended.document["due_remaining"]) == ([], 0)
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert {line["id"] for line in lines} == keys
    assert {line["run_id"] for line in lines} == {ended.document["run_id"]}
    assert Path("out.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("shape", ["sqlite"])
def test_drain_and_limit_exclude_each_other(table: Contacts, program: Program) -> None:
    assert program.run("sync-queue", "--drain", "--limit", "5").code == 2


@pytest.mark.parametrize("shape", ["sqlite"])
def test_report_that_cannot_be_written_exits_2(table: Contacts, program: Program) -> None:
    key = table.add()
    ended = program.run("sync-queue", "--report", "none/out.jsonl")
    assert ended.code == 2
    assert "--report" in ended.err
    assert table.state(key) == ("Selected", "Queued")


@pytest.mark.parametrize("shape", ["sqlite"])
def test_contacts_with_one_email_are_told_to_share_a_delivery(
    table: Contacts, program: Program
) -> None:
    first, second = table.add("Same@example.com"), table.add("same@example.com")
    ended = program.run("sync-queue", COLUMNS="200")
    assert f"one delivery with {str(first)[:8]}" in ended.out
    assert f"one delivery with {str(second)[:8]}" in ended.out
    assert table.row(first)["hubspot_contact_id"] == table.row(second)["hubspot_contact_id"]


@pytest.mark.parametrize("shape", ["sqlite"])
def test_sync_queue_says_how_long_the_rest_takes(table: Contacts, program: Program) -> None:
    for number in range(31):
        table.add(f"c{number}@example.com")
    # A stopped run is no time to speak of the pace, nor to advise a drain.
    stopped = program.run("sync-queue", HUBSPOT_API_KEY="pat-na1-wrong")
    assert (stopped.code, "--drain" in stopped.out) == (3, False)
    assert "takes about 15 minutes" in program.run("sync-queue").out


def test_emulator_on_a_taken_port_exits_2(hubspot: Emulator) -> None:
    ended = Program().run("emulator", "--port", hubspot.url.rpartition(":")[2])
    assert ended.code == 2
    assert "--port" in ended.err


@pytest.mark.parametrize("shape", ["sqlite"])
def test_output_without_the_letters_still_ends_well(table: Contacts, program: Program) -> None:
    table.add("lukasz@exámple.com")
    ended = program.run_afresh("sync-queue", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ended.code == 0, ended.err
    assert "1 created" in ended.out


@pytest.mark.parametrize("shape", ["sqlite"])
def test_strangers_markup_is_shown_and_not_obeyed(table: Contacts, program: Program) -> None:
    table.add("[bold]x[/bold]\x1b[31m@evil\u202e.com", name="[link=http://x]y[/link]")
    ended = program.run("sync-queue")
    assert "[bold]x[/bold]" in ended.out.replace("\n", "")
    assert "\x1b" not in ended.out
    assert "\u202e" not in ended.out


@pytest.mark.parametrize("shape", ["sqlite"])
def test_table_fits_eighty_columns(table: Contacts, program: Program) -> None:
    table.add("a-very-long-address-of-somebody@a-very-long-domain-name.example.com")
    table.add("no-at-sign")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hubspot_sync.console.runs.is_seen", lambda: True)
        ended = program.run("sync-queue", COLUMNS="80")
    assert max(map(len, ended.out.splitlines())) <= 80
    assert "…" not in ended.out


@pytest.mark.parametrize("shape", ["sqlite"])
def test_fault_of_our_own_shows_no_traceback(
    table: Contacts, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("hubspot_sync.store.contact_queue.ContactQueue.claim", stumble)
    ended = program.run("sync-queue")
    assert ended.code == 3
    assert "ZeroDivisionError" in ended.err
    assert "Traceback" not in ended.err
    assert "Traceback" in program.run("sync-queue", "--verbose").err
