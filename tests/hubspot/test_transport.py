"""Single exchanges: what is sent, how often, with which waits, and which error comes of it."""

import gc
import logging
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
import urllib3
from requests_mock import ANY, Mocker

from hubspot_sync.clock import Pulse
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import (
    Conflict,
    ContactRejected,
    HubSpotDenied,
    HubSpotSyncError,
    Interrupted,
    NotFound,
    QuotaSpent,
    Unavailable,
)
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.exchange import HttpExchange, Request
from hubspot_sync.hubspot.pace import Pace
from hubspot_sync.hubspot.transport import Transport
from hubspot_sync.rules.reaction import Answer
from tests.conftest import NOW, TOKEN, Waits

BASE_URL = "https://api.hubapi.com"
PATH = "/crm/v3/objects/contacts"
URL = BASE_URL + PATH
TIMEOUT = 5.0
SHORT = 0.3
WELL_BEFORE_THE_END = 10.0  # seconds; the answers that dribble would take far longer

TEN_SECONDLY = {
    "status": "error",
    "message": "You have reached your ten_secondly_rolling limit.",
    "errorType": "RATE_LIMIT",
    "policyName": "TEN_SECONDLY_ROLLING",
}
SECONDLY = {
    "status": "error",
    "message": "You have reached your secondly limit.",
    "errorType": "RATE_LIMIT",
    "policyName": "SECONDLY",
}
DAILY = {
    "status": "error",
    "message": "You have reached your daily limit.",
    "errorType": "RATE_LIMIT",
    "policyName": "DAILY",
}
GATEWAY_PAGE = {"status_code": 502, "text": "<html><body>Bad Gateway</body></html>"}
REFUSED_CONNECTION = requests.ConnectionError(
    urllib3.exceptions.MaxRetryError(
        urllib3.HTTPSConnectionPool("api.hubapi.com"),
        PATH,
        urllib3.exceptions.NewConnectionError(
            urllib3.connection.HTTPSConnection("api.hubapi.com"), "refused"
        ),
    )
)

UNKNOWN_OUTCOMES: list[Any] = [
    pytest.param({"exc": requests.ReadTimeout("read timed out")}, id="read-timeout"),
    pytest.param({"exc": requests.ConnectionError("broken")}, id="broken"),
    pytest.param({"exc": requests.exceptions.ChunkedEncodingError("cut")}, id="cut"),
    pytest.param({"status_code": 200, "text": "<html>Welcome</html>"}, id="200-html"),
    pytest.param({"status_code": 201, "text": ""}, id="201-empty"),
    pytest.param(GATEWAY_PAGE, id="502-html"),
    *(
        pytest.param({"status_code": status, "json": {}}, id=str(status))
        for status in (500, 502, 503, 504, 521, 523, 524)
    ),
]
KNOWN_NOT_DONE: list[Any] = [
    pytest.param({"status_code": 429, "json": TEN_SECONDLY}, id="429"),
    pytest.param({"status_code": 429, "json": SECONDLY}, id="429-secondly"),
    pytest.param({"status_code": 423, "json": {"message": "locked"}}, id="423"),
    pytest.param({"exc": requests.ConnectTimeout("connect timed out")}, id="connect-timeout"),
    pytest.param({"exc": REFUSED_CONNECTION}, id="refused"),
]

Behaviour = Callable[[socket.socket, threading.Event], None]


def read_request(connection: socket.socket) -> bytes:
    """Read one request from the line, its body included."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _receive(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    while len(body) < length:
        body += _receive(connection)
    return head


def _receive(connection: socket.socket) -> bytes:
    chunk = connection.recv(65_536)
    if not chunk:
        raise ConnectionError("the client has gone")
    return chunk


def reset(connection: socket.socket) -> None:
    """Break the connection off, so that the other side gets a reset rather than an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def answering(content: bytes) -> Behaviour:
    """Return the behaviour of a server that sends these bytes, and closes the connection."""

    def behave(connection: socket.socket, _closing: threading.Event) -> None:
        read_request(connection)
        connection.sendall(content)

    return behave


def dribbling(at_once: bytes, then: bytes) -> Behaviour:
    """Return the behaviour of a server that sends the rest byte by byte, for a minute or so."""

    def behave(connection: socket.socket, closing: threading.Event) -> None:
        read_request(connection)
        connection.sendall(at_once)
        while not closing.wait(0.02):
            connection.sendall(then)

    return behave


OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"ok": true}'
HEADERS_ONLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
)


