"""Processes of the program that begin at once, forked from one that has imported everything.

What a process imports takes most of its time here, and most of the suite's with it. These do what
`python -m` does, but for that: a process, an environment and pipes of their own.
"""

import os
import runpy
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Self, TextIO
from unittest.mock import patch

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    # They find the tests where they are, which pytest does without it.
    sys.path.append(str(ROOT))

_context = get_context("forkserver")
_context.set_forkserver_preload(["tests.acceptance.warm"])


class Forked:
    """A process, with what tests use of `subprocess.Popen`.

    Attributes:
        returncode: None as long as nobody has waited for the end; negative for a signal.
    """

    def __init__(self, module: str, arguments: tuple[str, ...], env: Mapping[str, str]) -> None:
        out, to_out = _context.Pipe(duplex=False)
        err, to_err = _context.Pipe(duplex=False)
        order = (module, arguments, dict(env), str(Path.cwd()), to_out, to_err)
        self._process = _context.Process(target=_become, args=order)
        with (
            # Else the process would begin by importing what this one was started with: pytest.
            patch.dict(sys.modules, {"__main__": ModuleType("__main__")}),
            # The first one finds by it what it is to import for all.
            patch.dict(os.environ, {"PYTHONPATH": str(ROOT)}),
        ):
            self._process.start()
        to_out.close()
        to_err.close()
        self.stdout, self.stderr = _text_of(out), _text_of(err)
        self.returncode: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream in (self.stdout, self.stderr):
            stream.close()
        self.wait(50)

    @property
    def code(self) -> int:
        """How the process ended, after its end."""
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for the end, and return what the process said that nobody has read yet."""
        said = ["", ""]

        def read(number: int, stream: TextIO) -> None:
            said[number] = "" if stream.closed else stream.read()

        streams = enumerate((self.stdout, self.stderr))
        threads = [threading.Thread(target=read, args=each, daemon=True) for each in streams]
        for thread in threads:
            thread.start()
        ends = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, ends - time.monotonic()))
            if thread.is_alive():
                raise TimeoutError(f"the process has not ended within {timeout:g} seconds")
        self.wait(max(1.0, ends - time.monotonic()))
        for stream in (self.stdout, self.stderr):
            stream.close()
        return said[0], said[1]

    def wait(self, timeout: float) -> int:
        """Wait for the end, and return how the process ended."""
        self._process.join(timeout)
        self.returncode = self._process.exitcode
        if self.returncode is None:
            raise TimeoutError(f"the process has not ended within {timeout:g} seconds")
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self._process.pid or 0, number)

    def kill(self) -> None:
        """End it at once, if it has not ended already."""
        self._process.kill()


def _text_of(reader: Connection) -> TextIO:
    with reader:
        return os.fdopen(os.dup(reader.fileno()), encoding="utf-8")


def _become(
    module: str,
    arguments: tuple[str, ...],
    env: dict[str, str],
    folder: str,
    out: Connection,
    err: Connection,
) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (out.fileno(), 1), (err.fileno(), 2)):
        os.dup2(descriptor, number)
    for each in (out, err):
        each.close()
    become(env, folder)
    sys.argv = ["hubspot-sync", *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def become(env: Mapping[str, str], folder: str) -> None:
    """Be a process that was started there with this, and with the streams that it has now."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, errors="backslashreplace")
