"""A monitor that listens: what a server of healthchecks.io's kind hears."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from hubspot_sync.report import ContactReport
from hubspot_sync.rules.settlement import OutcomeName

CREATED = ContactReport(str(UUID(int=1)), "ada@example.com", OutcomeName.CREATED, 1, 4)


@dataclass(frozen=True)
class Ping:
    """One ping: what follows the check's own path, the run's id, the body."""

    kind: str
    rid: str | None
    body: str
    headers: dict[str, str]

    @property
    def numbers(self) -> dict[str, str]:
        """The lines of the body."""
        return dict(line.split(": ") for line in self.body.splitlines())


@dataclass
class Monitor:
    """Listens at `url`, keeps all pings, and answers as it is told."""

    url: str
    status: int = 200
    answer: bytes = b"OK"
    pings: list[Ping] = field(default_factory=list)
    heard: threading.Event = field(default_factory=threading.Event)
    # Tests that clear it have the monitor wait before it answers.
    may_answer: threading.Event = field(default_factory=threading.Event)

    @property
    def kinds(self) -> list[str]:
        """What was told, in order."""
        return [ping.kind for ping in self.pings]


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    """A monitor with one check."""
    told = Monitor("")
    told.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            rid = parse_qs(parts.query).get("rid", [None])[0]
            kind = parts.path.removeprefix("/check")
            told.pings.append(Ping(kind, rid, body, dict(self.headers)))
            told.heard.set()
            told.may_answer.wait(20)
            # Whoever was kept waiting for too long is gone.
            with suppress(ConnectionError):
                self.answer()

        def answer(self) -> None:
            self.send_response(told.status)
            self.send_header("Content-Length", str(len(told.answer)))
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(told.answer)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.url = f"http://127.0.0.1:{server.server_address[1]}/check"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield told
    told.may_answer.set()
    server.shutdown()
    thread.join()
    server.server_close()
