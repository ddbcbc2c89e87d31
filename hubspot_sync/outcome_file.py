"""The file of `--report`: every outcome of a run, one JSON document a line, while it runs."""

import json
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import WrongUsage
from hubspot_sync.report import ContactReport, contact_to_json
from hubspot_sync.sentences import Message

log = logging.getLogger(__name__)


class OutcomeFile:
    """Appends outcomes to a file. A file that can no longer be written does not end the run.

    Raises:
        WrongUsage: the file cannot be opened.
    """

    def __init__(self, path: Path, run_id: str) -> None:
        self._path = path
        self._run_id = run_id
        self._is_whole = True
        try:
            # For this user alone: HubSpot's words may name an address.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._file = os.fdopen(descriptor, "a", encoding="utf-8")
        except OSError as error:
            raise WrongUsage(
                ErrorCode.REPORT_NOT_WRITABLE, path=path, why=error.strerror
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
        except OSError as fault:
            self._give_up(fault)

    def note(self, contact: ContactReport) -> None:
        """Append one outcome."""
        line = {"run_id": self._run_id} | contact_to_json(contact)
        try:
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as fault:
            self._give_up(fault)

    def _give_up(self, fault: OSError) -> None:
        if self._is_whole:
            log.warning(Message(ErrorCode.REPORT_NOT_WHOLE, path=self._path, why=fault.strerror))
        self._is_whole = False
