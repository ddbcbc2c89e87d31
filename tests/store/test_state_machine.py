"""What the queue promises holds whatever users, workers, another CRM and time do, in any order."""

import itertools
import logging
import sqlite3
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Engine, event

from hubspot_sync.rules.lifecycle import Claim
from hubspot_sync.rules.settlement import Delivered, Failed, Released
from hubspot_sync.store.contact_queue import ContactQueue
from tests.conftest import LEASE
from tests.messages import said
from tests.store.machine import QueueMachine
from tests.tables import Contacts

USUAL_RUNS, LONG_RUNS = 15, 1500
"""Runs of the machine for each database; more of them find what is rarer."""

OVER = LEASE + timedelta(minutes=1)

on_both_databases = pytest.mark.parametrize("shape", ["sqlite", "app"])


def _forget_the_disk(engine: Engine) -> None:
    """Have SQLite not wait for the disk; no test here pulls the plug."""

    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    engine.dispose()


# A failure takes up to five minutes more, in which its shortest form is looked for.
@pytest.mark.timeout(LONG_RUNS)
@pytest.mark.parametrize("runs", [USUAL_RUNS, pytest.param(LONG_RUNS, marks=pytest.mark.long)])
@on_both_databases
def test_promises_hold_in_any_order_of_events(
    shape: str,
    table: Contacts,
    queue: ContactQueue,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
    runs: int,
) -> None:
    if shape == "sqlite":
        _forget_the_disk(table.engine)
    caplog.set_level(logging.ERROR, "hubspot_sync")
    steps = itertools.count()

    class Machine(QueueMachine):
        def __init__(self) -> None:
            super().__init__(table, queue, lambda: next(steps))

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=runs,
            stateful_step_count=40,
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            # The suite always goes the same ways, so that it never fails by chance; the long run
            # looks for new ones.
            derandomize=runs == USUAL_RUNS,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    count = next(steps)
    record_property("steps", count)
    print(f"{count} steps in {runs} runs")


def _claim_only(queue: ContactQueue) -> Claim:
    (claim,) = queue.claim(1)
    return claim


@pytest.mark.parametrize("deaths", [3, 4])
@on_both_databases
def test_released_takeover_without_retries_left_is_not_asked_for_anew(
    table: Contacts, queue: ContactQueue, deaths: int
) -> None:
    key = table.add()
    claim = _claim_only(queue)
    for _ in range(deaths):
        table.age_all(OVER)
        claim = _claim_only(queue)
    queue.settle([(claim, Released())])
    queue.settle([(claim, Failed(said("its worker died"))) for claim in queue.claim(1)])
    assert table.state(key) == ("Error", "Error")


@on_both_databases
def test_contact_selected_and_claimed_again_is_not_lost_when_the_first_worker_releases_it(
    table: Contacts, queue: ContactQueue
) -> None:
    key = table.add(hubspot_sync_status=table.never_synced, hubspot_processing_status=None)
    first = queue.claim_one(key)
    assert isinstance(first, Claim)
    table.change(key, hubspot_sync_status="Selected", hubspot_processing_status="Queued")
    second = _claim_only(queue)
    queue.settle([(first, Released())])
    queue.settle([(second, Released())])
    assert [claim.contact.id for claim in queue.claim(1)] == [key]


@on_both_databases
def test_contact_queued_and_claimed_again_has_all_its_attempts_when_the_first_worker_gives_it_up(
    table: Contacts, queue: ContactQueue
) -> None:
    key = table.add(
        hubspot_sync_status="Queued",
        hubspot_processing_status="Error",
        retry_count=3,
        last_failed_crm="hubspot",
    )
    first = _claim_only(queue)
    table.change(key, hubspot_sync_status="Queued", hubspot_processing_status="Queued")
    second = _claim_only(queue)
    queue.settle([(first, Failed(said("HubSpot refused the contact")))])
    queue.settle([(second, Failed(said("HubSpot refused the contact")))])
    assert table.state(key) == ("Queued", "Error")


@pytest.mark.parametrize("is_stamped", [False, True])
@on_both_databases
def test_contact_whose_count_another_crm_has_cleared_meanwhile_is_settled(
    table: Contacts, queue: ContactQueue, is_stamped: bool
) -> None:
    key = table.add(
        hubspot_sync_status="Queued",
        hubspot_processing_status="Error",
        retry_count=2,
        last_failed_crm="hubspot",
    )
    claim = _claim_only(queue)
    table.change(key, retry_count=3, last_failed_crm="brevo")
    table.change(key, retry_count=0, last_failed_crm=None)
    if is_stamped:
        table.move(key, "updated_at", timedelta(0))
    queue.settle([(claim, Delivered("501", created=True))])
    assert table.state(key) == ("Complete", "Complete")


@on_both_databases
def test_takeover_without_attempts_left_that_was_edited_meanwhile_is_sent_again_when_released(
    table: Contacts, queue: ContactQueue
) -> None:
    key = table.add(
        hubspot_sync_status="Processing",
        hubspot_processing_status="Processing",
        retry_count=3,
        last_failed_crm="hubspot",
        age=OVER,
    )
    claim = _claim_only(queue)
    table.change(key, name="Ada King")
    queue.settle([(claim, Released())])
    assert table.state(key) == ("Queued", "Queued")