class Peer:
    """A server on this machine that does with each connection what the next behaviour says."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self.connections = 0
        self._behaviours = behaviours
        self._closing = threading.Event()
        self._current: socket.socket | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._current is not None:
            with suppress(OSError):
                self._current.shutdown(socket.SHUT_RDWR)
        with suppress(OSError), socket.create_connection(self._listener.getsockname()):
            self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        while not self._closing.is_set():
            connection, _ = self._listener.accept()
            with connection, suppress(OSError):
                if self._closing.is_set():
                    return
                self._current = connection
                behaviour = self._behaviours[min(self.connections, len(self._behaviours) - 1)]
                self.connections += 1
                behaviour(connection, self._closing)


Serve = Callable[..., Peer]
Connect = Callable[..., Transport]


@pytest.fixture
def transport(pulse: Pulse) -> Iterator[Transport]:
    """A transport to the HubSpot that requests-mock plays."""
    made = Transport(BASE_URL, TOKEN, timeout_seconds=TIMEOUT, pulse=pulse)
    yield made
    made.close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that behave as they are told."""
    started: list[Peer] = []

    def start(*behaviours: Behaviour) -> Peer:
        started.append(Peer(*behaviours))
        return started[-1]

    yield start
    for peer in started:
        peer.close()


@pytest.fixture
def connect(pulse: Pulse) -> Iterator[Connect]:
    """Make transports to real servers."""
    made: list[Transport] = []

    def make(url: str, timeout_seconds: float = TIMEOUT) -> Transport:
        made.append(Transport(url, TOKEN, timeout_seconds=timeout_seconds, pulse=pulse))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


def last(requests_mock: Mocker) -> Any:
    """Return the request that was sent last."""
    assert requests_mock.last_request is not None
    return requests_mock.last_request


def test_request_carries_the_token_as_bearer(transport: Transport, requests_mock: Mocker) -> None:
    requests_mock.get(URL, json={"results": []})
    transport.request("GET", PATH)
    assert last(requests_mock).headers["Authorization"] == f"Bearer {TOKEN}"


def test_request_ignores_netrc(transport: Transport, requests_mock: Mocker, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine api.hubapi.com login somebody password else\n")
    netrc.chmod(0o600)
    assert requests.utils.get_netrc_auth(URL) == ("somebody", "else")
    requests_mock.get(URL, json={"results": []})
    transport.request("GET", PATH)
    assert last(requests_mock).headers["Authorization"] == f"Bearer {TOKEN}"


def test_request_says_which_program_asks(transport: Transport, requests_mock: Mocker) -> None:
    requests_mock.get(URL, json={})
    transport.request("GET", PATH)
    assert last(requests_mock).headers["User-Agent"].startswith("hubspot-sync/")


def test_request_sends_its_body_as_json(transport: Transport, requests_mock: Mocker) -> None:
    requests_mock.post(URL, json={"id": "1"})
    transport.request("POST", PATH, {"properties": {"firstname": "Zoë"}})
    sent = last(requests_mock)
    assert sent.headers["Content-Type"] == "application/json"
    assert sent.json() == {"properties": {"firstname": "Zoë"}}


def test_request_without_a_body_sends_none(transport: Transport, requests_mock: Mocker) -> None:
    requests_mock.get(URL, json={})
    transport.request("GET", PATH)
    assert last(requests_mock).body is None
    assert "Content-Type" not in last(requests_mock).headers


def test_request_sends_its_query(transport: Transport, requests_mock: Mocker) -> None:
    requests_mock.get(URL, json={})
    transport.request("GET", PATH, params={"properties": "email,phone", "idProperty": "email"})
    assert last(requests_mock).url == f"{URL}?properties=email%2Cphone&idProperty=email"


def test_request_has_a_timeout_and_checks_certificates(
    transport: Transport, requests_mock: Mocker
) -> None:
    requests_mock.get(URL, json={})
    transport.request("GET", PATH)
    assert last(requests_mock).timeout == TIMEOUT
    assert last(requests_mock).verify


def test_request_returns_the_body_of_a_success(
    transport: Transport, requests_mock: Mocker, waits: Waits
) -> None:
    requests_mock.get(URL, json={"results": [{"id": "1"}]})
    assert transport.request("GET", PATH) == {"results": [{"id": "1"}]}
    assert transport.request_count == 1
    assert waits.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(transport: Transport, requests_mock: Mocker, status: int) -> None:
    elsewhere = requests_mock.register_uri(ANY, "https://elsewhere.example/", json={})
    requests_mock.post(
        URL, status_code=status, headers={"Location": "https://elsewhere.example/"}, json={}
    )
    with pytest.raises(Unavailable, match="redirect"):
        transport.request("POST", PATH, {})
    assert not elsewhere.called


def test_redirect_to_the_same_host_is_not_followed(
    transport: Transport, requests_mock: Mocker
) -> None:
    target = requests_mock.get(f"{BASE_URL}/login", text="<html>Log in</html>")
    requests_mock.get(URL, status_code=302, headers={"Location": "/login"})
    with pytest.raises(Unavailable):
        transport.request("GET", PATH)
    assert not target.called


@pytest.mark.parametrize("answer", UNKNOWN_OUTCOMES)
def test_create_of_unknown_outcome_is_not_repeated(
    transport: Transport,
    requests_mock: Mocker,
    waits: Waits,
    answer: dict[str, Any],
) -> None:
    requests_mock.post(URL, **answer)
    with pytest.raises(Unavailable) as caught:
        transport.request("POST", PATH, {}, repeatable=False)
    assert caught.value.outcome_unknown
    assert requests_mock.call_count == 1
    assert waits.asked == []


@pytest.mark.parametrize("answer", KNOWN_NOT_DONE)
def test_create_that_was_not_carried_out_is_repeated(
    transport: Transport, requests_mock: Mocker, answer: dict[str, Any]
) -> None:
    requests_mock.post(URL, [answer, answer, {"status_code": 201, "json": {"id": "1"}}])
    assert transport.request("POST", PATH, {}, repeatable=False) == {"id": "1"}
    assert requests_mock.call_count == 3


@pytest.mark.parametrize("answer", KNOWN_NOT_DONE)
def test_create_that_is_never_carried_out_has_a_known_outcome(
    transport: Transport, requests_mock: Mocker, answer: dict[str, Any]
) -> None:
    requests_mock.post(URL, **answer)
    with pytest.raises(Unavailable) as caught:
        transport.request("POST", PATH, {}, repeatable=False)
    assert not caught.value.outcome_unknown
    assert requests_mock.call_count == 3


@pytest.mark.parametrize("method", ["GET", "PATCH", "POST"])
@pytest.mark.parametrize("answer", UNKNOWN_OUTCOMES + KNOWN_NOT_DONE)
def test_repeatable_request_is_tried_three_times(
    transport: Transport,
    requests_mock: Mocker,
    waits: Waits,
    method: str,
    answer: dict[str, Any],
) -> None:
    requests_mock.register_uri(method, URL, **answer)
    with pytest.raises(Unavailable):
        transport.request(method, PATH)
    assert requests_mock.call_count == 3
    assert transport.request_count == 3
    assert len(waits.asked) == 2


def test_repeatable_request_takes_the_first_usable_answer(
    transport: Transport, requests_mock: Mocker, waits: Waits
) -> None:
    requests_mock.get(URL, [GATEWAY_PAGE, {"json": {"results": []}}])
    assert transport.request("GET", PATH) == {"results": []}
    assert waits.asked == [0.75]


def test_request_of_one_try_is_not_repeated(
    transport: Transport, requests_mock: Mocker, waits: Waits
) -> None:
    requests_mock.get(URL, status_code=429, json=TEN_SECONDLY)
    with pytest.raises(Unavailable):
        transport.request("GET", PATH, tries=1)
    assert requests_mock.call_count == 1
    assert waits.asked == []


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, ContactRejected),
        (401, HubSpotDenied),
        (403, HubSpotDenied),
        (404, NotFound),
        (405, ContactRejected),
        (409, Conflict),
        (414, ContactRejected),
        (477, QuotaSpent),
    ],
)
def test_refusal_is_not_repeated(
    transport: Transport,
    requests_mock: Mocker,
    waits: Waits,
    status: int,
    error: type[HubSpotSyncError],
) -> None:
    requests_mock.patch(URL, status_code=status, json={"status": "error", "message": "no"})
    with pytest.raises(error):
        transport.request("PATCH", PATH, {})
    assert requests_mock.call_count == 1
    assert waits.asked == []


