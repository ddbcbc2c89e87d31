"""One pace for all workers of a run: each asks when its request may go out."""

import threading
from collections import deque
from collections.abc import Callable, Mapping

from hubspot_sync.clock import Pulse
from hubspot_sync.errors import QuotaSpent
from hubspot_sync.rules.pace import (
    BURST,
    SEARCH_SPACING_SECONDS,
    Quota,
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

    Attributes:
        quota: what the last answer that spoke of it said about the day; None before.
    """

    def __init__(self, pulse: Pulse, *, reserve_percent: int = 0) -> None:
        self._pulse = pulse
        self._reserve_percent = reserve_percent
        self.quota: Quota | None = None
        self._lock = threading.Lock()
        self._requests = _Turns(burst=BURST)
        self._searches = _Turns(burst=1)
        self._searches.spacing = SEARCH_SPACING_SECONDS
        self._sent: deque[float] = deque()

    def wait_for_turn(
        self, *, is_search: bool, require: Callable[[float], None] | None = None
    ) -> None:
        """Wait until a request may go out, or shorter once the run is to end.

        Args:
            is_search: searches have a limit of their own.
            require: raises where so many seconds cannot be waited.
        """
        with self._lock:
            now = self._pulse.monotonic()
            turns = self._searches if is_search else self._requests
            turn = turns.take(now)
            if not is_search:
                self._sent.append(turn)
        if turn > now:
            if require is not None:
                require(turn - now)
            self._pulse.sleep(turn - now)

    def require_quota(self) -> None:
        """Raise QuotaSpent where only the reserve is left of the day's quota."""
        quota, percent = self.quota, self._reserve_percent
        if percent and quota and quota.is_down_to(percent):
            raise QuotaSpent(
                f"{quota.remaining} of the portal's {quota.most} requests a day are left: the "
                f"reserve of {percent} % that HUBSPOT_SYNC_QUOTA_RESERVE_PERCENT keeps for its "
                "other apps.",
                is_daily=True,
                kept_back=True,
            )

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take in what an answer said about the limits; header names are in lower case."""
        self.quota = read_quota(headers) or self.quota
        limits = read_limits(headers)
        if limits is None:
            return
        with self._lock:
            oldest = self._pulse.monotonic() - limits.interval_seconds
            while self._sent and self._sent[0] < oldest:
                self._sent.popleft()
            self._requests.spacing = spacing_seconds(limits, len(self._sent))

    def hold(self, seconds: float, *, is_search: bool) -> None:
        """Let no request of any worker out for some seconds: HubSpot has just said 429."""
        with self._lock:
            turns = self._searches if is_search else self._requests
            turns.hold_until(self._pulse.monotonic() + seconds)


class _Turns:
    """Turns at a spacing, some of which may be taken at once after a pause.

    Attributes:
        spacing: seconds between turns; 0 while nothing is known.
    """

    def __init__(self, burst: int) -> None:
        self.spacing = 0.0
        self._burst = burst
        self._next = float("-inf")

    def take(self, now: float) -> float:
        """Return when the next turn is, now or later, and take it."""
        earliest = now - (self._burst - 1) * self.spacing
        turn = max(self._next, earliest)
        self._next = turn + self.spacing
        return max(turn, now)

    def hold_until(self, moment: float) -> None:
        """Give no turn before this moment."""
        self._next = max(self._next, moment)
