"""Which values a property takes by its type, and which properties may be defined."""

from typing import Any

import pytest

from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.emulator.definitions import FIELD_TYPES
from tests.hubspot.emulator_calls import CONTACTS, PROPERTIES, Call, inputs, problem, refusal

OPTIONS = [{"label": each, "value": each} for each in ("A", "B", "C")]
YES_OR_NO = [{"label": "Yes", "value": "true"}, {"label": "No", "value": "false"}]


def definition(kind: str, field_type: str, **more: Any) -> dict[str, Any]:
    options = {"enumeration": OPTIONS, "bool": YES_OR_NO}.get(kind, [])
    return {
        "name": "p",
        "label": "P",
        "type": kind,
        "fieldType": field_type,
        "groupName": "contactinformation",
        "options": options,
        **more,
    }


def create(call: Call, value: str) -> Any:
    return call("POST", CONTACTS, {"properties": {"email": "a@example.com", "p": value}})


@pytest.mark.parametrize(
    ("kind", "field_type", "value"),
    [
        ("string", "textarea", " two\nlines "),
        ("number", "number", ".5"),
        ("bool", "booleancheckbox", "false"),
        ("enumeration", "booleancheckbox", "A"),
        ("enumeration", "select", "B"),
        ("enumeration", "radio", "C"),
        ("enumeration", "checkbox", "A;C"),
        ("date", "date", "2026-10-01"),
        ("datetime", "date", "2026-10-01T16:00:00.000Z"),
        ("phone_number", "phonenumber", "+44 20 7946 0000"),
    ],
)
def test_value_of_each_type_is_stored_and_cleared_by_an_empty_string(
    call: Call, kind: str, field_type: str, value: str
) -> None:
    assert call("POST", PROPERTIES, definition(kind, field_type)).status_code == 201

    created = create(call, value).json()
    cleared = call("PATCH", f"{CONTACTS}/{created['id']}", {"properties": {"p": ""}}).json()
    read = call("GET", f"{CONTACTS}/{created['id']}?properties=p").json()

    assert created["properties"]["p"] == value
    assert cleared["properties"]["p"] is None
    assert read["properties"]["p"] is None


@pytest.mark.parametrize(
    ("kind", "field_type", "value", "error"),
    [
        ("number", "number", "1e3", "INVALID_INTEGER"),
        ("number", "number", "many", "INVALID_INTEGER"),
        ("bool", "booleancheckbox", "True", "INVALID_OPTION"),
        ("bool", "booleancheckbox", "1", "INVALID_OPTION"),
        ("enumeration", "select", "a", "INVALID_OPTION"),
        ("enumeration", "select", "A;B", "INVALID_OPTION"),
        ("enumeration", "radio", ";A", "INVALID_OPTION"),
        ("enumeration", "checkbox", "A;D", "INVALID_OPTION"),
        ("enumeration", "checkbox", "A, B", "INVALID_OPTION"),
        ("date", "date", "01.10.2026", "INVALID_LONG"),
        ("date", "date", "1", "INVALID_DATE"),
        ("datetime", "date", "yesterday", "INVALID_LONG"),
    ],
)
def test_value_that_its_type_does_not_take_is_refused(
    call: Call, kind: str, field_type: str, value: str, error: str
) -> None:
    call("POST", PROPERTIES, definition(kind, field_type))

    found = problem(create(call, value))

    assert (found["error"], found["name"]) == (error, "p")


@pytest.mark.parametrize(
    ("held", "sent", "stored"),
    [
        ("A", "B;C", "B;C"),
        ("A", ";B;C", "A;B;C"),
        ("A;B", ";B", "A;B"),
        ("C", ";A", "C;A"),
        ("", ";A;B", "A;B"),
        ("A", ";", "A"),
        ("A", "B;B;", "B"),
    ],
)
def test_semicolon_in_front_adds_to_the_checkboxes_that_are_held(
    call: Call, held: str, sent: str, stored: str
) -> None:
    call("POST", PROPERTIES, definition("enumeration", "checkbox"))
    contact = create(call, held).json()["id"]
    item = {"id": contact, "properties": {"p": sent}, "objectWriteTraceId": "1"}

    [result] = call("POST", f"{CONTACTS}/batch/update", inputs(item)).json()["results"]

    assert result["properties"]["p"] == stored


@pytest.mark.parametrize(
    ("kind", "field_type"),
    [(kind, each) for kind, field_types in FIELD_TYPES.items() for each in field_types],
)
def test_property_of_a_type_and_a_field_type_that_go_together_is_defined(
    call: Call, kind: str, field_type: str
) -> None:
    created = call("POST", PROPERTIES, definition(kind, field_type))

    assert created.status_code == 201
    assert (created.json()["type"], created.json()["fieldType"]) == (kind, field_type)


