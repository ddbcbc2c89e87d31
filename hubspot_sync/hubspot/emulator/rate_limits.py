"""How many requests an account takes in a second, in ten, in a day, and what it tells of that."""

from collections import deque
from datetime import date, datetime

from hubspot_sync.hubspot.emulator.account import Account
from hubspot_sync.hubspot.emulator.answers import ApiError, too_many_requests

_BURST_SECONDS = 10


class RateLimits:
    """Counts the requests of one account; searches have a limit of their own."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._burst: deque[float] = deque()
        self._searches: deque[float] = deque()
        self._used_on: tuple[date, int] = (date.min, 0)

    def admit(self, *, is_search: bool) -> ApiError | None:
        """Count a request, or return why it may not pass."""
        account = self._account
        window, seconds, limit, policy = (
            (self._searches, 1, account.search_limit, "SECONDLY")
            if is_search
            else (self._burst, _BURST_SECONDS, account.burst_limit, "TEN_SECONDLY_ROLLING")
        )
        now = account.clock()
        while window and window[0] <= now - seconds:
            window.popleft()
        today = datetime.fromtimestamp(now, account.zone()).date()
        used = self._used_on[1] if self._used_on[0] == today else 0
        if account.daily_limit is not None and used >= account.daily_limit:
            return too_many_requests("DAILY")
        if limit is not None and len(window) >= limit:
            return too_many_requests(policy)
        window.append(now)
        self._used_on = (today, used + 1)
        return None

    def headers(self, *, is_search: bool) -> dict[str, str]:
        """Tell what is left, as HubSpot does with every answer but those of search."""
        if is_search:
            return {}
        account = self._account
        headers: dict[str, int] = {}
        if account.burst_limit is not None:
            headers["Interval-Milliseconds"] = _BURST_SECONDS * 1000
            headers["Max"] = account.burst_limit
            headers["Remaining"] = max(0, account.burst_limit - len(self._burst))
        if account.daily_limit is not None:
            headers["Daily"] = account.daily_limit
            headers["Daily-Remaining"] = max(0, account.daily_limit - self._used_on[1])
        return {f"X-HubSpot-RateLimit-{name}": str(value) for name, value in headers.items()}
