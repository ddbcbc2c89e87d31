"""A pgbouncer for the tests, between the program and the tests' PostgreSQL: transaction mode."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2.extras import RealDictCursor
from sqlalchemy.engine import URL, make_url

_NOBODY = 65534
_TRIES = 200

_SETTINGS = """
[databases]
* = {server}

[pgbouncer]
unix_socket_dir = {folder}
listen_port = 6432
auth_type = any
pool_mode = transaction
default_pool_size = 5
query_wait_timeout = 20
log_connections = 0
log_disconnections = 0
{more}
"""


class NotInstalled(Exception):
    """There is no pgbouncer on this machine."""


@dataclass(frozen=True)
class Pooler:
    """A pooler that runs, on a socket in a folder of its own.

    Attributes:
        folder: where its socket is, and nothing else listens.
    """

    folder: Path

    def url(self, database: str) -> str:
        """Return the address of a database behind it, as DATABASE_URL names it."""
        return f"postgresql://postgres@/{database}?host={self.folder}&port=6432"

    def ask(self, command: str) -> list[dict[str, object]]:
        """Ask its console, which knows what passed through."""
        with closing(self._connect("pgbouncer")) as console:
            # The console has no transactions.
            console.autocommit = True
            with console.cursor(cursor_factory=RealDictCursor) as cursor:
                cursor.execute(command)
                return [dict(row) for row in cursor.fetchall()]

    def transactions(self, database: str) -> int:
        """Count the transactions that it has carried to a database."""
        found = [row for row in self.ask("SHOW STATS_TOTALS") if row["database"] == database]
        return sum(int(str(row["xact_count"])) for row in found)

    def is_answering(self) -> bool:
        """Tell whether it takes connections yet."""
        with suppress(psycopg2.OperationalError):
            self._connect("pgbouncer").close()
            return True
        return False

    def _connect(self, database: str) -> "psycopg2.extensions.connection":
        return psycopg2.connect(self.url(database), connect_timeout=10)


@contextmanager
def pgbouncer(postgres_url: str, **settings: int) -> Iterator[Pooler]:
    """Run a pooler before a server.

    Args:
        postgres_url: the server, with `{database}` where the database's name goes.
        settings: of pgbouncer, which stand above ours.

    Raises:
        NotInstalled: this machine has none.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise NotInstalled("pgbouncer is not installed: apt-get install pgbouncer")
    # Not below pytest's own folder, which is closed to the user that the pooler runs as.
    with tempfile.TemporaryDirectory(prefix="hubspot-sync-pooler-") as name:
        folder = Path(name)
        file = folder / "pgbouncer.ini"
        more = "\n".join(f"{key} = {value}" for key, value in settings.items())
        server = _server(make_url(postgres_url.format(database="postgres")))
        file.write_text(_SETTINGS.format(server=server, folder=folder, more=more))
        # It refuses to be run by root, so it is run by nobody.
        user = _NOBODY if os.geteuid() == 0 else None
        if user is not None:
            for path in (folder, file):
                os.chown(path, user, user)
        with (
            (folder / "log").open("w") as log,
            subprocess.Popen(
                [program, file], cwd="/", stdout=log, stderr=log, user=user, group=user
            ) as process,
        ):
            try:
                pooler = Pooler(folder)
                _wait_until_it_answers(process, pooler)
                yield pooler
            finally:
                process.terminate()


def _wait_until_it_answers(process: "subprocess.Popen[bytes]", pooler: Pooler) -> None:
    for _ in range(_TRIES):
        if pooler.is_answering():
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
            break
    raise RuntimeError(f"pgbouncer does not answer: {(pooler.folder / 'log').read_text()}")


def _server(url: URL) -> str:
    """Return where the server is, in the words of pgbouncer's settings."""
    parts = {
        "host": url.host or url.query.get("host"),
        "port": url.port or url.query.get("port"),
        "user": url.username,
        "password": url.password,
    }
    return " ".join(f"{name}={_quoted(str(value))}" for name, value in parts.items() if value)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