@pytest.mark.parametrize(
    ("status", "body", "wait"),
    [
        (423, {"message": "locked"}, 2.0),
        (429, SECONDLY, 1.0),
        (429, {"message": "You have reached your secondly limit."}, 1.0),
        (429, TEN_SECONDLY, 10.0),
        (429, {"message": "Too many requests"}, 10.0),
    ],
)
def test_wait_is_the_usual_one_of_the_limit(
    transport: Transport,
    requests_mock: Mocker,
    waits: Waits,
    status: int,
    body: dict[str, str],
    wait: float,
) -> None:
    requests_mock.get(URL, status_code=status, json=body)
    with pytest.raises(Unavailable):
        transport.request("GET", PATH)
    assert waits.asked == [wait, wait]


def test_wait_after_a_429_that_is_not_json_is_the_longest_usual_one(
    transport: Transport, requests_mock: Mocker, waits: Waits
) -> None:
    requests_mock.get(URL, status_code=429, text="<html>Too many requests</html>")
    with pytest.raises(Unavailable):
        transport.request("GET", PATH)
    assert waits.asked == [10.0, 10.0]


@pytest.mark.parametrize(
    ("status", "body"), [(423, {}), (429, SECONDLY), (429, TEN_SECONDLY), (502, {}), (503, {})]
)
def test_wait_is_as_long_as_retry_after_says(
    transport: Transport,
    requests_mock: Mocker,
    waits: Waits,
    status: int,
    body: dict[str, str],
) -> None:
    requests_mock.get(URL, status_code=status, json=body, headers={"Retry-After": "7"})
    with pytest.raises(Unavailable):
        transport.request("GET", PATH)
    assert waits.asked == [7.0, 7.0]


