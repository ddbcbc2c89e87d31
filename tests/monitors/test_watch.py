"""The monitors of real runs: what a run of `sync-queue` tells, however it ends."""

import json
import re
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from sqlalchemy import Engine, text

from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.monitors.metrics import MetricsFile
from hubspot_sync.monitors.watch import Watch
from hubspot_sync.rules.settlement import OutcomeName
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.settings import Settings
from hubspot_sync.store.run_places import take_place
from tests.acceptance.conftest import program as _program
from tests.acceptance.program import Program
from tests.monitors.conftest import CREATED, Monitor
from tests.monitors.test_metrics import FOUND, held
from tests.tables import Contacts

program = _program
on_sqlite = pytest.mark.parametrize("shape", ["sqlite"])


@pytest.fixture
def watched(program: Program, monitor: Monitor, tmp_path: Path) -> Program:
    """The program with both monitors set."""
    program.environment |= {
        "HUBSPOT_SYNC_HEARTBEAT_URL": monitor.url,
        "HUBSPOT_SYNC_METRICS_FILE": str(tmp_path / "hubspot_sync.prom"),
    }
    return program


def metrics(tmp_path: Path) -> dict[str, float]:
    return dict(held(tmp_path / "hubspot_sync.prom"))


def test_run_tells_its_beginning_its_end_and_its_numbers(
    table: Contacts, watched: Program, hubspot: Emulator, monitor: Monitor, tmp_path: Path
) -> None:
    table.add("ada@example.com")
    table.add("bad")
    hubspot.daily_limit = 250_000
    ended = watched.run("sync-queue", "--json")
    assert ended.code == 1
    assert monitor.kinds == ["/start", ""]
    assert (
        monitor.pings[1].numbers.items()
        >= {
            "state": "partial",
            "claimed": "2",
            "created": "1",
            "rejected": "1",
        }.items()
    )
    assert str(monitor.pings[1].rid)[:8] == ended.document["run_id"]
    told = metrics(tmp_path)
    assert told["contacts Complete Complete"] == 1
    assert told["failed_contacts not an email address"] == 1
    assert told["requests_total"] == ended.document["requests"]
    assert told["quota_remaining_requests"] < told["quota_requests"]


def test_nothing_of_a_contact_is_told(
    table: Contacts, watched: Program, hubspot: Emulator, monitor: Monitor, tmp_path: Path
) -> None:
    key = table.add("ada@example.com", name="Ada Lovelace")
    table.add("odd@nowhere")
    watched.run("sync-queue")
    told = json.dumps([(ping.kind, ping.body, ping.headers) for ping in monitor.pings])
    told += (tmp_path / "hubspot_sync.prom").read_text()
    for secret in (str(key), "ada@", "Lovelace", "nowhere", hubspot.token):
        assert secret not in told


@on_sqlite
@pytest.mark.parametrize("is_there", [True, False])
def test_ping_url_is_in_no_output(
    table: Contacts, watched: Program, monitor: Monitor, is_there: bool
) -> None:
    table.add()
    url = monitor.url if is_there else "http://127.0.0.1:1/check"
    monitor.status = 404
    ended = watched.run_process("sync-queue", "--verbose", HUBSPOT_SYNC_HEARTBEAT_URL=url)
    assert re.search(r" [0-9a-f]{8} hubspot_sync\.monitors\.heartbeat: ", ended.err)
    assert "/check" not in ended.out + ended.err


@on_sqlite
def test_idle_run_is_a_success(
    table: Contacts, watched: Program, monitor: Monitor, tmp_path: Path
) -> None:
    assert watched.run("sync-queue", "--quiet").err == ""
    assert monitor.kinds == ["/start", ""]
    assert metrics(tmp_path)["due_contacts"] == 0


@on_sqlite
def test_stop_is_a_failure_with_the_exit_code(
    table: Contacts, watched: Program, hubspot: Emulator, monitor: Monitor, tmp_path: Path
) -> None:
    table.add()
    hubspot.fault(status=401, times=None)
    assert watched.run("sync-queue").code == 3
    assert monitor.kinds == ["/start", "/3"]
    assert metrics(tmp_path)["last_run_exit_code"] == 3
    assert metrics(tmp_path)["due_contacts"] == 1


@on_sqlite
def test_database_without_a_table_is_a_failure(
    watched: Program, monitor: Monitor, tmp_path: Path
) -> None:
    missing = f"sqlite:///{tmp_path / 'none.db'}"
    ended = watched.run("sync-queue", DATABASE_URL=missing)
    assert ended.code == 2
    assert monitor.kinds[-1] == "/2"
    assert metrics(tmp_path)["runs_total refused"] == 1


