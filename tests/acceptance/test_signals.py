"""SIGTERM, SIGINT, SIGHUP at every point of a run: the known is settled, the rest given back."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from signal import SIGHUP, SIGINT, SIGTERM
from typing import Any

import pytest

from hubspot_sync.hubspot.emulator import Emulator, Fault
from tests import oracle
from tests.acceptance import held
from tests.acceptance.forked import Forked
from tests.acceptance.held import hold
from tests.acceptance.program import Ended, Program
from tests.tables import Contacts

COMPLETE = ("Complete", "Complete")
PROCESSING = ("Processing", "Processing")
STOPPED = ("Queued", "Error")
KNOWN = {"known@example.com", "old@example.com"}
SHORT = {"HUBSPOT_TIMEOUT_SECONDS": "1"}

PORTAL = {"path": "/properties/"}
LOOK_UP = {"path": "/contacts/batch/read"}
CREATES = {"path": "/batch/create"}
UPDATES = {"path": "/batch/update"}
LOOK_UP_ONE = {"path": "idProperty=email"}
CREATE = {"method": "POST", "path": "/contacts$"}
PATCH = {"method": "PATCH", "path": "/contacts/"}
DONE = {"after_write": True}


@dataclass(frozen=True)
class Point:
    """Where a run is when a signal comes; points that are like take signals and shapes in turns.

    Attributes:
        request: the request that is held; None for a point of the program's own.
        at: that point.
        passes: how often the run comes there before.
        done: how much is Complete in the end: of a batch the new and then the known contacts, of
            takeovers so many.
    """

    name: str
    number: signal.Signals
    shape: str
    request: Mapping[str, Any] | None = None
    at: str = ""
    passes: int = 0
    done: int = 0

    def signal(
        self, program: Program, hubspot: Emulator, *arguments: str, answer: bool = True, **more: str
    ) -> Ended:
        """Run a command, send the signal at this point, and let the run go on to its end."""
        if self.passes:
            hubspot.fault(path=held.HELD, status=200, times=self.passes)
        with hold(hubspot, **(self.request or {"path": held.HELD})) as point:
            process = held.start(program, self.at, *arguments, "--json", **more)
            return end(process, [self.number], hubspot, point, answer=answer)


def end(
    process: Forked,
    numbers: list[signal.Signals],
    hubspot: Emulator,
    *points: Fault,
    answer: bool = True,
) -> Ended:
    with process:
        reached = all(point.reached.wait(20) for point in points)
        sent = requests_to(hubspot)
        for number in numbers:
            process.send_signal(number)
        for point in points if answer else ():
            assert point.release is not None
            point.release.set()
        out, err = process.communicate(timeout=20)
    assert reached, f"the run ended before it came there: {err}"
    # What was in flight is finished, and no further request starts; several workers may be just
    # about to send one.
    assert requests_to(hubspot) == sent or len(points) > 1
    return Ended(process.code, out, err)


def requests_to(hubspot: Emulator) -> list[tuple[str, str]]:
    return [each for each in hubspot.requests if each[1] != "/held"]


def assert_ended_by(ended: Ended, number: signal.Signals, **counts: int) -> None:
    assert ended.code == 128 + number, ended.err
    assert ended.document["state"] == "stopped"
    assert number.name in ended.document["reason"]
    found = {name: count for name, count in ended.document["counts"].items() if count}
    assert found == {"claimed": sum(counts.values())} | {
        name: count for name, count in counts.items() if count
    }


def each_of(points: list[Point]) -> pytest.MarkDecorator:
    cases = [
        pytest.param(each.shape, each, id=f"{each.name}-{each.number.name}-{each.shape}")
        for each in points
    ]
    return pytest.mark.parametrize(("shape", "point"), cases)


def split_mix(table: Contacts) -> tuple[list[oracle.Row], list[oracle.Row]]:
    """Return the contacts that were new to HubSpot, and those that it knew."""
    rows = table.rows()
    known = [row for row in rows if oracle.email_of(row) in KNOWN]
    return [row for row in rows if row not in known], known


def deliver_the_rest(table: Contacts, program: Program, hubspot: Emulator) -> None:
    table.age_all(timedelta(minutes=11))
    assert program.run("sync-queue").code == 0
    oracle.assert_all_delivered(table, hubspot)


@each_of(
    [
        Point("claim written", SIGTERM, "sqlite", at=held.CLAIM_WRITTEN),
        Point("claim written", SIGHUP, "app", at=held.CLAIM_WRITTEN),
        Point("portal looked at", SIGINT, "app", PORTAL),
        Point("look-up sent", SIGHUP, "sqlite", LOOK_UP),
        Point("creates sent", SIGINT, "app", CREATES, done=1),
        Point("creates being settled", SIGTERM, "app", at=held.SETTLE_WRITTEN, done=1),
        Point("creates being settled", SIGINT, "sqlite", at=held.SETTLE_WRITTEN, done=1),
        Point("updates sent", SIGTERM, "sqlite", UPDATES, done=2),
        Point("updates sent", SIGINT, "app", UPDATES, done=2),
        Point("updates sent", SIGHUP, "sqlite", UPDATES, done=2),
        Point("updates being settled", SIGTERM, "app", None, held.SETTLE_WRITTEN, 1, 2),
    ]
)
def test_batch_ended_by_a_signal(
    table: Contacts, program: Program, hubspot: Emulator, point: Point
) -> None:
    held.add_mix(table, hubspot)
    new_before, known_before = split_mix(table)
    ended = point.signal(program, hubspot, "sync-queue")
    created, updated = (4 if point.done else 0), (2 if point.done == 2 else 0)
    assert_ended_by(
        ended, point.number, created=created, updated=updated, released=6 - created - updated
    )
    assert ended.document["due_remaining"] == 6 - created - updated
    new, known = split_mix(table)
    # What was given back is as it was in every column, updated_at included.
    assert oracle.states(new) == {COMPLETE} if created else new == new_before
    assert oracle.states(known) == {COMPLETE} if updated else known == known_before
    oracle.assert_complete_is_true(table, hubspot)


@each_of(
    [
        Point("taken over", SIGINT, "app", at=held.CLAIM_WRITTEN),
        Point("look-up sent", SIGHUP, "sqlite", LOOK_UP_ONE),
        Point("create sent", SIGTERM, "app", CREATE, done=1),
        Point("update sent", SIGTERM, "sqlite", PATCH, done=2),
        Point("being settled", SIGHUP, "app", at=held.SETTLE_WRITTEN, done=1),
    ]
)
def test_takeover_ended_by_a_signal(
    table: Contacts, program: Program, hubspot: Emulator, point: Point
) -> None:
    keys = held.add_mix(table, hubspot, abandoned=True)
    before = [table.row(key) for key in keys]
    ended = point.signal(program, hubspot, "sync-queue")
    is_released = point.done == 0
    assert_ended_by(
        ended,
        point.number,
        created=min(point.done, 1),
        updated=max(point.done - 1, 0),
        released=int(is_released),
    )
    after = [table.row(key) for key in keys]
    assert oracle.states(after[: point.done]) <= {COMPLETE}
    oracle.assert_complete_is_true(table, hubspot)
    if is_released:
        assert_attempt_spent(after[0], before[0], ("Queued", "Queued"))
        assert after[0]["next_retry_at"] is None
    # Those that were not reached are still where their dead worker left them.
    untouched = point.done + is_released
    assert after[untouched:] == before[untouched:]


def assert_attempt_spent(row: oracle.Row, before: oracle.Row, state: tuple[str, str]) -> None:
    assert oracle.states([row]) == {state}
    assert row["retry_count"] == before["retry_count"] + 1
    assert row["last_failed_crm"] == "hubspot"
    assert row["last_retry_at"] is not None


@each_of(
    [
        Point("look-up sent", SIGTERM, "app", LOOK_UP_ONE),
        Point("create sent", SIGINT, "sqlite", CREATE, done=1),
    ]
)
def test_sync_one_ended_by_a_signal(
    table: Contacts, program: Program, hubspot: Emulator, point: Point
) -> None:
    key = table.add(hubspot_sync_status=table.never_synced, hubspot_processing_status=None)
    before = table.row(key)
    ended = point.signal(program, hubspot, "sync-one", str(key))
    assert_ended_by(ended, point.number, created=point.done, released=1 - point.done)
    if point.done:
        oracle.assert_all_delivered(table, hubspot)
    else:
        assert table.row(key) == before


@each_of([Point("look-up", SIGTERM, "app", LOOK_UP)])
def test_look_up_without_an_answer_gives_all_back(
    table: Contacts, program: Program, hubspot: Emulator, point: Point
) -> None:
    held.add_mix(table, hubspot)
    before = table.rows()
    ended = point.signal(program, hubspot, "sync-queue", answer=False, **SHORT)
    assert_ended_by(ended, point.number, released=6)
    assert table.rows() == before


@each_of(
    [
        # The signal also keeps the run from looking at what the create did.
        Point("creates", SIGINT, "sqlite", CREATES | DONE),
        Point("updates", SIGTERM, "sqlite", UPDATES | DONE, done=1),
    ]
)
def test_batch_write_without_an_answer_is_stopped_and_the_rest_given_back(
    table: Contacts, program: Program, hubspot: Emulator, point: Point
) -> None:
    held.add_mix(table, hubspot)
    before = split_mix(table)
    ended = point.signal(program, hubspot, "sync-queue", answer=False, **SHORT)
    after = split_mix(table)
    if point.done:
        assert oracle.states(after[0]) == {COMPLETE}
        assert_ended_by(ended, point.number, created=4, stopped=2)
    else:
        assert after[1] == before[1]
        assert_ended_by(ended, point.number, stopped=4, released=2)
    for row, as_it_was in zip(after[point.done], before[point.done], strict=True):
        assert oracle.states([row]) == {STOPPED}
        assert "before HubSpot confirmed it" in row["hubspot_processing_error"]
        assert row["next_retry_at"] is not None
        assert row["retry_count"] == as_it_was["retry_count"]
    oracle.assert_complete_is_true(table, hubspot)
    deliver_the_rest(table, program, hubspot)


@each_of(
    [
        Point("create", SIGHUP, "sqlite", CREATE | DONE),
        Point("update", SIGINT, "app", PATCH | DONE, done=1),
    ]
)
def test_takeover_without_an_answer_is_stopped(
    table: Contacts, program: Program, hubspot: Emulator, point: Point
) -> None:
    keys = held.add_mix(table, hubspot, abandoned=True)
    before = [table.row(key) for key in keys]
    ended = point.signal(program, hubspot, "sync-queue", answer=False, **SHORT)
    assert_ended_by(ended, point.number, created=point.done, stopped=1)
    after = [table.row(key) for key in keys]
    # Its attempt is the takeover's; the stop takes none.
    assert_attempt_spent(after[point.done], before[point.done], STOPPED)
    assert after[point.done]["next_retry_at"] is not None
    assert after[point.done + 1 :] == before[point.done + 1 :]
    deliver_the_rest(table, program, hubspot)


@pytest.mark.parametrize(("shape", "number"), [("sqlite", SIGHUP), ("app", SIGTERM)])
def test_four_workers_ended_by_a_signal(
    table: Contacts, program: Program, hubspot: Emulator, number: signal.Signals
) -> None:
    emails = [f"c{count}@example.com" for count in range(405)]
    held.add_many(table, emails, oldest=timedelta(minutes=20))
    before = {row["id"]: row for row in table.rows()}
    with hold(hubspot, **CREATES) as one, hold(hubspot, **CREATES | DONE) as two:
        process = held.start(program, "", "sync-queue", "--drain", "--workers", "4", "--json")
        ended = end(process, [number], hubspot, one, two)
    complete = [row for row in table.rows() if oracle.states([row]) == {COMPLETE}]
    others = [row for row in table.rows() if row not in complete]
    assert [row for row in others if row != before[row["id"]]] == []
    assert 200 <= len(complete) == len(hubspot.contacts())
    oracle.assert_complete_is_true(table, hubspot)
    claimed = ended.document["counts"]["claimed"]
    assert_ended_by(ended, number, created=len(complete), released=claimed - len(complete))
    assert ended.document["due_remaining"] == len(others)


@pytest.mark.parametrize("shape", ["app"])
def test_second_signal_ends_four_workers_at_once(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    emails = [f"c{count}@example.com" for count in range(405)]
    held.add_many(table, emails, oldest=timedelta(minutes=20))
    with hold(hubspot, **CREATES) as one, hold(hubspot, **CREATES) as two:
        process = held.start(program, "", "sync-queue", "--drain", "--workers", "4")
        ended = end(process, [SIGINT, SIGTERM], hubspot, one, two, answer=False)
    assert ended.code in (-SIGINT, -SIGTERM)
    held.wait_until_let_go(table)
    rows = table.rows()
    assert oracle.states(rows) <= {PROCESSING, COMPLETE, ("Selected", "Queued")}
    assert len([row for row in rows if oracle.states([row]) == {PROCESSING}]) >= 200
    oracle.assert_complete_is_true(table, hubspot)