def test_wait_until_the_date_of_retry_after(
    transport: Transport, requests_mock: Mocker, waits: Waits
) -> None:
    twenty_seconds_on = {"Retry-After": "Tue, 24 Nov 2026 09:30:20 GMT"}
    requests_mock.get(URL, status_code=429, json=SECONDLY, headers=twenty_seconds_on)
    with pytest.raises(Unavailable):
        transport.request("GET", PATH)
    assert waits.asked == [20.0, 20.0]


def test_wait_is_none_where_the_date_of_retry_after_is_past(
    transport: Transport, requests_mock: Mocker, waits: Waits
) -> None:
    past = {"Retry-After": "Tue, 24 Nov 2026 09:29:00 GMT"}
    requests_mock.get(URL, status_code=503, json={}, headers=past)
    with pytest.raises(Unavailable):
        transport.request("GET", PATH)
    assert waits.asked == [0.0, 0.0]


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5"])
def test_wait_is_the_usual_one_where_retry_after_makes_no_sense(
    transport: Transport, requests_mock: Mocker, waits: Waits, value: str
) -> None:
    requests_mock.get(URL, status_code=429, json=SECONDLY, headers={"Retry-After": value})
    with pytest.raises(Unavailable):
        transport.request("GET", PATH)
    assert waits.asked == [1.0, 1.0]


@pytest.mark.parametrize(
    ("status", "body"), [(423, {}), (429, SECONDLY), (429, TEN_SECONDLY), (503, {}), (477, {})]
)
def test_retry_after_of_an_hour_stops_the_run(
    transport: Transport,
    requests_mock: Mocker,
    waits: Waits,
    status: int,
    body: dict[str, str],
) -> None:
    requests_mock.get(URL, status_code=status, json=body, headers={"Retry-After": "3600"})
    with pytest.raises(QuotaSpent, match="2026-11-24 10:30 UTC") as caught:
        transport.request("GET", PATH)
    assert caught.value.resume_at == NOW + timedelta(hours=1)
    assert requests_mock.call_count == 1
    assert waits.asked == []


def test_daily_limit_stops_the_run_without_a_second_request(
    transport: Transport, requests_mock: Mocker, waits: Waits
) -> None:
    requests_mock.get(URL, status_code=429, json=DAILY)
    with pytest.raises(QuotaSpent, match="midnight in the portal's time zone") as caught:
        transport.request("GET", PATH)
    assert caught.value.resume_at is None
    assert requests_mock.call_count == 1
    assert waits.asked == []


def test_daily_limit_stops_the_run_however_short_retry_after_is(
    transport: Transport, requests_mock: Mocker, waits: Waits
) -> None:
    requests_mock.get(URL, status_code=429, json=DAILY, headers={"Retry-After": "7"})
    with pytest.raises(QuotaSpent) as caught:
        transport.request("GET", PATH)
    assert caught.value.resume_at == NOW + timedelta(seconds=7)
    assert waits.asked == []


@pytest.mark.parametrize(
    ("jitter", "asked"), [(0.0, [0.5, 1.0]), (0.5, [0.75, 1.5]), (1.0, [1, 2])]
)
def test_backoff_follows_the_jitter(
    pulse: Pulse,
    requests_mock: Mocker,
    waits: Waits,
    jitter: float,
    asked: list[float],
) -> None:
    transport = Transport(
        BASE_URL, TOKEN, timeout_seconds=TIMEOUT, pulse=replace(pulse, jitter=lambda: jitter)
    )
    requests_mock.get(URL, status_code=500, json={})
    with pytest.raises(Unavailable):
        transport.request("GET", PATH)
    assert waits.asked == asked
    transport.close()


@pytest.mark.parametrize(("status", "rate_limited"), [(429, True), (423, False), (503, False)])
def test_unavailable_tells_whether_a_rate_limit_is_the_reason(
    transport: Transport, requests_mock: Mocker, status: int, rate_limited: bool
) -> None:
    requests_mock.get(URL, status_code=status, json={})
    with pytest.raises(Unavailable) as caught:
        transport.request("GET", PATH)
    assert caught.value.rate_limited is rate_limited


def test_signal_before_the_first_request_lets_none_start(
    transport: Transport, pulse: Pulse, requests_mock: Mocker
) -> None:
    requests_mock.get(URL, json={})
    pulse.ending.ask()
    with pytest.raises(Interrupted):
        transport.request("GET", PATH)
    assert requests_mock.call_count == 0
    assert transport.request_count == 0


def test_signal_during_a_wait_lets_no_further_request_start(
    pulse: Pulse, requests_mock: Mocker
) -> None:
    waiting = replace(pulse, sleep=lambda _: pulse.ending.ask())
    transport = Transport(BASE_URL, TOKEN, timeout_seconds=TIMEOUT, pulse=waiting)
    requests_mock.get(URL, status_code=429, json=TEN_SECONDLY)
    with pytest.raises(Interrupted):
        transport.request("GET", PATH)
    assert requests_mock.call_count == 1
    transport.close()


