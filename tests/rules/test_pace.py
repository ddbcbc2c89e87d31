"""How far apart requests must be."""

import pytest

from hubspot_sync.rules.pace import SHARE, Limits, read_limits, spacing_seconds

HEADERS = {
    "x-hubspot-ratelimit-max": "100",
    "x-hubspot-ratelimit-remaining": "97",
    "x-hubspot-ratelimit-interval-milliseconds": "10000",
}


def test_read_limits_reads_hubspots_headers() -> None:
    assert read_limits(HEADERS) == Limits(most=100, remaining=97, interval_seconds=10)


@pytest.mark.parametrize("name", list(HEADERS))
@pytest.mark.parametrize("value", [None, "", "many", "-1", "1.5"])
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
