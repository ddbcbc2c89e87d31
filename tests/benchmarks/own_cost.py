"""What the program itself costs: a HubSpot without delay, in a process of its own."""

import time

from tests.benchmarks.stage import show, stage

TARGET = 2_000


def main() -> None:
    """Drain new contacts as fast as one process can."""
    rows = []
    with stage() as stand:
        for workers in (1, 2, 4):
            stand.execute("DELETE FROM contacts")
            stand.fill(20_000)
            began = time.perf_counter()
            ended, _ = stand.run("sync-queue", "--drain", "--workers", str(workers))
            rate = 20_000 / (time.perf_counter() - began)
            counts = {name: count for name, count in ended["counts"].items() if count}
            rows.append((workers, counts, f"{rate:.0f}", f">= {TARGET}" if workers == 4 else ""))
    show("The program's own cost", ("workers", "outcomes", "contacts a second", "target"), rows)


if __name__ == "__main__":
    main()
