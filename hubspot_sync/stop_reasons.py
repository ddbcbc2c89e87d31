"""Why a run stopped, or could not deliver everything that it claimed."""

import threading
from collections.abc import Mapping

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import DatabaseUnavailable, RunStopped
from hubspot_sync.report import DELIVERED
from hubspot_sync.rules.settlement import OutcomeName
from hubspot_sync.rules.words import one_line
from hubspot_sync.sentences import Message, with_assurance

LONGEST_REASON = 1_000
"""Characters of the sentence that says why a run stopped; it may repeat HubSpot's words."""


class StopReasons:
    """Keeps the reasons of a run; the first of a kind stands. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stop: Message | None = None
        self._remark: Message | None = None
        self._hold_up: Message | None = None

    def stopped(self, stop: RunStopped) -> None:
        """Keep what ended the run for all workers."""
        with self._lock:
            self._stop = self._stop or _reason_of(stop)

    def remark(self, words: Message) -> None:
        """Keep why contacts were stopped though the run goes on: the account refuses them."""
        with self._lock:
            self._remark = self._remark or _fitted(words)

    def held_up(self, words: Message) -> None:
        """Keep why contacts have to wait; it is the run's reason where none was delivered."""
        with self._lock:
            self._hold_up = _with_assurance(words)

    @property
    def is_stopped(self) -> bool:
        """Whether the run was ended for all workers."""
        with self._lock:
            return self._stop is not None

    def reason(
        self, counts: Mapping[OutcomeName, int], ending: Message | None = None
    ) -> Message | None:
        """Return why not everything that was claimed could be delivered.

        Args:
            counts: contacts by outcome.
            ending: what a signal that asked the run to end is called; None where none came.

        Returns:
            The gravest reason; None where there is none.
        """
        with self._lock:
            reason = self._stop or self._remark or ending
            if reason or not _is_vain(counts):
                return reason
            return self._hold_up or Message(ErrorCode.NOTHING_CONFIRMED)


def _is_vain(counts: Mapping[OutcomeName, int]) -> bool:
    """Tell whether a run sent contacts, and had none delivered.

    Nobody would hear of it else, and each run might end so.
    """
    has_delivered = any(counts.get(outcome, 0) for outcome in DELIVERED)
    return bool(counts.get(OutcomeName.STOPPED, 0)) and not has_delivered


def _reason_of(stop: RunStopped) -> Message:
    if isinstance(stop, DatabaseUnavailable):
        # Its words tell what becomes of the contacts, which depends on what had been sent.
        return _fitted(stop.message)
    return _with_assurance(stop.message)


def _with_assurance(words: Message) -> Message:
    return words.as_text(with_assurance(_fitted(words)))


def _fitted(words: Message) -> Message:
    return words.as_text(one_line(words, LONGEST_REASON))