def test_signal_during_a_request_lets_it_finish(
    transport: Transport, pulse: Pulse, requests_mock: Mocker
) -> None:
    def answer(_request: object, _context: object) -> dict[str, str]:
        pulse.ending.ask()
        return {"id": "1"}

    requests_mock.patch(URL, json=answer)
    assert transport.request("PATCH", PATH, {}) == {"id": "1"}


def test_signal_during_a_failing_request_lets_no_wait_start(
    transport: Transport, pulse: Pulse, requests_mock: Mocker, waits: Waits
) -> None:
    def answer(_request: object, _context: object) -> dict[str, str]:
        pulse.ending.ask()
        return {}

    requests_mock.get(URL, status_code=503, json=answer)
    with pytest.raises(Interrupted):
        transport.request("GET", PATH)
    assert waits.asked == []


def test_lease_lets_no_request_start_that_could_outlast_it(
    transport: Transport, requests_mock: Mocker, waits: Waits
) -> None:
    requests_mock.get(URL, json={})
    waits.clock = 100.0
    transport.hold_lease_until(100.0 + TIMEOUT - 0.1)
    with pytest.raises(Interrupted, match="lease"):
        transport.request("GET", PATH)
    assert requests_mock.call_count == 0


def test_lease_lets_a_request_start_that_ends_within_it(
    transport: Transport, requests_mock: Mocker, waits: Waits
) -> None:
    requests_mock.get(URL, json={})
    waits.clock = 100.0
    transport.hold_lease_until(100.0 + TIMEOUT)
    transport.request("GET", PATH)
    assert requests_mock.call_count == 1


def test_lease_lets_no_wait_start_after_which_no_request_could(
    transport: Transport, requests_mock: Mocker, waits: Waits
) -> None:
    requests_mock.get(URL, status_code=429, json=TEN_SECONDLY)
    transport.hold_lease_until(10.0 + TIMEOUT - 0.1)
    with pytest.raises(Interrupted, match="lease"):
        transport.request("GET", PATH)
    assert requests_mock.call_count == 1
    assert waits.asked == []


def test_lease_is_used_up_by_waits(
    transport: Transport, requests_mock: Mocker, waits: Waits
) -> None:
    requests_mock.get(URL, status_code=429, json=TEN_SECONDLY)
    transport.hold_lease_until(10.0 + TIMEOUT)
    with pytest.raises(Interrupted, match="lease"):
        transport.request("GET", PATH)
    assert requests_mock.call_count == 2
    assert waits.asked == [10.0]


def test_lease_that_is_let_go_holds_nothing_back(
    transport: Transport, requests_mock: Mocker
) -> None:
    requests_mock.get(URL, json={})
    transport.hold_lease_until(0.0)
    transport.hold_lease_until(None)
    transport.request("GET", PATH)
    assert requests_mock.call_count == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(dribbling(HEADERS_ONLY, b" "), id="body"),
        pytest.param(dribbling(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"), id="headers"),
        pytest.param(dribbling(b"", b""), id="nothing"),
        pytest.param(
            dribbling(
                b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 100000\r\n\r\n"
                b"\x1f\x8b\x08\x08\0\0\0\0\0\x03",
                b"a",
            ),
            id="zipped",
        ),
    ],
)
def test_deadline_cuts_an_answer_that_dribbles(
    serve: Serve, connect: Connect, behaviour: Behaviour
) -> None:
    transport = connect(serve(behaviour).url, SHORT)
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        transport.request("POST", PATH, {}, repeatable=False)
    assert caught.value.outcome_unknown
    assert time.monotonic() - began < WELL_BEFORE_THE_END


def test_deadline_says_how_long_it_was(serve: Serve, connect: Connect) -> None:
    transport = connect(serve(dribbling(HEADERS_ONLY, b" ")).url, SHORT)
    with pytest.raises(Unavailable, match=r"within 0\.3 seconds"):
        transport.request("GET", PATH, tries=1)


def test_deadline_of_one_request_leaves_the_next_alone(serve: Serve, connect: Connect) -> None:
    transport = connect(serve(dribbling(HEADERS_ONLY, b" "), answering(OK)).url, SHORT)
    assert transport.request("GET", PATH) == {"ok": True}


def test_answer_that_does_not_end_is_given_up(serve: Serve, connect: Connect) -> None:
    def flood(connection: socket.socket, closing: threading.Event) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while not closing.is_set():
            connection.sendall(b" " * 1_048_576)

    transport = connect(serve(flood).url)
    with pytest.raises(Unavailable, match="does not end") as caught:
        transport.request("POST", PATH, {}, repeatable=False)
    assert caught.value.outcome_unknown


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="closed"),
        pytest.param(HEADERS_ONLY + b'{"id":', id="cut-short"),
        pytest.param(b"\x15\x03\x01 this is no HTTP\r\n\r\n", id="not-http"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
            id="not-zipped",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="not-chunked"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 70_000 + b"\r\n\r\n", id="long-header"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\xff\xfe{", id="not-text"),
    ],
)
def test_answer_that_is_broken_leaves_the_outcome_unknown(
    serve: Serve, connect: Connect, content: bytes
) -> None:
    peer = serve(answering(content))
    with pytest.raises(Unavailable) as caught:
        connect(peer.url).request("POST", PATH, {}, repeatable=False)
    assert caught.value.outcome_unknown
    assert peer.connections == 1