def test_fault_of_our_own_is_a_failure(
    table: Contacts, watched: Program, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubspot_sync.sync.Sync.run_queue", lambda self: 1 / 0)
    assert watched.run("sync-queue").code == 3
    assert monitor.kinds == ["/start", "/3"]


@on_sqlite
def test_run_without_a_place_and_one_switched_off_only_leave_a_note(
    table: Contacts, watched: Program, monitor: Monitor, engine: Engine, database_url: str
) -> None:
    table.add()
    with take_place(engine, database_url, BUILT_IN_SOURCE, 1):
        assert watched.run("sync-queue").code == 0
    assert watched.run("sync-queue", HUBSPOT_API_KEY="").code == 0
    assert monitor.kinds == ["/log", "/log"]
    assert [ping.numbers["state"] for ping in monitor.pings] == ["busy", "disabled"]


@pytest.mark.parametrize(
    ("outcome", "shows_life"),
    [("created", True), ("failed", True), ("released", False), ("stopped", False)],
)
def test_contact_that_is_given_back_is_no_sign_of_life(
    tmp_path: Path, outcome: str, shows_life: bool
) -> None:
    """A run that hears of an outage may take a while to end; it must not count as well by then."""
    watch = Watch(Settings(metrics_file=tmp_path / "x.prom"), "5d38ecde", lambda: FOUND)
    (file,) = watch._monitors
    assert isinstance(file, MetricsFile)
    watch.note(replace(CREATED, outcome=OutcomeName(outcome)))
    assert bool(file._outcomes) is shows_life


@on_sqlite
def test_dry_run_and_sync_one_are_nobodys_heartbeat(
    table: Contacts, watched: Program, monitor: Monitor, tmp_path: Path
) -> None:
    key = table.add()
    assert watched.run("sync-queue", "--dry-run").code == 0
    assert watched.run("sync-one", str(key)).code == 0
    assert monitor.kinds == []
    assert not (tmp_path / "hubspot_sync.prom").exists()


@on_sqlite
def test_signal_is_a_failure_with_its_exit_code(
    table: Contacts, watched: Program, hubspot: Emulator, monitor: Monitor
) -> None:
    table.add()
    release = threading.Event()
    fault = hubspot.fault(method="POST", path="/batch/create", release=release)
    with watched.start("sync-queue") as process:
        assert fault.reached.wait(20)
        process.send_signal(signal.SIGTERM)
        release.set()
        process.communicate(timeout=20)
    assert process.returncode == 143
    assert monitor.kinds == ["/start", "/143"]


@on_sqlite
def test_signal_after_all_is_done_keeps_no_monitor_from_hearing_it(
    table: Contacts, watched: Program, monitor: Monitor, tmp_path: Path
) -> None:
    table.add()
    with FileLock(tmp_path / "hubspot_sync.prom.lock"):
        process = watched.start("sync-queue")
        assert any("1 contact: 1 created" in line for line in process.stdout)
        # It waits for the lock now, or will soon.
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert monitor.kinds == ["/start", ""]
    assert metrics(tmp_path)["runs_total done"] == 1


@pytest.mark.parametrize("shape", ["app"])
def test_table_that_somebody_keeps_locked_keeps_no_tick_waiting(
    table: Contacts, watched: Program, engine: Engine, monitor: Monitor, tmp_path: Path
) -> None:
    table.add()
    with engine.begin() as other:
        other.execute(text("LOCK TABLE contacts IN ACCESS EXCLUSIVE MODE"))
        assert watched.run("sync-queue", HUBSPOT_API_KEY="").code == 0
    assert monitor.kinds == ["/log"]
    assert metrics(tmp_path)["runs_total disabled"] == 1
    assert "due_contacts" not in metrics(tmp_path)


@on_sqlite
def test_run_that_is_killed_tells_no_end(
    table: Contacts, watched: Program, hubspot: Emulator, monitor: Monitor
) -> None:
    table.add()
    release = threading.Event()
    fault = hubspot.fault(method="POST", path="/batch/create", release=release)
    with watched.start("sync-queue") as process:
        assert fault.reached.wait(20)
        assert monitor.heard.wait(20)
        process.kill()
        process.communicate(timeout=20)
    release.set()
    assert monitor.kinds == ["/start"]


@on_sqlite
def test_trouble_of_both_monitors_changes_nothing_about_the_run(
    table: Contacts, watched: Program, hubspot: Emulator, tmp_path: Path
) -> None:
    table.add("ada@example.com")
    ended = watched.run(
        "sync-queue",
        HUBSPOT_SYNC_HEARTBEAT_URL="http://127.0.0.1:1/check",
        HUBSPOT_SYNC_METRICS_FILE=str(tmp_path / "none" / "x.prom"),
    )
    assert ended.code == 0
    assert "1 contact: 1 created" in ended.out
    assert "could not be written" in ended.err
    assert len(hubspot.contacts()) == 1
