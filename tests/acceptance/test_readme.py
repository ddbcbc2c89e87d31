"""Each command of the README, typed into a shell as it stands there, prints what stands below it.

Only a port and a path of another machine are put in place of those that are shown.
"""

import os
import pty
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.rules.settlement import OutcomeName
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.embedded import create_table
from tests.acceptance.program import ROOT, environment, read_terminal, untimed
from tests.tables import Contacts

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^ *```console\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
MARTA = str(UUID("6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b"))
PROVED_ELSEWHERE = {
    "hubspot-sync demo --keep /tmp/demo": "the whole demo, below",
    "hubspot-sync emulator --port 8765": "in the block that ends it again",
}

Stage = Callable[[Contacts, Emulator], None]


def two_due(table: Contacts, hubspot: Emulator) -> None:
    hubspot.add_contact({"email": "marta@bluefin.example"})
    table.add("info(at)mill.example", age=timedelta(minutes=4))
    table.add("erik@lindqvist.example")


def marta_and_two(table: Contacts, hubspot: Emulator) -> None:
    marta(table, hubspot)
    table.add("a@x.example")
    table.add("b@x.example")


def marta(table: Contacts, hubspot: Emulator, **columns: Any) -> None:
    table.add("marta@bluefin.example", id=MARTA, hubspot_sync_status="New", **columns)


def marta_delivered(table: Contacts, hubspot: Emulator) -> None:
    done: dict[str, Any] = {"hubspot_processing_status": "Complete", "hubspot_contact_id": "20001"}
    table.add("marta@bluefin.example", id=MARTA, hubspot_sync_status="Complete", **done)


def seven_failed(table: Contacts, hubspot: Emulator) -> None:
    for number in range(7):
        failed: dict[str, Any] = {
            "hubspot_sync_status": "Error",
            "hubspot_processing_status": "Error",
        }
        table.add(f"c{number}@x.example", **failed)


def no_properties(table: Contacts, hubspot: Emulator) -> None:
    for name in ("domain_id", "page_id", "sync_date"):
        hubspot.archive_property(f"scrapersky_{name}")


STAGES: dict[str, Stage] = {
    "hubspot-sync sync-queue": two_due,
    "hubspot-sync sync-queue --drain --max-minutes 50 --report outcomes.jsonl": two_due,
    f"hubspot-sync sync-one {MARTA}": marta_and_two,
    f"hubspot-sync sync-one {MARTA} --env-file /etc/hubspot-sync.env": marta,
    "hubspot-sync create-properties": no_properties,
    "hubspot-sync create-properties --env-file /etc/hubspot-sync.env": no_properties,
    "hubspot-sync enqueue --status Error": seven_failed,
    "hubspot-sync skip marta@bluefin.example": marta,
    f"hubspot-sync reset {MARTA} --yes --backup marta.jsonl": marta_delivered,
}
"""What is there before a block's first command; elsewhere a table and a HubSpot with nothing in."""


def first_command(block: str) -> str:
    return block.strip().splitlines()[0].removeprefix("$ ").removeprefix("sudo -u hubspot-sync ")


@pytest.fixture
def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def shell(tmp_path: Path, hubspot: Emulator, forked_script: Path) -> dict[str, str]:
    """The environment of a shell that knows the program, and settings that fit the stage."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "hubspot-sync").symlink_to(forked_script)
    if not shutil.which("sqlite3"):
        sqlite3 = tools / "sqlite3"
        code = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])"
        sqlite3.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}' \"$@\"\n")
        sqlite3.chmod(0o755)
    # The user of the set-up is nobody here.
    (tools / "sudo").write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    (tools / "sudo").chmod(0o755)
    settings = environment("sqlite:///contacts.db", hubspot.url)
    lines = "".join(f"{name}={value}\n" for name, value in settings.items())
    (tmp_path / "hubspot-sync.env").write_text(lines)
    (tmp_path / "hubspot-sync.env").chmod(0o600)
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return {**inherited, **settings, "PATH": f"{tools}:{os.environ['PATH']}"}


def test_every_block_is_run() -> None:
    assert len(BLOCKS) > 12
    assert set(STAGES) <= set(map(first_command, BLOCKS))
    assert set(PROVED_ELSEWHERE) <= set(map(first_command, BLOCKS))


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if first_command(block) not in PROVED_ELSEWHERE],
    ids=first_command,
)
def test_commands_print_what_the_readme_shows(
    block: str, shell: dict[str, str], hubspot: Emulator, tmp_path: Path, free_port: int
) -> None:
    first = first_command(block)
    if "DATABASE_URL" not in first and "emulator" not in first:
        set_the_stage(STAGES.get(first), hubspot, tmp_path)
    if "emulator" in first:
        # As it is installed: the shell ends it by a signal.
        (tmp_path / "bin/hubspot-sync").unlink()
        (tmp_path / "bin/hubspot-sync").symlink_to(Path(sys.executable).with_name("hubspot-sync"))
        shell = {name: value for name, value in shell.items() if not is_setting(name)}
    script = block.replace("8765", str(port_of(hubspot) if "curl" in first else free_port))
    script = script.replace("/etc/hubspot-sync.env", str(tmp_path / "hubspot-sync.env"))

    typed = [str(shutil.which("bash")), "-c", commands_of(script)]
    _, shown = on_a_terminal(typed, tmp_path, shell)

    lines = normal_lines(shown)
    # What runs in the background prints in its own time.
    printed = lines if first.endswith("&") else iter(lines)
    assert "Usage:" not in shown, shown
    for line in normal_lines(shown_by(script)):
        assert line in printed, f"{line!r} is not, or not in this place, in:\n{shown}"


def on_a_terminal(command: list[str], folder: Path, env: dict[str, str]) -> tuple[int, str]:
    """Run a command on a terminal without a progress bar; return how it ended, and all it shows."""
    ours, theirs = pty.openpty()
    terminal = {"TERM": "dumb", "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen(
        command, cwd=folder, env=env | terminal, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b"".join(iter(lambda: read_terminal(ours), b""))
        os.close(ours)
    return process.returncode, shown.decode()


def set_the_stage(stage: Stage | None, hubspot: Emulator, folder: Path) -> None:
    engine: Engine = make_engine(f"sqlite:///{folder / 'contacts.db'}", create=True)
    create_table(engine, BUILT_IN_SOURCE)
    if stage:
        stage(Contacts(engine, "sqlite"), hubspot)
    engine.dispose()


def is_setting(name: str) -> bool:
    return name.startswith("HUBSPOT_") or name == "DATABASE_URL"


def port_of(hubspot: Emulator) -> int:
    return int(hubspot.url.rpartition(":")[2])


def commands_of(block: str) -> str:
    """Return what is typed: lines behind a $, and those that go on with a quoted text."""
    typed: list[str] = []
    for line in block.splitlines():
        if line.lstrip().startswith("$ "):
            typed.append(line.lstrip().removeprefix("$ "))
        elif typed and typed[-1].count('"') % 2:
            typed[-1] += "\n" + line
    return "\n".join(typed)


def shown_by(block: str) -> str:
    typed = commands_of(block)
    return "\n".join(
        line
        for line in block.splitlines()
        if not line.lstrip().startswith("$ ") and line not in typed.splitlines() and line != "…"
    )


def normal_lines(text: str) -> list[str]:
    """Return lines without what differs from run to run: numbers, ids, times, blanks."""
    varying = re.compile(r"(?<=The copy: ).*/|(?<=run )[0-9a-f]{8}|\b[0-9a-f]*\d[0-9a-f.:-]*\w*")
    lines = varying.sub("#", untimed(text)).splitlines()
    return [" ".join(line.split()) for line in lines if line.strip(" ─")]


@pytest.mark.timeout(120)
def test_the_demo_prints_what_the_readme_shows_and_leaves_nothing_behind(tmp_path: Path) -> None:
    found = re.search(r"<!-- demo -->\n```text\n(.*?)```", README, re.DOTALL)
    assert found
    demo = [sys.executable, "-m", "hubspot_sync", "demo"]
    code, shown = on_a_terminal(demo, ROOT, {**os.environ, "TMPDIR": str(tmp_path)})
    assert code == 0
    assert list(tmp_path.iterdir()) == []
    real = iter(sentences(shown))

    assert len(sentences(found[1])) > 10
    for sentence in sentences(found[1]):
        assert sentence in real, f"{sentence!r} is not, or not in this place, in:\n{shown}"
    assert len(outcomes(found[1])) > 5
    assert outcomes(found[1]) <= outcomes(shown)


def sentences(output: str) -> list[str]:
    """Return the lines outside tables, without what may differ from run to run."""
    lines = untimed(output).splitlines()
    lines = [line for line in lines if line and not line.startswith((" ", "…"))]
    return [re.sub(r"^(\d+ contacts?: ).*\(run [0-9a-f]{8}\)", r"\1…", line) for line in lines]


def outcomes(output: str) -> set[tuple[str, str]]:
    """Return which contact had which outcome; which of two alike comes first may differ."""
    rows = [line.split() for line in output.splitlines() if line.startswith(" ")]
    names = set(map(str, OutcomeName))
    return {(row[0].lower(), row[1]) for row in rows if len(row) > 1 and row[1] in names}
