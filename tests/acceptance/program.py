"""The program as its users run it: in this process, or as a process of its own."""

import errno
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer import testing
from typer.testing import CliRunner

from hubspot_sync.cli import app
from tests.acceptance.forked import Forked
from tests.conftest import TOKEN

ROOT = Path(__file__).parents[2]

# The runner would make all the commands anew for each call, which takes longer than a short one.
testing._get_command = functools.cache(testing._get_command)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Ended:
    """How the program ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """What `--json` printed: one document, and nothing else."""
        return dict(json.loads(self.out))


@dataclass
class Program:
    """The program with an environment of its own."""

    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, **more: str) -> Ended:
        """Run a command in this process."""
        env: Mapping[str, str] = self.environment | more
        result = CliRunner().invoke(app, list(arguments), env=env, catch_exceptions=False)
        return Ended(result.exit_code, untimed(result.stdout), result.stderr)

    def start(self, *arguments: str, **more: str) -> Forked:
        """Start a command as a process of its own, which has no time to lose with imports."""
        return Forked("hubspot_sync", arguments, os.environ | self.environment | more)

    def start_afresh(self, *arguments: str, **more: str) -> "subprocess.Popen[str]":
        """Start a command as a process of its own, as a shell does it."""
        return subprocess.Popen(
            [sys.executable, "-m", "hubspot_sync", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT), **self.environment, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run_process(self, *arguments: str, **more: str) -> Ended:
        """Run a command as a process of its own to its end."""
        with self.start(*arguments, **more) as process:
            out, err = process.communicate(timeout=50)
        return Ended(process.code, untimed(out), err)

    def run_afresh(self, *arguments: str, **more: str) -> Ended:
        """Run a command as a process of its own, as a shell does it, to its end."""
        with self.start_afresh(*arguments, **more) as process:
            out, err = process.communicate(timeout=50)
        return Ended(process.returncode, untimed(out), err)


def untimed(out: str) -> str:
    """Return an output without the time that a run's last sentence begins with in a log."""
    return re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", "", out, flags=re.MULTILINE)


def read_terminal(terminal: int) -> bytes:
    """Return what was shown on a terminal next; nothing once nobody holds its other end."""
    try:
        return os.read(terminal, 65_536)
    except OSError as end:
        if end.errno == errno.EIO:
            return b""
        raise


def environment(database_url: str, hubspot_url: str) -> dict[str, str]:
    """Return the settings that point the program at a table and at a HubSpot."""
    return {
        "DATABASE_URL": database_url,
        "HUBSPOT_API_KEY": TOKEN,
        "HUBSPOT_API_BASE_URL": hubspot_url,
        "NO_COLOR": "1",
    }
