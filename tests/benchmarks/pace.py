"""A minute of drain in a portal that allows a hundred requests in ten seconds."""

import subprocess
import sys

from tests.benchmarks.stage import ROOT, show, stage

TARGET = 9


def main() -> None:
    """Drain for a minute, and count the requests and the refusals."""
    with stage(burst_limit=100) as stand:
        stand.fill(40_000)
        arguments = ["sync-queue", "--drain", "--max-minutes", "1", "--json", "--verbose"]
        ended = subprocess.run(
            [sys.executable, "-m", "hubspot_sync", *arguments],
            cwd=ROOT,
            env=stand.environment,
            capture_output=True,
            text=True,
            check=True,
        )
    import json

    document = json.loads(ended.stdout)
    rate = document["requests"] / document["seconds"]
    refused = ended.stderr.count("HTTP 429, correlation id")
    show(
        "A portal of 100 requests in ten seconds",
        ("seconds", "requests", "a second", "target", "429s", "target"),
        [
            (
                round(document["seconds"]),
                document["requests"],
                f"{rate:.2f}",
                f">= {TARGET}",
                refused,
                0,
            )
        ],
    )


if __name__ == "__main__":
    main()
