"""One pace for all workers: when a request may go out, and whether."""

import contextlib
import threading
from typing import Any

import pytest

from hubspot_sync.clock import Pulse
from hubspot_sync.errors import QuotaSpent, Unavailable
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.pace import Pace
from hubspot_sync.hubspot.transport import Transport
from hubspot_sync.rules.pace import BURST, Quota
from tests.conftest import TOKEN, Waits
from tests.contacts import contacts_client

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
        pace.wait_for_turn()
        times.append(waits.clock)
        left = {"x-hubspot-ratelimit-remaining": str(portal.take(waits.clock))}
        pace.learn(pace.book(), HEADERS | left)
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
        pace.wait_for_turn()
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
        left = {"x-hubspot-ratelimit-remaining": str(max(0, remaining))}
        pace.learn(pace.book(), HEADERS | left)
        pace.wait_for_turn()
        due[pace], waits.clock = waits.clock, now
    settled = [each for each in portal.seen if each > 20]
    assert most_in_ten_seconds(settled) <= 100
    assert len(settled) / 40 > 8


def test_pace_held_by_a_429_holds_everybody(pace: Pace, waits: Waits) -> None:
    pace.hold(10)
    pace.wait_for_turn()
    assert waits.clock == 10


def test_pace_is_learnt_from_a_real_answer(hubspot: Emulator, pulse: Pulse, waits: Waits) -> None:
    hubspot.burst_limit = 100
    hubspot.clock = lambda: waits.clock
    transport = Transport(hubspot.url, TOKEN, timeout_seconds=5, pulse=pulse)
    client = contacts_client(transport)
    for _ in range(250):
        client.probe()
    transport.close()
    assert 20 < waits.clock < 27


def day(left: int, most: int = 100) -> dict[str, str]:
    """What an answer says of the day."""
    return {
        "x-hubspot-ratelimit-daily": str(most),
        "x-hubspot-ratelimit-daily-remaining": str(left),
    }


def book_all(pace: Pace) -> list[int]:
    """Book requests until only the reserve is left."""
    numbers = []
    while True:
        try:
            numbers.append(pace.book())
        except QuotaSpent:
            return numbers


@pytest.fixture
def keeping(pulse: Pulse) -> Pace:
    """A pace that keeps fifty of a hundred, and has heard that sixty are left."""
    pace = Pace(pulse, reserve_percent=50)
    pace.learn(pace.book(), day(60))
    return pace


def test_reserve_counts_the_requests_in_flight(keeping: Pace) -> None:
    assert len(book_all(keeping)) == 10
    assert keeping.quota == Quota(100, 50)


@pytest.mark.parametrize("in_order", [True, False])
def test_reserve_is_kept_whatever_the_order_of_the_answers(keeping: Pace, in_order: bool) -> None:
    numbers = book_all(keeping)
    answers = [(number, 60 - count) for count, number in enumerate(numbers, 1)]
    for number, left in answers if in_order else reversed(answers):
        keeping.learn(number, day(left))
        assert book_all(keeping) == []
    assert keeping.quota == Quota(100, 50)


def test_answer_that_comes_late_does_not_raise_what_is_left(keeping: Pace) -> None:
    late, soon = keeping.book(), keeping.book()
    keeping.learn(soon, day(51))  # other programs have taken the rest
    keeping.learn(late, day(59))
    assert keeping.quota == Quota(100, 51)


def test_request_without_an_answer_is_spent(keeping: Pace) -> None:
    first, second = keeping.book(), keeping.book()
    keeping.learn(first, {})
    # HubSpot may have answered the second before it took the first.
    keeping.learn(second, day(59))
    assert keeping.quota == Quota(100, 58)


def test_request_without_an_answer_is_counted_by_hubspot_once_a_later_one_was_answered(
    keeping: Pace,
) -> None:
    keeping.learn(keeping.book(), {})
    keeping.learn(keeping.book(), day(58))
    assert keeping.quota == Quota(100, 58)


def test_new_day_is_believed_to_the_answer_of_a_later_request(keeping: Pace) -> None:
    keeping.learn(keeping.book(), day(99))
    assert keeping.quota == Quota(100, 99)


def test_request_from_the_reserve_is_let_out_and_counted(keeping: Pace) -> None:
    book_all(keeping)
    keeping.book(from_reserve=True)
    assert keeping.quota == Quota(100, 49)


def test_answers_that_tell_nothing_of_the_day_hold_nothing_up(pulse: Pulse) -> None:
    pace = Pace(pulse, reserve_percent=50)
    for _ in range(200):
        pace.learn(pace.book(), {})
    assert pace.quota is None


@pytest.mark.parametrize("trouble", [{}, {"drop": True, "times": 5}, {"status": 502, "times": 5}])
def test_thirty_two_workers_leave_the_reserve_of_the_day(
    hubspot: Emulator, trouble: dict[str, Any]
) -> None:
    """Sixty are left and fifty to be kept; each worker has a connection of its own."""
    hubspot.daily_limit, hubspot.latency = 100, 0.02
    # Trouble is no reason to wait, and no worker hears of the others' end.
    pulse = Pulse(sleep=lambda _: None)
    pace, start = Pace(pulse, reserve_percent=50), threading.Barrier(32)

    def work() -> None:
        transport = Transport(hubspot.url, TOKEN, timeout_seconds=5, pulse=pulse, pace=pace)
        start.wait(10)
        with contextlib.suppress(QuotaSpent):
            while True:
                with contextlib.suppress(Unavailable):
                    contacts_client(transport).probe()
        transport.close()

    opening = Transport(hubspot.url, TOKEN, timeout_seconds=5, pulse=pulse, pace=pace)
    for _ in range(40):
        contacts_client(opening).probe()
    opening.close()
    if trouble:
        hubspot.fault(path="limit=1", **trouble)
    threads = [threading.Thread(target=work) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    # What got no answer may be counted twice at the end, by HubSpot and by us.
    assert 50 - trouble.get("times", 0) <= hubspot.request_count <= 50
