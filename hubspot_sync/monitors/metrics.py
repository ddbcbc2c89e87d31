"""A file of metrics for Prometheus, as node_exporter's textfile collector reads it.

It is written whole beside its name and then renamed, so that nobody reads half of one. Counters
go on from what the file holds; where that was lost they begin at 0, which Prometheus takes for a
restart.
"""

import errno
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from hubspot_sync import __version__
from hubspot_sync.report import RunState
from hubspot_sync.rules.lifecycle import SyncStatus
from hubspot_sync.rules.settlement import OutcomeName

if TYPE_CHECKING:
    from hubspot_sync.monitors.watch import RunEnd
    from hubspot_sync.store.overview import Overview

log = logging.getLogger(__name__)

PREFIX = "hubspot_sync_"
_LAST_SUCCESS = f"{PREFIX}last_success_timestamp_seconds"
_LOCK_SECONDS = 5.0
_LOCK_MODE = 0o666
"""An empty file, which a run by root leaves behind for the runs of the program's own user."""

Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, Labels], float]
"""What the file held: a value for each name and its labels."""


def write_metrics(path: Path, end: "RunEnd", found: "Overview | None", *, now: float) -> None:
    """Bring the file up to date after a run. What goes wrong is logged, and ends no run.

    Args:
        path: its name ends in `.prom`.
        end: how the run ended.
        found: the state of the queue; None where the database could not be read.
        now: seconds since 1970.
    """
    try:
        if not path.parent.is_dir():
            # Made here, it would be a folder that no collector reads.
            raise FileNotFoundError(errno.ENOENT, "its folder does not exist")
        # Two runs that end at once would each add to what neither had seen of the other.
        with FileLock(f"{path}.lock", timeout=_LOCK_SECONDS, mode=_LOCK_MODE):
            before = _read(path)
            registry = CollectorRegistry()
            registry.register(_Families([*_of_runs(end, before, now), *_of_queue(found)]))
            write_to_textfile(str(path), registry)
            # Others are to read it, whatever this user's umask; there is nothing secret in it.
            path.chmod(0o644)
    except (OSError, Timeout) as trouble:
        why = trouble.strerror if isinstance(trouble, OSError) else None
        log.warning(
            "The metrics file %s could not be written (%s). Let this user write to its folder, or "
            "correct HUBSPOT_SYNC_METRICS_FILE.",
            path,
            why or "another run keeps it locked",
        )


class _Families(Collector):
    """Shows finished families to the library, which wants to ask for them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        """Return them."""
        return self._families


def _read(path: Path) -> Samples:
    held: Samples = {}
    if not path.exists():
        return held
    try:
        text = path.read_text(encoding="utf-8")
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                held[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    except ValueError:
        log.warning("The metrics file %s held no metrics; its counters begin at 0.", path)
        held.clear()
    return held


def _of_runs(end: "RunEnd", before: Samples, now: float) -> Iterator[Metric]:
    none = dict.fromkeys((*map(str, RunState), "refused"), 0)
    runs = none | {end.state: 1}
    yield _counted("runs", "Runs by how they ended.", "state", runs, before)
    outcomes = dict.fromkeys(map(str, OutcomeName), 0) | end.counts
    yield _counted("outcomes", "Contacts by what became of them.", "outcome", outcomes, before)
    name = "requests"
    yield CounterMetricFamily(
        PREFIX + name,
        "HTTP requests sent to HubSpot.",
        value=before.get((f"{PREFIX}{name}_total", ()), 0) + end.requests,
    )
    yield _gauge("last_run_timestamp_seconds", "When the last run ended.", now)
    success = now if end.went_through else before.get((_LAST_SUCCESS, ()))
    if success:
        words = "When a run last went through, contacts of their own fault apart."
        yield _gauge("last_success_timestamp_seconds", words, success)
    yield _gauge("last_run_exit_code", "The exit code of the last run.", end.exit_code)
    yield _gauge("last_run_seconds", "How long the last run lasted.", end.seconds)
    if end.quota:
        words = "Requests that HubSpot's daily limit leaves, as the last run heard."
        yield _gauge("quota_remaining_requests", words, end.quota.remaining)
        yield _gauge("quota_requests", "HubSpot's daily limit of requests.", end.quota.most)
    info = GaugeMetricFamily(f"{PREFIX}info", "The program that wrote this.", labels=["version"])
    info.add_metric([__version__], 1)
    yield info


def _of_queue(found: "Overview | None") -> Iterator[Metric]:
    if found is None:
        return
    states: Counter[tuple[str, str]] = Counter()
    for (decision, state), count in found.states.items():
        # Prometheus takes an empty label for none; NULL counts as New.
        states[decision or str(SyncStatus.NEW), state or "none"] += count
    labels = ["decision", "state"]
    depth = GaugeMetricFamily(f"{PREFIX}contacts", "Contacts by decision and state.", labels=labels)
    for names in sorted(states):
        depth.add_metric(names, states[names])
    yield depth
    yield _gauge("due_contacts", "Contacts that a run would claim now.", found.due)
    since = found.oldest_due_since
    age = max(0.0, (found.now - since).total_seconds()) if since else 0.0
    yield _gauge("oldest_due_seconds", "How long the oldest of them has been due.", age)
    yield _gauge("held_contacts", "Contacts that live runs hold.", found.held)
    yield _gauge("left_behind_contacts", "Contacts that dead runs left.", found.left_behind)
    failed = GaugeMetricFamily(
        f"{PREFIX}failed_contacts", "Contacts whose state is Error, by reason.", labels=["reason"]
    )
    for group in found.failures:
        failed.add_metric([group.reason.words], group.count)
    yield failed


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, words, value=value)


def _counted(
    name: str, words: str, label: str, added: dict[str, int], before: Samples
) -> CounterMetricFamily:
    """Return a counter of what was counted before and what the run adds."""
    total: Counter[str] = Counter(added)
    for (held, labels), value in before.items():
        if held == f"{PREFIX}{name}_total":
            total[dict(labels)[label]] += int(value)
    family = CounterMetricFamily(PREFIX + name, words, labels=[label])
    for key in sorted(total):
        family.add_metric([key], total[key])
    return family
