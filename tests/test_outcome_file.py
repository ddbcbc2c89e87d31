"""The file of `--report`: nobody waits for it, and every outcome is in it at the end."""

import fcntl
import json
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from hubspot_sync import outcome_file
from hubspot_sync.outcome_file import OutcomeFile
from hubspot_sync.report import ContactReport
from hubspot_sync.rules.settlement import OutcomeName
from hubspot_sync.rules.source import Key
from tests.conftest import Runs
from tests.messages import said
from tests.tables import Contacts

MANY = 120
"""Far more than fits into the smallest pipe."""


class Reader:
    """Opens a named pipe to read, and reads it when told."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._text = ""

    def open(self) -> None:
        """Be there, and read nothing."""
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self._descriptor, True)

    def close(self) -> None:
        """Go away."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def read_in_background(self, stack: ExitStack) -> None:
        """Read until the writer has gone, which is waited for at the stack's end."""
        thread = threading.Thread(target=self._read)
        thread.start()
        stack.callback(thread.join, 20)

    @property
    def ids(self) -> list[str]:
        """The contacts of the lines read."""
        return [json.loads(line)["id"] for line in self._text.splitlines()]

    def _read(self) -> None:
        given = self._path if self._descriptor is None else self._descriptor
        self._descriptor = None
        with open(given, encoding="utf-8") as pipe:  # noqa: PTH123 - it may be a descriptor
            self._text = pipe.read()


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe."""
    path = tmp_path / "report"
    os.mkfifo(path)
    return path


@pytest.fixture
def reader(pipe: Path) -> Iterator[Reader]:
    """Who could read it."""
    made = Reader(pipe)
    yield made
    made.close()


def contact() -> ContactReport:
    return ContactReport(str(uuid4()), "ada@example.com", OutcomeName.CREATED, 1, 4)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("shape", ["sqlite"])
@pytest.mark.parametrize("is_there", [True, False], ids=["silent-reader", "no-reader"])
@pytest.mark.parametrize("most_in_memory", [1_048_576, 1_000], ids=["in-memory", "spilled"])
def test_pipe_that_nobody_reads_stops_no_worker_and_gets_every_outcome(
    table: Contacts,
    runs: Runs,
    pipe: Path,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
    is_there: bool,
    most_in_memory: int,
) -> None:
    monkeypatch.setattr(outcome_file, "MOST_IN_MEMORY", most_in_memory)
    keys = table.add_all([f"c{number}@example.com" for number in range(MANY)])
    if is_there:
        reader.open()
    settled: list[Key] = []
    with ExitStack() as stack:
        file = stack.enter_context(OutcomeFile(pipe, "run"))

        def note(contact: ContactReport) -> None:
            file.note(contact)
            settled.append(contact.id)

        runs.on_settled = note
        # Nobody has read a byte when the run is over.
        report = runs.queue(None)
        reader.read_in_background(stack)
        file.__exit__(None, None, None)
    assert report.counts == {OutcomeName.CREATED: MANY}
    assert sorted(settled) == sorted(keys)
    assert reader.ids == [str(key) for key in settled]


def test_outcomes_spill_into_a_file_and_come_back_in_their_order(
    pipe: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome_file, "MOST_IN_MEMORY", 1_000)
    contacts = [contact() for _ in range(2_000)]
    with ExitStack() as stack:
        file = stack.enter_context(OutcomeFile(pipe, "run"))
        for each in contacts[:1_500]:
            file.note(each)
        reader.read_in_background(stack)
        for each in contacts[1_500:]:
            file.note(each)
        file.__exit__(None, None, None)
    assert reader.ids == [str(each.id) for each in contacts]


@pytest.mark.timeout(20)
def test_reader_that_goes_away_is_told_once_and_ends_nothing(
    pipe: Path, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    reader.open()
    with OutcomeFile(pipe, "run") as file:
        reader.close()
        for _ in range(50):
            file.note(contact())
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "is incomplete: Broken pipe" in record.getMessage()


def test_outcomes_that_fit_nowhere_are_told_once_and_the_others_are_written(
    pipe: Path,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(outcome_file, "MOST_IN_MEMORY", 1_000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    contacts = [contact() for _ in range(200)]
    with ExitStack() as stack:
        file = stack.enter_context(OutcomeFile(pipe, "run"))
        for each in contacts:
            file.note(each)
        reader.read_in_background(stack)
        file.__exit__(None, None, None)
    (record,) = caplog.records
    assert "is incomplete: No such file or directory" in record.getMessage()
    assert reader.ids[0] == str(contacts[0].id)
    assert len(reader.ids) < len(contacts)


def test_words_that_no_encoding_has_are_escaped(tmp_path: Path) -> None:
    odd = ContactReport(
        str(uuid4()), None, OutcomeName.FAILED, 1, 4, error=said("half \ud83d a face, é")
    )
    with OutcomeFile(tmp_path / "out.jsonl", "run") as file:
        file.note(odd)
    text = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert json.loads(text)["error"] == odd.error
    assert "é" in text
