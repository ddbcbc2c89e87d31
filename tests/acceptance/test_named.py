"""HUBSPOT_SYNC_NAME: of several syncs on one machine, everything says whose it is."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.monitors.heartbeat import body_of
from hubspot_sync.monitors.metrics import write_metrics
from hubspot_sync.monitors.watch import RunEnd
from tests.acceptance.program import Program
from tests.monitors.test_metrics import DONE, FOUND
from tests.tables import Contacts

pytestmark = pytest.mark.parametrize("shape", ["sqlite"])


@pytest.fixture
def named(program: Program) -> Program:
    return replace(program, environment=program.environment | {"HUBSPOT_SYNC_NAME": "EU portal"})


@pytest.mark.parametrize(
    "command",
    ["sync-queue", "sync-queue --dry-run", "status", "doctor", "init-db", "enqueue --all"],
)
def test_documents_have_the_name_where_there_is_one(
    table: Contacts, program: Program, named: Program, command: str
) -> None:
    table.add()
    assert named.run(*command.split(), "--json").document["sync"] == "EU portal"
    assert "sync" not in program.run(*command.split(), "--json").document


def test_rows_of_a_run_and_its_last_line_have_the_name(table: Contacts, named: Program) -> None:
    table.add("ada@example.com")
    head, row, last = named.run("sync-queue").out.splitlines()
    assert head.split()[:3] == ["Time", "Run", "Sync"]
    assert "  EU portal  ada@example.com" in row
    assert last.startswith("[EU portal] 1 contact: 1 created")
    assert named.run("sync-queue").out == "[EU portal] Nothing is due.\n"


def test_screens_for_people_have_the_name(table: Contacts, named: Program) -> None:
    table.add()
    assert named.run("status").out.startswith("Sync       EU portal\n")
    assert "Sync: EU portal" in named.run("doctor").out
    assert "EU portal" in named.run("sync-queue", "--dry-run").out


def test_mail_begins_with_the_name(table: Contacts, named: Program, hubspot: Emulator) -> None:
    table.add()
    hubspot.fault(path=".", status=401)
    stopped = named.run("sync-queue")
    sentences = [line for line in stopped.err.splitlines() if "CRITICAL" not in line]
    assert sentences[0].startswith("[EU portal] The run stopped: ")
    wrong = named.run("sync-queue", HUBSPOT_SYNC_WORKERS="many")
    assert wrong.err.startswith("[EU portal] HUBSPOT_SYNC_WORKERS is 'many'")


def test_log_lines_have_the_name(table: Contacts, named: Program) -> None:
    table.add()
    lines = named.run("sync-queue", "--verbose").err.splitlines()
    assert any(" [EU portal] hubspot_sync." in line for line in lines)
    table.add("b@example.com")
    logged = named.run("sync-queue", "--verbose", "--log-format", "json").err.splitlines()
    records = [json.loads(line) for line in logged if line.startswith("{")]
    assert {record["sync"] for record in records if record.get("run_id") != "-"} == {"EU portal"}


def test_name_is_forgotten_with_its_command(table: Contacts, named: Program) -> None:
    table.add()
    named.run("status")
    assert "EU portal" not in Program(
        named.environment | {"HUBSPOT_SYNC_NAME": ""}
    ).run("status").out  # fmt: skip


def test_lines_of_a_report_have_the_name(
    table: Contacts, named: Program, program: Program, tmp_path: Path
) -> None:
    table.add()
    named.run("sync-queue", "--report", str(tmp_path / "one"))
    table.add("b@example.com")
    program.run("sync-queue", "--report", str(tmp_path / "two"))
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one", "two"))
    assert one["sync"] == "EU portal"
    assert "sync" not in two


def test_heartbeat_begins_with_the_name(shape: str) -> None:
    end = RunEnd("done", 0)
    assert body_of(end, "EU portal") == "sync: EU portal\n" + body_of(end)


def test_every_metric_has_the_name_and_counters_go_on_by_it(shape: str, tmp_path: Path) -> None:
    path = tmp_path / "x.prom"
    for name, times in (("", 1), ("EU portal", 2)):
        for _ in range(times):
            write_metrics(path, DONE, FOUND, now=1.0, sync_name=name)
    samples = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert all('sync="EU portal"' in line for line in samples)
    # What was counted under another name is another sync's.
    assert 'hubspot_sync_requests_total{sync="EU portal"} 8.0' in samples
    assert 'hubspot_sync_outcomes_total{outcome="created",sync="EU portal"} 4.0' in samples
