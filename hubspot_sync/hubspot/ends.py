"""How the delivery of a batch ends: outcomes, and what a cut leaves open."""

from collections.abc import Callable
from dataclasses import dataclass

from hubspot_sync.errors import Interrupted, RunStopped
from hubspot_sync.rules.grouping import Group
from hubspot_sync.rules.settlement import Outcome

Ends = list[tuple[Group, Outcome]]

Conclude = Callable[[Ends], None]
"""Told of outcomes as soon as they are certain, each group once."""

Stumble = Callable[[Exception, Group | None], Outcome]
"""Told of a fault of our own; returns the outcome of the group that brought it out."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """What was sent, and may or may not have been written.

    Attributes:
        unconfirmed: groups that a write without an answer may have changed.
        refused: the groups of the request that was refused or could not be sent.
    """

    unconfirmed: tuple[Group, ...] = ()
    refused: tuple[Group, ...] = ()


class Cut(Exception):
    """The delivery of a batch ended before all its groups had an outcome.

    Attributes:
        why: a stop, or that no further request may start.
        exposure: what of the rest may have been written.
    """

    def __init__(self, why: RunStopped | Interrupted, exposure: Exposure) -> None:
        super().__init__(str(why))
        self.why = why
        self.exposure = exposure
