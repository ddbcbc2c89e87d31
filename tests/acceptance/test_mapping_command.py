"""The command `mapping`, and a mapping file as the other commands show it."""

import json
from pathlib import Path
from typing import Any

import pytest

from hubspot_sync import console
from hubspot_sync.config.mapping_file import default_text
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.report import PlannedAction, PlannedContact, PropertyChange
from hubspot_sync.rules.policies import Kept, WhyKept
from tests.acceptance.program import Program
from tests.tables import Contacts

OWN = """version = 1
[source]
reject_emails = ["*@2x.png"]
[defaults]
write = "if-empty"
[lookup.site]
table = "sites"
key = "id"
on = "domain_id"
[fields]
firstname = { column = "name", transform = ["first-word", "max-length:40"] }
phone = { column = "phone_number", write = "always", null = "clear" }
company = { constant = "Bluefin" }
website = { lookup = "site.url" }
visits = { column = "page_id", type = "number", on_invalid = "drop" }
tier = { column = "source", type = "enumeration", options = { g = "gold" }, create = { type = "enumeration", field_type = "select", label = "Tier", options = { gold = "Gold", tin = "Tin" } } }
"""  # noqa: E501 - a line of TOML is a field


@pytest.fixture
def shape() -> str:
    """What is shown does not depend on the database."""
    return "sqlite"


@pytest.fixture(autouse=True)
def mapping_file(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN, encoding="utf-8")


def own(program: Program) -> Program:
    program.environment["HUBSPOT_SYNC_MAPPING"] = "own.toml"
    return program


def lines_of(out: str) -> dict[str, list[str]]:
    rows = [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in out.splitlines()
    ]
    return {row[0]: row[1:] for row in rows if row}


# The mapping in force


def test_built_in_mapping_is_shown_with_its_types_in_hubspot(program: Program) -> None:
    ended = program.run("mapping")
    assert (ended.code, ended.err) == (0, "")
    rows = lines_of(ended.out)
    assert rows["From"] == ["Shaped", "Property", "In HubSpot", "Write", "Null"]
    assert rows["domain_id"] == ["scrapersky_domain_id", "string (text)", "always", "keep"]
    assert rows["value today"] == ["scrapersky_sync_date", "date (date)", "always, stamp", "keep"]
    assert "HUBSPOT_SYNC_MAPPING is empty" in ended.out
    assert "from the table contacts, key id, address email" in ended.out


def test_mapping_file_is_shown_line_by_line(program: Program) -> None:
    ended = own(program).run("mapping")
    rows = lines_of(ended.out)
    assert rows["phone_number"][-2:] == ["always", "clear"]
    assert rows["constant Bluefin"] == ["company", "string (text)", "if-empty", "keep"]
    assert rows["page_id"] == [
        "number, dropped if invalid",
        "visits",
        "missing",
        "if-empty",
        "keep",
    ]
    assert rows["name"][:2] == ["first-word, max-length:40", "firstname"]
    assert "lookup site.url" in rows
    assert "own.toml: 6 properties" in ended.out
    assert "Rejected addresses: *@2x.png." in ended.out


def test_mapping_as_json_has_every_key_of_the_file(program: Program) -> None:
    document = own(program).run("mapping", "--json").document
    assert document["file"] == "own.toml"
    assert document["source"] == {
        "table": "contacts",
        "key": "id",
        "email": "email",
        "reject_emails": ["*@2x.png"],
    }
    assert document["queue"]["crm_name"] == "hubspot"
    assert document["queue"]["decision"] == "hubspot_sync_status"
    assert document["lookups"] == [
        {"name": "site", "table": "sites", "key": "id", "on": "domain_id", "columns": ["url"]}
    ]
    fields = {each["property"]: each for each in document["fields"]}
    assert fields["phone"] == {
        "property": "phone",
        "column": "phone_number",
        "constant": None,
        "value": None,
        "lookup": None,
        "transform": [],
        "type": None,
        "on_invalid": "reject",
        "write": "always",
        "null": "clear",
        "stamp": False,
        "create": None,
        "hubspot_type": fields["phone"]["hubspot_type"],
        "hubspot_field_type": "phonenumber",
        "is_in_hubspot": True,
        "line": 12,
    }
    assert fields["tier"]["create"]["options"] == {"gold": "Gold", "tin": "Tin"}
    assert fields["tier"]["is_in_hubspot"] is False
    assert document["not_asked"] is None


