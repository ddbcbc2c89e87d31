"""One run of `sync-queue`, as monitors hear of it. No monitor's trouble is ever the run's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from hubspot_sync.errors import HubSpotSyncError
from hubspot_sync.report import GIVEN_BACK, ContactReport, RunReport, RunState
from hubspot_sync.settings import Settings

if TYPE_CHECKING:
    from hubspot_sync.rules.pace import Quota
    from hubspot_sync.store.overview import Overview


PATIENCE = timedelta(seconds=10)
"""How long the database may take over a query for monitors; its figures are left out else."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended, in numbers: nothing in it names a contact or repeats HubSpot's words.

    Attributes:
        state: as in `--json`; `refused` where wrong settings or a missing table ended it.
        counts: contacts by outcome.
        requests: HTTP requests sent to HubSpot.
        seconds: how long it lasted.
        quota: what HubSpot's last answer said about the day; None where it was not asked.
    """

    state: str
    exit_code: int
    counts: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    seconds: float = 0.0
    due_remaining: int | None = None
    quota: "Quota | None" = None

    @classmethod
    def of_report(cls, report: RunReport) -> "RunEnd":
        """Return the end of a run that has a report."""
        return cls(
            state=str(report.state),
            exit_code=report.exit_code,
            counts={str(name): count for name, count in report.counts.items()},
            requests=report.requests,
            seconds=report.seconds,
            due_remaining=report.due_remaining,
            quota=report.quota,
        )

    @classmethod
    def of_error(cls, error: Exception) -> "RunEnd":
        """Return the end of a run that an error ended before there was a report."""
        at_worst = HubSpotSyncError.exit_code
        code = error.exit_code if isinstance(error, HubSpotSyncError) else at_worst
        return cls(state="refused" if code < at_worst else "stopped", exit_code=code)

    @property
    def went_through(self) -> bool:
        """Whether the run did what it is for, even where single contacts failed."""
        return self.state in (RunState.DONE, RunState.PARTIAL)


class Monitor(Protocol):
    """Whoever is told of a run."""

    def begin(self) -> None:
        """Tell that the run has its place and begins to deliver."""

    def note(self, contact: ContactReport) -> None:
        """Count a contact that has come to its end: the run is alive. Several threads call it."""

    def end(self, end: RunEnd) -> None:
        """Tell how the run ended."""


class Watch:
    """Tells the monitors that are set of one run.

    Args:
        settings: which monitors there are.
        run_id: the run's name.
        look_at_queue: reads the state of the queue, for the metrics.
    """

    def __init__(
        self, settings: Settings, run_id: str, look_at_queue: "Callable[[], Overview]"
    ) -> None:
        self._monitors: list[Monitor] = []
        every, name = settings.interval, settings.sync_name
        if settings.metrics_file:
            from hubspot_sync.monitors.metrics import MetricsFile

            self._monitors.append(
                MetricsFile(settings.metrics_file, look_at_queue, every=every, sync_name=name)
            )
        if settings.heartbeat_url:
            from hubspot_sync.monitors.heartbeat import Heartbeat

            # Last, for its end may have to wait for the network.
            self._monitors.append(
                Heartbeat(settings.heartbeat_url, run_id, every=every, sync_name=name)
            )

    def begin(self) -> None:
        """Tell that the run has its place and begins to deliver."""
        for monitor in self._monitors:
            monitor.begin()

    def note(self, contact: ContactReport) -> None:
        """Count a contact that has come to its end: the run is alive.

        One that was given back is no sign of life, for the run may be about to stop; the end of the
        run has it.
        """
        if contact.outcome not in GIVEN_BACK:
            for monitor in self._monitors:
                monitor.note(contact)

    def end(self, end: RunEnd) -> None:
        """Tell how the run ended."""
        for monitor in self._monitors:
            monitor.end(end)


@contextmanager
def watch_run(
    settings: Settings, run_id: str, look_at_queue: "Callable[[], Overview]"
) -> Iterator[Watch]:
    """Watch a run, and tell of its end also where an error is what ends it."""
    watch = Watch(settings, run_id, look_at_queue)
    try:
        yield watch
    except Exception as error:
        watch.end(RunEnd.of_error(error))
        raise
