"""The page for those who come from the app's own scheduler: what it says of contacts in flight."""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from hubspot_sync.settings import known_names
from tests.acceptance.program import ROOT, Program
from tests.tables import Contacts

PAGE = (ROOT / "docs" / "coming-from-the-app.md").read_text(encoding="utf-8")
AN_HOUR_AGO = timedelta(hours=1)

LEFT_BY_THE_APP: Mapping[str, Mapping[str, Any]] = {
    "in-hand": {"hubspot_sync_status": "Processing", "hubspot_processing_status": "Processing"},
    "selected": {"hubspot_sync_status": "Selected", "hubspot_processing_status": "Processing"},
    "queued": {"hubspot_sync_status": "Queued", "hubspot_processing_status": "Processing"},
    "failed": {
        "hubspot_sync_status": "Queued",
        "hubspot_processing_status": "Error",
        "hubspot_processing_error": "Client error '400 Bad Request'",
        "retry_count": 1,
        "last_failed_crm": "hubspot",
    },
    "given-up": {
        "hubspot_sync_status": "Error",
        "hubspot_processing_status": "Error",
        "retry_count": 3,
        "last_failed_crm": "hubspot",
    },
    "done": {"hubspot_sync_status": "Complete", "hubspot_processing_status": "Complete"},
    "marked": {"hubspot_sync_status": "Selected", "hubspot_processing_status": "Queued"},
}
"""What a stop of the app in the middle of a batch leaves, and what stood still before."""


def statements(mark: str) -> list[str]:
    found = re.search(rf"<!-- {mark} -->\n *```sql\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return [line.strip() for line in found[1].splitlines() if line.strip()]


def carry_out(engine: Engine, mark: str) -> None:
    with engine.begin() as connection:
        for statement in statements(mark):
            connection.exec_driver_sql(statement)


def fill(table: Contacts) -> dict[str, str]:
    keys = {}
    for name, columns in LEFT_BY_THE_APP.items():
        keys[name] = table.add(f"{name}@example.com", age=AN_HOUR_AGO, **columns)
    table.move(keys["failed"], "next_retry_at", timedelta(minutes=50))
    return keys


def test_after_the_wait_one_drain_delivers_all_that_the_app_left(
    table: Contacts, program: Program
) -> None:
    keys = fill(table)
    assert program.run("sync-queue", "--drain").code == 0
    ends = {name: table.state(key) for name, key in keys.items()}
    assert ends.pop("given-up") == ("Error", "Error")
    assert set(ends.values()) == {("Complete", "Complete")}
    assert program.run("enqueue", "--status", "Error").code == 0
    assert program.run("sync-queue").code == 0
    assert table.state(keys["given-up"]) == ("Complete", "Complete")


def test_freed_by_the_pages_sql_they_cost_no_attempt(
    table: Contacts, program: Program, engine: Engine
) -> None:
    keys = fill(table)
    carry_out(engine, "free")
    ended = program.run("sync-queue", "--drain", "--json")
    assert ended.code == 0
    assert "took over" not in ended.err
    assert "taken over" not in ended.err
    for name in ("in-hand", "selected", "queued"):
        assert table.state(keys[name]) == ("Complete", "Complete")
        assert table.row(keys[name])["retry_count"] == 0


def test_after_the_way_back_the_app_sees_all_that_is_open(
    table: Contacts, engine: Engine, program: Program
) -> None:
    keys = fill(table)
    keys["by-sql"] = table.add(
        "sql@example.com", hubspot_sync_status="Selected", hubspot_processing_status=None
    )
    carry_out(engine, "back")
    # The app looks for the state Queued alone.
    seen = {name for name, key in keys.items() if table.state(key)[1] == "Queued"}
    assert seen == {"in-hand", "selected", "queued", "failed", "marked", "by-sql"}
    assert table.state(keys["done"]) == ("Complete", "Complete")


@pytest.mark.parametrize("mark", ["free", "back"])
def test_what_nobody_wants_is_left_alone(table: Contacts, engine: Engine, mark: str) -> None:
    skipped = table.add(
        "skipped@example.com",
        hubspot_sync_status="Skipped",
        hubspot_processing_status="Processing",
        age=AN_HOUR_AGO,
    )
    carry_out(engine, mark)
    assert table.state(skipped) == ("Skipped", "Processing")


def test_every_setting_that_the_page_names_exists_and_every_link_leads_somewhere() -> None:
    named = set(re.findall(r"`((?:HUBSPOT|DATABASE)_[A-Z_]+)`", PAGE))
    assert len(named) > 10
    assert named <= known_names()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    headings = re.findall(r"^##+ (.+)$", readme, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        assert (Path(ROOT / "docs") / path).resolve().exists(), link
        assert anchor in anchors, link
