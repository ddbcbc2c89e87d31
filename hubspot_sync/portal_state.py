"""What a run learns once about the portal, for all of its workers."""

import threading
from datetime import datetime
from typing import TYPE_CHECKING

from hubspot_sync.clock import Pulse
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import Interrupted
from hubspot_sync.rules.mapping import PropertyMapping

if TYPE_CHECKING:
    from hubspot_sync.hubspot.client import HubSpotClient


class PortalState:
    """Asks HubSpot about the portal, each question once a run. Safe from any thread.

    A worker that wants an answer waits for the one that is asking.

    Args:
        pulse: the clock, and the wish to end.
        mapping: what is to be filled.
        portal_id: the only portal that may be written to; None for any.
    """

    def __init__(
        self, pulse: Pulse, mapping: PropertyMapping, portal_id: str | None = None
    ) -> None:
        self._pulse = pulse
        self._wanted = mapping
        self._portal_id = portal_id
        self._mapping_lock = threading.Lock()
        self._mapping: PropertyMapping | None = None
        self._day_lock = threading.Lock()
        self._is_day_asked = False
        self._next_day: datetime | None = None

    def mapping(self, client: "HubSpotClient") -> PropertyMapping:
        """Look at the portal before anything is written to it.

        Raises:
            RunStopped: it is the wrong portal, or lacks our properties, or does not answer.
            Interrupted: another worker has just learnt that.
        """
        with self._mapping_lock:
            if self._mapping is None:
                if self._pulse.is_ending:
                    raise Interrupted(ErrorCode.RUN_ENDING)
                from hubspot_sync.hubspot.portal import look_at_portal

                self._mapping = look_at_portal(client, self._wanted, self._portal_id)
            return self._mapping

    def next_day(self, client: "HubSpotClient") -> datetime | None:
        """Ask when the portal's next day begins; each worker that stops wants it.

        Returns:
            The moment in UTC; None where HubSpot does not tell it.
        """
        with self._day_lock:
            if not self._is_day_asked:
                from hubspot_sync.hubspot.portal import next_day

                self._next_day = next_day(client, self._pulse.now())
                self._is_day_asked = True
            return self._next_day
