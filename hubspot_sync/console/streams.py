"""The standard streams, also where a disk is full, a reader is gone or cron has closed one.

What became of contacts stands in the table, whether or not anybody can be told of it. So trouble
with a stream ends no command; it is kept, and told at the end on the other stream.
"""

import errno
import os
import stat
import sys
from pathlib import Path
from typing import Any, TextIO

_trouble: list[str] = []


def open_streams() -> None:
    """Have both streams, where the caller has closed one, and forget earlier trouble."""
    _trouble.clear()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - stays open
            setattr(sys, name, nowhere)


def output_trouble() -> str | None:
    """Return why standard output could not be written; a reader who went away is no trouble."""
    return _trouble[0] if _trouble else None


def is_log(output: TextIO, errors: TextIO) -> bool:
    """Tell whether standard output goes to a file of its own, which somebody reads later."""
    try:
        kept, beside = os.fstat(output.fileno()), os.fstat(errors.fileno())
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(kept.st_mode) and not os.path.samestat(kept, beside)


def throw_away(stream: TextIO) -> None:
    """Send nowhere what is still to come: Python flushes at its end, and would fail once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class Guarded:
    """A stream that takes everything, and after the first trouble throws it away."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write as much as can be written, and say that it was all."""
        try:
            self._stream.write(text)
        except OSError as trouble:
            self._give_up(trouble)
        return len(text)

    def flush(self) -> None:
        """Hand over what was written."""
        try:
            self._stream.flush()
        except OSError as trouble:
            self._give_up(trouble)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, trouble: OSError) -> None:
        if trouble.errno != errno.EPIPE and self._stream is sys.stdout:
            _trouble.append(trouble.strerror or str(trouble))
        throw_away(self._stream)
