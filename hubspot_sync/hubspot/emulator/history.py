"""Who wrote what into a record, and when: the history that HubSpot shows of each property.

Documented: the fields of an entry, and that the newest comes first. Seen in recorded answers: an
integration writes `INTEGRATION` with a numeric `sourceId` and no user, a person `CRM_UI` with
`userId:n` and `updatedByUserId`. Guessed: that a value written again unchanged makes no entry, and
that a cleared property leaves an entry with an empty value.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from hubspot_sync.hubspot.emulator.answers import Json, iso


class Source(NamedTuple):
    """Who writes: how HubSpot names them in an entry, and the user where it is a person."""

    type: str
    id: str
    user_id: int | None = None


@lru_cache
def integration(app_id: int) -> Source:
    """Return the source that an app or a service key is."""
    return Source("INTEGRATION", str(app_id))


@lru_cache
def person(user_id: int) -> Source:
    """Return the source that a person is who works in HubSpot."""
    return Source("CRM_UI", f"userId:{user_id}", user_id)


@lru_cache
def merge(user_id: int) -> Source:
    """Return the source that a person's merge is.

    The type is in HubSpot's list of them; that it stands here, and the id, are guesses.
    """
    return Source("MERGE_CONTACTS", f"userId:{user_id}", user_id)


class Write(NamedTuple):
    """What one write changed: the properties, and what each held before (empty for nothing).

    What they held afterwards is told by the next write, or by the record: to keep it here too would
    double what the histories of 100,000 records take.
    """

    at: float
    source: Source
    names: tuple[str, ...]
    before: tuple[str, ...]


def changing(
    held: Mapping[str, str], values: Mapping[str, str], at: float, source: Source
) -> Write | None:
    """Return what writing these values changes, or None for nothing."""
    names = tuple(name for name, value in values.items() if value != held.get(name, ""))
    if not names:
        return None
    return Write(at, source, _shared(names), tuple(held.get(name, "") for name in names))


def entries(writes: Sequence[Write], name: str, now: str, limit: int) -> list[Json]:
    """Return the history of a property that holds `now`, newest first."""
    found: list[Json] = []
    for write in reversed(writes):
        if name in write.names:
            found.append(_entry(write, now))
            now = write.before[write.names.index(name)]
    return found[:limit]


def bounded(writes: tuple[Write, ...], limit: int) -> tuple[Write, ...]:
    """Leave out what no answer shows: of each property all but its newest `limit` entries."""
    if len(writes) <= limit:
        return writes
    seen: Counter[str] = Counter()
    kept: list[Write] = []
    for write in reversed(writes):
        seen.update(write.names)
        pairs = zip(write.names, write.before, strict=True)
        shown = {name: before for name, before in pairs if seen[name] <= limit}
        if shown:
            names, before = _shared(tuple(shown)), tuple(shown.values())
            kept.append(Write(write.at, write.source, names, before))
    return tuple(reversed(kept))


@lru_cache
def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the same tuple for the same names: most writes change the same properties."""
    return names


def _entry(write: Write, value: str) -> Json:
    entry = {
        "value": value,
        "timestamp": iso(write.at),
        "sourceType": write.source.type,
        "sourceId": write.source.id,
    }
    if write.source.user_id is None:
        return entry
    return {**entry, "updatedByUserId": write.source.user_id}
