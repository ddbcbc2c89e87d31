"""The HTTP server that reads requests, and writes what is answered to them."""

import contextlib
import json
import socket
import socketserver
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

from hubspot_sync.hubspot.emulator.answers import Answer
from hubspot_sync.hubspot.emulator.request import Request


class Handler(BaseHTTPRequestHandler):
    """Reads a request, asks the emulator, writes the answer in one packet."""

    protocol_version = "HTTP/1.1"
    server_version = "hubspot-emulator"
    sys_version = ""
    # Unbuffered, http.server sends headers and body as two packets, the second 40 ms late.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: "Server"

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(length).decode("utf-8", "replace")
        authorization = self.headers.get("Authorization", "")
        answer = self.server.respond(Request(self.command, self.path, authorization, text))
        if answer is None:
            self.close_connection = True
            return
        headers = {"X-HubSpot-Correlation-Id": str(uuid4()), **answer.headers}
        content = b""
        if isinstance(answer.body, str):
            content = answer.body.encode()
            headers["Content-Type"] = "text/html; charset=utf-8"
        elif answer.status != 204:
            content = json.dumps(answer.body).encode()
            headers["Content-Type"] = "application/json;charset=utf-8"
        given = answer.body.get("correlationId") if isinstance(answer.body, dict) else None
        if isinstance(given, str) and given.isascii() and given.isprintable():
            # A fault may hold any words; a header takes none but these.
            headers["X-HubSpot-Correlation-Id"] = given
        if answer.status != 204:
            headers["Content-Length"] = str(len(content))
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing: the output belongs to whoever runs the emulator."""


class Server(ThreadingHTTPServer):
    """Serves each connection in a thread of its own, and can end them all."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, respond: Callable[[Request], Answer | None]) -> None:
        self.respond = respond
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler)

    def server_bind(self) -> None:
        """Take the port, and nothing else."""
        # HTTPServer's own looks up this machine's name, which can take seconds.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember a new connection and serve it."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection and forget it."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show what went wrong here; a client that went away is no fault."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        """Close the port and the connections too, which their threads would go on serving."""
        # On Linux this wakes the serving thread at once; elsewhere it looks every 10 ms.
        _shut(self.socket)
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            _shut(connection)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
