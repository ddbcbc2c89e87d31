"""Which of the contacts that are due a claim takes, and how many of each kind."""

from collections.abc import Sequence
from dataclasses import dataclass

from hubspot_sync.rules.lifecycle import Row

RETRY_SHARE = 5
"""One place in so many is kept for retries that are due."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """What is due, each kind in the order of its turn.

    Attributes:
        lone: contacts that may be what killed their worker.
        takeovers: other contacts whose worker died.
        fresh: contacts that were not tried since they were marked.
        retries: contacts that failed before and whose retry time has come.
    """

    lone: Sequence[Row] = ()
    takeovers: Sequence[Row] = ()
    fresh: Sequence[Row] = ()
    retries: Sequence[Row] = ()


def rows_to_take(due: Candidates, limit: int) -> list[Row]:
    """Return the rows that one claim takes, `limit` at most.

    A lone takeover comes by itself, and a batch of takeovers holds nothing else: any of them may
    be what killed its worker. Of the other two kinds neither can starve the other: fresh contacts
    come first, and some places are kept for retries; what one kind does not use, the other gets.
    """
    if due.lone:
        return list(due.lone[:1])
    if due.takeovers:
        return list(due.takeovers[:limit])
    return in_turn(due, limit)


def in_turn(due: Candidates, limit: int) -> list[Row]:
    """Return the fresh contacts and retries of one claim."""
    kept = -(-limit // RETRY_SHARE) if limit > 1 else 0
    retries = min(len(due.retries), max(kept, limit - len(due.fresh)))
    return [*due.fresh[: limit - retries], *due.retries[:retries]]
