"""Requests to HubSpot: each in its turn, within the lease, briefly retried, logged.

What an answer means is decided in `rules.reaction`; how one is got, in `hubspot.exchange`.
"""

import logging
from collections.abc import Callable, Collection, Mapping

from hubspot_sync.clock import Pulse
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import HubSpotSyncError, Interrupted, QuotaSpent, Unavailable
from hubspot_sync.hubspot.exchange import Exchange, HttpExchange, Request
from hubspot_sync.hubspot.pace import Pace
from hubspot_sync.rules.reaction import Answer, read_answer
from hubspot_sync.rules.retry import REQUEST_TRIES, backoff_seconds
from hubspot_sync.rules.words import one_line

log = logging.getLogger(__name__)


class Transport:
    """Sends requests for one worker; not to be shared between threads.

    Args:
        base_url: without a slash at its end.
        token: never shown, not even by repr.
        timeout_seconds: the whole time of one request, its answer included.
        custom_properties: the names that `create-properties` makes.
        pulse: clocks, waits and the wish to end.
        pace: shared with the other workers of a run.
        exchange: sends one request and returns its answer; by default over HTTP to the base URL.

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
        exchange: Exchange | None = None,
    ) -> None:
        self.pulse = pulse or Pulse()
        self._pace = pace or Pace(self.pulse)
        self.request_count = 0
        self.correlation_id: str | None = None
        self._timeout_seconds = timeout_seconds
        self._custom_properties = frozenset(custom_properties)
        self._lease_ends: float | None = None
        http = HttpExchange(base_url, token, timeout_seconds=timeout_seconds)
        self._close = http.close
        self._exchange: Exchange = exchange or http

    def close(self) -> None:
        """Close the connections."""
        self._close()

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
        request = Request(method, path, body, params or {})
        may_be_done = False
        try:
            for failed_tries in range(1, tries + 1):
                try:
                    return self._read(self._send(request, from_reserve=from_reserve), check)
                except Unavailable as trouble:
                    _log_trouble(request, trouble, failed_tries)
                    may_be_done = may_be_done or trouble.outcome_unknown
                    if trouble.rate_limited:
                        self._pace.hold(trouble.wait_seconds or 0.0)
                    if failed_tries == tries or (trouble.outcome_unknown and not repeatable):
                        # An earlier try may have been carried out, whatever the last one says.
                        raise trouble.but(outcome_unknown=may_be_done) from trouble
                    self.wait(trouble.wait_seconds, failed_tries)
        except Interrupted as end:
            raise end.but(outcome_unknown=may_be_done) from end
        except QuotaSpent as spent:
            raise spent.but(kept_back=spent.kept_back and not may_be_done) from spent
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
            given_id = refusal.correlation_id or self.correlation_id
            raise refusal.but(correlation_id=given_id) from refusal
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

    def _send(self, request: Request, *, from_reserve: bool) -> Answer:
        """Wait for a turn, and send a request once."""
        self._pace.wait_for_turn(
            lambda seconds: self._require_time(seconds + self._timeout_seconds)
        )
        self._require_time(self._timeout_seconds)
        number = self._pace.book(from_reserve=from_reserve)
        self.request_count += 1
        answer: Answer | None = None
        try:
            answer = self._exchange(request)
        finally:
            self._pace.learn(number, answer.headers if answer else {})
        given_id = answer.headers.get("x-hubspot-correlation-id", "")
        _log_answer(request, answer.status, given_id or "none")
        self.correlation_id = one_line(given_id, 100) or None
        return answer


def _log_trouble(request: Request, trouble: Unavailable, failed_tries: int) -> None:
    log.info(
        "%s %s: %s (try %d); correlation id %s",
        request.method,
        _without_email(request.path),
        trouble,
        failed_tries,
        trouble.correlation_id or "none",
        extra={"correlation_id": trouble.correlation_id},
    )


def _log_answer(request: Request, status: int, correlation_id: str) -> None:
    log.debug(
        "%s %s: HTTP %d, correlation id %s",
        request.method,
        _without_email(request.path),
        status,
        correlation_id,
    )


def _without_email(path: str) -> str:
    head, _, last = path.rpartition("/")
    return f"{head}/…" if "%40" in last or "@" in last else path
