"""How far apart requests must be, so that the portal's limits are never met.

HubSpot says in its answers how many requests an interval may hold and how many are left
(X-HubSpot-RateLimit-…; HubSpot docs, "API usage guidelines"). What is gone and was not ours, others
have used: it is theirs, and we spread ours over the rest. Search has a limit of its own, and says
nothing about it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

SHARE = 0.93
"""How much of what the portal allows us is used; the rest absorbs uneven arrival."""

BURST = 3
"""Requests that may follow each other at once after a pause."""

SEARCH_SPACING_SECONDS = 1 / 5 / 0.95
"""Five searches a second in all (HubSpot docs, "Search the CRM")."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an answer said about the portal's limits.

    Attributes:
        most: requests that an interval may hold.
        remaining: requests left of them when the answer was given.
        interval_seconds: how long an interval is.
    """

    most: int
    remaining: int
    interval_seconds: float


def read_limits(headers: Mapping[str, str]) -> Limits | None:
    """Read the limits off an answer's headers, whose names are in lower case."""
    most = _number(headers.get("x-hubspot-ratelimit-max"))
    remaining = _number(headers.get("x-hubspot-ratelimit-remaining"))
    interval = _number(headers.get("x-hubspot-ratelimit-interval-milliseconds"))
    if not most or remaining is None or not interval:
        return None
    return Limits(most, remaining, interval / 1000)


@dataclass(frozen=True, slots=True)
class Quota:
    """What an answer said about the portal's day.

    Attributes:
        most: requests that the day may hold.
        remaining: requests left of them.
    """

    most: int
    remaining: int

    def is_down_to(self, reserve_percent: int) -> bool:
        """Tell whether no more is left than the share that others are to have."""
        return self.remaining * 100 <= self.most * reserve_percent


def read_quota(headers: Mapping[str, str]) -> Quota | None:
    """Read the day's quota off an answer's headers, whose names are in lower case."""
    most = _number(headers.get("x-hubspot-ratelimit-daily"))
    remaining = _number(headers.get("x-hubspot-ratelimit-daily-remaining"))
    return None if not most or remaining is None else Quota(most, remaining)


def next_midnight(now: datetime, zone: tzinfo) -> datetime:
    """Return when the portal's next day begins, in UTC."""
    tomorrow = now.astimezone(zone).date() + timedelta(days=1)
    return datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=zone).astimezone(UTC)


def spacing_seconds(limits: Limits, ours: int) -> float:
    """Return how far apart requests must be.

    Args:
        limits: what the last answer said.
        ours: requests that we have sent in the last interval.
    """
    theirs = max(0, limits.most - limits.remaining - ours)
    allowed = max(1.0, (limits.most - theirs) * SHARE)
    # Others have come after us: what we sent before they came is over our share now.
    brake = max(1.0, ours / allowed) ** 2 if theirs else 1.0
    return limits.interval_seconds / allowed * brake


def _number(value: str | None) -> int | None:
    return int(value) if value and value.isascii() and value.isdigit() else None
