"""When a contact, and when a request, is tried again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubspot_sync.rules.retry import RetryPolicy, backoff_seconds, parse_retry_after
from tests.for_each import for_each

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


@for_each(("retry_count", "minutes"), [(0, 5), (1, 10), (2, 20), (3, 40), (10, 5120)])
def test_delay_doubles_with_each_retry(retry_count: int, minutes: int) -> None:
    assert RetryPolicy().delay_after(retry_count) == timedelta(minutes=minutes)


@for_each(("retry_count", "minutes"), [(0, 5), (1, 10), (2, 15), (3, 20)])
def test_delay_without_exponential_grows_by_the_base(retry_count: int, minutes: int) -> None:
    policy = RetryPolicy(exponential=False)
    assert policy.delay_after(retry_count) == timedelta(minutes=minutes)


@pytest.mark.parametrize("exponential", [True, False])
def test_delay_begins_with_the_base(*, exponential: bool) -> None:
    policy = RetryPolicy(base_delay=timedelta(minutes=7), exponential=exponential)
    assert policy.delay_after(0) == timedelta(minutes=7)


def test_policy_allows_three_retries_where_nothing_is_set() -> None:
    assert RetryPolicy().max_retries == 3


@for_each(
    ("failed_tries", "least", "most"),
    [(1, 0.5, 1.0), (2, 1.0, 2.0), (3, 2.0, 4.0), (4, 4.0, 8.0), (5, 4.0, 8.0), (60, 4.0, 8.0)],
)
def test_backoff_doubles_up_to_eight_seconds(failed_tries: int, least: float, most: float) -> None:
    assert (backoff_seconds(failed_tries, 0.0), backoff_seconds(failed_tries, 1.0)) == (least, most)


def test_backoff_spreads_workers_by_their_jitter() -> None:
    assert [backoff_seconds(3, jitter) for jitter in (0.25, 0.5, 0.75)] == [2.5, 3.0, 3.5]


@for_each(
    ("value", "seconds"),
    [
        pytest.param("5", 5.0, id="seconds"),
        pytest.param("0", 0.0, id="no-wait"),
        pytest.param("  10 ", 10.0, id="blanks-around"),
        pytest.param("86400", 86400.0, id="a-day"),
        pytest.param("Tue, 24 Nov 2026 09:31:30 GMT", 90.0, id="date"),
        pytest.param("Tue, 24 Nov 2026 04:31:30 -0500", 90.0, id="date-of-another-zone"),
        pytest.param("Tue, 24 Nov 2026 09:31:30 -0000", 90.0, id="date-without-a-zone-is-utc"),
        pytest.param("Tue, 24 Nov 2026 09:29:00 GMT", 0.0, id="date-that-is-past"),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, seconds: float) -> None:
    assert parse_retry_after(value, NOW) == seconds


@for_each(
    "value",
    [None, "", "   ", "soon", "-5", "1.5", "1e3", "5 seconds", "\u0665", "2026-11-24T10:30:00Z"],
)
def test_retry_after_that_makes_no_sense_is_none(value: str | None) -> None:
    assert parse_retry_after(value, NOW) is None


@given(
    st.text()
    | st.lists(
        st.sampled_from(["Tue", ",", " ", "24", "Nov", "2026", "99", ":", "GMT", "+9999", "("])
    ).map("".join)
)
@settings(derandomize=True, deadline=None, database=None)
def test_retry_after_of_any_text_is_a_wait_or_none(value: str) -> None:
    wait = parse_retry_after(value, NOW)
    assert wait is None or wait >= 0
