"""The file of metrics: what it holds, that it is whole, that its troubles end no run."""

import os
import re
import stat
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock
from prometheus_client.parser import text_string_to_metric_families

from hubspot_sync.monitors import metrics as module
from hubspot_sync.monitors.metrics import MetricsFile, News, write_metrics
from hubspot_sync.monitors.watch import RunEnd
from hubspot_sync.rules.advice import Reason
from hubspot_sync.rules.pace import Quota
from hubspot_sync.store.overview import Failures, Overview
from tests.monitors.conftest import CREATED

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


def news_of(end: RunEnd) -> News:
    return News(end.counts, end.requests, end)


DONE = news_of(RunEnd("done", 0, {"created": 2, "updated": 1}, requests=4, seconds=0.5))
FOUND = Overview(
    now=NOW,
    states={("New", None): 310, (None, None): 5, ("Selected", "Queued"): 3, ("Error", "Error"): 7},
    due=3,
    oldest_due_since=NOW - timedelta(minutes=9),
    oldest_due="7",
    retries=(0, 0, 0),
    failures=[Failures(Reason('an "odd" reason\\', "…"), 7, 0, "…")],
    delivered=0,
    last_delivery=None,
    last_failure=None,
    held=2,
    left_behind=1,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hubspot_sync.prom"


def held(path: Path) -> Mapping[str, float]:
    """Return what the file holds, read as Prometheus reads it."""
    return {
        sample.name.removeprefix("hubspot_sync_")
        + "".join(f" {label}" for label in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


def test_file_holds_queue_run_quota_and_last_success(path: Path) -> None:
    end = RunEnd("partial", 1, {"created": 2, "failed": 1}, 4, 0.5, quota=Quota(250_000, 249_996))
    write_metrics(path, news_of(end), FOUND, now=1000.5)
    told = held(path)
    assert (
        told.items()
        >= {
            "contacts New none": 315,
            "contacts Selected Queued": 3,
            "contacts Error Error": 7,
            "due_contacts": 3,
            "oldest_due_seconds": 540,
            "held_contacts": 2,
            "left_behind_contacts": 1,
            'failed_contacts an "odd" reason\\': 7,
            "outcomes_total created": 2,
            "outcomes_total failed": 1,
            "outcomes_total exhausted": 0,
            "requests_total": 4,
            "runs_total partial": 1,
            "runs_total done": 0,
            "quota_requests": 250_000,
            "quota_remaining_requests": 249_996,
            "last_run_timestamp_seconds": 1000.5,
            "last_success_timestamp_seconds": 1000.5,
            "last_run_exit_code": 1,
            "last_run_seconds": 0.5,
        }.items()
    )
    assert [name for name in told if name.startswith("info ")]
    assert "_created" not in path.read_text()


def test_counters_go_on_and_a_stop_keeps_the_last_success(path: Path) -> None:
    write_metrics(path, DONE, FOUND, now=1000)
    write_metrics(path, DONE, FOUND, now=1300)
    stopped = RunEnd("stopped", 3, {"stopped": 1}, requests=2)
    write_metrics(path, news_of(stopped), None, now=1600)
    told = held(path)
    assert told["outcomes_total created"] == 4
    assert told["outcomes_total stopped"] == 1
    assert told["requests_total"] == 10
    assert (told["runs_total done"], told["runs_total stopped"]) == (2, 1)
    assert told["last_success_timestamp_seconds"] == 1300
    assert told["last_run_timestamp_seconds"] == 1600
    assert "due_contacts" not in told, "what could not be read is left out"
    assert "quota_requests" not in told


@pytest.mark.parametrize("state", ["busy", "disabled", "refused", "stopped"])
def test_no_success_is_told_where_there_was_none(path: Path, state: str) -> None:
    write_metrics(path, news_of(RunEnd(state, 0)), FOUND, now=1000)
    assert held(path)["last_success_timestamp_seconds"] == 0
    assert held(path)[f"runs_total {state}"] == 1


@pytest.mark.parametrize("state", ["busy", "disabled"])
def test_note_of_a_run_that_did_nothing_leaves_the_last_one(path: Path, state: str) -> None:
    """Else one tick beside a run that hangs would end the alarm about the runs that stopped."""
    write_metrics(path, news_of(RunEnd("stopped", 3, seconds=2.5)), FOUND, now=1000)
    before = held(path)
    write_metrics(path, news_of(RunEnd(state, 0)), FOUND, now=1300)
    changed = {name for name, value in held(path).items() if before[name] != value}
    assert changed == {f"runs_total {state}"}


@pytest.mark.parametrize(
    ("exit_code", "retries", "is_news"),
    [(3, (1, 0, 0), False), (3, (0, 0, 0), True), (0, (1, 0, 0), True), (1, (0, 2, 0), True)],
)
def test_idle_run_between_two_that_stop_is_no_success(
    path: Path, exit_code: int, retries: tuple[int, int, int], is_news: bool
) -> None:
    """What a run stopped waits five minutes from its end, so the next tick has nothing to do."""
    state = "stopped" if exit_code == 3 else "done"
    write_metrics(path, news_of(RunEnd(state, exit_code, {"stopped": 1})), FOUND, now=1000)
    idle = news_of(RunEnd("done", 0))
    write_metrics(path, idle, replace(FOUND, retries=retries), now=1300)
    told = held(path)
    assert told["last_run_timestamp_seconds"] == (1300 if is_news else 1000)
    assert told["last_run_exit_code"] == (0 if is_news else exit_code)
    assert (told["last_success_timestamp_seconds"] == 1300) is is_news
    assert told["runs_total done"] >= 1


class Work:
    """A run at work whose looks at the queue can be waited for."""

    def __init__(self, path: Path) -> None:
        self.looked = threading.Semaphore(0)
        self.file = MetricsFile(path, self.look, every=timedelta(milliseconds=5))

    def look(self) -> Overview:
        self.looked.release()
        return FOUND


def test_run_at_work_refreshes_the_file_and_counts_each_contact_once(path: Path) -> None:
    write_metrics(path, news_of(RunEnd("stopped", 3, seconds=2.5)), FOUND, now=1000)
    work = Work(path)
    work.file.begin()
    work.file.note(CREATED)
    work.file.note(CREATED)
    assert work.looked.acquire(timeout=10)
    work.file.note(CREATED)
    assert work.looked.acquire(timeout=10)
    # The second look comes after the first was written.
    told = held(path)
    assert told["outcomes_total created"] >= 1
    assert told["last_success_timestamp_seconds"] == pytest.approx(time.time(), abs=60)
    assert (told["last_run_exit_code"], told["last_run_timestamp_seconds"]) == (3, 1000)
    assert told["runs_total done"] == 0
    work.file.end(RunEnd("done", 0, {"created": 3}, requests=4))
    told = held(path)
    assert told["outcomes_total created"] == 3
    assert (told["requests_total"], told["runs_total done"]) == (4, 1)


def test_refresh_that_outlasts_the_run_counts_nothing_twice(path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def look() -> Overview:
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            assert go_on.wait(10)
        return FOUND

    file = MetricsFile(path, look, every=timedelta(milliseconds=5))
    file.begin()
    file.note(CREATED)
    assert begun.wait(10)
    file.end(RunEnd("done", 0, {"created": 1}))
    go_on.set()
    file._thread.join(10)
    assert held(path)["outcomes_total created"] == 1


def test_contacts_of_a_run_that_an_error_ended_are_counted(path: Path) -> None:
    file = MetricsFile(path, lambda: FOUND, every=timedelta(minutes=5))
    file.begin()
    file.note(CREATED)
    file.end(RunEnd.of_error(ZeroDivisionError()))
    assert held(path)["outcomes_total created"] == 1
    assert held(path)["runs_total stopped"] == 1


def test_run_that_hangs_refreshes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(path)
    waited = threading.Semaphore(0)
    has_ended = work.file._has_ended

    def wait(seconds: float) -> bool:
        waited.release()
        return threading.Event.wait(has_ended, seconds)

    monkeypatch.setattr(has_ended, "wait", wait)
    work.file.begin()
    for _ in range(5):
        assert waited.acquire(timeout=10)
    assert not path.exists()
    work.file.end(RunEnd("done", 0))
    assert held(path)["runs_total done"] == 1


def test_run_that_never_began_is_told_at_its_end_alone(path: Path) -> None:
    MetricsFile(path, lambda: FOUND, every=timedelta(milliseconds=1)).end(RunEnd("busy", 0))
    assert held(path)["runs_total busy"] == 1


def test_lock_is_no_hindrance_to_another_user(path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_metrics(path, DONE, FOUND, now=1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path(f"{path}.lock").stat().st_mode) == 0o666


def test_nothing_due_has_no_age(path: Path) -> None:
    write_metrics(path, DONE, replace(FOUND, oldest_due_since=None), now=1)
    assert held(path)["oldest_due_seconds"] == 0


def test_others_may_read_it_and_nothing_else_is_left(path: Path) -> None:
    write_metrics(path, DONE, FOUND, now=1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    left = {each.name for each in path.parent.iterdir()}
    assert left <= {path.name, f"{path.name}.lock"}


def test_file_that_held_something_else_begins_anew(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text('hubspot_sync_runs_total{state="do')
    write_metrics(path, DONE, FOUND, now=1)
    assert held(path)["runs_total done"] == 1
    assert f"The metrics file {path} held no metrics; its counters begin at 0." in caplog.text


@pytest.mark.parametrize(
    "line",
    ["runs_total 5", 'runs_total{state="done"} NaN', "requests_total +Inf", "requests_total 1e400"],
)
def test_file_that_holds_odd_numbers_ends_nothing(path: Path, line: str) -> None:
    path.write_text(f"hubspot_sync_{line}\n")
    write_metrics(path, DONE, FOUND, now=1)
    assert held(path)["runs_total done"] == 1
    assert held(path)["requests_total"] == 4


def test_pipe_in_place_of_the_file_is_said_and_not_read(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(path)
    ended(path)
    assert "could not be written (it is no regular file)" in caplog.text


def ended(path: Path) -> None:
    """Have a run end that keeps its metrics there."""
    MetricsFile(path, lambda: FOUND, every=timedelta(minutes=5)).end(RunEnd("done", 0))


def test_folder_that_is_not_there_is_said_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "none" / "hubspot_sync.prom"
    ended(path)
    assert (
        f"The metrics file {path} could not be written (its folder does not exist)" in caplog.text
    )


def test_disk_that_is_full_leaves_the_old_file_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_metrics(path, DONE, FOUND, now=1)
    before = path.read_text()

    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.rename", refuse)
    ended(path)
    assert path.read_text() == before
    assert "could not be written (No space left on device)" in caplog.text
    assert [each for each in path.parent.iterdir() if each.suffix not in (".prom", ".lock")] == []


def test_file_that_another_run_keeps_locked_is_left_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_LOCK_SECONDS", 0.01)
    with FileLock(f"{path}.lock"):
        ended(path)
    assert not path.exists()
    assert "Another program keeps the metrics file" in caplog.text


def test_refresh_that_failed_is_made_up_for_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "later" / "hubspot_sync.prom"
    work = Work(path)
    work.file.begin()
    work.file.note(CREATED)
    for _ in range(3):
        assert work.looked.acquire(timeout=10)
    path.parent.mkdir()
    work.file.end(RunEnd("done", 0, {"created": 1}))
    assert held(path)["outcomes_total created"] == 1
    assert caplog.text.count("could not be written") == 1


README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_readme_lists_every_metric_and_alarms_use_no_other(path: Path) -> None:
    end = RunEnd("done", 0, {"created": 1}, quota=Quota(10, 9))
    write_metrics(path, news_of(end), FOUND, now=1)
    names = set(re.findall(r"^(hubspot_sync_\w+)", path.read_text(), re.MULTILINE))
    rows = README.partition("\n### Metrics\n")[2].partition("\nWhat could not be read")[0]
    rules = README.partition("<!-- alert rules -->")[2].partition("\n```\n")[0]
    used = set(re.findall(r"hubspot_sync_\w+", rules))

    assert set(re.findall(r"`(hubspot_sync_\w+)`", rows)) == names
    assert used <= names
    assert len(used) > 5
