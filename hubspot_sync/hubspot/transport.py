"""One HTTP exchange with HubSpot: within a deadline, never redirected, briefly retried.

What an answer means is decided in `rules.reaction`; here it is sent and received.
"""

import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from hubspot_sync import __version__
from hubspot_sync.clock import Pulse, start_deaf
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import HubSpotSyncError, Interrupted, QuotaSpent, Unavailable
from hubspot_sync.hubspot.pace import Pace
from hubspot_sync.rules.reaction import Answer, read_answer
from hubspot_sync.rules.retry import REQUEST_TRIES, backoff_seconds
from hubspot_sync.rules.words import one_line

log = logging.getLogger(__name__)

LONGEST_ANSWER_BYTES = 16 * 1024 * 1024
"""Far above a hundred contacts with their properties; more than this is not HubSpot."""


class Transport:
    """Sends requests for one worker; not to be shared between threads.

    Args:
        base_url: without a slash at its end.
        token: never shown, not even by repr.
        timeout_seconds: the whole time of one request, its answer included.
        custom_properties: the names that `create-properties` makes.
        pulse: clocks, waits and the wish to end.
        pace: shared with the other workers of a run.

    Attributes:
        request_count: requests sent so far.
        correlation_id: of the last answer; what HubSpot's support asks for.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout_seconds: float,
        custom_properties: Collection[str] = (),
        pulse: Pulse | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.pulse = pulse or Pulse()
        self._pace = pace or Pace(self.pulse)
        self.request_count = 0
        self.correlation_id: str | None = None
        self._base_url = base_url
        self._timeout_seconds = timeout_seconds
        self._custom_properties = frozenset(custom_properties)
        self._lease_ends: float | None = None
        self._adapter = _DeadlineAdapter()
        self._session = requests.Session()
        # An auth object, for requests would let .netrc replace a plain header.
        self._bearer = _BearerToken(token)
        self._session.auth = self._bearer
        self._session.headers["User-Agent"] = f"hubspot-sync/{__version__}"
        self._session.mount("https://", self._adapter)
        self._session.mount("http://", self._adapter)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def hold_lease_until(self, monotonic_end: float | None) -> None:
        """Start no request from now on that could outlast this moment of the worker's clock."""
        self._lease_ends = monotonic_end

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        params: Mapping[str, str] | None = None,
        repeatable: bool = True,
        tries: int = REQUEST_TRIES,
        from_reserve: bool = False,
        check: Callable[[Mapping[str, object]], object] = bool,
    ) -> Mapping[str, object]:
        """Send a request and return the body of its answer.

        Args:
            method: the HTTP method.
            path: below the base URL, already encoded.
            body: sent as JSON.
            params: the query.
            repeatable: False for a create, which may be sent again only where the first was
                certainly not carried out.
            tries: how often in all, with waits between.
            from_reserve: send it even where only the reserve of the day's quota is left.
            check: raises Unavailable where a success lacks what it promises; it is no answer then,
                and the request is tried again like any that got none.

        Raises:
            QuotaSpent: before sending, where only the reserve is left.
            Interrupted: before sending, where a signal came or the lease is nearly over.
            HubSpotSyncError: as `rules.reaction.read_answer` says.
        """
        may_be_done = False
        try:
            for failed_tries in range(1, tries + 1):
                try:
                    answer = self._exchange(method, path, body, params, from_reserve=from_reserve)
                    told = self._read(answer, check)
                except Unavailable as trouble:
                    place = _without_email(path)
                    log.info(
                        "%s %s: %s (try %d); correlation id %s",
                        method,
                        place,
                        trouble,
                        failed_tries,
                        trouble.correlation_id or "none",
                        extra={"correlation_id": trouble.correlation_id},
                    )
                    may_be_done = may_be_done or trouble.outcome_unknown
                    if trouble.rate_limited:
                        self._pace.hold(trouble.wait_seconds or 0.0)
                    if failed_tries == tries or (trouble.outcome_unknown and not repeatable):
                        # An earlier try may have been carried out, whatever the last one says.
                        trouble.outcome_unknown = may_be_done
                        raise
                    self.wait(trouble.wait_seconds, failed_tries)
                else:
                    return told
        except Interrupted as end:
            end.outcome_unknown = may_be_done
            raise
        except QuotaSpent as spent:
            spent.kept_back = spent.kept_back and not may_be_done
            raise
        raise AssertionError("the last try returns or raises")

    def _read(
        self, answer: Answer, check: Callable[[Mapping[str, object]], object]
    ) -> Mapping[str, object]:
        try:
            told = read_answer(
                answer, custom_properties=self._custom_properties, now=self.pulse.now()
            )
            check(told)
        except HubSpotSyncError as refusal:
            refusal.correlation_id = refusal.correlation_id or self.correlation_id
            raise
        return told

    def wait(self, seconds: float | None, failed_tries: int) -> None:
        """Wait before the next try: as long as HubSpot asked, else by back-off.

        Raises:
            Interrupted: where the wait would outlast the lease, or a signal came.
        """
        if seconds is None:
            seconds = backoff_seconds(failed_tries, self.pulse.jitter())
        self._require_time(seconds + self._timeout_seconds)
        self.pulse.sleep(seconds)

    def _require_time(self, seconds: float) -> None:
        if self.pulse.is_ending:
            raise Interrupted(ErrorCode.RUN_ENDING)
        if self._lease_ends is not None and self.pulse.monotonic() + seconds > self._lease_ends:
            raise Interrupted(ErrorCode.LEASE_ENDING)

    def _exchange(
        self,
        method: str,
        path: str,
        body: object,
        params: Mapping[str, str] | None,
        *,
        from_reserve: bool,
    ) -> Answer:
        self._pace.wait_for_turn(
            lambda seconds: self._require_time(seconds + self._timeout_seconds)
        )
        self._require_time(self._timeout_seconds)
        number = self._pace.book(from_reserve=from_reserve)
        self.request_count += 1
        answer: Answer | None = None
        try:
            answer = self._send(method, path, body, params)
        finally:
            self._pace.learn(number, answer.headers if answer else {})
        return answer

    def _send(
        self, method: str, path: str, body: object, params: Mapping[str, str] | None
    ) -> Answer:
        deadline = _Deadline(self._timeout_seconds, self._adapter)
        try:
            with (
                deadline,
                self._session.request(
                    method,
                    self._base_url + path,
                    json=body,
                    params=dict(params or {}),
                    timeout=self._timeout_seconds,
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                content = self._bearer.conceal(_read_all(response, self._adapter))
        except requests.ConnectTimeout as error:
            raise Unavailable(ErrorCode.UNREACHABLE_IN_TIME, place=self._place) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise self._no_answer(error, deadline) from error
        _log_exchange(method, path, response)
        headers = {name.lower(): value for name, value in response.headers.items()}
        self.correlation_id = one_line(headers.get("x-hubspot-correlation-id", ""), 100) or None
        return Answer(response.status_code, headers, _parse(content))

    def _no_answer(self, error: Exception, deadline: "_Deadline") -> Unavailable:
        if deadline.is_over:
            return Unavailable(
                ErrorCode.NO_ANSWER_IN_TIME,
                place=self._place,
                seconds=self._timeout_seconds,
                outcome_unknown=True,
            )
        if _never_connected(error) and not self._adapter.is_connected:
            return Unavailable(ErrorCode.UNREACHABLE, place=self._place, why=_why(error))
        return Unavailable(
            ErrorCode.CONNECTION_BROKE, place=self._place, why=_why(error), outcome_unknown=True
        )

    @property
    def _place(self) -> str:
        """Where HubSpot is looked for: host and port, and those of the proxy in between."""
        found = requests.utils.get_environ_proxies(self._base_url)
        proxy = requests.utils.select_proxy(self._base_url, found)
        place = _host_and_port(self._base_url)
        return f"{place} through the proxy {_host_and_port(proxy)}" if proxy else place


class _BearerToken(AuthBase):
    """Puts the token into the header, and shows it nowhere else."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def conceal(self, content: bytes) -> bytes:
        """Take the token out of an answer that repeats it, whose words may be shown and stored."""
        return content.replace(self._token.encode(), b"(token)") if self._token else content


class _Deadline:
    """Ends an exchange when its time is over, wherever it stands.

    The timeouts of requests begin anew with every byte that arrives; a server that sends one byte
    at a time would hold a worker beyond its lease. So the socket is shut down from outside.
    """

    def __init__(self, seconds: float, adapter: "_DeadlineAdapter") -> None:
        self.is_over = False
        self._adapter = adapter
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> "_Deadline":
        self._adapter.is_over = False
        start_deaf(self._timer)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        self.is_over = True
        self._adapter.shut_down()


class _DeadlineAdapter(HTTPAdapter):
    """Knows the socket of the exchange under way, so that a deadline can end it."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self.is_over = False
        self.is_connected = False
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._watch(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        self._watch(manager)
        return manager

    def shut_down(self) -> None:
        """Make the exchange under way fail at once."""
        self.is_over = True
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                log.debug("the connection was closed already")

    def let_go(self) -> None:
        """Close our duplicate, which would keep a connection open that the pool has closed."""
        self._keep(None)

    def close(self) -> None:
        super().close()
        self.let_go()

    def _keep(self, duplicate: socket.socket | None) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = duplicate
        if duplicate is not None and self.is_over:
            # The time was over before there was a socket to shut down.
            self.shut_down()

    def _watch(self, manager: Any) -> None:
        adapter = self

        # A duplicate is kept, since TLS takes the first socket over when its handshake begins.
        class Watched(urllib3.connection.HTTPConnection):
            def connect(self) -> None:
                adapter.is_connected = False
                super().connect()
                adapter.is_connected = True

            def _new_conn(self) -> socket.socket:
                connected = super()._new_conn()
                adapter._keep(connected.dup())
                return connected

        class WatchedHTTPS(Watched, urllib3.connection.HTTPSConnection):
            pass

        class HTTPPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Watched

        class HTTPSPool(urllib3.HTTPSConnectionPool):
            ConnectionCls = WatchedHTTPS

        manager.pool_classes_by_scheme = {"http": HTTPPool, "https": HTTPSPool}


def _read_all(response: requests.Response, adapter: _DeadlineAdapter) -> bytes:
    content = bytearray()
    for chunk in response.iter_content(65_536):
        content += chunk
        if len(content) > LONGEST_ANSWER_BYTES:
            adapter.let_go()
            raise Unavailable(ErrorCode.ANSWER_ENDLESS, outcome_unknown=True)
    return bytes(content)


def _parse(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _host_and_port(url: str) -> str:
    """Return an address without what only its owner may know: user, password, path."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return "an address that is none"
    host = parts.hostname or ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _why(error: BaseException) -> str:
    """Return the kind of an error, with the system's words for it where it has some."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror and not isinstance(seen, ssl.SSLError):
            return f"{type(error).__name__}: {seen.strerror}"
        seen = seen.__cause__ or seen.__context__
    return type(error).__name__


def _never_connected(error: BaseException) -> bool:
    """Whether the request certainly did not reach HubSpot."""
    reasons = (
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.ConnectTimeoutError,
        urllib3.exceptions.SSLError,
        urllib3.exceptions.ProxyError,
    )
    seen: BaseException | None = error
    while seen is not None:
        reason = getattr(seen, "reason", None) or next(
            (arg for arg in seen.args if isinstance(arg, BaseException)), None
        )
        if isinstance(seen, reasons):
            return True
        seen = reason if isinstance(reason, BaseException) else None
    return False


def _log_exchange(method: str, path: str, response: requests.Response) -> None:
    log.debug(
        "%s %s: HTTP %d, correlation id %s",
        method,
        _without_email(path),
        response.status_code,
        response.headers.get("X-HubSpot-Correlation-Id", "none"),
    )


def _without_email(path: str) -> str:
    head, _, last = path.rpartition("/")
    return f"{head}/…" if "%40" in last or "@" in last else path
