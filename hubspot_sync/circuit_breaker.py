"""The circuit breaker that the workers of a run share; `rules.circuit_breaker` decides."""

import threading

from hubspot_sync.errors import Signature
from hubspot_sync.rules.circuit_breaker import CircuitState, RefusalCount


class CircuitBreaker:
    """Counts what HubSpot accepts and refuses. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = RefusalCount()

    @property
    def state(self) -> CircuitState:
        """What to do with the refusals that are withheld now."""
        with self._lock:
            return self._count.state

    def had_values(self, fields: frozenset[str]) -> None:
        """Take in that these fields of the mapping had a valid value."""
        with self._lock:
            self._count = self._count.had_values(fields)

    def accepted(self) -> None:
        """Count a delivery that HubSpot accepted."""
        with self._lock:
            self._count = self._count.accepted()

    def refused(self, signature: Signature) -> CircuitState:
        """Count a contact that was refused or rejected, and return the state that it leads to."""
        with self._lock:
            self._count = self._count.refused(signature)
            return self._count.state
