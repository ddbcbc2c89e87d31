"""The file of `--report`: every outcome of a run, one JSON document a line, while it runs."""

import errno
import json
import logging
import os
import queue
import select
import tempfile
import threading
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from hubspot_sync.clock import start_deaf
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import WrongUsage
from hubspot_sync.report import ContactReport, contact_to_json
from hubspot_sync.sentences import Message

log = logging.getLogger(__name__)

MOST_IN_MEMORY = 1_048_576
"""Bytes of outcomes that wait in memory for a pipe's reader; more of them wait in a file."""

PAUSE_SECONDS = 0.05
"""How often outcomes are taken in while the pipe takes none."""

_CHUNK = 65_536


class OutcomeFile:
    """Appends outcomes to a file, from a thread of its own, so that no worker waits for it.

    Leaving the block waits until every outcome is written, for a pipe's reader too. A file that can
    no longer be written does not end the run.

    Args:
        path: the file.
        run_id: stands in every line.
        sync_name: as well, unless it is empty.

    Raises:
        WrongUsage: the file cannot be opened.
    """

    def __init__(self, path: Path, run_id: str, sync_name: str = "") -> None:
        self._path = path
        self._named = {"run_id": run_id} | ({"sync": sync_name} if sync_name else {})
        self._is_whole = True
        self._settled: queue.SimpleQueue[ContactReport | None] = queue.SimpleQueue()
        try:
            self._descriptor = self._open()
        except OSError as error:
            raise WrongUsage(
                ErrorCode.REPORT_NOT_WRITABLE, path=path, why=error.strerror
            ) from error
        self._thread = threading.Thread(target=self._write_all, name="report", daemon=True)

    def __enter__(self) -> Self:
        start_deaf(self._thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._settled.put(None)
        self._thread.join()

    def note(self, contact: ContactReport) -> None:
        """Append one outcome, soon. Safe from any thread, and never waits."""
        self._settled.put(contact)

    def _open(self) -> int | None:
        """Open the file; None where it is a pipe that nobody has opened to read yet."""
        # For this user alone: HubSpot's words may name an address. Never blocking: a pipe whose
        # reader is slow must not keep the outcomes that are to come from being taken in.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK
        try:
            return os.open(self._path, flags, 0o600)
        except OSError as error:
            if error.errno == errno.ENXIO and self._path.is_fifo():
                return None
            raise

    def _write_all(self) -> None:
        try:
            with _Backlog() as backlog:
                has_ended = False
                while backlog or not has_ended:
                    has_ended = has_ended or self._take_in(backlog)
                    self._write_out(backlog)
            if self._descriptor is not None:
                os.close(self._descriptor)
        except OSError as fault:
            self._give_up(fault)

    def _take_in(self, backlog: "_Backlog") -> bool:
        """Take in what has been settled, waiting for the first where none is left to write.

        Returns:
            Whether nothing will be settled any more.
        """
        try:
            contact = self._settled.get(block=not backlog)
            while contact is not None:
                self._keep(backlog, contact)
                contact = self._settled.get_nowait()
        except queue.Empty:
            return False
        return True

    def _keep(self, backlog: "_Backlog", contact: ContactReport) -> None:
        line = json.dumps(self._named | contact_to_json(contact), ensure_ascii=False)
        try:
            # What UTF-8 cannot encode is escaped as JSON escapes it.
            backlog.add(line.encode(errors="backslashreplace") + b"\n")
        except OSError as fault:
            self._give_up(fault)

    def _write_out(self, backlog: "_Backlog") -> None:
        """Write until all is written, or the pipe is full; then wait a moment for its reader."""
        if self._descriptor is None:
            self._descriptor = self._open()
        while backlog and self._descriptor is not None:
            # A line at a time: what fits into a pipe at once is not torn by another writer.
            line = backlog.first()
            try:
                written = os.write(self._descriptor, line)
            except BlockingIOError:
                break
            except OSError as fault:
                self._give_up(fault)
                written = len(line)
            backlog.drop(written)
        if backlog:
            pipe = [] if self._descriptor is None else [self._descriptor]
            select.select([], pipe, [], PAUSE_SECONDS)

    def _give_up(self, fault: OSError) -> None:
        if self._is_whole:
            log.warning(Message(ErrorCode.REPORT_NOT_WHOLE, path=self._path, why=fault.strerror))
        self._is_whole = False


class _Backlog:
    """Lines that are to be written, the first one first; those beyond a size lie in a file.

    Its file has no name, so that no other user opens it and it goes with the process.
    """

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._file: BinaryIO | None = None
        self._begin = self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __bool__(self) -> bool:
        return bool(self._lines) or self._is_spilled

    @property
    def _is_spilled(self) -> bool:
        return self._begin < self._end

    def add(self, line: bytes) -> None:
        """Put a line behind the others.

        Raises:
            OSError: there is no room for it; the others are as they were.
        """
        if not self._is_spilled and self._size < MOST_IN_MEMORY:
            self._lines.append(line)
            self._size += len(line)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by __exit__
        if os.pwrite(self._file.fileno(), line, self._end) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._end += len(line)

    def first(self) -> bytes:
        """Return the first line, or what is left of it."""
        if not self._lines and self._file is not None:
            self._fetch(self._file.fileno())
        return self._lines[0]

    def drop(self, count: int) -> None:
        """Take so many bytes away from the first line."""
        rest = self._lines.popleft()[count:]
        if rest:
            self._lines.appendleft(rest)
        self._size -= count

    def _fetch(self, descriptor: int) -> None:
        found = os.pread(descriptor, min(_CHUNK, self._end - self._begin), self._begin)
        whole = found[: found.rfind(b"\n") + 1 or len(found)]
        self._lines.extend(whole.splitlines(keepends=True))
        self._size += len(whole)
        self._begin += len(whole)
        if not self._is_spilled:
            os.ftruncate(descriptor, 0)
            self._begin = self._end = 0
