"""One pace for all workers of a run: each asks when its request may go out, and whether."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from hubspot_sync.clock import Pulse
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import QuotaSpent
from hubspot_sync.rules.pace import (
    BURST,
    Quota,
    newer_quota,
    read_limits,
    read_quota,
    spacing_seconds,
)


class Pace:
    """Spreads requests under the limits that HubSpot's answers tell of.

    Until the first answer has come, requests go out as they come.

    Args:
        pulse: the clock and the waits.
        reserve_percent: the share of the day's quota that the portal's other apps are to have.
    """

    def __init__(self, pulse: Pulse, *, reserve_percent: int = 0) -> None:
        self._pulse = pulse
        self._reserve_percent = reserve_percent
        self._lock = threading.Lock()
        self._turns = _Turns()
        self._day = _Day()
        self._sent: deque[float] = deque()

    @property
    def quota(self) -> Quota | None:
        """What is left of the day, requests still in flight taken off; None where nobody told."""
        with self._lock:
            return self._day.left

    def wait_for_turn(self, require: Callable[[float], None] | None = None) -> None:
        """Wait until a request may go out, or shorter once the run is to end.

        Args:
            require: raises where so many seconds cannot be waited.
        """
        with self._lock:
            now = self._pulse.monotonic()
            turn = self._turns.take(now)
            self._sent.append(turn)
        if turn > now:
            if require is not None:
                require(turn - now)
            self._pulse.sleep(turn - now)

    def book(self, *, from_reserve: bool = False) -> int:
        """Take one request off the day's quota, right before it is sent.

        Args:
            from_reserve: take it even where only the reserve is left.

        Returns:
            The request's number, which `learn` wants back, whatever became of the request.

        Raises:
            QuotaSpent: only the reserve is left; nothing was taken.
        """
        percent = self._reserve_percent
        with self._lock:
            left = self._day.left
            if from_reserve or not percent or left is None or not left.is_down_to(percent):
                return self._day.book()
        raise QuotaSpent(
            ErrorCode.RESERVE_REACHED,
            remaining=left.remaining,
            most=left.most,
            percent=percent,
            is_daily=True,
            kept_back=True,
        )

    def learn(self, number: int, headers: Mapping[str, str]) -> None:
        """Take in what the answer to a request said about the limits.

        Args:
            number: the one that `book` gave.
            headers: names in lower case; none where no answer came.
        """
        limits = read_limits(headers)
        with self._lock:
            self._day.settle(number, read_quota(headers))
            if limits is None:
                return
            oldest = self._pulse.monotonic() - limits.interval_seconds
            while self._sent and self._sent[0] < oldest:
                self._sent.popleft()
            self._turns.spacing = spacing_seconds(limits, len(self._sent))

    def hold(self, seconds: float) -> None:
        """Let no request of any worker out for some seconds: HubSpot has just said 429."""
        with self._lock:
            self._turns.hold_until(self._pulse.monotonic() + seconds)


class _Turns:
    """Turns at a spacing, some of which may be taken at once after a pause.

    Attributes:
        spacing: seconds between turns; 0 while nothing is known.
    """

    def __init__(self) -> None:
        self.spacing = 0.0
        self._next = float("-inf")

    def take(self, now: float) -> float:
        """Return when the next turn is, now or later, and take it."""
        earliest = now - (BURST - 1) * self.spacing
        turn = max(self._next, earliest)
        self._next = turn + self.spacing
        return max(turn, now)

    def hold_until(self, moment: float) -> None:
        """Give no turn before this moment."""
        self._next = max(self._next, moment)


class _Day:
    """Counts the day's quota so that it is never taken for larger than it is.

    What HubSpot told last may not yet count the requests that are in flight, so they are taken off.
    One that got no answer may still be carried out; it stays taken off until an answer comes to a
    request that went out later, which counts it, if it ever arrived.
    """

    def __init__(self) -> None:
        self._told: Quota | None = None
        self._booked = 0
        self._booked_when_told = 0
        self._in_flight: set[int] = set()
        # By number, how many were booked when it was given up.
        self._unanswered: dict[int, int] = {}

    @property
    def left(self) -> Quota | None:
        """What is left at least, if others take nothing meanwhile; None where nobody told."""
        if self._told is None:
            return None
        uncounted = len(self._in_flight) + len(self._unanswered)
        return replace(self._told, remaining=max(0, self._told.remaining - uncounted))

    def book(self) -> int:
        """Count a request as in flight, and return its number."""
        self._booked += 1
        self._in_flight.add(self._booked)
        return self._booked

    def settle(self, number: int, told: Quota | None) -> None:
        """Take a request out of flight, with what its answer told of the day, if it did."""
        self._in_flight.discard(number)
        if told is not None:
            is_late = number <= self._booked_when_told
            newer = newer_quota(self._told, told, is_late=is_late)
            if newer is told:
                self._told, self._booked_when_told = told, self._booked
            self._unanswered = {
                each: booked for each, booked in self._unanswered.items() if booked >= number
            }
        elif self._told is not None:
            self._unanswered[number] = self._booked