@pytest.mark.parametrize(
    ("kind", "field_type"),
    [("string", "number"), ("number", "text"), ("datetime", "text"), ("bool", "checkbox")],
)
def test_property_of_types_that_do_not_go_together_is_refused(
    emulator: Emulator, call: Call, kind: str, field_type: str
) -> None:
    status, body = refusal(call("POST", PROPERTIES, definition(kind, field_type)))

    assert (status, body["category"]) == (400, "VALIDATION_ERROR")
    assert emulator.property("p") is None


@pytest.mark.parametrize(
    ("kind", "field_type"),
    [("json", "text"), ("object_coordinates", "text"), ("text", "text"), ("string", "input")],
)
def test_type_that_hubspot_does_not_know_refuses_the_whole_request(
    emulator: Emulator, call: Call, kind: str, field_type: str
) -> None:
    bad, good = definition(kind, field_type), definition("string", "text", name="good")

    alone = refusal(call("POST", PROPERTIES, bad))
    batch = refusal(call("POST", f"{PROPERTIES}/batch/create", inputs(good, bad)))

    assert alone == batch
    assert (alone[0], "category" in alone[1]) == (400, False)
    assert alone[1]["message"].startswith("Invalid input JSON on line 1, column 1: Cannot deser")
    assert emulator.property("good") is None


@pytest.mark.parametrize(
    "given",
    [
        definition("enumeration", "select", options=[]),
        definition("enumeration", "select", options=[{"value": "A"}]),
        definition("enumeration", "select", options=OPTIONS * 2),
        definition("bool", "booleancheckbox", options=[]),
        definition("bool", "booleancheckbox", options=OPTIONS),
        definition("string", "text", name="Upper"),
        definition("string", "text", name="1st"),
        definition("string", "text", name="a" * 101),
    ],
)
def test_definition_that_lacks_something_is_refused(call: Call, given: dict[str, Any]) -> None:
    status, body = refusal(call("POST", PROPERTIES, given))

    assert (status, body["category"]) == (400, "VALIDATION_ERROR")
    of_a_bool = body.get("subCategory") == "Properties.INVALID_BOOLEAN_OPTION"
    assert of_a_bool == (given["type"] == "bool")


def test_definition_shows_its_options_in_full(call: Call) -> None:
    created = call("POST", PROPERTIES, definition("enumeration", "select")).json()

    assert created["options"][0] == {
        "label": "A",
        "value": "A",
        "description": "",
        "displayOrder": -1,
        "hidden": False,
    }
    assert created == call("GET", f"{PROPERTIES}/p").json()


def test_archived_definitions_are_read_by_list_name_and_batch(
    emulator: Emulator, call: Call
) -> None:
    emulator.add_property({"name": "p"})
    emulator.archive_property("p")
    batch, one = f"{PROPERTIES}/batch/read", inputs({"name": "p"})

    listed = call("GET", f"{PROPERTIES}?archived=true").json()["results"]
    live = call("POST", batch, {"archived": False, **one}).json()
    archived = call("POST", batch, {"archived": True, **one}).json()

    assert [each["name"] for each in listed] == ["p"]
    assert (listed[0]["archived"], "archivedAt" in listed[0]) == (True, True)
    assert archived["results"] == listed
    assert live["errors"][0]["context"] == {"name": ["p"]}
    assert "p" not in {each["name"] for each in call("GET", PROPERTIES).json()["results"]}


@pytest.mark.parametrize(
    ("name", "kind", "field_type", "value"),
    [
        ("jobtitle", "string", "text", "Countess"),
        ("annualrevenue", "string", "text", "a lot"),
        ("date_of_birth", "string", "text", "10 December 1815"),
        ("industry", "string", "text", "Engines"),
        ("phone", "string", "phonenumber", "1"),
        ("closedate", "datetime", "date", "2026-10-01T00:00:00.000Z"),
        ("hs_lead_status", "enumeration", "radio", "ATTEMPTED_TO_CONTACT"),
        ("numemployees", "enumeration", "select", "5-25"),
        ("hs_buying_role", "enumeration", "checkbox", "CHAMPION;END_USER"),
    ],
)
def test_standard_property_has_hubspots_type_and_takes_its_values(
    emulator: Emulator, call: Call, name: str, kind: str, field_type: str, value: str
) -> None:
    found = emulator.property(name)
    assert found is not None
    assert (found["type"], found["fieldType"], found["hubspotDefined"]) == (kind, field_type, True)

    written = call("POST", CONTACTS, {"properties": {"email": "a@example.com", name: value}})

    assert written.json()["properties"][name] == value


def test_accounts_share_no_definitions() -> None:
    one, other = Emulator(), Emulator()
    one.add_property({"name": "hs_lead_status", "type": "enumeration", "options": []})

    assert (one.property("hs_lead_status") or {})["options"] == []
    assert (other.property("hs_lead_status") or {})["options"]
