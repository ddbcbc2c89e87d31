"""Time, chance and signals: the outside world of a run, which comes in as arguments.

The first signal asks the run to end cleanly; the second ends it at once.
"""

import os
import random
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType

_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Ending:
    """Whether, and by which signal, the run was asked to end.

    A handler may interrupt anything, another handler included, so it takes no lock: it sets one
    attribute and writes one byte to a pipe, which wakes whoever sleeps.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._is_asked = False
        self._pipe: tuple[int, int] | None = None

    def is_asked(self) -> bool:
        """Tell whether a signal, or the program itself, asked for the end."""
        return self._is_asked

    def ask(self) -> None:
        """Ask for the end, and wake whoever sleeps."""
        self._is_asked = True
        if self._pipe:
            os.write(self._pipe[1], b"!")

    def sleep(self, seconds: float | None) -> None:
        """Wait, but no longer than until a signal comes; None waits for the signal alone."""
        if self.is_asked():
            return
        readable = [self._pipe[0]] if self._pipe else []
        select.select(readable, [], [], seconds)

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Take the ending signals while the block runs."""
        self._pipe = os.pipe()
        before = {number: signal.signal(number, self.take) for number in _ENDING_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for descriptor in self._pipe:
                os.close(descriptor)
            self._pipe = None

    def take(self, number: int, _frame: FrameType | None = None) -> None:
        """Note a signal; the second one ends the process, and leaves what is held to the lease."""
        if self.signal is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.signal = signal.Signals(number)
        self.ask()


def start_deaf(thread: threading.Thread) -> None:
    """Start a thread that takes no ending signal.

    The kernel may hand a signal to any thread; in another than the main one it would be noted, but
    would not wake the main thread, where Python runs its handler.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING_SIGNALS)
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(frozen=True, slots=True)
class Pulse:
    """Clocks, waits and the wish to end; tests bring their own.

    Attributes:
        ending: tells whether a signal asked the run to end.
        sleep: waits some seconds, or shorter once a signal came.
        jitter: a number from 0 to 1.
        monotonic: the worker's own clock, in seconds.
        now: the worker's calendar, aware, UTC.
    """

    ending: Ending = field(default_factory=Ending)
    sleep: Callable[[float], object] = time.sleep
    jitter: Callable[[], float] = random.random
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    @property
    def is_ending(self) -> bool:
        """Whether a signal asked the run to end."""
        return self.ending.is_asked()
