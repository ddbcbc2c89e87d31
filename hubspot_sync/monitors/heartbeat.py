"""The heartbeat: tells a monitor that runs begin, live and end, and how.

The conventions are healthchecks.io's (its documentation, "Pinging API"), which its own servers and
several others understand: a POST to the URL is a success; to URL/start a beginning; to URL/N a
failure with exit code N; to URL/log a note that says nothing about health. `rid`, a UUID, tells
which beginning an end belongs to.
"""

import logging
import queue
import threading
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import requests

from hubspot_sync import __version__
from hubspot_sync.clock import start_deaf
from hubspot_sync.codes import ErrorCode
from hubspot_sync.report import DELIVERED, ContactReport, RunState
from hubspot_sync.sentences import Message

if TYPE_CHECKING:
    from hubspot_sync.monitors.watch import RunEnd

log = logging.getLogger(__name__)

PING_SECONDS = 3.0
"""How long the monitor may take to accept a connection, and again to answer."""

LONGEST_GOODBYE_SECONDS = 8.0
"""How long the end of a run may wait for its pings to be gone; a slow monitor misses them."""

SUCCESS, START, LOG = "", "/start", "/log"

_MOST_OF_ANSWER = 60
_PASSING = (408, 429)
"""Refusals that say nothing about the URL."""


@dataclass(frozen=True, slots=True)
class _Ping:
    kind: str
    body: str = ""
    is_of_run: bool = True


class Heartbeat:
    """Sends pings from a thread of its own, in order, so that no contact waits for a monitor.

    Args:
        url: where a success is sent.
        run_id: its eight hexadecimal digits begin the `rid`.
        sync_name: the first line of what is sent; none where it is empty.
        every: a run that lasts longer sends a sign of life so often, if contacts came to their end
            in the meantime; one that hangs sends none, and the monitor calls.
    """

    def __init__(self, url: str, run_id: str, *, every: timedelta, sync_name: str = "") -> None:
        self._url = url
        self._sync_name = sync_name
        self._rid = run_id + str(uuid.uuid4())[len(run_id) :]
        self._every = every
        self._count_lock = threading.Lock()
        self._settled = self._delivered = self._told = 0
        self._has_warned = False
        self._pings: queue.SimpleQueue[_Ping | None] = queue.SimpleQueue()
        self._session = requests.Session()
        # An auth that adds nothing, or requests would look for a password in .netrc.
        self._session.auth = lambda request: request
        self._session.headers["User-Agent"] = f"hubspot-sync/{__version__}"
        self._thread = threading.Thread(target=self._send_all, name="heartbeat", daemon=True)
        start_deaf(self._thread)

    def begin(self) -> None:
        """Tell that a run begins."""
        self._pings.put(_Ping(START))

    def note(self, contact: ContactReport) -> None:
        """Count a contact that came to its end. Safe from any thread."""
        with self._count_lock:
            self._settled += 1
            self._delivered += contact.outcome in DELIVERED

    def end(self, end: "RunEnd") -> None:
        """Tell how the run ended, and wait a little until that is said."""
        self._pings.put(_Ping(kind_of(end), body_of(end, self._sync_name)))
        self._pings.put(None)
        self._thread.join(LONGEST_GOODBYE_SECONDS)
        if self._thread.is_alive():
            log.info("the heartbeat's monitor is too slow; it missed the end of this run")

    def _send_all(self) -> None:
        while True:
            try:
                ping = self._pings.get(timeout=self._every.total_seconds())
            except queue.Empty:
                self._show_life()
                continue
            if ping is None:
                self._session.close()
                return
            self._send(ping)

    def _show_life(self) -> None:
        with self._count_lock:
            settled, delivered = self._settled, self._delivered
        if settled > self._told:
            self._told = settled
            body = f"state: at work\nclaimed: {settled}\ndelivered: {delivered}\n"
            # A success without an id ends what began, and with it the grace time for its end.
            self._send(_Ping(SUCCESS, _first_line(self._sync_name) + body, is_of_run=False))

    def _send(self, ping: _Ping) -> None:
        try:
            with self._session.post(
                self._url + ping.kind,
                params={"rid": self._rid} if ping.is_of_run else None,
                data=ping.body.encode(),
                headers={"Content-Type": "text/plain; charset=utf-8"},
                timeout=PING_SECONDS,
                allow_redirects=False,
                stream=True,
            ) as answer:
                self._judge(answer)
        except (requests.RequestException, OSError, ValueError) as trouble:
            # The monitor misses this ping, and says so by itself.
            log.info("the heartbeat could not be sent (%s)", type(trouble).__name__)

    def _judge(self, answer: requests.Response) -> None:
        """Warn, once, of what only the operator can mend: the monitor does not know the URL."""
        status = answer.status_code
        # healthchecks.io answers 200 to pings that it ignores: 'OK (not found)'.
        is_ignored = b"not found" in next(answer.iter_content(_MOST_OF_ANSWER), b"")
        is_wrong = is_ignored if status < 300 else status < 500 and status not in _PASSING
        if is_wrong and not self._has_warned:
            log.warning(Message(ErrorCode.HEARTBEAT_UNKNOWN, status=status))
            self._has_warned = True


def kind_of(end: "RunEnd") -> str:
    """Return what the end of a run is to a monitor.

    A run in which single contacts failed has worked; what they need, its table and the metrics say.
    One that found another at work, or the sync switched off, proves nothing about health.
    """
    if end.went_through:
        return SUCCESS
    if end.state in (RunState.BUSY, RunState.DISABLED):
        return LOG
    return f"/{end.exit_code}"


def body_of(end: "RunEnd", sync_name: str = "") -> str:
    """Return the numbers of a run, one a line: counts only, for the monitor is somebody else's."""
    numbers: dict[str, object] = {"state": end.state, "exit_code": end.exit_code}
    numbers |= {"claimed": sum(end.counts.values())} | end.counts
    numbers |= {"requests": end.requests, "seconds": round(end.seconds, 1)}
    if end.due_remaining is not None:
        numbers["due_remaining"] = end.due_remaining
    told = "".join(f"{name}: {value}\n" for name, value in numbers.items())
    return _first_line(sync_name) + told


def _first_line(sync_name: str) -> str:
    return f"sync: {sync_name}\n" if sync_name else ""
