"""How long the program takes before it does anything."""

import statistics
import subprocess
import sys
import time

from tests.benchmarks.stage import ROOT, Stage, show, stage


def main() -> None:
    """Time `--help` and a tick that finds nothing due."""
    with stage() as stand:
        help_seconds = median_seconds(stand, "--help")
        tick_seconds = median_seconds(stand, "sync-queue")
        ended, _ = stand.run("sync-queue")
    rows = [
        ("--help", f"{help_seconds:.2f}", "0.25", "", ""),
        ("a tick with nothing due", f"{tick_seconds:.2f}", "0.5", ended["requests"], "0"),
    ]
    show("Start-up", ("command", "seconds", "target", "HTTP requests", "target"), rows)


def median_seconds(stand: Stage, *arguments: str) -> float:
    """Return the median wall time of seven starts."""
    seconds = []
    for _ in range(7):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "hubspot_sync", *arguments],
            cwd=ROOT,
            env=stand.environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
