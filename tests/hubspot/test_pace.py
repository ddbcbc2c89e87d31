"""One pace for all workers: when a request may go out."""

import pytest

from hubspot_sync.clock import Pulse
from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.pace import Pace
from hubspot_sync.hubspot.transport import Transport
from hubspot_sync.rules.pace import BURST, SEARCH_SPACING_SECONDS
from tests.conftest import TOKEN, Waits

HEADERS = {
    "x-hubspot-ratelimit-max": "100",
    "x-hubspot-ratelimit-interval-milliseconds": "10000",
}


@pytest.fixture
def pace(pulse: Pulse) -> Pace:
    return Pace(pulse)


def send(pace: Pace, count: int, waits: Waits, portal: "Portal") -> list[float]:
    times = []
    for _ in range(count):
        pace.wait_for_turn(is_search=False)
        times.append(waits.clock)
        pace.learn(HEADERS | {"x-hubspot-ratelimit-remaining": str(portal.take(waits.clock))})
    return times


class Portal:
    """A hundred requests in any ten seconds, some of them other programs'."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def take(self, now: float) -> int:
        self.seen.append(now)
        return 100 - len([each for each in self.seen if each > now - 10])


def most_in_ten_seconds(times: list[float]) -> int:
    return max(len([each for each in times if start <= each < start + 10]) for start in times)


def test_pace_before_the_first_answer_waits_for_nothing(pace: Pace, waits: Waits) -> None:
    for _ in range(20):
        pace.wait_for_turn(is_search=False)
    assert waits.asked == []


def test_pace_of_a_minute_is_above_nine_a_second_and_under_the_limit(
    pace: Pace, waits: Waits
) -> None:
    times = send(pace, 600, waits, Portal())
    assert 600 / times[-1] >= 9
    assert most_in_ten_seconds(times) <= 100


def test_pace_lets_a_few_follow_each_other_after_a_pause(pace: Pace, waits: Waits) -> None:
    portal = Portal()
    send(pace, 50, waits, portal)
    waits.clock += 60
    before = len(waits.asked)
    send(pace, BURST, waits, portal)
    assert len(waits.asked) == before


def test_pace_makes_room_for_other_programs(pace: Pace, waits: Waits) -> None:
    portal, theirs = Portal(), 0.0
    while waits.clock < 60:
        send(pace, 1, waits, portal)
        while theirs < waits.clock:
            # Another run sends four requests a second, whatever we do.
            portal.take(theirs)
            theirs += 0.25
    settled = [each for each in portal.seen if each > 20]
    assert most_in_ten_seconds(settled) <= 100
    assert len(settled) / 40 > 8


def test_pace_of_two_runs_settles_under_the_limit(pulse: Pulse, waits: Waits) -> None:
    portal, due = Portal(), {Pace(pulse): 0.0, Pace(pulse): 0.0}
    while waits.clock < 60:
        pace = min(due, key=lambda each: due[each])
        now = waits.clock = max(waits.clock, due[pace])
        remaining = portal.take(now)
        pace.learn(HEADERS | {"x-hubspot-ratelimit-remaining": str(max(0, remaining))})
        pace.wait_for_turn(is_search=False)
        due[pace], waits.clock = waits.clock, now
    settled = [each for each in portal.seen if each > 20]
    assert most_in_ten_seconds(settled) <= 100
    assert len(settled) / 40 > 8


def test_pace_of_searches_is_five_a_second(pace: Pace, waits: Waits) -> None:
    for _ in range(11):
        pace.wait_for_turn(is_search=True)
    assert waits.clock == pytest.approx(10 * SEARCH_SPACING_SECONDS)
    assert 10 / waits.clock <= 5


def test_pace_held_by_a_429_holds_everybody(pace: Pace, waits: Waits) -> None:
    pace.hold(10, is_search=False)
    pace.wait_for_turn(is_search=True)
    assert waits.clock == 0
    pace.wait_for_turn(is_search=False)
    assert waits.clock == 10


def test_pace_is_learnt_from_a_real_answer(hubspot: Emulator, pulse: Pulse, waits: Waits) -> None:
    hubspot.burst_limit = 100
    hubspot.clock = lambda: waits.clock
    transport = Transport(hubspot.url, TOKEN, timeout_seconds=5, pulse=pulse)
    client = HubSpotClient(transport)
    for _ in range(250):
        client.probe()
    transport.close()
    assert 20 < waits.clock < 27
