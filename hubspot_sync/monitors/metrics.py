"""A file of metrics for Prometheus, as node_exporter's textfile collector reads it.

It is written whole beside its name and then renamed, so that nobody reads half of one. Counters
go on from what the file holds; where that was lost they begin at 0, which Prometheus takes for a
restart.
"""

import errno
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from hubspot_sync import __version__
from hubspot_sync.clock import start_deaf
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import HubSpotSyncError
from hubspot_sync.report import ContactReport, RunState
from hubspot_sync.rules.lifecycle import SyncStatus
from hubspot_sync.rules.settlement import OutcomeName
from hubspot_sync.sentences import Message

if TYPE_CHECKING:
    from hubspot_sync.monitors.watch import RunEnd
    from hubspot_sync.store.overview import Overview

log = logging.getLogger(__name__)

PREFIX = "hubspot_sync_"
_SYNC = "sync"
_LAST_SUCCESS = "last_success_timestamp_seconds"
_LOCK_SECONDS = 5.0
_LOCK_MODE = 0o666
"""An empty file, which a run by root leaves behind for the runs of the program's own user."""

Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, Labels], float]
"""What the file held: a value for each name and its labels."""


class MetricsFile:
    """The file, brought up to date while a run is at work and when it has ended.

    Args:
        path: its name ends in `.prom`.
        look_at_queue: reads the state of the queue.
        every: a run that lasts longer refreshes the file so often, if contacts came to their end
            in the meantime; where one hangs, the last success grows old, and the alarm rings.
        sync_name: the label `sync` of every metric; no such label where it is empty.
    """

    def __init__(
        self,
        path: Path,
        look_at_queue: "Callable[[], Overview]",
        *,
        every: timedelta,
        sync_name: str = "",
    ) -> None:
        self._path = path
        self._sync_name = sync_name
        self._look_at_queue = look_at_queue
        self._every = every
        self._count_lock = threading.Lock()
        self._outcomes: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._has_warned = False
        self._lock = threading.Lock()
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="metrics", daemon=True)

    def begin(self) -> None:
        """Refresh the file from now on."""
        start_deaf(self._thread)

    def note(self, contact: ContactReport) -> None:
        """Count a contact that came to its end. Safe from any thread; waits for no file."""
        with self._count_lock:
            self._outcomes[str(contact.outcome)] += 1

    def end(self, end: "RunEnd") -> None:
        """Bring the file up to date after the run."""
        self._has_ended.set()
        found = self._overview()
        with self._lock:
            # An error that ends a run leaves it without counts; the contacts came to their end.
            outcomes = Counter(end.counts) | self._outcomes_so_far()
            self._write(News(dict(outcomes - self._told), end.requests, end), found)

    def _refresh(self) -> None:
        while not self._has_ended.wait(self._every.total_seconds()):
            outcomes = self._outcomes_so_far()
            if outcomes == self._told:
                continue
            found = self._overview()
            with self._lock:
                # The look may have taken longer than the run, whose end told all.
                if self._has_ended.is_set():
                    return
                if self._write(News(dict(outcomes - self._told)), found):
                    self._told = outcomes

    def _outcomes_so_far(self) -> Counter[str]:
        with self._count_lock:
            return self._outcomes.copy()

    def _write(self, news: "News", found: "Overview | None") -> bool:
        """Write the file, and return whether it has the news; what goes wrong ends no run."""
        try:
            write_metrics(self._path, news, found, now=time.time(), sync_name=self._sync_name)
        except OSError as trouble:
            # The lock's time-out is one, too.
            if not self._has_warned:
                self._warn(trouble)
            return False
        return True

    def _warn(self, trouble: OSError) -> None:
        self._has_warned = True
        if isinstance(trouble, Timeout):
            log.warning(Message(ErrorCode.METRICS_LOCKED, path=self._path))
            return
        log.warning(Message(ErrorCode.METRICS_NOT_WRITTEN, path=self._path, why=trouble.strerror))

    def _overview(self) -> "Overview | None":
        try:
            return self._look_at_queue()
        except HubSpotSyncError:
            # What is wrong with the database is the run's own message; its figures are left out.
            return None


@dataclass(frozen=True, slots=True)
class News:
    """What is to be told of a run that the file does not hold yet.

    Attributes:
        outcomes: contacts by outcome.
        requests: HTTP requests sent to HubSpot.
        end: how the run ended; None while it is at work.
    """

    outcomes: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    end: "RunEnd | None" = None

    @property
    def is_good(self) -> bool:
        """Whether the run went through, or delivers right now."""
        return self.end is None or self.end.went_through

    @property
    def is_note(self) -> bool:
        """Whether a run ended without having begun, which proves nothing."""
        return self.end is not None and self.end.state in (RunState.BUSY, RunState.DISABLED)

    @property
    def is_idle(self) -> bool:
        """Whether a run went through that had nothing to do."""
        return self.end is not None and self.end.went_through and not any(self.end.counts.values())


def write_metrics(
    path: Path, news: News, found: "Overview | None", *, now: float, sync_name: str = ""
) -> None:
    """Bring the file up to date.

    Args:
        path: its name ends in `.prom`.
        news: of the run.
        found: the state of the queue; None where the database could not be read.
        now: seconds since 1970.
        sync_name: the label `sync`; what the file holds under another name is not gone on from.

    Raises:
        OSError: the file cannot be written; it is as it was before.
        Timeout: another run keeps it locked.
    """
    if not path.parent.is_dir():
        # Made here, it would be a folder that no collector reads.
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist")
    # Two runs that end at once would each add to what neither had seen of the other.
    with FileLock(f"{path}.lock", timeout=_LOCK_SECONDS, mode=_LOCK_MODE):
        before = _read(path, sync_name)
        registry = CollectorRegistry()
        is_news = not (news.is_note or _is_lull(news, before, found))
        of_runs = _of_runs(news, before, now, is_news=is_news)
        registry.register(_Families(_named([*of_runs, *_of_queue(found)], sync_name)))
        write_to_textfile(str(path), registry)
        # Others are to read it, whatever this user's umask; there is nothing secret in it.
        path.chmod(0o644)


