"""The standard streams where a disk is full, a reader is gone, or somebody has closed one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubspot_sync.hubspot.emulator import Emulator
from tests.acceptance.program import ROOT, Program
from tests.conftest import TOKEN
from tests.tables import Contacts

pytestmark = pytest.mark.parametrize("shape", ["sqlite"])
FULL = "could not be written in full (No space left on device)"


Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def in_shell(program: Program, forked_script: Path) -> Shell:
    """Runs a line in which `sync` is the program; where it closes a stream, started afresh."""

    def run(line: str, **more: str) -> "subprocess.CompletedProcess[str]":
        sync = f"{sys.executable} -m hubspot_sync" if "&-" in line else forked_script
        environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(ROOT), **program.environment}
        return subprocess.run(
            [str(shutil.which("bash")), "-c", f'sync() {{ {sync} "$@"; }}; {line}'],
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("sync sync-queue > /dev/full", 1, FULL),
        ("sync sync-queue --json > /dev/full", 1, FULL),
        ("sync sync-queue >&-", 0, ""),
        ("sync sync-queue 2>&-", 0, ""),
        ("sync sync-queue --json >&- 2>&-", 0, ""),
    ],
)
def test_run_that_cannot_tell_delivers_all_the_same(
    table: Contacts,
    hubspot: Emulator,
    in_shell: Shell,
    line: str,
    code: int,
    told: str,
) -> None:
    table.add()
    ended = in_shell(line)
    assert len(hubspot.contacts()) == 1
    assert ended.returncode == code
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception" not in ended.stderr


@pytest.mark.parametrize("redirection", ["> /dev/full", ">&-"])
def test_refusal_is_told_though_the_log_is_full(
    table: Contacts, in_shell: Shell, redirection: str
) -> None:
    ended = in_shell(f"sync sync-queue --env-file none {redirection}")
    assert ended.returncode == 2
    assert ended.stderr.startswith("--env-file none: there is no such file.")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_on_a_full_disk_is_no_traceback(in_shell: Shell, option: str) -> None:
    ended = in_shell(f"sync {option} > /dev/full")
    assert ended.returncode == 1
    assert ended.stderr == "Standard output could not be written (No space left on device).\n"


def test_reader_who_goes_away_is_no_trouble(
    table: Contacts, in_shell: Shell, hubspot: Emulator
) -> None:
    table.add()
    ended = in_shell("set -o pipefail; sync sync-queue | true")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(hubspot.contacts()) == 1


def test_stop_stands_once_where_both_streams_are_collected(
    table: Contacts, in_shell: Shell
) -> None:
    """As Docker and Kubernetes do it, from two pipes."""
    table.add()
    ended = in_shell("sync sync-queue | cat", HUBSPOT_API_KEY=f"{TOKEN}-wrong")
    assert (ended.stdout + ended.stderr).count("The run stopped: ") == 1


def test_log_has_the_reason_of_a_stop_that_cron_mails(
    table: Contacts, in_shell: Shell, tmp_path: Any
) -> None:
    table.add()
    wrong = {"HUBSPOT_API_KEY": f"{TOKEN}-wrong"}
    ended = in_shell("FORCE_COLOR=1 sync sync-queue >> sync.log", **wrong)
    assert ended.returncode == 3
    (told,) = [line for line in ended.stderr.splitlines() if "The run stopped: " in line]
    *_, last = (tmp_path / "sync.log").read_text().splitlines()
    time, _, words = last.partition(" ")
    assert words in told
    assert time.startswith("20")
    in_shell("sync sync-queue >> both.log 2>&1", **wrong)
    assert (tmp_path / "both.log").read_text().count("The run stopped: ") == 1


def test_log_has_why_a_run_did_not_begin(table: Contacts, in_shell: Shell, tmp_path: Any) -> None:
    refused = in_shell("sync sync-queue > sync.log", HUBSPOT_SYNC_WORKERS="x")
    assert refused.returncode == 2
    disabled = in_shell("sync sync-queue >> sync.log", HUBSPOT_API_KEY="")
    assert disabled.returncode == 0
    lines = [line.partition(" ")[2] for line in (tmp_path / "sync.log").read_text().splitlines()]
    assert lines == [refused.stderr.strip(), disabled.stderr.strip()]
