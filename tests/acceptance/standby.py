"""A `hubspot-sync` for shells that begins at once: forked from a process that has imported all.

`standing_by` yields an executable. It is typed like the program, or started like `python -m
hubspot_sync`; it hands over its arguments, environment, folder and standard streams, and ends as
the program ends. Where an installed program, an interpreter's own start or a closed stream is what
a test is about, the test starts the real one.
"""

import json
import os
import runpy
import select
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]

CALLER = """\
#!{python} -IS
import json, os, socket, sys
order = json.dumps([sys.argv, dict(os.environ), os.getcwd()]).encode()
door = socket.socket(socket.AF_UNIX)
door.connect({door!r})
socket.send_fds(door, [len(order).to_bytes(8, "big")], [0, 1, 2])
door.sendall(order)
os._exit(int(door.makefile().read()))
"""
"""Needs nothing but the interpreter, which is up in a hundredth of a second."""


@contextmanager
def standing_by(folder: Path) -> Iterator[Path]:
    """Yield the executable, `hubspot-sync` in a folder."""
    door = folder / "door"
    executable = folder / "hubspot-sync"
    executable.write_text(CALLER.format(python=sys.executable, door=str(door)), encoding="utf-8")
    executable.chmod(0o755)
    # It is over when its input is: with the tests, however they end.
    with subprocess.Popen(
        [sys.executable, "-m", "tests.acceptance.standby", str(door)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield executable
        process.communicate()


def serve(path: str) -> None:
    """Fork a program for each caller, until the input ends."""
    import tests.acceptance.warm  # noqa: F401 - what each of them would have to do first

    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen(16)
        print("ready", flush=True)
        while 0 not in select.select([door.fileno(), 0], [], [])[0]:
            caller, _ = door.accept()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            with caller:
                if os.fork() == 0:
                    door.close()
                    _attend(caller)


def _attend(caller: socket.socket) -> None:
    """Let a process of its own be the program, and tell the caller how it ended."""
    size, streams, _, _ = socket.recv_fds(caller, 8, 3)
    argv, env, folder = json.loads(caller.makefile("rb").read(int.from_bytes(size, "big")))
    program = os.fork()
    if program == 0:
        caller.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os._exit(_become(argv, env, folder))
    _, status = os.waitpid(program, 0)
    code = os.waitstatus_to_exitcode(status)
    caller.sendall(str(code if code >= 0 else 128 - code).encode())
    os._exit(0)


def _become(argv: list[str], env: dict[str, str], folder: str) -> int:
    """Be the program, and return its exit code, as an interpreter would."""
    from hubspot_sync.cli import main
    from tests.acceptance.forked import become

    code: object = 0
    try:
        become(env, folder)
        if argv[1:3] == ["-m", "hubspot_sync"]:
            sys.argv = [argv[0], *argv[3:]]
            runpy.run_module("hubspot_sync", run_name="__main__", alter_sys=True)
        sys.argv = argv
        sys.modules["__main__"] = ModuleType("__main__")
        main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001 - told and returned
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = 120
    return code


if __name__ == "__main__":
    serve(sys.argv[1])
