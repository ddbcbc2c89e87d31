"""What the program itself costs: a HubSpot without delay, in a process of its own.

With --profile: also where one worker's time goes.
"""

import pstats
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from tests.benchmarks.stage import ROOT, show, stage

CONTACTS = 20_000
TARGET = 2_000
TARGET_WITH_FILE = 1_500
FIELDS = (
    *("firstname", "lastname", "address", "city", "company", "country", "degree", "industry"),
    *("jobtitle", "salutation", "school", "seniority", "state", "zip", "annualrevenue", "website"),
    *("date_of_birth", "military_status", "relationship_status", "phone"),
)
MOST_PACKAGES = 10


def main() -> None:
    """Drain new contacts as fast as one process can."""
    rows: list[tuple[object, ...]] = []
    for workers in (1, 2, 4):
        # A stage each, for an emulator that has seen the contacts before knows them.
        with stage() as stand:
            stand.fill(CONTACTS)
            began = time.perf_counter()
            ended, _ = stand.run("sync-queue", "--drain", "--workers", str(workers))
            rate = ended["counts"]["created"] / (time.perf_counter() - began)
            target = f">= {TARGET}" if workers == 4 else ""
            rows.append((workers, ended["counts"]["created"], f"{rate:.0f}", target))
    rows.append(with_mapping_file())
    headings = ("workers", "created", "contacts a second", "target")
    show("The program's own cost", headings, rows)
    if "--profile" in sys.argv[1:]:
        profile()


def with_mapping_file() -> tuple[str, int, str, str]:
    """Drain new contacts by a file of twenty fields, each shaped and with a policy."""
    steps = 'transform = ["trim", "upper", "max-length:40"], write = "if-empty"'
    columns = ("name", "phone_number", "domain_id", "page_id")
    lines = [
        f'{name} = {{ column = "{columns[n % 4]}", {steps} }}' for n, name in enumerate(FIELDS)
    ]
    with tempfile.TemporaryDirectory() as folder, stage() as stand:
        path = Path(folder) / "twenty.toml"
        path.write_text("\n".join(["version = 1", "[fields]", *lines]), encoding="utf-8")
        stand.environment["HUBSPOT_SYNC_MAPPING"] = str(path)
        stand.fill(CONTACTS)
        began = time.perf_counter()
        ended, _ = stand.run("sync-queue", "--drain", "--workers", "4")
        rate = ended["counts"]["created"] / (time.perf_counter() - began)
    created = ended["counts"]["created"]
    return "4, twenty fields", created, f"{rate:.0f}", f">= {TARGET_WITH_FILE}"


def profile() -> None:
    """Print one worker's time by package, without what it calls."""
    with tempfile.TemporaryDirectory() as folder, stage() as stand:
        stand.fill(CONTACTS)
        kept = Path(folder) / "profile"
        program = ["-m", "hubspot_sync", "sync-queue", "--drain", "--workers", "1", "--json"]
        subprocess.run(
            [sys.executable, "-m", "cProfile", "-o", kept, *program],
            cwd=ROOT,
            env=stand.environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        # The public view loses functions of one name; this one is
        # {(file, line, function): (calls, calls, own seconds, ...)}.
        measured = vars(pstats.Stats(str(kept)))["stats"]
    seconds: defaultdict[str, float] = defaultdict(float)
    for (file_name, _, function), (_, _, own_seconds, *_) in measured.items():
        seconds[_package(file_name, function)] += own_seconds
    total = sum(seconds.values())
    most = sorted(seconds.items(), key=lambda each: -each[1])[:MOST_PACKAGES]
    rows = [(package, f"{spent:.2f}", f"{spent / total:.0%}") for package, spent in most]
    rest = total - sum(spent for _, spent in most)
    rows.append(("the rest", f"{rest:.2f}", f"{rest / total:.0%}"))
    show("Where one worker's time goes", ("package", "seconds", "share"), rows)


def _package(file_name: str, function: str) -> str:
    parts = Path(file_name).parts
    if file_name == "~":
        return function
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    if "hubspot_sync" in parts:
        return "/".join(parts[parts.index("hubspot_sync") :])
    return "standard library"


if __name__ == "__main__":
    main()
