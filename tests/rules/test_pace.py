"""How far apart requests must be, and how many of a day's are ours."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from hubspot_sync.rules.pace import (
    SHARE,
    Limits,
    Quota,
    newer_quota,
    next_midnight,
    read_limits,
    read_quota,
    spacing_seconds,
)
from tests.for_each import for_each

HEADERS = {
    "x-hubspot-ratelimit-max": "100",
    "x-hubspot-ratelimit-remaining": "97",
    "x-hubspot-ratelimit-interval-milliseconds": "10000",
}


def test_read_limits_reads_hubspots_headers() -> None:
    assert read_limits(HEADERS) == Limits(most=100, remaining=97, interval_seconds=10)


@for_each("name", list(HEADERS))
@for_each("value", [None, "", "many", "-1", "1.5"])
def test_read_limits_believes_no_half(name: str, value: str | None) -> None:
    headers = {key: text for key, text in HEADERS.items() if key != name}
    assert read_limits(headers | ({name: value} if value is not None else {})) is None


def test_spacing_spreads_what_is_allowed() -> None:
    assert spacing_seconds(Limits(100, 90, 10), ours=10) == pytest.approx(0.1 / SHARE)


def test_spacing_leaves_others_what_they_use() -> None:
    assert spacing_seconds(Limits(100, 40, 10), ours=10) == pytest.approx(0.2 / SHARE)


def test_spacing_of_a_portal_taken_up_by_others_is_the_whole_interval() -> None:
    assert spacing_seconds(Limits(100, 0, 10), ours=0) == 10


def test_spacing_is_not_deceived_by_requests_still_under_way() -> None:
    assert spacing_seconds(Limits(100, 99, 10), ours=5) == pytest.approx(0.1 / SHARE)


@for_each(
    ("most", "remaining", "quota"),
    [
        ("250000", "249000", Quota(250_000, 249_000)),
        ("250000", "0", Quota(250_000, 0)),
        ("250000", None, None),
        (None, "5", None),
        ("0", "0", None),
        ("many", "5", None),
    ],
)
def test_read_quota_believes_no_half(
    most: str | None, remaining: str | None, quota: Quota | None
) -> None:
    headers = {
        "x-hubspot-ratelimit-daily": most,
        "x-hubspot-ratelimit-daily-remaining": remaining,
    }
    given = {name: value for name, value in headers.items() if value is not None}
    assert read_quota(given) == quota


@for_each(
    ("remaining", "percent", "is_down"),
    [(51, 5, False), (50, 5, True), (0, 5, True), (1, 0, False), (0, 0, True)],
)
def test_quota_is_down_to_its_reserve(remaining: int, percent: int, is_down: bool) -> None:
    assert Quota(1000, remaining).is_down_to(percent) is is_down


@for_each(
    ("known", "told", "is_late", "left"),
    [
        (None, 60, False, 60),
        (60, 59, False, 59),
        (60, 59, True, 59),
        (50, 59, True, 50),
        (50, 99, False, 99),  # a new day
    ],
)
def test_quota_is_raised_by_no_late_answer(
    known: int | None, told: int, is_late: bool, left: int
) -> None:
    before = None if known is None else Quota(100, known)
    assert newer_quota(before, Quota(100, told), is_late=is_late) == Quota(100, left)


@for_each(
    ("now", "zone", "midnight"),
    [
        (
            datetime(2026, 11, 24, 9, 30, tzinfo=UTC),
            "US/Eastern",
            datetime(2026, 11, 25, 5, tzinfo=UTC),
        ),
        (
            datetime(2026, 11, 24, 3, 30, tzinfo=UTC),
            "US/Eastern",
            datetime(2026, 11, 24, 5, tzinfo=UTC),
        ),
        # The night in which the clocks go back.
        (
            datetime(2026, 10, 24, 23, 30, tzinfo=UTC),
            "Europe/Berlin",
            datetime(2026, 10, 25, 23, tzinfo=UTC),
        ),
        (
            datetime(2026, 11, 24, 9, 30, tzinfo=UTC),
            "Asia/Tokyo",
            datetime(2026, 11, 24, 15, tzinfo=UTC),
        ),
    ],
)
def test_next_midnight_is_the_portals(now: datetime, zone: str, midnight: datetime) -> None:
    assert next_midnight(now, ZoneInfo(zone)) == midnight