def test_connection_reset_before_the_write_is_no_answer(serve: Serve, connect: Connect) -> None:
    transport = connect(serve(lambda connection, _: reset(connection)).url)
    # Whether the reset meets the client while it connects or while it writes is chance.
    with pytest.raises(Unavailable):
        transport.request("POST", PATH, {}, repeatable=False)


def test_connection_reset_during_the_write_is_not_repeated_for_a_create(
    serve: Serve, connect: Connect
) -> None:
    def behave(connection: socket.socket, _closing: threading.Event) -> None:
        connection.recv(1)
        reset(connection)

    peer = serve(behave)
    with pytest.raises(Unavailable) as caught:
        connect(peer.url).request("POST", PATH, {}, repeatable=False)
    assert caught.value.outcome_unknown
    assert peer.connections == 1


def test_connection_reset_after_the_write_is_not_repeated_for_a_create(
    serve: Serve, connect: Connect
) -> None:
    def behave(connection: socket.socket, _closing: threading.Event) -> None:
        read_request(connection)
        reset(connection)

    peer = serve(behave)
    with pytest.raises(Unavailable) as caught:
        connect(peer.url).request("POST", PATH, {}, repeatable=False)
    assert caught.value.outcome_unknown
    assert peer.connections == 1


def test_connection_reset_is_repeated_for_an_update(serve: Serve, connect: Connect) -> None:
    peer = serve(lambda connection, _: reset(connection), answering(OK))
    assert connect(peer.url).request("PATCH", PATH, {}) == {"ok": True}
    assert peer.connections == 2


def test_connection_refused_is_repeated_even_for_a_create(connect: Connect, waits: Waits) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    transport = connect(url)
    with pytest.raises(Unavailable, match="could not be reached") as caught:
        transport.request("POST", PATH, {}, repeatable=False)
    assert not caught.value.outcome_unknown
    assert transport.request_count == 3
    assert waits.asked == [0.75, 1.5]


def test_connection_that_fails_names_host_and_port_and_no_more(
    connect: Connect, serve: Serve
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unavailable) as caught:
        connect(f"http://127.0.0.1:{port}/not/shown").request("GET", PATH)
    place = f"127.0.0.1:{port}"
    refused = f"HubSpot could not be reached at {place} (ConnectionError: Connection refused)"
    assert str(caught.value) == refused
    peer = serve(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"))
    with pytest.raises(Unavailable) as caught:
        connect(peer.url).request("POST", PATH, {}, repeatable=False)
    place = peer.url.removeprefix("http://")
    assert str(caught.value).startswith(f"the connection to HubSpot at {place} broke (")


@pytest.mark.parametrize(
    ("base_url", "proxy", "place"),
    [
        ("https://api.hubapi.com", None, "api.hubapi.com:443"),
        ("http://[::1]:8080", None, "[::1]:8080"),
        (
            "https://api.hubapi.com",
            "http://me:not-shown@127.0.0.1:{port}",
            "api.hubapi.com:443 through the proxy 127.0.0.1:{port}",
        ),
        (
            "https://api.hubapi.com",
            "127.0.0.1:{port}",
            "api.hubapi.com:443 through the proxy 127.0.0.1:{port}",
        ),
    ],
)
def test_place_is_told_through_a_proxy_too_without_its_password(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, base_url: str, proxy: str | None, place: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    if proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.format(port=port))
    else:
        monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    with pytest.raises(Unavailable) as caught:
        connect(base_url).request("GET", PATH)
    assert f"could not be reached at {place.format(port=port)} (" in str(caught.value)
    assert "not-shown" not in str(caught.value)


def no_such_host(*_: object) -> None:
    raise socket.gaierror(-2, "Name or service not known")


def test_host_that_does_not_exist_is_repeated_even_for_a_create(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    transport = connect("http://hubspot.invalid")
    with pytest.raises(Unavailable) as caught:
        transport.request("POST", PATH, {}, repeatable=False)
    assert not caught.value.outcome_unknown
    assert transport.request_count == 3


def test_connection_serves_several_requests(serve: Serve, connect: Connect) -> None:
    def keep_alive(connection: socket.socket, closing: threading.Event) -> None:
        while not closing.is_set():
            read_request(connection)
            connection.sendall(OK)

    peer = serve(keep_alive)
    transport = connect(peer.url)
    for _ in range(3):
        transport.request("GET", PATH)
    assert peer.connections == 1


def test_close_leaves_no_connection_open(serve: Serve, connect: Connect) -> None:
    ended = threading.Event()

    def wait_for_the_end(connection: socket.socket, _closing: threading.Event) -> None:
        read_request(connection)
        connection.sendall(OK)
        if connection.recv(1) == b"":
            ended.set()

    transport = connect(serve(wait_for_the_end).url)
    transport.request("GET", PATH)
    assert not ended.is_set()
    transport.close()
    assert ended.wait(5)


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(answering(OK), id="ok"),
        pytest.param(answering(b""), id="closed"),
        pytest.param(answering(HEADERS_ONLY), id="cut-short"),
        pytest.param(dribbling(HEADERS_ONLY, b" "), id="dribbled"),
    ],
)
def test_close_leaves_no_socket_to_the_garbage_collector(
    serve: Serve, pulse: Pulse, behaviour: Behaviour
) -> None:
    transport = Transport(serve(behaviour).url, TOKEN, timeout_seconds=SHORT, pulse=pulse)
    with suppress(Unavailable):
        transport.request("GET", PATH, tries=1)
    transport.close()
    del transport
    gc.collect()  # a socket left open is a ResourceWarning, and that is an error here


