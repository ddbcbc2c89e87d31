"""How long the program takes before it does anything."""

import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sqlalchemy import Engine, event

from hubspot_sync.cli import app
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.store.database import make_engine
from hubspot_sync.store.embedded import create_table
from tests.benchmarks.stage import ROOT, Stage, show, stage

STARTS = 7


def main() -> None:
    """Time `--help` and, on both databases, a tick that finds nothing due."""
    with tempfile.TemporaryDirectory() as folder, stage() as stand, monitor() as url:
        embedded = replace(stand, database_url=f"sqlite:///{Path(folder) / 'contacts.db'}")
        create_table(make_engine(embedded.database_url, create=True), BUILT_IN_SOURCE)
        watched = {
            "HUBSPOT_SYNC_HEARTBEAT_URL": url,
            "HUBSPOT_SYNC_METRICS_FILE": str(Path(folder) / "hubspot_sync.prom"),
        }
        rows = [
            ("--help", *_seconds(stand, "--help"), "0.25", "", ""),
            ("an idle tick, PostgreSQL", *_seconds(stand, "sync-queue"), "0.5", *_asked(stand)),
            ("an idle tick, SQLite", *_seconds(embedded, "sync-queue"), "0.5", *_asked(embedded)),
            ("PostgreSQL, both monitors", *_seconds(stand, "sync-queue", **watched), "", "", ""),
        ]
    headings = ("command", "best", "median", "target", "requests (0)", "queries on contacts (1)")
    show(f"Seconds of {STARTS} starts", headings, rows)


@contextmanager
def monitor() -> Iterator[str]:
    """Listen as the server of a heartbeat does, and yield the ping URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/check"
        server.shutdown()


def _seconds(stand: Stage, *arguments: str, **more: str) -> tuple[str, str]:
    """Return the best and the median wall time."""
    seconds = []
    for _ in range(STARTS):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "hubspot_sync", *arguments],
            cwd=ROOT,
            env=stand.environment | more,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        seconds.append(time.perf_counter() - began)
    return f"{min(seconds):.2f}", f"{statistics.median(seconds):.2f}"


def _asked(stand: Stage) -> tuple[int, int]:
    """Return the HTTP requests and the queries on contacts of one tick."""
    ended, _ = stand.run("sync-queue")
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    os.environ.update(stand.environment)
    event.listen(Engine, "before_cursor_execute", note)
    with contextlib.redirect_stdout(io.StringIO()):
        app(["sync-queue", "--json"], standalone_mode=False)
    event.remove(Engine, "before_cursor_execute", note)
    return ended["requests"], sum("contacts" in statement for statement in statements)


if __name__ == "__main__":
    main()