def test_without_a_token_hubspot_is_not_asked(program: Program, hubspot: Emulator) -> None:
    ended = program.run("mapping", HUBSPOT_API_KEY="")
    assert ended.code == 0
    assert lines_of(ended.out)["domain_id"][1] == "not asked"
    assert "HubSpot was not asked for its types: HUBSPOT_API_KEY is empty" in ended.out
    assert hubspot.request_count == 0


def test_hubspot_that_refuses_leaves_the_mapping_to_be_shown(
    program: Program, hubspot: Emulator
) -> None:
    hubspot.fault(path="/properties", times=None, status=401)
    document = program.run("mapping", "--json").document
    assert "token" in document["not_asked"]
    assert {each["is_in_hubspot"] for each in document["fields"]} == {None}


# The file alone


def test_default_is_printed_as_it_is_shipped_and_has_no_fault(program: Program) -> None:
    ended = program.run("mapping", "--print-default")
    assert (ended.code, ended.out) == (0, default_text())
    assert program.run("mapping", "--print-default", "--json").document["default"] == default_text()
    Path("mapping.toml").write_text(ended.out, encoding="utf-8")
    assert program.run("mapping", "--check", "mapping.toml").code == 0


def test_file_without_a_fault_is_checked_without_asking_anybody(hubspot: Emulator) -> None:
    ended = Program({"DATABASE_URL": "postgresql://u@127.0.0.1:1/none"}).run(
        "mapping", "--check", "own.toml"
    )
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("own.toml has no fault. The table contacts fills firstname, ")
    document = Program().run("mapping", "--check", "own.toml", "--json").document
    assert document["faults"] == []
    assert hubspot.request_count == 0


def test_every_fault_of_a_file_is_told_at_once(program: Program) -> None:
    Path("bad.toml").write_text(OWN.replace("if-empty", "sometimes").replace("[lookup", "[look"))
    ended = program.run("mapping", "--check", "bad.toml")
    assert (ended.code, ended.out) == (2, "")
    assert "bad.toml, line 5: defaults.write is 'sometimes'" in ended.err
    assert "there is no [lookup.site]" in ended.err


def test_file_that_is_not_there_is_told(program: Program) -> None:
    ended = program.run("mapping", "--check", "none.toml")
    assert ended.code == 2
    assert "The mapping none.toml cannot be read" in ended.err


def test_check_and_print_default_are_two_tasks(program: Program) -> None:
    ended = program.run("mapping", "--check", "own.toml", "--print-default")
    assert ended.code == 2
    assert "--check reads a file" in ended.err


# What the other commands make of it


def usable(program: Program, text: str) -> Program:
    Path("own.toml").write_text(text, encoding="utf-8")
    return own(program)


CAUTIOUS = """version = 1
[defaults]
write = "if-empty"
[fields]
firstname = { column = "name", transform = ["first-word"] }
phone = { column = "phone_number" }
company = { column = "domain_id", write = "always", null = "clear" }
closedate = { column = "page_id", type = "date", on_invalid = "drop" }
"""