FAILURES: list[Any] = [
    pytest.param({"status": 400, "body": {"message": "no"}}, id="400"),
    pytest.param({"status": 401}, id="401"),
    pytest.param({"status": 403}, id="403"),
    pytest.param({"status": 404}, id="404"),
    pytest.param({"status": 429}, id="429"),
    pytest.param({"status": 429, "policy": "DAILY"}, id="429-daily"),
    pytest.param({"status": 477}, id="477"),
    pytest.param({"status": 500}, id="500"),
    pytest.param({"status": 502}, id="502-html"),
    pytest.param({"status": 302, "headers": {"Location": "/elsewhere"}}, id="redirect"),
    pytest.param({"body": "<html>Welcome</html>"}, id="200-html"),
    pytest.param({"drop": True}, id="dropped"),
    pytest.param({"delay": 30.0}, id="time-out"),
]


def everything_told(error: BaseException | None) -> str:
    """Return all that a traceback or a report could show of an error and of its causes."""
    told = []
    while error is not None:
        told += [str(error), repr(error), repr(error.args), repr(vars(error))]
        error = error.__cause__ or error.__context__
    return "\n".join(told)


@pytest.mark.parametrize("fault", FAILURES)
def test_token_is_in_no_error(hubspot: Emulator, connect: Connect, fault: dict[str, Any]) -> None:
    hubspot.fault(times=None, **fault)
    with pytest.raises(HubSpotSyncError) as caught:
        connect(hubspot.url, SHORT).request("POST", PATH, {}, repeatable=False)
    assert TOKEN not in everything_told(caught.value)


