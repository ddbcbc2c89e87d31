"""When to try again: between runs (minutes) and within one request (seconds)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

REQUEST_TRIES = 3
"""How often one request is sent in all before HubSpot counts as not answering."""

LONGEST_WAIT_SECONDS = 60.0
"""A longer wait than this is not waited out within a run: the run stops and cron comes again."""

_LONGEST_BACKOFF_SECONDS = 8.0
_LONGEST_RETRY_AFTER_SECONDS = 366 * 86_400.0  # more would overflow a date


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How a contact that failed is tried again by later runs.

    Attributes:
        max_retries: attempts after the first; when they are used up the contact is an Error.
        base_delay: the delay before the first retry.
        exponential: True for base x 1, 2, 4, …; False for base x 1, 2, 3, …
    """

    max_retries: int = 3
    base_delay: timedelta = timedelta(minutes=5)
    exponential: bool = True

    def delay_after(self, retry_count: int) -> timedelta:
        """Return the delay before the next attempt, after `retry_count` retries."""
        factor = 2**retry_count if self.exponential else retry_count + 1
        return self.base_delay * factor


def backoff_seconds(failed_tries: int, jitter: float) -> float:
    """Return the pause after a request that got no usable answer.

    Args:
        failed_tries: how often the request has been sent, 1 or more.
        jitter: a number from 0 to 1; half of the pause is fixed, half follows it, so that workers
            which were refused together do not come back together.
    """
    full = min(2.0 ** (failed_tries - 1), _LONGEST_BACKOFF_SECONDS)
    return full / 2 + full / 2 * jitter


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After header, which holds seconds or an HTTP date.

    Returns:
        Seconds from `now`, 0 or more; None where there is no header or it makes no sense.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
