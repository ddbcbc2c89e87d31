"""One run of `sync-queue`, as monitors hear of it. No monitor's trouble is ever the run's."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hubspot_sync.errors import HubSpotSyncError
from hubspot_sync.report import ContactReport, RunReport, RunState
from hubspot_sync.settings import Settings

if TYPE_CHECKING:
    from hubspot_sync.monitors.heartbeat import Heartbeat
    from hubspot_sync.rules.pace import Quota
    from hubspot_sync.store.overview import Overview


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
        self._look_at_queue = look_at_queue
        self._metrics_file = settings.metrics_file
        self._heartbeat: Heartbeat | None = None
        if settings.heartbeat_url:
            from hubspot_sync.monitors import heartbeat

            self._heartbeat = heartbeat.Heartbeat(
                settings.heartbeat_url, run_id, every=settings.interval
            )

    def begin(self) -> None:
        """Tell that the run has its place and begins to deliver."""
        if self._heartbeat:
            self._heartbeat.begin()

    def note(self, contact: ContactReport) -> None:
        """Count a contact that has come to its end: the run is alive."""
        if self._heartbeat:
            self._heartbeat.note(contact)

    def end(self, end: RunEnd) -> None:
        """Tell how the run ended."""
        if self._metrics_file:
            from hubspot_sync.monitors.metrics import write_metrics

            write_metrics(self._metrics_file, end, self._overview(), now=time.time())
        if self._heartbeat:
            self._heartbeat.end(end)

    def _overview(self) -> "Overview | None":
        try:
            return self._look_at_queue()
        except HubSpotSyncError:
            # What is wrong with the database is the run's own message; its figures are left out.
            return None


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
