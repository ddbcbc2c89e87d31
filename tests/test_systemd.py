"""The systemd units do what the cron line does, and keep what the README promises of a stop."""

import configparser
import re
import shlex
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from hubspot_sync.settings import Settings
from tests.test_project import CRONTAB_EXAMPLE, ROOT, parse_as_command, section, table_rows

FOLDER = ROOT / "docs" / "systemd"
SERVICE = FOLDER / "hubspot-sync.service"
TIMER = FOLDER / "hubspot-sync.timer"
ANALYZE = shutil.which("systemd-analyze")


def systemd_version() -> int:
    """Return the version of systemd-analyze, 0 where there is none."""
    if ANALYZE is None:
        return 0
    told = subprocess.run([ANALYZE, "--version"], capture_output=True, text=True, check=True)
    return int(told.stdout.split()[1])


needs_systemd = pytest.mark.skipif(not systemd_version(), reason="there is no systemd-analyze here")
needs_offline = pytest.mark.skipif(
    systemd_version() < 250, reason="systemd-analyze 250 or newer judges a unit that is not loaded"
)


def read_unit(path: Path) -> configparser.ConfigParser:
    # A unit may name a key twice, knows % as a specifier, and cares for upper case.
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text(encoding="utf-8"))
    return unit


def service() -> configparser.SectionProxy:
    return read_unit(SERVICE)["Service"]


def analyze(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Ask systemd-analyze about copies whose program exists on this machine."""
    assert ANALYZE
    runnable = re.sub(
        r"^ExecStart=\S+", "ExecStart=/bin/true", SERVICE.read_text(encoding="utf-8"), flags=re.M
    )
    (folder / SERVICE.name).write_text(runnable, encoding="utf-8")
    (folder / TIMER.name).write_text(TIMER.read_text(encoding="utf-8"), encoding="utf-8")
    return subprocess.run(
        [ANALYZE, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_service_runs_what_the_cron_line_runs() -> None:
    command = service()["ExecStart"]

    parse_as_command(command)
    assert f"{command} >>" in CRONTAB_EXAMPLE
    assert all(Path(word).is_absolute() for word in shlex.split(command) if "/" in word)


def test_the_service_is_one_run_of_the_user_of_the_set_up() -> None:
    assert service()["Type"] == "oneshot"
    assert f"useradd --system --create-home {service()['User']}\n" in section(
        "Set-up for production"
    )


def test_a_run_that_is_asked_to_end_outlives_its_requests() -> None:
    grace = timedelta(seconds=int(service()["TimeoutStopSec"]))

    assert grace >= Settings().request_timeout + timedelta(seconds=20)
    assert f"`TimeoutStopSec={service()['TimeoutStopSec']}`" in section("Exit codes")


def test_only_wrong_settings_and_a_stop_are_failures() -> None:
    rows = table_rows(section("Exit codes"))
    told = {code for row in rows for code in row[0].split(", ")}

    assert told - {"0"} - set(service()["SuccessExitStatus"].split()) == {"2", "3"}


def test_the_service_gives_up_what_it_does_not_need() -> None:
    unit = service()

    assert unit["NoNewPrivileges"] == "yes"
    assert unit["ProtectSystem"] == "strict"
    assert unit["CapabilityBoundingSet"] == ""
    # HubSpot, and PostgreSQL on another machine or on this one's socket.
    assert set(unit["RestrictAddressFamilies"].split()) == {"AF_INET", "AF_INET6", "AF_UNIX"}


def test_the_folders_of_the_set_up_are_not_hidden_from_the_service() -> None:
    assert service()["ProtectHome"] == "yes"
    hidden = ("/home/", "/root/", "/run/user/")

    assert [word for word in service()["ExecStart"].split() if word.startswith(hidden)] == []


def test_the_timer_ticks_as_the_settings_say() -> None:
    timer = read_unit(TIMER)["Timer"]
    found = re.fullmatch(r"\*:0/(\d+)", timer["OnCalendar"])

    assert found
    assert timedelta(minutes=int(found[1])) == Settings().interval
    assert timer["Persistent"] == "yes"
    assert f"{TIMER.stem}.service" == SERVICE.name, "a timer starts the service of its name"
    assert read_unit(TIMER)["Install"]["WantedBy"] == "timers.target"


@needs_systemd
def test_systemd_finds_no_fault_in_the_units(tmp_path: Path) -> None:
    ended = analyze(tmp_path, "verify", "--man=no", f"./{SERVICE.name}", f"./{TIMER.name}")

    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


@needs_offline
def test_systemd_calls_the_service_well_protected(tmp_path: Path) -> None:
    ended = analyze(
        tmp_path,
        "security",
        "--offline=true",
        "--no-pager",
        # Two on its scale from 0 to 10. A service without any of this has 9.5.
        "--threshold=20",
        f"./{SERVICE.name}",
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
