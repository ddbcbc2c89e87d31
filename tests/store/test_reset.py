"""Back to never synced: what is erased, what is kept, what is left."""

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import WrongUsage
from hubspot_sync.rules.lifecycle import Row, SyncStatus
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.store.marking import Marking
from hubspot_sync.store.reset_copy import ResetCopy
from hubspot_sync.store.selection import Selection
from tests.conftest import LEASE
from tests.tables import CONTACTS, Contacts

SYNCED: dict[str, Any] = {
    "hubspot_sync_status": "Complete",
    "hubspot_processing_status": "Complete",
    "hubspot_contact_id": "9001",
    "hubspot_processing_error": "x",
    "retry_count": 2,
}


ALL = Selection(every=True)


def one(key: str) -> Selection:
    return Selection(contact_ids=[key])


@pytest.fixture
def marking(table: Contacts) -> Marking:
    """What marks contacts in that table."""
    return Marking(table.engine, CONTACTS, lease=LEASE)


def forget(_: Sequence[Row]) -> None:
    """Keep no copy."""


def test_reset_erases_what_the_sync_wrote(table: Contacts, marking: Marking) -> None:
    key = table.add(**SYNCED, last_failed_crm="hubspot")
    table.move(key, "next_retry_at", timedelta(minutes=-5))
    table.move(key, "last_retry_at", timedelta(minutes=5))
    before = table.row(key)
    assert marking.reset(one(key), keep_copy=forget) == (1, [])
    assert table.row(key) == before | {
        "hubspot_sync_status": table.never_synced,
        "hubspot_processing_status": None,
        "hubspot_contact_id": None,
        "hubspot_processing_error": None,
        "retry_count": 0,
        "next_retry_at": None,
        "last_retry_at": None,
        "last_failed_crm": None,
    }


def test_reset_leaves_another_crms_retry_values(table: Contacts, marking: Marking) -> None:
    key = table.add(**SYNCED, last_failed_crm="brevo")
    table.move(key, "next_retry_at", timedelta(minutes=-5))
    before = table.row(key)
    marking.reset(one(key), keep_copy=forget)
    after = table.row(key)
    shared = ("retry_count", "next_retry_at", "last_retry_at", "last_failed_crm")
    assert {name: after[name] for name in shared} == {name: before[name] for name in shared}
    assert after["hubspot_contact_id"] is None


def test_reset_leaves_what_a_live_run_holds(
    table: Contacts, queue: ContactQueue, marking: Marking
) -> None:
    held, dead = table.add("a@example.com"), table.add("b@example.com")
    queue.claim(2)
    table.move(dead, "updated_at", LEASE + timedelta(seconds=1))
    count, left = marking.reset(ALL, keep_copy=forget)
    assert (count, [row.contact.id for row in left]) == (1, [held])
    assert table.state(held) == ("Processing", "Processing")
    assert table.state(dead) == (table.never_synced, None)


def test_reset_by_status_takes_only_those(table: Contacts, marking: Marking) -> None:
    failed = table.add(hubspot_sync_status="Error", hubspot_processing_status="Error")
    other = table.add(**SYNCED)
    assert marking.reset(Selection(status=SyncStatus.ERROR), keep_copy=forget)[0] == 1
    assert table.state(failed) == (table.never_synced, None)
    assert table.state(other) == ("Complete", "Complete")


def test_reset_of_all_leaves_the_never_synced_untouched(table: Contacts, marking: Marking) -> None:
    table.add(hubspot_sync_status=table.never_synced, hubspot_processing_status=None)
    table.add(
        hubspot_sync_status=table.never_synced,
        hubspot_processing_status=None,
        retry_count=2,
        last_failed_crm="brevo",
    )
    assert marking.look_at_reset(ALL, rows_wanted=5).total == 0


def test_reset_walks_through_many(
    table: Contacts, marking: Marking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubspot_sync.store.marking.CHUNK", 3)
    keys = {table.add(**SYNCED) for _ in range(8)}
    copied: list[Row] = []
    preview = marking.look_at_reset(ALL, rows_wanted=5)
    assert (preview.total, len(preview.rows)) == (8, 5)
    assert marking.reset(ALL, keep_copy=copied.extend) == (8, [])
    assert {row.contact.id for row in copied} == keys
    assert marking.look_at_reset(ALL, rows_wanted=5).total == 0


def test_reset_keeps_its_copy_before_it_erases(table: Contacts, marking: Marking) -> None:
    key = table.add(**SYNCED)

    def die(rows: Sequence[Row]) -> None:
        assert [row.contact.hubspot_contact_id for row in rows] == ["9001"]
        raise WrongUsage(ErrorCode.COPY_NOT_MADE, path="x", why="the disk is full")

    with pytest.raises(WrongUsage):
        marking.reset(one(key), keep_copy=die)
    assert table.row(key)["hubspot_contact_id"] == "9001"


def test_look_at_reset_writes_nothing(table: Contacts, marking: Marking) -> None:
    key = table.add(**SYNCED)
    before = table.row(key)
    preview = marking.look_at_reset(one(key), rows_wanted=5)
    assert (preview.total, preview.found) == (1, {key})
    assert table.row(key) == before


@pytest.mark.parametrize("shape", ["sqlite"])
def test_reset_copy_is_private_and_whole(table: Contacts, marking: Marking, tmp_path: Path) -> None:
    key = table.add(**SYNCED)
    copy = ResetCopy(tmp_path / "copy.jsonl")
    marking.reset(one(key), keep_copy=copy.keep)
    copy.close()
    assert copy.path.stat().st_mode & 0o777 == 0o600
    (line,) = copy.path.read_text().splitlines()
    kept = json.loads(line)
    assert kept["id"] == str(key)
    assert {name: kept[name] for name in SYNCED} == SYNCED


def test_reset_copy_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "copy.jsonl"
    path.write_text("yesterday's\n")
    with pytest.raises(WrongUsage, match="--backup"):
        ResetCopy(path)
    assert path.read_text() == "yesterday's\n"
