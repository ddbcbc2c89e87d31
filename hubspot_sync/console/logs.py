"""The log, on standard error: one line a record, UTC, and nothing that a terminal would obey."""

import io
import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

from hubspot_sync.console.streams import open_streams
from hubspot_sync.console.terminal import name_sync, sync_name
from hubspot_sync.errors import HubSpotDenied, HubSpotSyncError
from hubspot_sync.report import LogFormat
from hubspot_sync.rules.words import escaped, visible
from hubspot_sync.sentences import Message

_FOREIGN = frozenset({"urllib3", "filelock"})
"""They speak of addresses with a contact's email in them."""


class _RunId(logging.Filter):
    """Puts the run's id into every record, once there is a run, and the sync's name if it has one.

    In a line for people they stand side by side, as `run`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.run_id = "-"

    def filter(self, record: logging.LogRecord) -> bool:
        record.run_id = self.run_id
        name = sync_name()
        record.sync = name or None
        record.run = f"{self.run_id} [{name}]" if name else self.run_id
        return True


_run_id = _RunId()


def start_logging(*, verbose: bool, log_format: LogFormat = LogFormat.TEXT) -> None:
    """Send the log to standard error: what wants attention, or with `verbose` everything.

    As JSON it also says what became of each request that HubSpot refused, for a machine reads it.
    """
    open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Under a locale without the letter, a table must not end a run that is done.
            stream.reconfigure(errors="backslashreplace")
    handler = _ToStandardError()
    handler.setFormatter(_AsJson() if log_format is LogFormat.JSON else _OneLine())
    handler.addFilter(_run_id)
    _run_id.run_id = "-"
    name_sync("")
    usual = logging.INFO if log_format is LogFormat.JSON else logging.WARNING
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if verbose else usual, force=True)
    for name in _FOREIGN:
        logging.getLogger(name).setLevel(logging.WARNING)


class _ToStandardError(logging.StreamHandler[Any]):
    """Writes to what standard error is at the time: a progress bar puts records above itself."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        """Standard error."""
        return sys.stderr


def name_run(run_id: str) -> None:
    """Put this run's id into every record from now on."""
    _run_id.run_id = run_id


class _OneLine(logging.Formatter):
    """Keeps a record on one line, whatever a stranger's words in it hold."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03d"

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(run)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Return the line, without what a terminal would obey."""
        return visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name
        """Return a traceback, which alone has lines of its own."""
        return "\n".join(visible(line) for line in super().formatException(ei).split("\n"))


class _AsJson(logging.Formatter):
    """Writes a record as one JSON document a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the document; what a record does not have is left out."""
        document = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "run_id": getattr(record, "run_id", None),
            "sync": getattr(record, "sync", None),
            "contact_id": getattr(record, "contact_id", None),
            "correlation_id": getattr(record, "correlation_id", None),
            "error_code": _code_of(record),
            "message": record.getMessage(),
            "traceback": self.formatException(record.exc_info) if record.exc_info else None,
        }
        known = {name: value for name, value in document.items() if value is not None}
        return escaped(json.dumps(known))


def _code_of(record: logging.LogRecord) -> str | None:
    if isinstance(record.msg, Message):
        return record.msg.code
    return getattr(record, "error_code", None)


def log_fault(fault: Exception) -> None:
    """Log an exception of the program itself, for those who asked to see everything."""
    logging.getLogger(__name__).debug("a fault of the program itself", exc_info=fault)


def log_denied(error: HubSpotSyncError) -> None:
    """Log that HubSpot refuses the token, which no later run mends."""
    if isinstance(error, HubSpotDenied):
        logging.getLogger(__name__).critical(
            error.alarm, extra={"correlation_id": error.correlation_id}
        )