def test_token_is_in_no_error_where_nothing_listens(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(Unavailable) as caught:
        connect(url).request("GET", PATH)
    assert TOKEN not in everything_told(caught.value)


@pytest.mark.parametrize("fault", [pytest.param({}, id="none"), *FAILURES])
def test_token_is_in_no_log_record(
    hubspot: Emulator, connect: Connect, caplog: pytest.LogCaptureFixture, fault: dict[str, Any]
) -> None:
    caplog.set_level(logging.DEBUG)
    if fault:
        hubspot.fault(times=None, **fault)
    with suppress(HubSpotSyncError):
        connect(hubspot.url, SHORT).request("POST", PATH, {}, repeatable=False)
    assert caplog.records
    assert TOKEN not in caplog.text
    assert not any(TOKEN in repr(vars(record)) for record in caplog.records)


def test_token_is_in_no_repr(transport: Transport) -> None:
    exchange = HttpExchange(BASE_URL, TOKEN, timeout_seconds=TIMEOUT)
    (session,) = (each for each in vars(exchange).values() if isinstance(each, requests.Session))
    for each in (transport, exchange, session):
        assert TOKEN not in repr(each)
        assert TOKEN not in repr(vars(each))
    exchange.close()


@pytest.mark.parametrize("status", [None, 503])
def test_log_names_no_email_address(
    hubspot: Emulator, connect: Connect, caplog: pytest.LogCaptureFixture, status: int | None
) -> None:
    caplog.set_level(logging.DEBUG)
    if status is not None:
        hubspot.fault(status=status, times=None)
    transport = connect(hubspot.url)
    with suppress(HubSpotSyncError):
        transport.request("GET", f"{PATH}/ada%40example.com", params={"idProperty": "email"})
    ours = [record for record in caplog.records if record.name.startswith("hubspot_sync")]
    assert ours
    assert not any("example.com" in record.getMessage() for record in ours)


def test_log_names_the_correlation_id(
    hubspot: Emulator, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="hubspot_sync")
    hubspot.fault(status=200, body={}, headers={"X-HubSpot-Correlation-Id": "c0ffee"})
    connect(hubspot.url).request("GET", PATH)
    assert "HTTP 200, correlation id c0ffee" in caplog.text


@pytest.mark.timeout(8)
def test_deadline_that_ends_while_connecting_cuts_the_answer_too(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo
    never = threading.Event()

    def resolve_slowly(*given: Any, **options: Any) -> Any:
        never.wait(2 * SHORT)
        return resolve(*given, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_slowly)
    transport = connect(serve(dribbling(HEADERS_ONLY, b" ")).url, SHORT)
    with pytest.raises(Unavailable):
        transport.request("GET", PATH, tries=1)


def test_tls_that_breaks_after_the_write_is_not_repeated_for_a_create(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def behave(connection: socket.socket, _closing: threading.Event) -> None:
        with connection.dup() as raw, context.wrap_socket(connection, server_side=True) as tls:
            read_request(tls)
            raw.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
            raw.recv(1)

    peer = serve(behave)
    with pytest.raises(Unavailable) as caught:
        connect(peer.url.replace("http:", "https:")).request("POST", PATH, {}, repeatable=False)
    assert caught.value.outcome_unknown
    assert peer.connections == 1


@pytest.mark.parametrize("value", ["999999999999", "9" * 400])
def test_retry_after_of_ages_stops_the_run(
    transport: Transport, requests_mock: Mocker, value: str
) -> None:
    requests_mock.get(URL, status_code=429, json=TEN_SECONDLY, headers={"Retry-After": value})
    with pytest.raises(QuotaSpent):
        transport.request("GET", PATH)


def test_answer_nested_too_deeply_is_no_answer(transport: Transport, requests_mock: Mocker) -> None:
    requests_mock.get(URL, text="[" * 100_000)
    with pytest.raises(Unavailable):
        transport.request("GET", PATH)


def test_answer_that_does_not_end_is_cut_off(serve: Serve, connect: Connect) -> None:
    cut = threading.Event()

    def flood(connection: socket.socket, _closing: threading.Event) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        try:
            while True:
                connection.sendall(b" " * 1_048_576)
        except OSError:
            cut.set()

    transport = connect(serve(flood).url)
    with pytest.raises(Unavailable):
        transport.request("POST", PATH, {}, repeatable=False)
    assert cut.wait(2)


def test_lease_lets_no_turn_be_waited_for_after_which_no_request_could_start(
    pulse: Pulse, requests_mock: Mocker, waits: Waits
) -> None:
    # Another worker of the run has met a 429 with Retry-After: 60.
    pace = Pace(pulse)
    pace.hold(60.0)
    transport = Transport(BASE_URL, TOKEN, timeout_seconds=5, pulse=pulse, pace=pace)
    requests_mock.get(URL, json={})
    transport.hold_lease_until(waits.clock + 20.0)
    with pytest.raises(Interrupted):
        transport.request("GET", PATH)
    assert waits.asked == []
    transport.close()


class Scripted:
    """An exchange that raises these errors, one a request, and answers when they have run out."""

    def __init__(self, *errors: HubSpotSyncError) -> None:
        self.requests: list[Request] = []
        self._errors = list(errors)

    def __call__(self, request: Request) -> Answer:
        self.requests.append(request)
        if self._errors:
            raise self._errors.pop(0)
        return Answer(200, {}, {"id": "1"})


NO_ANSWER = Unavailable(ErrorCode.UNREACHABLE_IN_TIME, place="hubspot")
LOST = Unavailable(ErrorCode.ANSWER_ENDLESS, outcome_unknown=True)


def scripted(exchange: Scripted, pulse: Pulse) -> Transport:
    return Transport(BASE_URL, TOKEN, timeout_seconds=TIMEOUT, pulse=pulse, exchange=exchange)


def test_exchange_is_handed_each_try_of_a_request(pulse: Pulse) -> None:
    exchange = Scripted(NO_ANSWER, NO_ANSWER)
    body, params = {"a": 1}, {"limit": "1"}
    assert scripted(exchange, pulse).request("POST", PATH, body, params=params) == {"id": "1"}
    assert exchange.requests == [Request("POST", PATH, body, params)] * 3


def test_errors_of_earlier_tries_are_handed_on_unaltered(pulse: Pulse) -> None:
    lost, refused = LOST, NO_ANSWER
    with pytest.raises(Unavailable) as caught:
        scripted(Scripted(lost, refused), pulse).request("PATCH", PATH, {}, tries=2)
    assert caught.value.outcome_unknown
    assert caught.value.__cause__ is refused
    assert not refused.outcome_unknown


def test_interruption_is_handed_on_unaltered(pulse: Pulse) -> None:
    end = Interrupted(ErrorCode.RUN_ENDING)
    with pytest.raises(Interrupted) as caught:
        scripted(Scripted(LOST, end), pulse).request("PATCH", PATH, {})
    assert caught.value.outcome_unknown
    assert not end.outcome_unknown
