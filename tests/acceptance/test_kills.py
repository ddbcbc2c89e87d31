"""`kill -9` at every boundary: what is left, and that the runs after the lease mend it."""

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from hubspot_sync.hubspot.emulator import Emulator
from tests import oracle
from tests.acceptance import held
from tests.acceptance.held import hold, kill_at
from tests.acceptance.program import Program
from tests.tables import Contacts

LEASE_IS_OVER = timedelta(minutes=11)
PROCESSING = ("Processing", "Processing")
COMPLETE = ("Complete", "Complete")
KNOWN = {"known@example.com", "old@example.com"}

# A held request whose sender is dead is dropped, or letting it go would still carry it out.
CREATES = {"path": "/batch/create", "drop": True}
UPDATES = {"path": "/batch/update", "drop": True}
LOOK_UP_ONE = {"path": "idProperty=email", "drop": True}
CREATE = {"method": "POST", "path": "/contacts$", "drop": True}
PATCH = {"method": "PATCH", "path": "/contacts/", "drop": True}
DONE = {"after_write": True}

shapes = pytest.mark.parametrize("shape", ["sqlite", "app"])


@pytest.fixture(autouse=True)
def _hard_hubspot(hubspot: Emulator) -> None:
    """Search shows nothing that was created here."""
    hubspot.search_lag = 3600


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """The runs that mend are not the ones that die: they need not wait for the disk."""

    def connect(connection: object, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    event.listen(Pool, "connect", connect)
    yield
    event.remove(Pool, "connect", connect)


@dataclass(frozen=True)
class Point:
    """Where a run is killed, and what that leaves. Points that are like take the shapes in turns.

    Attributes:
        request: the request that is held; None for a point of the program's own.
        at: that point.
        passes: how often the run comes there before.
        written: HubSpot has by then what the table does not know of.
        done: how much the table says is done.
    """

    name: str
    shape: str
    request: Mapping[str, Any] | None = None
    at: str = ""
    passes: int = 0
    written: bool = False
    done: int = 0

    def kill(self, program: Program, hubspot: Emulator, *arguments: str) -> None:
        request = self.request or {"path": held.HELD}
        if self.passes:
            hubspot.fault(path=held.HELD, status=200, times=self.passes)
        with hold(hubspot, **request) as point:
            kill_at(held.start(program, self.at, *arguments), point)


def each_of(points: list[Point]) -> pytest.MarkDecorator:
    cases = [pytest.param(each.shape, each, id=f"{each.name}-{each.shape}") for each in points]
    return pytest.mark.parametrize(("shape", "point"), cases)


def mend(table: Contacts, program: Program, hubspot: Emulator) -> dict[str, int]:
    """Run again when the lease is over: all is delivered, once, and nothing is left to do."""
    held.wait_until_let_go(table)
    oracle.assert_complete_is_true(table, hubspot)
    table.age_all(LEASE_IS_OVER)
    missing = [
        email for row in table.rows() if (email := oracle.email_of(row)) not in emails_in(hubspot)
    ]
    ended = program.run("sync-queue", "--drain", "--workers", "1", "--json")
    assert ended.code == 0, ended.err
    counts: dict[str, int] = ended.document["counts"]
    assert len(set(missing)) <= counts["created"] <= len(missing)
    assert counts["claimed"] == sum(counts[name] for name in ("created", "updated", "unchanged"))
    oracle.assert_all_delivered(table, hubspot)
    hubspot.reset_requests()
    assert program.run("sync-queue").out == "Nothing is due.\n"
    assert hubspot.request_count == 0
    return counts


def emails_in(hubspot: Emulator) -> set[str]:
    return {contact["properties"]["email"] for contact in hubspot.contacts()}


def has_values(hubspot: Emulator, row: oracle.Row) -> bool:
    """Whether HubSpot holds what the row says."""
    there = hubspot.contact_by_email(oracle.email_of(row))
    wanted = oracle.expected_values(row)
    return there is not None and wanted.items() <= there["properties"].items()


@each_of(
    [
        Point("portal not yet looked at", "sqlite", {"path": "/properties/", "drop": True}),
        Point("look-up sent", "app", {"path": "/contacts/batch/read", "drop": True}),
        Point("creates sent", "sqlite", CREATES),
        Point("creates carried out", "app", CREATES | DONE, written=True),
        Point("creates being settled", "sqlite", at=held.SETTLE_WRITTEN, written=True),
        Point("creates being settled", "app", at=held.SETTLE_WRITTEN, written=True),
        Point("creates settled", "sqlite", at=held.SETTLE_COMMITTED, done=1),
        Point("updates sent", "app", UPDATES, done=1),
        Point("updates carried out", "sqlite", UPDATES | DONE, done=1, written=True),
        Point("updates being settled", "app", None, held.SETTLE_WRITTEN, 1, True, 1),
    ]
)
def test_batch_killed(table: Contacts, program: Program, hubspot: Emulator, point: Point) -> None:
    held.add_mix(table, hubspot)
    before = {row["id"]: row for row in table.rows()}
    point.kill(program, hubspot, "sync-queue")
    held.wait_until_let_go(table)
    for row in table.rows():
        is_new = oracle.email_of(row) not in KNOWN
        assert oracle.states([row]) == {COMPLETE if is_new and point.done else PROCESSING}
        if oracle.email_of(row) != "twice@example.com":
            was_sent = point.written or point.done if is_new else point.written and point.done
            assert has_values(hubspot, row) is bool(was_sent)
        if not point.done:
            # A claim that is no takeover touches no column but these.
            assert row | {"updated_at": 0} == before[row["id"]] | {
                "updated_at": 0,
                "hubspot_sync_status": "Processing",
                "hubspot_processing_status": "Processing",
                "hubspot_processing_error": None,
            }
    # The lease runs: nobody takes them before it is over.
    assert program.run("sync-queue").out == "Nothing is due.\n"
    mend(table, program, hubspot)


@shapes
def test_killed_before_the_claim_is_committed(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    held.add_mix(table, hubspot)
    before = table.rows()
    Point("", "", at=held.CLAIM_WRITTEN).kill(program, hubspot, "sync-queue")
    held.wait_until_let_go(table)
    assert table.rows() == before
    assert hubspot.requests == [("GET", "/held")]
    # No lease has begun, so the next run does not wait for one.
    assert program.run("sync-queue", "--json").document["counts"]["claimed"] == 6
    oracle.assert_all_delivered(table, hubspot)


@each_of(
    [
        Point("taken over, not committed", "app", at=held.CLAIM_WRITTEN),
        Point("look-up sent", "sqlite", LOOK_UP_ONE),
        Point("create sent", "app", CREATE),
        Point("create carried out", "sqlite", CREATE | DONE, written=True),
        Point("update sent", "app", PATCH, done=1),
        Point("update carried out", "sqlite", PATCH | DONE, done=1, written=True),
        Point("being settled", "app", at=held.SETTLE_WRITTEN, written=True),
        Point("being settled", "sqlite", at=held.SETTLE_WRITTEN, written=True),
    ]
)
def test_takeover_killed(
    table: Contacts, program: Program, hubspot: Emulator, point: Point
) -> None:
    keys = held.add_mix(table, hubspot, abandoned=True)
    before = [table.row(key) for key in keys]
    point.kill(program, hubspot, "sync-queue")
    held.wait_until_let_go(table)
    after = [table.row(key) for key in keys]
    assert oracle.states(after[: point.done]) <= {COMPLETE}
    under_hand = after[point.done]
    if point.at == held.CLAIM_WRITTEN:
        assert under_hand == before[point.done]
    else:
        # The takeover spent an attempt; it alone, and nobody else's.
        assert oracle.states([under_hand]) == {PROCESSING}
        assert under_hand["retry_count"] == before[point.done]["retry_count"] + 1
    assert has_values(hubspot, under_hand) is point.written
    assert after[point.done + 1 :] == before[point.done + 1 :]
    mend(table, program, hubspot)


@each_of(
    [
        Point("create carried out", "app", CREATE | DONE, written=True),
        Point("being settled", "sqlite", at=held.SETTLE_WRITTEN, written=True),
    ]
)
def test_sync_one_killed(
    table: Contacts, program: Program, hubspot: Emulator, point: Point
) -> None:
    key = table.add(hubspot_sync_status=table.never_synced, hubspot_processing_status=None)
    point.kill(program, hubspot, "sync-one", str(key))
    held.wait_until_let_go(table)
    assert table.state(key) == PROCESSING
    assert has_values(hubspot, table.row(key)) is point.written
    refused = program.run("sync-one", str(key))
    assert (refused.code, "or died holding it" in refused.err) == (1, True)
    mend(table, program, hubspot)


@pytest.mark.parametrize("shape", ["app"])
def test_four_workers_killed(table: Contacts, program: Program, hubspot: Emulator) -> None:
    emails = [f"c{number}@example.com" for number in range(405)]
    held.add_many(table, emails, oldest=timedelta(minutes=20))
    hubspot.add_contact({"email": emails[7]})
    # Two workers are held in their creates; what the others hold then is not known, and need not.
    with (
        hold(hubspot, **CREATES) as one,
        hold(hubspot, **CREATES | DONE) as two,
        hold(hubspot, contains=emails[-1], **CREATES | DONE) as last,
    ):
        process = held.start(program, "", "sync-queue", "--drain", "--workers", "4")
        kill_at(process, one, two, last)
    held.wait_until_let_go(table)
    rows = table.rows()
    assert oracle.states(rows) <= {PROCESSING, COMPLETE}
    left = [row for row in rows if oracle.states([row]) == {PROCESSING}]
    assert len(left) >= 204
    in_hubspot = emails_in(hubspot) & {oracle.email_of(row) for row in left}
    assert len(in_hubspot) >= 104
    assert program.run("sync-queue").out == "Nothing is due.\n"
    counts = mend(table, program, hubspot)
    assert counts["claimed"] == len(left)


# As many attempts as there are retries, and the first.
@pytest.mark.parametrize(("shape", "retries"), [("app", 3), ("sqlite", 1)])
def test_contact_that_kills_its_worker_ends_in_error_and_takes_no_other_with_it(
    table: Contacts, program: Program, hubspot: Emulator, retries: int
) -> None:
    program.environment["HUBSPOT_SYNC_MAX_RETRIES"] = str(retries)
    emails = [f"c{number}@example.com" for number in range(100)]
    # Their claims have one time, so the ids say in which order they are taken over.
    ids = [str(UUID(int=number + 1)) for number in range(100)]
    held.add_many(table, emails, oldest=timedelta(minutes=9), ids=ids)
    poison, email = ids[2], emails[2]
    for deaths in range(retries + 1):
        with hold(hubspot, contains=email, drop=True) as point:
            kill_at(program.start("sync-queue", "--limit", "100"), point)
        held.wait_until_let_go(table)
        assert table.state(poison) == PROCESSING
        assert table.row(poison)["retry_count"] == deaths
        table.age_all(LEASE_IS_OVER)
        if deaths:
            # It comes first from now on, or each run would deliver the others before.
            table.move(poison, "updated_at", timedelta(hours=9))
    oracle.assert_complete_is_true(table, hubspot)
    fault = hubspot.fault(contains=email, status=500, times=None)
    ended = program.run("sync-queue", "--limit", "100", "--json")
    assert (ended.code, ended.document["state"]) == (1, "partial")
    counts = ended.document["counts"]
    assert (counts["exhausted"], counts["failed"], counts["stopped"]) == (1, 0, 0)
    assert not fault.reached.is_set()
    assert hubspot.contact_by_email(email) is None
    row = table.row(poison)
    assert oracle.states([row]) == {("Error", "Error")}
    assert f"worker died at each of {retries + 1} attempts" in row["hubspot_processing_error"]
    assert oracle.retry_columns(row)[:2] == (retries, None)
    assert row["last_failed_crm"] == "hubspot"
    table.delete(poison)
    oracle.assert_all_delivered(table, hubspot)
    assert program.run("sync-queue").out == "Nothing is due.\n"
