"""The emulator: an account that answers requests on a port of this machine."""

import threading
from dataclasses import dataclass
from typing import Self

from hubspot_sync.hubspot.emulator.account import WRITE, Account
from hubspot_sync.hubspot.emulator.answers import (
    Answer,
    ApiError,
    bad_json,
    missing_scopes,
    unauthenticated,
    usual_answer,
)
from hubspot_sync.hubspot.emulator.faults import Fault, take_fault
from hubspot_sync.hubspot.emulator.rate_limits import RateLimits
from hubspot_sync.hubspot.emulator.request import MISFITS, Request
from hubspot_sync.hubspot.emulator.routes import CONTROL, Route, Routes
from hubspot_sync.hubspot.emulator.server import Server


@dataclass(kw_only=True, eq=False, repr=False)
class Emulator(Account):
    """A HubSpot account on a port of this machine: start and stop it, or use it in a `with`.

    Every argument, its own and those of `Account`, is also an attribute that may be changed while
    it runs.
    """

    port: int = 0  # 0 for any that is free
    latency: float = 0.0  # seconds that every request takes
    latency_per_input: float = 0.0  # and that every input of a batch takes besides

    def __post_init__(self) -> None:
        super().__post_init__()
        self._routes = Routes(self, self._portal)
        self._rate_limits = RateLimits(self)
        self._server: Server | None = None
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base URL, which the first start decides."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve in a thread; after a stop, on the same port and with the same contacts."""
        if self._server is None:
            self._stopping = threading.Event()
            self._server = Server(self.port, self._respond)
            self.port = self._server.server_address[1]
            serve = self._server.serve_forever
            threading.Thread(target=serve, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Close the port and all connections; requests that are held go unanswered."""
        self._stopping.set()
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def serve_forever(self) -> None:
        """Serve until `stop`, or until an exception such as KeyboardInterrupt."""
        self.start()
        try:
            self._stopping.wait()
        finally:
            self.stop()

    def _respond(self, request: Request) -> Answer | None:
        """Answer one request; None means to close the connection without a word."""
        route = self._routes.of(request)
        if request.path.startswith(CONTROL):
            return self._work(route, request)
        with self._lock:
            self.requests.append((request.method, request.path))
            refusal = self._admit(route, request)
            limits = self._rate_limits.headers(is_search=route.is_search)
            fault = None if refusal else take_fault(self._faults, request)
        inputs = request.input_count() if self.latency_per_input else 0
        self._stopping.wait(self.latency + self.latency_per_input * inputs)
        if refusal is not None:
            answer: Answer | None = refusal.answer()
        elif fault is not None:
            answer = self._go_wrong(fault, route, request)
        else:
            answer = self._work(route, request)
        return answer and answer._replace(headers={**limits, **answer.headers})

    def _admit(self, route: Route, request: Request) -> ApiError | None:
        """Count a request, or return why it may not pass."""
        if route.scopes is not None and request.authorization != f"Bearer {self.token}":
            return unauthenticated()
        return self._rate_limits.admit(is_search=route.is_search)

    def _work(self, route: Route, request: Request) -> Answer:
        try:
            if route.scopes and not route.scopes & self.granted_scopes():
                raise missing_scopes(route.scopes)
            with self._lock:
                return route.action(request)
        except ApiError as error:
            return error.answer()
        except MISFITS as error:
            return bad_json(f"unexpected shape: {error!r}").answer()

    def _go_wrong(self, fault: Fault, route: Route, request: Request) -> Answer | None:
        answer = self._work(route, request) if fault.after_write else None
        fault.reached.set()
        stopping = self._stopping
        while fault.release and not (fault.release.wait(0.05) or stopping.is_set()):
            pass
        if fault.body is not None:
            answer = Answer(fault.status or 200, fault.body)
        elif fault.status is not None:
            answer = usual_answer(fault.status, fault.policy, route.scopes or WRITE)
        elif answer is None and not fault.drop:
            answer = self._work(route, request)
        stopping.wait(fault.delay)
        if answer is None or fault.drop:
            return None
        return answer._replace(headers={**answer.headers, **fault.headers})