class _Families(Collector):
    """Shows finished families to the library, which wants to ask for them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        """Return them."""
        return self._families


def _named(families: list[Metric], sync_name: str) -> list[Metric]:
    """Give every sample the sync's name, so that those of several syncs are not taken for one's."""
    if sync_name:
        for family in families:
            family.samples = [
                sample._replace(labels={**sample.labels, _SYNC: sync_name})
                for sample in family.samples
            ]
    return families


def _read(path: Path, sync_name: str) -> Samples:
    held: Samples = {}
    if not path.exists():
        return held
    if not path.is_file():
        # To read a pipe would take for ever.
        raise OSError(errno.EINVAL, "it is no regular file")
    try:
        text = path.read_text(encoding="utf-8")
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = dict(sample.labels)
                is_ours = labels.pop(_SYNC, "") == sync_name
                if is_ours and math.isfinite(sample.value):
                    held[sample.name, tuple(sorted(labels.items()))] = sample.value
    except (ValueError, KeyError):
        # The library's parser knows both for what is none of its format.
        log.warning(Message(ErrorCode.METRICS_UNREADABLE, path=path))
        held.clear()
    return held


def _is_lull(news: News, before: Samples, found: "Overview | None") -> bool:
    """Tell whether a run was idle because what the last one could not send waits for its retry.

    Such a run between two that stop must not end the alarm about them.
    """
    has_stopped = before.get((f"{PREFIX}last_run_exit_code", ())) == HubSpotSyncError.exit_code
    return news.is_idle and has_stopped and found is not None and any(found.retries)


def _of_runs(news: News, before: Samples, now: float, *, is_news: bool) -> Iterator[Metric]:
    none = dict.fromkeys((*map(str, RunState), "refused"), 0)
    runs = none | ({news.end.state: 1} if news.end else {})
    yield _counted("runs", "Runs by how they ended.", "state", runs, before)
    outcomes = dict.fromkeys(map(str, OutcomeName), 0) | news.outcomes
    yield _counted("outcomes", "Contacts by what became of them.", "outcome", outcomes, before)
    yield CounterMetricFamily(
        f"{PREFIX}requests",
        "HTTP requests sent to HubSpot.",
        value=before.get((f"{PREFIX}requests_total", ()), 0) + news.requests,
    )
    words = "When a run last went through, or delivered, contacts of their own fault apart."
    # 0 where none ever has: an alarm can compare that, but not what is missing.
    before = {(PREFIX + _LAST_SUCCESS, ()): 0.0} | before
    yield from _gauge(_LAST_SUCCESS, words, now if is_news and news.is_good else None, before)
    yield from _of_last_run(news.end if is_news else None, before, now)
    info = GaugeMetricFamily(f"{PREFIX}info", "The program that wrote this.", labels=["version"])
    info.add_metric([__version__], 1)
    yield info


def _of_last_run(end: "RunEnd | None", before: Samples, now: float) -> Iterator[Metric]:
    values = (now, end.exit_code, end.seconds) if end else (None, None, None)
    yield from _gauge("last_run_timestamp_seconds", "When the last run ended.", values[0], before)
    yield from _gauge("last_run_exit_code", "The exit code of the last run.", values[1], before)
    yield from _gauge("last_run_seconds", "How long the last run lasted.", values[2], before)
    quota = end.quota if end else None
    # What was left at an earlier run says nothing about the day of this one.
    kept = {} if end else before
    words = "Requests that HubSpot's daily limit leaves, as the last run heard."
    left, most = (quota.remaining, quota.most) if quota else (None, None)
    yield from _gauge("quota_remaining_requests", words, left, kept)
    yield from _gauge("quota_requests", "HubSpot's daily limit of requests.", most, kept)


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
    yield from _gauge("due_contacts", "Contacts that a run would claim now.", found.due)
    since = found.oldest_due_since
    age = max(0.0, (found.now - since).total_seconds()) if since else 0.0
    yield from _gauge("oldest_due_seconds", "How long the oldest of them has been due.", age)
    yield from _gauge("held_contacts", "Contacts that live runs hold.", found.held)
    yield from _gauge("left_behind_contacts", "Contacts that dead runs left.", found.left_behind)
    failed = GaugeMetricFamily(
        f"{PREFIX}failed_contacts", "Contacts whose state is Error, by reason.", labels=["reason"]
    )
    for group in found.failures:
        failed.add_metric([group.reason.words], group.count)
    yield failed


def _gauge(
    name: str, words: str, value: float | None, before: Samples | None = None
) -> Iterator[Metric]:
    """Yield a value, else the one that the file held; nothing where there is neither."""
    if value is None and before:
        value = before.get((PREFIX + name, ()))
    if value is not None:
        yield GaugeMetricFamily(PREFIX + name, words, value=value)


def _counted(
    name: str, words: str, label: str, added: dict[str, int], before: Samples
) -> CounterMetricFamily:
    """Return a counter of what was counted before and what the run adds."""
    total: Counter[str] = Counter(added)
    for (held, labels), value in before.items():
        if held == f"{PREFIX}{name}_total" and label in dict(labels):
            total[dict(labels)[label]] += int(value)
    family = CounterMetricFamily(PREFIX + name, words, labels=[label])
    for key in sorted(total):
        family.add_metric([key], total[key])
    return family
