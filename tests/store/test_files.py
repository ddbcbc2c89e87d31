"""SQLite's file: one that this user cannot use is told as such, and one that we make is private."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import pytest
from sqlalchemy import Engine

from hubspot_sync.errors import DatabaseUnavailable, WrongUsage
from hubspot_sync.report import CheckState
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.store.check_up import look_at_database
from hubspot_sync.store.database import make_engine, transaction
from hubspot_sync.store.embedded import create_table
from hubspot_sync.store.run_places import count_taken, take_place
from tests.tables import CONTACTS

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="hubspot-sync-tests-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def as_stranger() -> Iterator[None]:
    """Act as a user with no rights of root's; whoever is not root has none anyway."""
    is_root = os.geteuid() == 0
    if is_root:
        # What is imported on first use must be there before: a stranger may not read it.
        with pytest.raises(WrongUsage), transaction(make_engine("sqlite:////nowhere.db")):
            pass
        filelock.FileLock("none.lock")
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def engine_of(path: Path, *, create: bool = False) -> Engine:
    return make_engine(f"sqlite:///{path}", create=create)


def refusal_of(path: Path, *, create: bool = False) -> str:
    engine = engine_of(path, create=create)
    with as_stranger(), pytest.raises(DatabaseUnavailable) as refused, transaction(engine):
        pass
    return str(refused.value)


def test_folder_that_may_not_be_entered_is_named(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o000)
    words = refusal_of(closed / "contacts.db")
    assert f"The file of DATABASE_URL cannot be used: this user may not enter {closed}." in words
    assert "or run as the user who owns it" in words


def test_folder_that_is_not_there_is_named(folder: Path) -> None:
    assert f"there is no folder {folder / 'none'}." in refusal_of(folder / "none" / "contacts.db")


def test_folder_in_place_of_a_file_is_named(folder: Path) -> None:
    assert f"{folder} is a folder." in refusal_of(folder)


def test_file_that_may_not_be_read_is_named(folder: Path) -> None:
    path = folder / "contacts.db"
    path.touch(mode=0o000)
    assert f"this user may not read and write {path}." in refusal_of(path)


def test_folder_in_which_no_file_may_be_made_is_named(folder: Path) -> None:
    folder.chmod(0o555)
    words = refusal_of(folder / "contacts.db", create=True)
    assert f"this user may not write in {folder}." in words


def test_closed_folder_is_told_by_the_queue_and_not_by_its_places(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o000)
    engine, url = engine_of(closed / "contacts.db"), f"sqlite:///{closed / 'contacts.db'}"
    with as_stranger():
        with take_place(engine, url, BUILT_IN_SOURCE, 1) as has_place:
            assert has_place
        assert count_taken(engine, url, BUILT_IN_SOURCE, 1) == 0


def test_doctor_says_whose_file_it_must_be(folder: Path) -> None:
    engine = engine_of(folder / "none" / "contacts.db")
    (check,) = look_at_database(engine, CONTACTS)
    assert check.state is CheckState.UNREACHABLE
    assert check.words == (
        f"The file of DATABASE_URL cannot be used: there is no folder {folder / 'none'}"
    )
    assert check.fix.startswith("Correct the setting, which unset means a file in the current")
    assert check.fix.endswith("contacts.db.")


def test_current_folder_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "the current folder is gone." in refusal_of(Path("contacts.db"))


@pytest.mark.parametrize(("mode", "of_folder"), [(0o444, 0o755), (0o666, 0o555)])
def test_doctor_names_the_file_or_folder_that_may_not_be_written(
    folder: Path, mode: int, of_folder: int
) -> None:
    """Without either every run would stop at its claim."""
    path = folder / "contacts.db"
    engine = engine_of(path, create=True)
    create_table(engine, BUILT_IN_SOURCE)
    path.chmod(mode)
    folder.chmod(of_folder)
    with as_stranger():
        checks = look_at_database(engine, CONTACTS)
    engine.dispose()
    (check,) = [check for check in checks if check.about == "rights"]
    assert str(path if mode == 0o444 else folder) in check.words
    assert check.state is CheckState.FIX


def test_file_that_we_make_is_this_users_alone(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "contacts.db", create=True)
    assert create_table(engine, BUILT_IN_SOURCE)
    engine.dispose()
    assert stat.S_IMODE((tmp_path / "contacts.db").stat().st_mode) == 0o600


def test_file_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "contacts.db"
    path.touch(mode=0o640)
    engine = engine_of(path, create=True)
    assert create_table(engine, BUILT_IN_SOURCE)
    engine.dispose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_place_of_a_run_by_root_is_no_hindrance_to_others(folder: Path) -> None:
    """An operator's run by root must not leave a lock that the runs of cron cannot open."""
    path, before = folder / "contacts.db", os.umask(0o077)
    try:
        path.touch()
        with take_place(engine_of(path), f"sqlite:///{path}", BUILT_IN_SOURCE, 1):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "contacts.db.run1.lock").stat().st_mode) == 0o666


def test_lock_that_cannot_be_used_is_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = folder / "contacts.db"
    path.touch()
    lock = folder / "contacts.db.run1.lock"
    lock.mkdir()
    with take_place(engine_of(path), f"sqlite:///{path}", BUILT_IN_SOURCE, 1) as has_place:
        assert has_place
    assert f"No run slot can be held: {lock} cannot be locked (Is a directory)." in caplog.text
    assert "Delete it if another user made it, and let this user write" in caplog.text