@pytest.mark.parametrize("command", ["sync-queue", "sync-one"])
def test_dry_run_shows_what_is_kept_and_what_is_dropped(
    table: Contacts, program: Program, hubspot: Emulator, command: str
) -> None:
    hubspot.add_contact({"email": "ada@x.org", "firstname": "Augusta", "phone": "+44 20"})
    texts: dict[str, Any] = {
        "name": "Ada King",
        "phone_number": "ext. 4",
        "domain_id": None,
        "page_id": "soon",
    }
    key = table.add("ada@x.org", **texts)
    usable(program, CAUTIOUS.replace('date"', 'datetime"'))
    arguments = [command] if command == "sync-queue" else [command, key]
    ended = program.run(*arguments, "--dry-run", "--json")
    assert (ended.code, ended.err) == (0, "")
    (contact,) = ended.document["contacts"]
    assert (contact["action"], contact["changes"], contact["cleared"]) == ("unchanged", [], [])
    assert contact["kept"] == [
        {"property": "firstname", "ours": "Ada", "held": "Augusta", "why": "HELD"},
        {"property": "phone", "ours": "ext. 4", "held": "+44 20", "why": "HELD"},
    ]
    assert contact["dropped"] == [{"property": "closedate", "value": "soon", "why": "NOT_A_DATE"}]
    shown = " ".join(program.run(*arguments, "--dry-run").out.split())
    assert "firstname: kept: HubSpot has Augusta" in shown
    assert "closedate: dropped: 'soon'" in shown


def test_plan_shows_what_would_be_cleared_and_what_is_kept_from_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = PlannedContact(
        "1",
        "ada@x.org",
        PlannedAction.UPDATE,
        "20001",
        changes=(PropertyChange("phone", "+44 20", ""),),
        kept=(Kept("company", "", "Bluefin", WhyKept.OTHER_ROW),),
    )
    console.show_plan([plan], 1, command="sync-queue", as_json=True)
    (contact,) = json.loads(capsys.readouterr().out)["contacts"]
    assert contact["cleared"] == ["phone"]
    assert contact["kept"] == [
        {"property": "company", "ours": None, "held": "Bluefin", "why": "OTHER_ROW"}
    ]
    console.show_plan([plan], 1, command="sync-queue", as_json=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert "phone: +44 20 -> cleared" in shown
    assert "company: kept: HubSpot has Bluefin, and another row" in shown


def test_create_properties_makes_what_the_file_creates(program: Program) -> None:
    ended = own(program).run("create-properties", "--json")
    assert ended.document["properties"] == [{"name": "tier", "state": "created", "note": None}]
    again = program.run("create-properties", "--json").document["properties"]
    assert [each["state"] for each in again] == ["exists"]
    fields = program.run("mapping", "--json").document["fields"]
    tier = next(each for each in fields if each["property"] == "tier")
    assert tier["hubspot_field_type"] == "select"


def test_create_properties_says_where_the_file_creates_none(
    program: Program, hubspot: Emulator
) -> None:
    ended = usable(program, CAUTIOUS).run("create-properties")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "The mapping creates no property: no field has create.\n"
    assert hubspot.request_count == 0


def test_doctor_checks_the_properties_of_the_file(program: Program) -> None:
    checks = own(program).run("doctor", "--json").document["checks"]
    (found,) = [each for each in checks if each["about"] == "mapping"]
    assert found["words"] == "own.toml: 6 properties from contacts"
    told = [each["words"] for each in checks if each["about"] == "properties"]
    assert any(
        "own.toml, line 15, visits: HubSpot has no contact property" in each for each in told
    )


def test_run_stops_where_a_mapped_property_was_deleted_meanwhile(
    table: Contacts, program: Program, hubspot: Emulator
) -> None:
    usable(program, CAUTIOUS.replace("closedate", "# closedate"))
    key = table.add("ada@x.org", phone_number="1")
    gone = {"isValid": False, "error": "PROPERTY_DOESNT_EXIST", "name": "phone", "message": "gone"}
    words = f"Property values were not valid: [{json.dumps(gone)}]"
    body = {"status": "error", "category": "VALIDATION_ERROR", "message": words}
    hubspot.fault(method="POST", path="/batch/create", times=None, status=400, body=body)
    ended = program.run("sync-queue")
    assert ended.code == 3
    assert "HubSpot has no contact property phone" in ended.err
    assert table.row(key)["retry_count"] == 0
