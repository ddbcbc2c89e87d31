"""Why a run stopped, or could not deliver everything that it claimed."""

import threading
from collections.abc import Mapping

from hubspot_sync.errors import DatabaseUnavailable, RunStopped
from hubspot_sync.report import DELIVERED
from hubspot_sync.rules.settlement import OutcomeName
from hubspot_sync.rules.words import one_line

_TOO_SLOW = (
    "HubSpot did not confirm within the lease what was sent. It goes out again; where that is "
    "often so, raise HUBSPOT_SYNC_LEASE_MINUTES."
)

_SAFE = "The contacts are safe in the queue."
"""What a run adds to why it stopped; errors do not say it, for other commands touch no queue."""

LONGEST_REASON = 1_000
"""Characters of the sentence that says why a run stopped; it may repeat HubSpot's words."""


class StopReasons:
    """Keeps the reasons of a run; the first of a kind stands. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stop: str | None = None
        self._remark: str | None = None
        self._hold_up: str | None = None

    def stopped(self, stop: RunStopped) -> None:
        """Keep what ended the run for all workers."""
        with self._lock:
            self._stop = self._stop or _reason_of(stop)

    def remark(self, words: str) -> None:
        """Keep why contacts were stopped though the run goes on: the account refuses them."""
        with self._lock:
            self._remark = self._remark or one_line(words, LONGEST_REASON)

    def held_up(self, words: str) -> None:
        """Keep why contacts have to wait; it is the run's reason where none was delivered."""
        with self._lock:
            self._hold_up = _with_assurance(words)

    @property
    def is_stopped(self) -> bool:
        """Whether the run was ended for all workers."""
        with self._lock:
            return self._stop is not None

    def reason(self, counts: Mapping[OutcomeName, int], ending: str | None = None) -> str | None:
        """Return why not everything that was claimed could be delivered.

        Args:
            counts: contacts by outcome.
            ending: what a signal that asked the run to end is called; None where none came.

        Returns:
            The gravest reason; None where there is none.
        """
        with self._lock:
            reason = self._stop or self._remark or ending
            return reason or (self._hold_up or _TOO_SLOW if _is_vain(counts) else None)


def _is_vain(counts: Mapping[OutcomeName, int]) -> bool:
    """Tell whether a run sent contacts, and had none delivered.

    Nobody would hear of it else, and each run might end so.
    """
    has_delivered = any(counts.get(outcome, 0) for outcome in DELIVERED)
    return bool(counts.get(OutcomeName.STOPPED, 0)) and not has_delivered


def _reason_of(stop: RunStopped) -> str:
    if isinstance(stop, DatabaseUnavailable):
        # Its words tell what becomes of the contacts, which depends on what had been sent.
        return one_line(str(stop), LONGEST_REASON)
    return _with_assurance(str(stop))


def _with_assurance(words: str) -> str:
    return f"{one_line(words, LONGEST_REASON).rstrip('.')}. {_SAFE}"
