"""One HTTP exchange with HubSpot: within a deadline, never redirected, sent once."""

import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from hubspot_sync import __version__
from hubspot_sync.clock import start_deaf
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import Unavailable
from hubspot_sync.rules.reaction import Answer

log = logging.getLogger(__name__)

LONGEST_ANSWER_BYTES = 16 * 1024 * 1024
"""Far above a hundred contacts with their properties; more than this is not HubSpot."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request.

    Attributes:
        path: below the base URL, already encoded.
        body: sent as JSON.
        params: the query.
    """

    method: str
    path: str
    body: object = None
    params: Mapping[str, str] = field(default_factory=dict)


Exchange = Callable[[Request], Answer]
"""Sends a request once and returns its answer, whatever its status.

It raises Unavailable where none came, with `outcome_unknown` where the request may have been
carried out.
"""


class HttpExchange:
    """The exchange with the real HubSpot, for one worker; not to be shared between threads.

    Args:
        base_url: without a slash at its end.
        token: never shown, not even by repr.
        timeout_seconds: the whole time of one request, its answer included.
    """

    def __init__(self, base_url: str, token: str, *, timeout_seconds: float) -> None:
        self._base_url = base_url
        self._timeout_seconds = timeout_seconds
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

    def __call__(self, request: Request) -> Answer:
        """Send a request once and return its answer.

        Raises:
            Unavailable: no answer came, or none that ends.
        """
        deadline = _Deadline(self._timeout_seconds, self._adapter)
        try:
            with (
                deadline,
                self._session.request(
                    request.method,
                    self._base_url + request.path,
                    json=request.body,
                    params=dict(request.params),
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
        headers = {name.lower(): value for name, value in response.headers.items()}
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
