"""What a run may still claim: its limit of contacts, its deadline."""

import threading
from datetime import timedelta

from hubspot_sync.clock import Pulse


class Budget:
    """Grants claims to the workers of a run. Safe from any thread.

    Args:
        pulse: the clock, and the wish to end.
        limit: contacts to claim at most; None for all that are due.
        longest: claim nothing more after this time; None for no end.
    """

    def __init__(
        self, pulse: Pulse, *, limit: int | None = None, longest: timedelta | None = None
    ) -> None:
        self._pulse = pulse
        self._limit = limit
        self._longest = longest
        self._began = pulse.monotonic()
        self._lock = threading.Lock()
        self._reserved = 0

    @property
    def seconds(self) -> float:
        """How long the run has lasted."""
        return self._pulse.monotonic() - self._began

    @property
    def _is_over(self) -> bool:
        return self._longest is not None and self.seconds >= self._longest.total_seconds()

    def reserve(self, wanted: int) -> int:
        """Return how many contacts a worker may claim now; what it does not, it gives back."""
        if self._pulse.is_ending or self._is_over:
            return 0
        if self._limit is None:
            return wanted
        with self._lock:
            granted = max(0, min(wanted, self._limit - self._reserved))
            self._reserved += granted
            return granted

    def give_back(self, unused: int) -> None:
        """Return places that were reserved and that no contact used."""
        if self._limit is not None:
            with self._lock:
                self._reserved -= unused
