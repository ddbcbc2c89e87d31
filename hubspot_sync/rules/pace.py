"""How far apart requests must be, so that the portal's limits are never met.

HubSpot says in its answers how many requests an interval may hold and how many are left
(X-HubSpot-RateLimit-…; HubSpot docs, "API usage guidelines"). What is gone and was not ours, others
have used: it is theirs, and we spread ours over the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

SHARE = 0.93
"""How much of what the portal allows us is used; the rest absorbs uneven arrival."""

BURST = 3
"""Requests that may follow each other at once after a pause."""


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


def newer_quota(known: Quota | None, told: Quota, *, is_late: bool) -> Quota:
    """Return what is known of the day once an answer has told of it.

    Within a day `remaining` only falls, but answers overtake each other: one that comes late tells
    of a time at which more was left, so it may lower what is known and never raise it. The answer
    to a request that went out after we learnt what is known tells of a later time: where it says
    more, a new day has begun.

    Args:
        known: what earlier answers told; None where none did.
        told: what this answer tells.
        is_late: True where its request went out before `known` was learnt.
    """
    if known is not None and is_late and told.remaining > known.remaining:
        return known
    return told


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
