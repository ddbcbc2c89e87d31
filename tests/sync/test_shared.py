"""What the workers of a run share is counted right, and told while no lock is held."""

import sys
import threading
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from hubspot_sync.budget import Budget
from hubspot_sync.clock import Pulse
from hubspot_sync.report import ContactReport, Tally
from hubspot_sync.rules.lifecycle import Claim, Row
from hubspot_sync.rules.mapping import Contact
from hubspot_sync.rules.settlement import OutcomeName, Settlement
from hubspot_sync.run import Plan, Run
from tests.conftest import LEASE, NOW
from tests.contacts import MAPPING
from tests.messages import said

THREADS, TIMES = 6, 1_000
FAILED = ContactReport(
    str(uuid4()), None, OutcomeName.FAILED, 1, 4, error=said("no"), is_takeover=True
)


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as the interpreter lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(act: Callable[[], object]) -> None:
    """Do something in several threads, many times each."""
    start = threading.Barrier(THREADS)

    def repeat() -> None:
        start.wait(10)
        for _ in range(TIMES):
            act()

    threads = [threading.Thread(target=repeat) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


def settlement() -> Settlement:
    contact = Contact(str(uuid4()), "ada@example.com")
    before = Row(contact, "Selected", "Queued", None, 0, None, None, None, NOW)
    claim = Claim(before, contact, NOW, retry_count=0, claimed_at=NOW)
    return Settlement(claim, OutcomeName.CREATED)


def test_mail_counts_every_contact_of_every_thread(restless: None) -> None:
    tally = Tally()
    at_once(lambda: tally.note(FAILED))
    (group,) = tally.groups
    assert (tally.taken_over, group.count) == (THREADS * TIMES, THREADS * TIMES)


def test_limit_is_never_exceeded_however_many_ask(restless: None, pulse: Pulse) -> None:
    limit = THREADS * TIMES // 2
    budget = Budget(pulse, limit=limit)
    granted: list[int] = []

    def reserve_and_give_one_back() -> None:
        granted.append(budget.reserve(1))
        budget.give_back(budget.reserve(1))

    at_once(reserve_and_give_one_back)
    granted.append(budget.reserve(limit))
    assert sum(granted) == limit


def test_outcome_is_told_while_no_lock_is_held(pulse: Pulse) -> None:
    plan = Plan(mapping=MAPPING, lease=LEASE, attempts=4)
    is_telling, may_go_on = threading.Event(), threading.Event()
    told: list[ContactReport] = []

    def tell(contact: ContactReport) -> None:
        told.append(contact)
        if len(told) == 1:
            is_telling.set()
            assert may_go_on.wait(20)

    run = Run(plan, pulse, tell)
    slow = threading.Thread(target=run.note, args=([settlement()], {}))
    slow.start()
    try:
        assert is_telling.wait(20)
        other = threading.Thread(target=run.note, args=([settlement()], {}), daemon=True)
        other.start()
        other.join(10)
        assert not other.is_alive()
        assert (run.ledger.claimed, len(told)) == (2, 2)
    finally:
        may_go_on.set()
        slow.join(20)
