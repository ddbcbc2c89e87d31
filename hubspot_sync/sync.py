"""A run from outside: start the workers, wait for them, and say what became of it."""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from hubspot_sync.clock import Pulse, start_deaf
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import DatabaseUnavailable, RunStopped, WrongUsage
from hubspot_sync.report import ContactReport, RunReport, new_run_id
from hubspot_sync.rules.lifecycle import Claim
from hubspot_sync.rules.source import Key
from hubspot_sync.run import Plan, Run
from hubspot_sync.sentences import Message
from hubspot_sync.store.contact_queue import ContactQueue
from hubspot_sync.worker import BATCH, Worker

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from hubspot_sync.hubspot.client import HubSpotClient


class Sync:
    """One run.

    Args:
        queue: the contacts.
        open_client: makes a connection to HubSpot for a worker.
        plan: what to go by.
        pulse: clocks, waits and the wish to end.
        run_id: a name for the run, by which its lines are found.
        on_settled: told of each contact as soon as its row is written.
    """

    def __init__(
        self,
        queue: ContactQueue,
        open_client: "Callable[[], HubSpotClient]",
        plan: Plan,
        *,
        pulse: Pulse,
        run_id: str | None = None,
        on_settled: Callable[[ContactReport], None] | None = None,
    ) -> None:
        self._run_id = run_id or new_run_id()
        self._queue = queue
        self._open_client = open_client
        self._run = Run(replace(plan, run_id=self._run_id), pulse, on_settled)

    def run_queue(self) -> RunReport:
        """Deliver what is due, within the limits of the plan.

        Raises:
            SettingsError: the database has not what the mapping file goes by.
        """
        log.info("run %s begins", self._run_id)
        limit = self._run.plan.limit
        batches = self._run.plan.workers if limit is None else -(-limit // BATCH)
        count = min(self._run.plan.workers, batches)
        with ExitStack() as opened:
            first = self._worker(opened)
            claims: list[Claim] = []
            # Alone in the whole run: what may kill a worker must not take others with it.
            self._guard(lambda: claims.extend(self._begin(first)))
            if claims:
                others = [self._worker(opened).work_queue for _ in range(count - 1)]
                self._work_together([lambda: first.work_queue(claims), *others])
        return self._report("sync-queue")

    def run_one(self, contact_id: Key, *, force: bool = False) -> RunReport:
        """Deliver one contact now, whatever its status.

        Raises:
            SettingsError: as above.
            NotThere: there is no such contact.
            Refused: it is skipped, or a live run holds it.
        """
        with ExitStack() as opened:
            worker = self._worker(opened)

            def work() -> None:
                self._queue.require_tables(self._run.plan.mapping)
                worker.work_one(contact_id, force=force)

            self._guard(work)
        return self._report("sync-one")

    def _begin(self, first: Worker) -> list[Claim]:
        self._queue.require_tables(self._run.plan.mapping)
        return first.take_over_alone()

    def _worker(self, opened: ExitStack) -> Worker:
        worker = Worker(self._run, self._queue, self._open_client)
        opened.callback(worker.close)
        return worker

    def _work_together(self, tasks: list[Callable[[], None]]) -> None:
        """Run all tasks: one here, or several in threads."""
        if len(tasks) == 1:
            self._guard(tasks[0])
            return
        faults: list[BaseException] = []

        def work(task: Callable[[], None]) -> None:
            try:
                self._guard(task)
            except BaseException as fault:  # noqa: BLE001 - raised again in the main thread
                faults.append(fault)
                self._run.pulse.ending.ask()

        threads = [threading.Thread(target=work, args=(task,)) for task in tasks]
        for thread in threads:
            start_deaf(thread)
        for thread in threads:
            thread.join()
        if faults:
            raise faults[0]

    def _guard(self, task: Callable[[], None]) -> None:
        """Carry a worker's task out; what stops it stops the run, and is kept for its account."""
        try:
            task()
        except RunStopped as stop:
            self._run.stop(stop)
        except WrongUsage as gone:
            if not self._run.ledger.claimed:
                raise
            # The table was there when the run began; its account must not be lost with it.
            self._run.stop(DatabaseUnavailable(gone.code, **gone.message.data))

    def _report(self, command: str) -> RunReport:
        run, ledger = self._run, self._run.ledger
        signal = run.pulse.ending.signal
        ending = Message(ErrorCode.SIGNAL, signal=signal.name) if signal else None
        counts = ledger.counts
        reason = run.reasons.reason(counts, ending)
        return RunReport(
            command=command,
            run_id=self._run_id,
            state=ledger.state(is_stopped=reason is not None),
            reason=reason,
            counts=counts,
            requests=ledger.requests,
            seconds=run.budget.seconds,
            due_remaining=self._due_remaining(),
            contacts=ledger.contacts,
            signal=signal,
            notices=_notices(run.passed_over.refused),
        )

    def _due_remaining(self) -> int | None:
        if not self._run.ledger.claimed and not self._run.reasons.is_stopped:
            # Nothing was due, and nobody needs to count it.
            return 0
        try:
            return self._queue.count_due()
        except (DatabaseUnavailable, WrongUsage):
            return None


def _notices(refused: Mapping[Key, str]) -> tuple[Message, ...]:
    """Say which contacts the database did not let the run claim."""
    if not refused:
        return ()
    contact_id, why = next(iter(refused.items()))
    return (Message(ErrorCode.CLAIM_REFUSED, count=len(refused), contact=contact_id, why=why),)
