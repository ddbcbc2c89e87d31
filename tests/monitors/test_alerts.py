"""The alert rules of the README: each rings when it should, and is silent when it should be."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.acceptance.program import ROOT

RULES = (
    (ROOT / "README.md")
    .read_text(encoding="utf-8")
    .partition("<!-- alert rules -->\n```yaml\n")[2]
    .partition("\n```\n")[0]
)
PROMTOOL = shutil.which("promtool")
SUCCESS, LAST_RUN = "last_success_timestamp_seconds", "last_run_timestamp_seconds"
GOOD = {"info": "1x60", "last_run_exit_code": "0x60", "oldest_due_seconds": "0x60"}
STILL, ON_TIME, OLDER = "0x60", "0+300x60", "0+300x60"


@dataclass(frozen=True)
class Case:
    """What a file of metrics says every five minutes, and which alerts ring then."""

    name: str
    series: dict[str, str]
    rings: set[str] = field(default_factory=set)
    at: str = "2h"

    def __str__(self) -> str:
        return self.name


CASES = [
    Case("all well", GOOD | {SUCCESS: ON_TIME, LAST_RUN: ON_TIME}),
    Case("cron stands still", GOOD | {SUCCESS: STILL, LAST_RUN: STILL}, {"DoesNotGoThrough"}),
    Case("cron missed some ticks", GOOD | {SUCCESS: STILL, LAST_RUN: STILL}, at="25m"),
    Case(
        "each run stops",
        GOOD
        | {SUCCESS: STILL, LAST_RUN: ON_TIME, "last_run_exit_code": "3x60"}
        | {"oldest_due_seconds": OLDER},
        {"DoesNotGoThrough", "Stops", "QueueWaits"},
    ),
    Case(
        "each run stops from the first on",
        GOOD | {SUCCESS: STILL, LAST_RUN: ON_TIME, "last_run_exit_code": "2x60"},
        {"Stops"},
        at="20m",
    ),
    Case(
        "a long drain after an outage",
        GOOD | {SUCCESS: "300+300x60", LAST_RUN: STILL, "last_run_exit_code": "3x60"},
    ),
    Case(
        "a run hangs, beside it ticks are busy",
        GOOD | {SUCCESS: STILL, LAST_RUN: STILL, "oldest_due_seconds": OLDER},
        {"DoesNotGoThrough", "QueueWaits"},
    ),
    Case(
        "switched off from the beginning",
        {"info": "1x60", "oldest_due_seconds": "0x60", SUCCESS: "0x60"},
        {"DoesNotGoThrough"},
    ),
    Case("no file", {}, {"TellsNothing"}),
    Case(
        "workers die",
        GOOD | {SUCCESS: ON_TIME, LAST_RUN: ON_TIME, "left_behind_contacts": "3x60"},
        {"WorkersDie"},
    ),
    Case(
        "nearly all requests of the day are used",
        GOOD
        | {SUCCESS: ON_TIME, LAST_RUN: ON_TIME}
        | {"quota_requests": "250000x60", "quota_remaining_requests": "12000x60"},
        {"QuotaLow"},
    ),
    Case(
        "most contacts fail",
        GOOD
        | {SUCCESS: ON_TIME, LAST_RUN: ON_TIME}
        | {'outcomes_total{outcome="created"}': "0+1x60"}
        | {'outcomes_total{outcome="failed"}': "0+9x60"},
        {"ManyFail"},
    ),
    Case(
        "some contacts fail",
        GOOD
        | {SUCCESS: ON_TIME, LAST_RUN: ON_TIME}
        | {'outcomes_total{outcome="created"}': "0+9x60"}
        | {'outcomes_total{outcome="failed"}': "0+1x60"},
    ),
]


def test_every_alert_has_a_case_in_which_it_rings() -> None:
    named = {f"HubSpotSync{name}" for case in CASES for name in case.rings}
    rules = {line.split()[-1] for line in RULES.splitlines() if "- alert:" in line}
    assert named == rules


def test_promtool_is_there_where_it_must_be() -> None:
    assert PROMTOOL or os.environ.get("REQUIRE_PROMTOOL") != "1"


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not installed")
def test_alerts_ring_when_they_should(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(RULES, encoding="utf-8")
    ringing = 'count by (alertname) (ALERTS{alertstate="firing"})'
    tests = [
        {
            "interval": "5m",
            "name": case.name,
            "input_series": [
                {"series": f"hubspot_sync_{name}", "values": values}
                for name, values in case.series.items()
            ],
            "promql_expr_test": [
                {
                    "expr": ringing,
                    "eval_time": case.at,
                    "exp_samples": [
                        {"labels": f'{{alertname="HubSpotSync{name}"}}', "value": 1}
                        for name in sorted(case.rings)
                    ],
                }
            ],
        }
        for case in CASES
    ]
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    # Every JSON document is a YAML document.
    (tmp_path / "tests.yml").write_text(json.dumps(document), encoding="utf-8")
    for arguments in (["check", "rules", "rules.yml"], ["test", "rules", "tests.yml"]):
        told = subprocess.run(
            [str(PROMTOOL), *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert told.returncode == 0, told.stdout + told.stderr
