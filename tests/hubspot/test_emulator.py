"""The emulator tells the truth: each test holds it to one thing that HubSpot is known to do."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
import requests

from hubspot_sync.hubspot.emulator import Emulator, Fault
from tests.hubspot.emulator_calls import (
    CONTACTS,
    NOON,
    PROPERTIES,
    TOKEN,
    Call,
    Clock,
    ids,
    inputs,
    problem,
    refusal,
)

NOT_FOUND_MESSAGE = (
    "Could not get some CONTACT objects, they may be deleted or not exist. "
    "Check that ids are valid."
)
CUSTOM = {
    "name": "scrapersky_page_id",
    "label": "ScraperSky Page ID",
    "type": "string",
    "fieldType": "text",
    "groupName": "contactinformation",
}


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def new(trace_id: str, email: str, **properties: Any) -> dict[str, Any]:
    return {"properties": {"email": email, **properties}, "objectWriteTraceId": trace_id}


def search(operator: str = "EQ", name: str = "email", **wanted: Any) -> dict[str, Any]:
    each = {"propertyName": name, "operator": operator, **wanted}
    return {"filterGroups": [{"filters": [each]}], "properties": ["email"]}


def test_create_answers_the_values_written_and_three_more(call: Call) -> None:
    response = call("POST", CONTACTS, {"properties": {"email": " Ada@Example.COM ", "phone": 42}})

    created = response.json()
    assert response.status_code == 201
    assert created == {
        "id": created["id"],
        "properties": {
            "email": "ada@example.com",
            "phone": "42",
            "createdate": "2026-10-01T16:00:00.000Z",
            "hs_object_id": created["id"],
            "lastmodifieddate": "2026-10-01T16:00:00.000Z",
        },
        "createdAt": "2026-10-01T16:00:00.000Z",
        "updatedAt": "2026-10-01T16:00:00.000Z",
        "archived": False,
        "url": f"https://app.hubspot.com/contacts/24680135/record/0-1/{created['id']}",
    }
    assert created["id"].isdigit()


@pytest.mark.parametrize("email", ["ada@example.com", "ADA@example.com", "lovelace@example.com"])
def test_create_of_a_taken_email_is_a_conflict(emulator: Emulator, call: Call, email: str) -> None:
    ada = emulator.add_contact(
        {"email": "ada@example.com"}, additional_emails=["lovelace@example.com"]
    )

    response = call("POST", CONTACTS, {"properties": {"email": email}})

    assert refusal(response) == (
        409,
        {
            "status": "error",
            "message": f"Contact already exists. Existing ID: {ada}",
            "category": "CONFLICT",
        },
    )


def test_create_needs_an_email_or_a_name(call: Call) -> None:
    assert call("POST", CONTACTS, {"properties": {"phone": "1"}}).status_code == 400
    assert call("POST", CONTACTS, {"properties": {"lastname": "Lovelace"}}).status_code == 201


def test_read_by_id_and_by_any_email(emulator: Emulator, call: Call) -> None:
    ada = emulator.add_contact(
        {"email": "ada+x/y@example.com", "firstname": "Ada"},
        additional_emails=["lovelace@example.com"],
    )
    asked = "properties=email,hs_additional_emails,company,no_such_property"
    for path in (
        f"{ada}?{asked}",
        f"{quote('Ada+x/y@example.com', safe='')}?idProperty=email&{asked}",
        f"lovelace@example.com?idProperty=email&{asked}",
    ):
        response = call("GET", f"{CONTACTS}/{path}")
        assert (response.status_code, response.json()["id"]) == (200, ada)
        assert response.json()["properties"] == {
            "email": "ada+x/y@example.com",
            "hs_additional_emails": "lovelace@example.com",
            "company": None,
            "createdate": "2026-10-01T16:00:00.000Z",
            "hs_object_id": ada,
            "lastmodifieddate": "2026-10-01T16:00:00.000Z",
        }


def test_read_without_properties_answers_the_usual_ones(emulator: Emulator, call: Call) -> None:
    ada = emulator.add_contact({"email": "ada@example.com", "company": "Engines"})

    properties = call("GET", f"{CONTACTS}/{ada}").json()["properties"]

    assert sorted(properties) == [
        "createdate",
        "email",
        "firstname",
        "hs_object_id",
        "lastmodifieddate",
        "lastname",
    ]


def test_read_by_email_takes_a_bare_plus_for_a_space(emulator: Emulator, call: Call) -> None:
    emulator.add_contact({"email": "ada+x@example.com"})

    assert call("GET", f"{CONTACTS}/ada+x@example.com?idProperty=email").status_code == 404
    assert call("GET", f"{CONTACTS}/ada%2Bx@example.com?idProperty=email").status_code == 200


@pytest.mark.parametrize("path", ["404404", "nobody@example.com?idProperty=email"])
def test_read_of_an_unknown_contact_is_not_found(call: Call, path: str) -> None:
    assert refusal(call("GET", f"{CONTACTS}/{path}")) == (
        404,
        {"status": "error", "message": "resource not found"},
    )


def test_read_by_an_id_that_is_no_number_says_so(call: Call) -> None:
    assert refusal(call("GET", f"{CONTACTS}/ada@example.com")) == (
        404,
        {
            "status": "error",
            "message": "Object not found.  objectId are usually numeric.",
            "context": {"id": ["ada@example.com"]},
            "category": "OBJECT_NOT_FOUND",
        },
    )


def test_update_keeps_what_is_not_sent_and_clears_what_is_empty(
    emulator: Emulator, call: Call, clock: Clock
) -> None:
    ada = emulator.add_contact({"email": "ada@example.com", "phone": "1", "company": "Engines"})
    clock.now += 60

    by_id = call("PATCH", f"{CONTACTS}/{ada}", {"properties": {"phone": ""}})
    by_email = call(
        "PATCH",
        f"{CONTACTS}/ada%40example.com?idProperty=email",
        {"properties": {"firstname": "Ada"}},
    )

    assert (by_id.status_code, by_email.status_code) == (200, 200)
    assert by_id.json()["properties"]["phone"] is None
    assert by_id.json()["updatedAt"] == "2026-10-01T16:01:00.000Z"
    assert by_id.json()["createdAt"] == "2026-10-01T16:00:00.000Z"
    assert emulator.contacts() == [
        {
            "id": ada,
            "properties": {"email": "ada@example.com", "company": "Engines", "firstname": "Ada"},
            "additional_emails": [],
        }
    ]


def test_update_of_an_unknown_contact_is_not_found(call: Call) -> None:
    body = {"properties": {"phone": "1"}}
    assert call("PATCH", f"{CONTACTS}/404404", body).status_code == 404
    assert call("PATCH", f"{CONTACTS}/no@example.com?idProperty=email", body).status_code == 404


def test_update_to_the_email_of_another_contact_is_a_conflict(
    emulator: Emulator, call: Call
) -> None:
    ada = emulator.add_contact({"email": "ada@example.com"})
    grace = emulator.add_contact({"email": "grace@example.com"})

    status, body = refusal(
        call("PATCH", f"{CONTACTS}/{grace}", {"properties": {"email": "ada@example.com"}})
    )

    assert (status, body["message"]) == (409, f"Contact already exists. Existing ID: {ada}")


def test_update_to_a_new_email_frees_the_old_one(emulator: Emulator, call: Call) -> None:
    ada = emulator.add_contact({"email": "ada@example.com"})

    call("PATCH", f"{CONTACTS}/{ada}", {"properties": {"email": "lovelace@example.com"}})

    assert emulator.contact_by_email("ada@example.com") is None
    assert call("POST", CONTACTS, {"properties": {"email": "ada@example.com"}}).ok


def test_update_to_an_additional_email_swaps_the_two(emulator: Emulator, call: Call) -> None:
    ada = emulator.add_contact({"email": "old@example.com"}, additional_emails=["new@example.com"])

    call("PATCH", f"{CONTACTS}/{ada}", {"properties": {"email": "new@example.com"}})

    assert emulator.contacts() == [
        {
            "id": ada,
            "properties": {"email": "new@example.com"},
            "additional_emails": ["old@example.com"],
        }
    ]


def test_lifecycle_stage_does_not_move_back_and_nobody_is_told(
    emulator: Emulator, call: Call
) -> None:
    ada = emulator.add_contact({"email": "ada@example.com", "lifecyclestage": "customer"})

    response = call("PATCH", f"{CONTACTS}/{ada}", {"properties": {"lifecyclestage": "lead"}})

    assert response.status_code == 200
    assert response.json()["properties"]["lifecyclestage"] == "customer"


def test_delete_answers_204_and_frees_the_email(emulator: Emulator, call: Call) -> None:
    ada = emulator.add_contact({"email": "ada@example.com"})

    response = call("DELETE", f"{CONTACTS}/{ada}")

    assert (response.status_code, response.content) == (204, b"")
    assert call("GET", f"{CONTACTS}/{ada}").status_code == 404
    assert call("POST", CONTACTS, {"properties": {"email": "ada@example.com"}}).json()["id"] != ada


def test_list_answers_as_many_as_asked_for_up_to_100(emulator: Emulator, call: Call) -> None:
    for number in range(12):
        emulator.add_contact({"email": f"c{number}@example.com"})

    assert len(ids(call("GET", CONTACTS))) == 10
    assert len(ids(call("GET", f"{CONTACTS}?limit=1"))) == 1
    assert call("GET", f"{CONTACTS}?limit=101").status_code == 400
    assert call("GET", f"{CONTACTS}?limit=many").status_code == 400


def test_merge_makes_a_new_record_that_both_old_ids_lead_to(emulator: Emulator, call: Call) -> None:
    ada = emulator.add_contact({"email": "ada@example.com", "firstname": "Ada"})
    other = emulator.add_contact({"email": "al@example.com", "firstname": "Al", "phone": "1"})

    merged = emulator.merge_contacts(ada, other)

    assert merged not in (ada, other)
    assert call("GET", f"{CONTACTS}/{ada}").json()["id"] == merged
    assert call("GET", f"{CONTACTS}/{other}").json()["id"] == merged
    assert emulator.contacts() == [
        {
            "id": merged,
            "properties": {"email": "ada@example.com", "firstname": "Ada", "phone": "1"},
            "additional_emails": ["al@example.com"],
        }
    ]


def test_unknown_property_is_named_in_message_and_errors(call: Call) -> None:
    response = call("POST", CONTACTS, {"properties": {"email": "a@example.com", "first000": "A"}})

    assert refusal(response) == (
        400,
        {
            "status": "error",
            "message": (
                'Property values were not valid: [{"isValid":false,"message":"Property '
                '\\"first000\\" does not exist","error":"PROPERTY_DOESNT_EXIST",'
                '"name":"first000"}]'
            ),
            "errors": [
                {
                    "message": 'Property "first000" does not exist',
                    "code": "PROPERTY_DOESNT_EXIST",
                    "context": {"propertyName": ["first000"]},
                }
            ],
            "category": "VALIDATION_ERROR",
        },
    )


def test_email_that_cannot_be_one_is_invalid(call: Call) -> None:
    for email in (
        "dsfsafas@",
        "@example.com",
        "ada",
        "ada@example",
        "ada@example.c",
        "ada@test.con",
        "ada@example.123",
        "ada@@example.com",
        "ada@home@example.com",
        ".ada@example.com",
        "ada..l@example.com",
        "ada l@example.com",
        "ada@exam ple.com",
        "ada@-example.com",
        "ada@example..com",
        "ada@example.com,grace@example.com",
        f"{'a' * 65}@example.com",
    ):
        assert problem(call("POST", CONTACTS, {"properties": {"email": email}})) == {
            "isValid": False,
            "message": f"Email address {email} is invalid",
            "error": "INVALID_EMAIL",
            "name": "email",
        }


def test_email_that_can_be_one_is_taken(call: Call) -> None:
    for email in (
        "ada.l+tag@mail.example.co.uk",
        "o'hara_%-7@example.io",
        "ada@bücher.example",
        "ada@xn--bcher-kva.example",
        "ada@例え.みんな",
        "ada@example.xn--p1ai",
        "ada@example.consulting",
    ):
        created = call("POST", CONTACTS, {"properties": {"email": email}})
        assert created.json()["properties"]["email"] == email


def test_option_that_is_not_offered_is_invalid(call: Call) -> None:
    found = problem(
        call("POST", CONTACTS, {"properties": {"email": "a@b.co", "lifecyclestage": "Lead"}})
    )

    assert (found["error"], found["name"]) == ("INVALID_OPTION", "lifecyclestage")
    assert found["message"].startswith(
        "Lead was not one of the allowed options: [subscriber, lead, "
    )


@pytest.mark.parametrize(
    ("kind", "value", "error", "message"),
    [
        ("number", "1,000", "INVALID_INTEGER", "1,000 was not a valid number"),
        ("number", "1.2.3", "INVALID_INTEGER", "1.2.3 was not a valid number"),
        ("date", "1/1/1", "INVALID_LONG", "1/1/1 was not a valid long."),
        ("date", "2026-02-30", "INVALID_LONG", "2026-02-30 was not a valid long."),
        (
            "date",
            "2026-10-01T16:00:00.000Z",
            "INVALID_LONG",
            "2026-10-01T16:00:00.000Z was not a valid long.",
        ),
        (
            "date",
            "1606768561954",
            "INVALID_DATE",
            "1606768561954 is at 20:36:1.954 UTC, not midnight!",
        ),
        ("date", "1570233600", "INVALID_DATE", "1570233600 is at 4:10:33.600 UTC, not midnight!"),
        ("datetime", "2026-10-01", "INVALID_LONG", "2026-10-01 was not a valid long."),
    ],
)
def test_value_of_the_wrong_type_is_refused_in_hubspots_words(
    emulator: Emulator, call: Call, kind: str, value: str, error: str, message: str
) -> None:
    emulator.add_property({"name": "p", "type": kind, "fieldType": kind})

    response = call("POST", CONTACTS, {"properties": {"email": "a@example.com", "p": value}})

    assert problem(response) == {"isValid": False, "message": message, "error": error, "name": "p"}


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        ("number", "-12.5", "-12.5"),
        ("number", 7, "7"),
        ("date", "2026-10-01", "2026-10-01"),
        ("date", "1569888000000", "2019-10-01"),
        ("date", -86400000, "1969-12-31"),
        ("datetime", "2026-10-01T16:00:00Z", "2026-10-01T16:00:00.000Z"),
        ("datetime", "1606768561954", "2020-11-30T20:36:01.954Z"),
        ("bool", True, "true"),
    ],
)
def test_value_of_the_right_type_is_stored_in_hubspots_form(
    emulator: Emulator, call: Call, kind: str, value: object, stored: str
) -> None:
    options = [{"value": "true"}, {"value": "false"}]
    emulator.add_property({"name": "p", "type": kind, "fieldType": kind, "options": options})

    response = call("POST", CONTACTS, {"properties": {"email": "a@example.com", "p": value}})

    assert response.json()["properties"]["p"] == stored


@pytest.mark.parametrize(
    "name", ["createdate", "lastmodifieddate", "hs_object_id", "hs_additional_emails"]
)
def test_read_only_property_is_marked_and_refused(
    emulator: Emulator, call: Call, name: str
) -> None:
    definition = emulator.property(name)
    assert definition is not None
    assert definition["modificationMetadata"]["readOnlyValue"] is True

    response = call("POST", CONTACTS, {"properties": {"email": "a@example.com", name: "1"}})

    assert problem(response) == {
        "isValid": False,
        "message": f'"{name}" is a read only property; its value cannot be set.',
        "error": "READ_ONLY_VALUE",
        "name": name,
    }


def test_text_may_have_65536_characters_and_no_more(call: Call) -> None:
    def create(length: int) -> requests.Response:
        return call("POST", CONTACTS, {"properties": {"firstname": "x" * length}})

    assert create(65_536).status_code == 201
    assert problem(create(65_537))["name"] == "firstname"


def test_null_is_refused(call: Call) -> None:
    status, body = refusal(call("POST", CONTACTS, {"properties": {"firstname": None}}))
    assert (status, "category" in body) == (400, False)


def test_blocked_email_is_refused_for_ever(emulator: Emulator, call: Call) -> None:
    emulator.block_email("Gone@example.com")
    ada = emulator.add_contact({"email": "ada@example.com"})
    body = {"properties": {"email": "gone@example.com"}}

    for response in (call("POST", CONTACTS, body), call("PATCH", f"{CONTACTS}/{ada}", body)):
        found = problem(response)
        assert (found["message"], found["name"]) == ("email has been GDPR blacklisted", "email")


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("(030) 123 456", "+49 30 123456"),
        ("+44 (0)20 7946 0000", "+442079460000"),
        ("0044 20 7946 0000", "+442079460000"),
        ("30123456", "+49 30123456"),
        ("ask Ada", "ask Ada"),
    ],
)
def test_phone_numbers_are_stored_in_hubspots_own_form_where_that_is_asked_for(
    emulator: Emulator, call: Call, sent: str, stored: str
) -> None:
    properties = {"email": "ada@example.com", "phone": sent}
    plain = call("POST", CONTACTS, {"properties": properties}).json()
    assert plain["properties"]["phone"] == sent
    emulator.reformats_phones = True
    written = call("PATCH", f"{CONTACTS}/{plain['id']}", {"properties": {"phone": sent}}).json()
    assert written["properties"]["phone"] == stored


def test_contact_quota_refuses_creates_and_lets_updates_pass(
    emulator: Emulator, call: Call
) -> None:
    ada = emulator.add_contact({"email": "ada@example.com"})
    emulator.contact_quota = 1

    status, body = refusal(call("POST", CONTACTS, {"properties": {"email": "b@example.com"}}))

    assert (status, body["category"]) == (400, "VALIDATION_ERROR")
    assert call("PATCH", f"{CONTACTS}/{ada}", {"properties": {"phone": "1"}}).ok


@pytest.mark.parametrize("version", ["v3/objects", "objects/2026-03"])
def test_older_versions_pass_over_required_properties(
    emulator: Emulator, call: Call, version: str
) -> None:
    emulator.require_property("company")
    body = {"properties": {"email": "a@example.com"}}
    assert call("POST", f"/crm/{version}/contacts", body).status_code == 201


@pytest.mark.parametrize("version", ["2026-09", "2027-03"])
def test_newer_versions_want_required_properties(
    emulator: Emulator, call: Call, version: str
) -> None:
    emulator.require_property("company")
    path, properties = f"/crm/objects/{version}/contacts", {"email": "a@example.com"}

    found = problem(call("POST", path, {"properties": properties}))

    assert (found["error"], found["name"]) == ("MISSING_REQUIRED_PROPERTY", "company")
    assert call("POST", path, {"properties": {**properties, "company": "Engines"}}).ok


def test_batch_create_without_trace_ids_is_all_or_nothing(emulator: Emulator, call: Call) -> None:
    emulator.add_contact({"email": "ada@example.com"})

    response = call(
        "POST",
        f"{CONTACTS}/batch/create",
        inputs(
            {"properties": {"email": "good@example.com"}},
            {"properties": {"email": "bad@", "nope": "1"}},
            {"properties": {"email": "worse@", "nope": "2"}},
        ),
    )

    status, body = refusal(response)
    assert (status, body["category"]) == (400, "VALIDATION_ERROR")
    named = json.loads(body["message"].removeprefix("Property values were not valid: "))
    assert [each["name"] for each in named] == ["email", "nope", "email", "nope"]
    # No index, and the same complaint only once.
    assert [each["context"]["propertyName"] for each in body["errors"]] == [
        ["email"],
        ["nope"],
        ["email"],
    ]
    assert len(emulator.contacts()) == 1


def test_batch_create_without_trace_ids_names_the_first_conflict(
    emulator: Emulator, call: Call
) -> None:
    ada = emulator.add_contact({"email": "ada@example.com"})
    emulator.add_contact({"email": "grace@example.com"})
    emails = ("new@example.com", "ada@example.com", "grace@example.com")

    response = call(
        "POST",
        f"{CONTACTS}/batch/create",
        inputs(*({"properties": {"email": email}} for email in emails)),
    )

    assert refusal(response) == (
        409,
        {
            "status": "error",
            "message": f"Contact already exists. Existing ID: {ada}",
            "category": "CONFLICT",
        },
    )
    assert emulator.contact_by_email("new@example.com") is None


def test_batch_create_with_trace_ids_writes_the_good_ones(emulator: Emulator, call: Call) -> None:
    ada = emulator.add_contact({"email": "ada@example.com"})

    response = call(
        "POST",
        f"{CONTACTS}/batch/create",
        inputs(
            new("row-1", "Siena.Dyer@example.com"),
            new("row-2", "ada@example.com"),
            new("row-3", "c@example.com", missing="x"),
        ),
    )

    body = response.json()
    created = emulator.contact_by_email("siena.dyer@example.com")
    assert response.status_code == 207
    assert created is not None
    assert [(each["id"], each["objectWriteTraceId"]) for each in body["results"]] == [
        (created["id"], "row-1")
    ]
    assert body["results"][0]["properties"]["email"] == "siena.dyer@example.com"
    assert {name: body[name] for name in ("status", "numErrors", "errors")} == {
        "status": "COMPLETE",
        "numErrors": 2,
        "errors": [
            {
                "status": "error",
                "category": "CONFLICT",
                "message": f"Contact already exists. Existing ID: {ada}",
                "context": {"existingId": [ada], "objectWriteTraceId": ["row-2"]},
            },
            {
                "status": "error",
                "category": "VALIDATION_ERROR",
                "message": (
                    'Property values were not valid: [{"isValid":false,"message":"Property '
                    '\\"missing\\" does not exist","error":"PROPERTY_DOESNT_EXIST",'
                    '"name":"missing","localizedErrorMessage":"Property \\"missing\\" does not '
                    'exist","portalId":24680135}]'
                ),
                "context": {"objectWriteTraceId": ["row-3"]},
            },
        ],
    }


def test_batch_results_come_in_no_order_to_rely_on_and_without_empty_errors(call: Call) -> None:
    response = call(
        "POST",
        f"{CONTACTS}/batch/create",
        inputs(new("row-1", "a@example.com"), new("row-2", "b@example.com")),
    )

    body = response.json()
    assert response.status_code == 201
    assert sorted(body) == ["completedAt", "results", "startedAt", "status"]
    assert [each["objectWriteTraceId"] for each in body["results"]] == ["row-2", "row-1"]


def test_trace_ids_need_not_come_back_on_results(emulator: Emulator, call: Call) -> None:
    emulator.echo_trace_ids = False

    response = call(
        "POST",
        f"{CONTACTS}/batch/create",
        inputs(new("row-1", "a@example.com"), new("row-2", "bad@")),
    )

    body = response.json()
    assert "objectWriteTraceId" not in body["results"][0]
    assert body["errors"][0]["context"] == {"objectWriteTraceId": ["row-2"]}


@pytest.mark.parametrize("operation", ["read", "create", "update", "upsert"])
def test_batch_takes_100_inputs_and_no_more(call: Call, operation: str) -> None:
    items = [
        {"id": str(number), "properties": {"email": f"c{number}@example.com"}}
        for number in range(101)
    ]

    response = call("POST", f"{CONTACTS}/batch/{operation}", inputs(*items))

    assert refusal(response) == (
        400,
        {
            "status": "error",
            "message": (
                "The maximum number of inputs supported in a batch is 100. "
                "Please reduce the number of items and try again"
            ),
            "category": "VALIDATION_ERROR",
        },
    )
    if operation == "create":
        assert call("POST", f"{CONTACTS}/batch/create", inputs(*items[:100])).status_code == 201


@pytest.mark.parametrize(
    ("operation", "items", "named"),
    [
        ("read", [{"id": "12877907025"}] * 2, "12877907025"),
        ("update", [{"id": "12877907025", "objectWriteTraceId": "1"}] * 2, "12877907025"),
        (
            "upsert",
            [{"id": email, "idProperty": "email"} for email in ("A@example.com", "a@example.com ")],
            "a@example.com",
        ),
        ("create", [new("1", "A@example.com"), new("2", "a@example.com ")], "a@example.com"),
    ],
)
def test_batch_with_duplicates_is_refused_whole(
    emulator: Emulator, call: Call, operation: str, items: list[dict[str, Any]], named: str
) -> None:
    response = call("POST", f"{CONTACTS}/batch/{operation}", inputs(*items))

    assert refusal(response) == (
        400,
        {
            "status": "error",
            "message": f"Duplicate IDs found in batch input: [{named}]. IDs must be unique",
            "context": {"ids": [named]},
            "category": "VALIDATION_ERROR",
        },
    )
    assert emulator.contacts() == []


def test_batch_read_by_email_names_the_unknown_ones(emulator: Emulator, call: Call) -> None:
    ada = emulator.add_contact({"email": "ada@example.com"})

    response = call(
        "POST",
        f"{CONTACTS}/batch/read",
        {
            "idProperty": "email",
            "properties": ["email"],
            "inputs": [{"id": email} for email in ("ADA@example.com", "b@x.org", "c@x.org")],
        },
    )

    body = response.json()
    assert response.status_code == 207
    assert ids(response) == [ada]
    assert (body["numErrors"], body["errors"]) == (
        1,
        [
            {
                "status": "error",
                "category": "OBJECT_NOT_FOUND",
                "message": NOT_FOUND_MESSAGE,
                "context": {"ids": ["b@x.org", "c@x.org"]},
            }
        ],
    )


def test_batch_read_answers_a_secondary_email_with_the_primary(
    emulator: Emulator, call: Call
) -> None:
    ada = emulator.add_contact(
        {"email": "ada@example.com"}, additional_emails=["a@example.com", "l@example.com"]
    )

    response = call(
        "POST",
        f"{CONTACTS}/batch/read",
        {
            "idProperty": "email",
            "properties": ["email", "hs_additional_emails"],
            "inputs": [{"id": "l@example.com"}, {"id": "ada@example.com"}],
        },
    )

    assert response.status_code == 200
    [result] = response.json()["results"]
    assert result["id"] == ada
    assert result["properties"]["email"] == "ada@example.com"
    assert result["properties"]["hs_additional_emails"] == "a@example.com;l@example.com"


def test_batch_read_by_id_follows_a_merge(emulator: Emulator, call: Call) -> None:
    ada, other = (emulator.add_contact({"email": f"{name}@example.com"}) for name in "ab")
    merged = emulator.merge_contacts(ada, other)

    assert ids(call("POST", f"{CONTACTS}/batch/read", inputs({"id": other}))) == [merged]


@pytest.mark.parametrize(
    ("operation", "name"), [("read", "phone"), ("update", "email"), ("upsert", "phone")]
)
def test_batch_by_a_property_that_is_not_unique_is_refused(
    call: Call, operation: str, name: str
) -> None:
    item = {"id": "a@example.com", "idProperty": name, "properties": {}}

    response = call("POST", f"{CONTACTS}/batch/{operation}", {"idProperty": name, "inputs": [item]})

    assert refusal(response) == (
        400,
        {
            "status": "error",
            "message": (
                f"Unable to perform update/upsert by non-unique 0-1 property {name} "
                "in portal ID 24680135"
            ),
            "category": "VALIDATION_ERROR",
        },
    )


def test_batch_update_changes_the_known_and_names_the_unknown(
    emulator: Emulator, call: Call
) -> None:
    ada = emulator.add_contact({"email": "ada@example.com", "company": "Engines"})
    items = [
        {"id": ada, "properties": {"phone": "1"}, "objectWriteTraceId": "row-1"},
        {"id": "404404", "properties": {"phone": "2"}, "objectWriteTraceId": "row-2"},
    ]

    response = call("POST", f"{CONTACTS}/batch/update", inputs(*items))

    body = response.json()
    assert response.status_code == 207
    assert [(each["id"], each["objectWriteTraceId"]) for each in body["results"]] == [
        (ada, "row-1")
    ]
    assert body["errors"] == [
        {
            "status": "error",
            "category": "OBJECT_NOT_FOUND",
            "message": NOT_FOUND_MESSAGE,
            "context": {"ids": ["404404"], "objectWriteTraceId": ["row-2"]},
        }
    ]
    assert emulator.contacts()[0]["properties"] == {
        "email": "ada@example.com",
        "company": "Engines",
        "phone": "1",
    }


def test_batch_update_without_trace_ids_gathers_the_unknown_in_one_error(
    emulator: Emulator, call: Call
) -> None:
    ada = emulator.add_contact({"email": "ada@example.com"})
    items = [{"id": each, "properties": {"phone": "1"}} for each in (ada, "404", "405")]

    response = call("POST", f"{CONTACTS}/batch/update", inputs(*items))

    assert (response.status_code, ids(response)) == (207, [ada])
    assert response.json()["errors"][0]["context"] == {"ids": ["404", "405"]}


def test_batch_update_keyed_by_email_succeeds_and_changes_nothing(
    emulator: Emulator, call: Call
) -> None:
    emulator.add_contact({"email": "ada@example.com"})

    response = call(
        "POST",
        f"{CONTACTS}/batch/update",
        inputs({"id": "ada@example.com", "properties": {"phone": "1"}}),
    )

    assert (response.status_code, response.json()["results"]) == (200, [])
    assert "phone" not in emulator.contacts()[0]["properties"]


def test_batch_update_may_not_honour_trace_ids(emulator: Emulator, call: Call) -> None:
    emulator.update_multi_status = False
    ada, grace = (emulator.add_contact({"email": f"{name}@example.com"}) for name in "ab")
    items = [
        {"id": ada, "properties": {"phone": "1"}, "objectWriteTraceId": "row-1"},
        {"id": grace, "properties": {"nope": "1"}, "objectWriteTraceId": "row-2"},
    ]

    refused = call("POST", f"{CONTACTS}/batch/update", inputs(*items))
    accepted = call("POST", f"{CONTACTS}/batch/update", inputs(items[0]))

    assert refused.status_code == 400
    assert emulator.contacts()[0]["properties"] == {"email": "a@example.com", "phone": "1"}
    assert "objectWriteTraceId" not in accepted.json()["results"][0]


def test_batch_update_that_is_refused_whole_leaves_emails_as_they_were(
    emulator: Emulator, call: Call
) -> None:
    ada, grace = (emulator.add_contact({"email": f"{name}@example.com"}) for name in "ab")
    items = [
        {"id": ada, "properties": {"email": "c@example.com"}},
        {"id": grace, "properties": {"email": "c@example.com"}},
    ]

    assert call("POST", f"{CONTACTS}/batch/update", inputs(*items)).status_code == 409
    assert emulator.contact_by_email("c@example.com") is None
    assert emulator.contact_by_email("a@example.com") == emulator.contacts()[0]


def test_batch_upsert_by_email_says_which_are_new(emulator: Emulator, call: Call) -> None:
    ada = emulator.add_contact(
        {"email": "ada@example.com", "company": "Engines"}, additional_emails=["l@example.com"]
    )
    items = [
        {
            "id": email,
            "idProperty": "email",
            "properties": properties,
            "objectWriteTraceId": trace_id,
        }
        for email, properties, trace_id in (
            ("Grace@example.com", {"phone": "1"}, "row-1"),
            ("L@example.com", {"phone": "2"}, "row-2"),
            ("bad@", {}, "row-3"),
        )
    ]

    response = call("POST", f"{CONTACTS}/batch/upsert", inputs(*items))

    body = response.json()
    shown = [
        (each["objectWriteTraceId"], each["new"], each["properties"]["email"])
        for each in body["results"]
    ]
    assert response.status_code == 207
    assert shown == [("row-2", False, "ada@example.com"), ("row-1", True, "grace@example.com")]
    assert body["errors"][0]["context"] == {"objectWriteTraceId": ["row-3"]}
    assert emulator.contacts()[0] == {
        "id": ada,
        "properties": {"email": "ada@example.com", "company": "Engines", "phone": "2"},
        "additional_emails": ["l@example.com"],
    }


@pytest.mark.parametrize("body", ["{", '{"inputs": [', ""])
def test_body_that_is_not_json_is_refused_without_a_category(call: Call, body: str) -> None:
    status, said = refusal(call("POST", f"{CONTACTS}/batch/create", data=body))

    assert (status, sorted(said)) == (400, ["message", "status"])
    assert said["message"].startswith("Invalid input JSON on line 1, column ")


@pytest.mark.parametrize("operation", ["read", "create", "update", "upsert"])
def test_body_of_the_wrong_shape_is_refused(call: Call, operation: str) -> None:
    bodies: list[object] = [[], {}, {"inputs": "x"}, {"inputs": [1]}, {"inputs": None}]
    for body in bodies:
        status, said = refusal(call("POST", f"{CONTACTS}/batch/{operation}", body))
        assert (status, said["message"][:18]) == (400, "Invalid input JSON")


def test_search_finds_by_email_whatever_its_case(emulator: Emulator, call: Call) -> None:
    ada = emulator.add_contact({"email": "ada@example.com"})
    emulator.add_contact({"email": "grace@example.com"})

    response = call("POST", f"{CONTACTS}/search", search(value="ADA@example.com"))

    assert response.status_code == 200
    assert response.json()["total"] == 1
    assert ids(response) == [ada]
    assert response.json()["results"][0]["properties"]["email"] == "ada@example.com"


def test_search_in_a_list_wants_lower_case(emulator: Emulator, call: Call) -> None:
    ada, grace = (emulator.add_contact({"email": f"{name}@example.com"}) for name in "ab")

    def found(*values: str) -> set[str]:
        return set(ids(call("POST", f"{CONTACTS}/search", search("IN", values=values))))

    assert found("a@example.com", "b@example.com", "c@example.com") == {ada, grace}
    assert found("A@example.com") == set()


def test_search_by_other_properties_joins_filters_and_adds_groups(
    emulator: Emulator, call: Call
) -> None:
    ada = emulator.add_contact({"firstname": "Ada", "company": "Engines"})
    grace = emulator.add_contact({"firstname": "Grace", "company": "Navy"})
    emulator.add_contact({"firstname": "Ada", "company": "Other"})

    def equal(name: str, value: str) -> dict[str, str]:
        return {"propertyName": name, "operator": "EQ", "value": value}

    groups = [
        {"filters": [equal("firstname", "ada"), equal("company", "Engines")]},
        {"filters": [equal("company", "Navy")]},
    ]
    response = call("POST", f"{CONTACTS}/search", {"filterGroups": groups, "limit": 1})

    assert response.json()["total"] == 2
    assert ids(response) == [ada]
    assert set(ids(call("POST", f"{CONTACTS}/search", {"filterGroups": groups}))) == {ada, grace}
    assert call("POST", f"{CONTACTS}/search", {"limit": 200}).json()["total"] == 3
    assert call("POST", f"{CONTACTS}/search", {"limit": 201}).status_code == 400


def test_search_finds_secondary_emails_only_where_told_to(emulator: Emulator, call: Call) -> None:
    ada = emulator.add_contact({"email": "a@example.com"}, additional_emails=["b@example.com"])

    def found(name: str) -> list[str]:
        return ids(call("POST", f"{CONTACTS}/search", search(name=name, value="b@example.com")))

    assert found("email") == []
    assert found("hs_additional_emails") == [ada]
    emulator.search_finds_secondary = True
    assert found("email") == [ada]


def test_search_lags_behind_creates_but_reads_do_not(
    emulator: Emulator, call: Call, clock: Clock
) -> None:
    emulator.search_lag = 30
    created = call("POST", CONTACTS, {"properties": {"email": "a@example.com"}}).json()["id"]
    body = search(value="a@example.com")

    assert ids(call("POST", f"{CONTACTS}/search", body)) == []
    assert call("GET", f"{CONTACTS}/a@example.com?idProperty=email").json()["id"] == created
    clock.now += 30
    assert ids(call("POST", f"{CONTACTS}/search", body)) == [created]


def test_search_body_may_have_3000_characters_and_no_more(call: Call) -> None:
    body = json.dumps(search(value="a@example.com"))

    assert call("POST", f"{CONTACTS}/search", data=body.ljust(3000)).status_code == 200
    assert call("POST", f"{CONTACTS}/search", data=body.ljust(3001)).status_code == 400


@pytest.mark.parametrize(
    "body", [search("CONTAINS_TOKEN", value="a"), search(name="nope", value="a")]
)
def test_search_that_it_cannot_answer_is_refused(call: Call, body: dict[str, Any]) -> None:
    assert call("POST", f"{CONTACTS}/search", body).status_code == 400


def test_property_is_created_and_can_be_written_at_once(call: Call) -> None:
    created = call("POST", PROPERTIES, CUSTOM)

    assert created.status_code == 201
    assert created.json().items() >= CUSTOM.items()
    assert created.json()["modificationMetadata"]["readOnlyValue"] is False
    assert call("GET", f"{PROPERTIES}/scrapersky_page_id").json() == created.json()
    listed = call("GET", PROPERTIES).json()["results"]
    assert created.json() in listed
    assert {"email", "firstname", "lifecyclestage"} < {each["name"] for each in listed}
    body = {"properties": {"email": "a@example.com", "scrapersky_page_id": "x"}}
    assert call("POST", CONTACTS, body).status_code == 201


def test_property_that_exists_is_not_created_again(emulator: Emulator, call: Call) -> None:
    emulator.add_property(CUSTOM)

    response = call("POST", PROPERTIES, {**CUSTOM, "label": "Another"})

    assert refusal(response) == (
        409,
        {
            "status": "error",
            "message": "A property named 'scrapersky_page_id' already exists.",
            "category": "OBJECT_ALREADY_EXISTS",
            "subCategory": "Properties.PROPERTY_WITH_NAME_EXISTS",
        },
    )
    assert (emulator.property("scrapersky_page_id") or {})["label"] == "ScraperSky Page ID"


def test_property_needs_its_five_fields(call: Call) -> None:
    status, body = refusal(call("POST", PROPERTIES, {"name": "x", "label": "X", "type": "string"}))

    assert (status, body["category"]) == (400, "VALIDATION_ERROR")
    assert body["message"].endswith("required fields were not set: [fieldType, groupName]")


def test_unknown_property_is_not_found(call: Call) -> None:
    for method in ("GET", "DELETE"):
        status, body = refusal(call(method, f"{PROPERTIES}/nope"))
        assert (status, body["category"]) == (404, "OBJECT_NOT_FOUND")


def test_archived_property_hides_its_values_until_its_name_is_created_again(
    emulator: Emulator, call: Call, clock: Clock
) -> None:
    emulator.add_property(CUSTOM)
    ada = emulator.add_contact({"email": "ada@example.com", "scrapersky_page_id": "old"})
    contact, one = (
        f"{CONTACTS}/{ada}?properties=scrapersky_page_id",
        f"{PROPERTIES}/{CUSTOM['name']}",
    )
    before = call("GET", one).json()

    assert call("DELETE", one).status_code == 204
    assert call("GET", one).status_code == 404
    assert call("GET", f"{one}?archived=true").json()["archived"] is True
    assert "scrapersky_page_id" not in call("GET", contact).json()["properties"]

    clock.now += 60
    restored = call("POST", PROPERTIES, {**CUSTOM, "label": "Anew"})
    assert restored.status_code == 201
    assert restored.json()["label"] == "Anew"
    assert restored.json()["createdAt"] == before["createdAt"]
    assert call("GET", f"{one}?archived=true").status_code == 404
    assert call("GET", contact).json()["properties"]["scrapersky_page_id"] == "old"


def test_property_of_hubspots_own_cannot_be_archived(call: Call) -> None:
    assert call("DELETE", f"{PROPERTIES}/email").status_code == 400


def test_properties_are_read_in_a_batch(emulator: Emulator, call: Call) -> None:
    emulator.add_property(CUSTOM)
    path = f"{PROPERTIES}/batch/read"

    known = call("POST", path, {"archived": False, **inputs({"name": "scrapersky_page_id"})})
    mixed = call("POST", path, inputs({"name": "email"}, {"name": "nope"}))

    assert known.status_code == 200
    assert known.json()["results"] == [emulator.property("scrapersky_page_id")]
    assert mixed.status_code == 207
    assert [each["name"] for each in mixed.json()["results"]] == ["email"]
    assert mixed.json()["errors"][0]["context"] == {"name": ["nope"]}


def test_properties_are_created_in_a_batch_around_those_that_exist(call: Call) -> None:
    path = f"{PROPERTIES}/batch/create"

    assert call("POST", path, inputs(CUSTOM)).status_code == 201
    mixed = call("POST", path, inputs(CUSTOM, {**CUSTOM, "name": "scrapersky_domain_id"}))

    assert mixed.status_code == 207
    assert [each["name"] for each in mixed.json()["results"]] == ["scrapersky_domain_id"]
    assert mixed.json()["errors"] == [
        {
            "status": "error",
            "category": "OBJECT_ALREADY_EXISTS",
            "message": "A property named 'scrapersky_page_id' already exists.",
            "subCategory": "Properties.PROPERTY_WITH_NAME_EXISTS",
            "context": {"name": ["scrapersky_page_id"]},
        }
    ]


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", TOKEN])
def test_request_without_the_token_is_not_authenticated(call: Call, authorization: str) -> None:
    response = call("GET", PROPERTIES, headers={"Authorization": authorization})

    assert refusal(response) == (
        401,
        {
            "status": "error",
            "message": (
                "Authentication credentials not found. This API supports OAuth 2.0 authentication "
                "and you can find more details at "
                "https://developers.hubspot.com/docs/methods/auth/oauth-overview"
            ),
            "category": "INVALID_AUTHENTICATION",
        },
    )


def test_request_without_the_scope_is_forbidden_and_told_which(
    emulator: Emulator, call: Call
) -> None:
    emulator.scopes = ["crm.objects.contacts.read"]

    status, body = refusal(call("POST", CONTACTS, {"properties": {"email": "a@example.com"}}))

    assert status == 403
    assert body.pop("message").startswith(
        "This app hasn't been granted all required scopes to make this call."
    )
    assert body == {
        "status": "error",
        "errors": [
            {
                "message": "One or more of the following scopes are required.",
                "context": {"requiredGranularScopes": ["crm.objects.contacts.write"]},
            }
        ],
        "category": "MISSING_SCOPES",
    }
    assert emulator.contacts() == []


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("crm.objects.contacts.read", {"contacts", "batch/read", "search", "properties"}),
        ("crm.objects.contacts.write", {"batch/create", "properties"}),
        ("crm.schemas.contacts.read", {"properties"}),
        ("crm.schemas.contacts.write", {"new property"}),
    ],
)
def test_each_scope_opens_its_own_doors(
    emulator: Emulator, call: Call, scope: str, allowed: set[str]
) -> None:
    emulator.scopes = {scope}
    doors = {
        "contacts": call("GET", CONTACTS),
        "batch/read": call("POST", f"{CONTACTS}/batch/read", inputs()),
        "search": call("POST", f"{CONTACTS}/search", {}),
        "batch/create": call("POST", f"{CONTACTS}/batch/create", inputs()),
        "properties": call("GET", PROPERTIES),
        "new property": call("POST", PROPERTIES, CUSTOM),
    }

    assert {name for name, answer in doors.items() if answer.status_code != 403} == allowed


def test_dated_paths_answer_as_v3_does(emulator: Emulator, call: Call) -> None:
    ada = emulator.add_contact({"email": "ada@example.com"})

    for version in ("2026-03", "2026-09"):
        objects = f"/crm/objects/{version}/contacts"
        assert call("GET", f"{objects}/{ada}").json() == call("GET", f"{CONTACTS}/{ada}").json()
        assert ids(call("POST", f"{objects}/batch/read", inputs({"id": ada}))) == [ada]
        assert ids(call("POST", f"{objects}/search", search(value="ada@example.com"))) == [ada]
        assert call("GET", f"/crm/properties/{version}/contacts/email").ok
        assert call("GET", f"/account-info/{version}/details").ok


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/crm/v3/objects/companies", 404),
        ("GET", "/crm/objects/v3/contacts", 404),
        ("GET", "/crm/v3/2026-03/contacts", 404),
        ("POST", f"{CONTACTS}/batch/merge", 404),
        ("PUT", CONTACTS, 405),
        ("GET", f"{CONTACTS}/batch/read", 405),
    ],
)
def test_unknown_paths_and_methods_are_refused(
    call: Call, method: str, path: str, status: int
) -> None:
    answered, body = refusal(call(method, path))
    assert (answered, body["status"]) == (status, "error")


def test_account_details_name_the_portal(call: Call) -> None:
    assert call("GET", "/account-info/v3/details").json() == {
        "portalId": 24680135,
        "accountType": "DEVELOPER_TEST",
        "timeZone": "US/Eastern",
        "companyCurrency": "USD",
        "additionalCurrencies": [],
        "utcOffset": "-04:00",
        "utcOffsetMilliseconds": -14_400_000,
        "uiDomain": "app.hubspot.com",
        "dataHostingLocation": "na1",
    }


def test_token_info_names_portal_and_scopes_without_a_header(
    emulator: Emulator, call: Call
) -> None:
    emulator.scopes = {"crm.objects.contacts.read"}
    path, no_header = "/oauth/v2/private-apps/get/access-token-info", {"Authorization": ""}

    right = call("POST", path, {"tokenKey": TOKEN}, headers=no_header)
    wrong = call("POST", path, {"tokenKey": "wrong"}, headers=no_header)

    assert right.json()["hubId"] == 24680135
    assert right.json()["scopes"] == ["crm.objects.contacts.read"]
    assert wrong.status_code == 401


def test_burst_limit_rolls_over_ten_seconds_and_shows_what_is_left(
    emulator: Emulator, call: Call, clock: Clock
) -> None:
    emulator.burst_limit = 2

    first = call("GET", CONTACTS)
    clock.now += 6
    second, third = call("GET", CONTACTS), call("GET", CONTACTS)

    limits = {
        name: value
        for name, value in first.headers.items()
        if name.startswith("X-HubSpot-RateLimit")
    }
    assert limits == {
        "X-HubSpot-RateLimit-Max": "2",
        "X-HubSpot-RateLimit-Remaining": "1",
        "X-HubSpot-RateLimit-Interval-Milliseconds": "10000",
    }
    assert second.headers["X-HubSpot-RateLimit-Remaining"] == "0"
    assert refusal(third) == (
        429,
        {
            "status": "error",
            "message": "You have reached your ten_secondly_rolling limit.",
            "errorType": "RATE_LIMIT",
            "policyName": "TEN_SECONDLY_ROLLING",
            "groupName": "publicapi",
        },
    )
    clock.now += 4
    assert [call("GET", CONTACTS).status_code for _ in range(2)] == [200, 429]


def test_daily_limit_ends_at_midnight_in_the_portals_time_zone(
    emulator: Emulator, call: Call, clock: Clock
) -> None:
    emulator.daily_limit = 1
    allowed, refused = call("GET", CONTACTS), call("GET", CONTACTS)

    assert allowed.headers["X-HubSpot-RateLimit-Daily"] == "1"
    assert allowed.headers["X-HubSpot-RateLimit-Daily-Remaining"] == "0"
    status, body = refusal(refused)
    assert body.pop("requestId")
    assert (status, body) == (
        429,
        {
            "status": "error",
            "message": "You have reached your daily limit.",
            "errorType": "RATE_LIMIT",
            "policyName": "DAILY",
        },
    )
    clock.now = NOON + 12 * 3600 - 1
    assert call("GET", CONTACTS).status_code == 429
    clock.now = NOON + 12 * 3600
    assert call("GET", CONTACTS).status_code == 200


def test_search_has_a_limit_of_its_own_and_tells_nothing_of_it(
    emulator: Emulator, call: Call, clock: Clock
) -> None:
    emulator.search_limit, emulator.burst_limit = 1, 1

    first, second = (call("POST", f"{CONTACTS}/search", {}) for _ in range(2))

    assert first.status_code == 200
    assert refusal(second) == (
        429,
        {
            "status": "error",
            "message": "You have reached your secondly limit.",
            "errorType": "RATE_LIMIT",
            "policyName": "SECONDLY",
            "groupName": "publicapi",
        },
    )
    for answer in (first, second):
        assert not any(name.startswith("X-HubSpot-RateLimit") for name in answer.headers)
    assert call("GET", CONTACTS).status_code == 200
    clock.now += 1
    assert call("POST", f"{CONTACTS}/search", {}).status_code == 200


def test_without_limits_nothing_is_told(call: Call) -> None:
    headers = call("GET", CONTACTS).headers
    assert not any(name.startswith("X-HubSpot-RateLimit") for name in headers)


def test_unknown_time_zone_is_taken_for_utc(emulator: Emulator, call: Call) -> None:
    emulator.time_zone = "Mars/Olympus"
    assert call("GET", "/account-info/v3/details").json()["utcOffsetMilliseconds"] == 0


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, {"category": "INVALID_AUTHENTICATION"}),
        (403, {"category": "MISSING_SCOPES"}),
        (404, {"message": "resource not found"}),
        (423, {"status": "error"}),
        (429, {"policyName": "TEN_SECONDLY_ROLLING"}),
        (477, {"status": "error"}),
        (500, {"message": "internal error"}),
    ],
)
def test_fault_answers_a_status_with_its_usual_body_and_does_no_work(
    emulator: Emulator, call: Call, status: int, said: dict[str, str]
) -> None:
    fault = emulator.fault(method="POST", path="/contacts$", status=status)
    body = {"properties": {"email": "a@example.com"}}

    answered, answer = refusal(call("POST", CONTACTS, body))

    assert answered == status
    assert answer.items() >= said.items()
    assert fault.reached.is_set()
    assert fault.times == 0
    assert emulator.contacts() == []
    assert call("POST", CONTACTS, body).status_code == 201


def test_fault_of_the_proxy_speaks_html(emulator: Emulator, call: Call) -> None:
    for status in (502, 503, 504, 521, 523, 524):
        emulator.fault(status=status)
        response = call("GET", CONTACTS)
        assert response.status_code == status
        assert response.headers["Content-Type"].startswith("text/html")
        with pytest.raises(requests.JSONDecodeError):
            response.json()


def test_fault_can_name_policy_headers_and_body(emulator: Emulator, call: Call) -> None:
    emulator.fault(status=429, policy="DAILY", headers={"Retry-After": "7"})
    emulator.fault(status=418, body={"kind": "teapot"})
    emulator.fault(body="<html>maintenance</html>")

    limited, own, page = (call("GET", CONTACTS) for _ in range(3))

    assert limited.json()["message"] == "You have reached your daily limit."
    assert limited.headers["Retry-After"] == "7"
    assert (own.status_code, own.json()) == (418, {"kind": "teapot"})
    assert (page.status_code, page.text) == (200, "<html>maintenance</html>")


def test_fault_waits_for_method_path_and_text_and_lasts_as_told(
    emulator: Emulator, call: Call
) -> None:
    emulator.fault(method="POST", path=r"/search\?hapikey=", contains="ada@", times=2, status=500)
    hit, miss = search(value="ada@example.com"), search(value="grace@example.com")
    path = f"{CONTACTS}/search?hapikey=1"

    statuses = [
        call("GET", f"{CONTACTS}/search?hapikey=1").status_code,
        call("POST", f"{CONTACTS}/search", hit).status_code,
        call("POST", path, miss).status_code,
        *(call("POST", path, hit).status_code for _ in range(3)),
    ]

    assert statuses == [404, 200, 200, 500, 500, 200]


def test_fault_without_end_lasts_until_cleared(emulator: Emulator, call: Call) -> None:
    emulator.fault(times=None, status=503)

    assert {call("GET", CONTACTS).status_code for _ in range(3)} == {503}
    emulator.clear_faults()
    assert call("GET", CONTACTS).status_code == 200


def test_fault_after_write_does_the_work_and_hides_it(emulator: Emulator, call: Call) -> None:
    emulator.fault(status=500, after_write=True)

    response = call("POST", CONTACTS, {"properties": {"email": "a@example.com"}})

    assert response.status_code == 500
    assert len(emulator.contacts()) == 1


@pytest.mark.parametrize("after_write", [False, True])
def test_fault_can_drop_the_connection_before_or_after_the_work(
    emulator: Emulator, call: Call, after_write: bool
) -> None:
    emulator.fault(drop=True, after_write=after_write)

    with pytest.raises(requests.ConnectionError):
        call("POST", CONTACTS, {"properties": {"email": "a@example.com"}})

    assert len(emulator.contacts()) == int(after_write)
    assert call("GET", CONTACTS).status_code == 200


def test_fault_can_delay_an_answer_past_the_clients_patience(
    emulator: Emulator, session: requests.Session
) -> None:
    fault = emulator.fault(delay=30, after_write=True)

    with pytest.raises(requests.ReadTimeout):
        session.post(
            emulator.url + CONTACTS, json={"properties": {"email": "a@example.com"}}, timeout=0.05
        )

    assert fault.reached.wait(5)
    assert len(emulator.contacts()) == 1


@pytest.mark.parametrize("after_write", [False, True])
def test_fault_can_hold_a_request_while_others_pass(
    emulator: Emulator, call: Call, background: ThreadPoolExecutor, after_write: bool
) -> None:
    fault = emulator.fault(method="POST", release=threading.Event(), after_write=after_write)
    assert fault.release is not None

    held = background.submit(call, "POST", CONTACTS, {"properties": {"email": "a@example.com"}})

    assert fault.reached.wait(5)
    assert len(emulator.contacts()) == int(after_write)
    assert call("GET", CONTACTS).status_code == 200
    assert not held.done()
    fault.release.set()
    assert held.result(5).status_code == 201
    assert len(emulator.contacts()) == 1


def test_fault_is_not_spent_on_a_request_that_the_limit_refuses(
    emulator: Emulator, call: Call
) -> None:
    emulator.burst_limit = 0
    fault = emulator.fault(status=500)

    assert call("GET", CONTACTS).status_code == 429
    assert fault.times == 1


def test_fault_of_a_pattern_that_is_none_is_refused_at_once(emulator: Emulator) -> None:
    with pytest.raises(Exception, match="unterminated"):
        emulator.fault(path="(")


def test_latency_is_paid_per_request_and_per_input(emulator: Emulator, call: Call) -> None:
    emulator.latency, emulator.latency_per_input = 0.01, 0.02
    started = time.perf_counter()

    call("POST", f"{CONTACTS}/batch/read", inputs({"id": "1"}, {"id": "2"}))

    assert time.perf_counter() - started >= 0.05


def test_requests_are_recorded_until_reset(emulator: Emulator, call: Call) -> None:
    call("GET", f"{CONTACTS}?limit=1")
    call("POST", f"{CONTACTS}/search", {})

    assert emulator.requests == [
        ("GET", f"{CONTACTS}?limit=1"),
        ("POST", f"{CONTACTS}/search"),
    ]
    assert emulator.request_count == 2
    emulator.reset_requests()
    assert emulator.request_count == 0


def test_connections_are_kept_alive(emulator: Emulator, call: Call) -> None:
    for _ in range(3):
        call("GET", CONTACTS)

    assert emulator._server is not None
    assert len(emulator._server._connections) == 1


def test_simultaneous_creates_of_one_email_make_one_contact(
    emulator: Emulator, call: Call, background: ThreadPoolExecutor
) -> None:
    body = {"properties": {"email": "a@example.com"}}

    answers = [background.submit(call, "POST", CONTACTS, body) for _ in range(16)]

    assert sorted(each.result(5).status_code for each in answers) == [201] + [409] * 15
    assert len(emulator.contacts()) == 1


def test_stop_ends_connections_and_held_requests_and_start_finds_the_contacts_again(
    emulator: Emulator, call: Call, background: ThreadPoolExecutor
) -> None:
    emulator.add_contact({"email": "ada@example.com"})
    assert call("GET", CONTACTS).ok
    url, fault = emulator.url, emulator.fault(release=threading.Event())
    held = background.submit(call, "GET", CONTACTS)
    assert fault.reached.wait(5)

    emulator.stop()

    with pytest.raises(requests.ConnectionError):
        held.result(5)
    with pytest.raises(requests.ConnectionError):
        call("GET", CONTACTS)
    emulator.start()
    assert emulator.url == url
    assert len(ids(call("GET", CONTACTS))) == 1


def test_serve_forever_serves_until_stop(background: ThreadPoolExecutor) -> None:
    emulator = Emulator()
    emulator.start()
    serving = background.submit(emulator.serve_forever)

    assert requests.get(emulator.url, timeout=5).status_code == 401
    emulator.stop()
    assert serving.result(5) is None


def test_server_says_nothing_even_to_a_client_that_goes_away(
    emulator: Emulator, call: Call, session: requests.Session, capfd: pytest.CaptureFixture[str]
) -> None:
    fault = emulator.fault(release=threading.Event(), body="x" * 5_000_000)
    assert fault.release is not None
    with pytest.raises(requests.ReadTimeout):
        session.get(emulator.url + CONTACTS, timeout=0.02)
    session.close()

    fault.release.set()

    assert call("GET", CONTACTS).status_code == 200
    emulator.stop()
    assert capfd.readouterr() == ("", "")


def test_control_api_preloads_and_shows_contacts_without_a_token(emulator: Emulator) -> None:
    url = f"{emulator.url}/_emulator/contacts"
    ada = {"properties": {"email": "Ada@example.com"}, "additional_emails": ["l@example.com"]}

    added = requests.post(url, json=ada, timeout=5)
    again = requests.post(url, json=ada, timeout=5)
    shown = requests.get(url, timeout=5)

    assert (added.status_code, again.status_code) == (201, 400)
    assert shown.json() == {
        "contacts": [
            {
                "id": added.json()["id"],
                "properties": {"email": "ada@example.com"},
                "additional_emails": ["l@example.com"],
            }
        ]
    }


def test_control_api_adds_and_clears_faults(emulator: Emulator, call: Call) -> None:
    url = f"{emulator.url}/_emulator/faults"

    added = requests.post(url, json={"path": "/contacts", "status": 503, "times": None}, timeout=5)
    during = call("GET", CONTACTS)
    cleared = requests.delete(url, timeout=5)

    assert (added.status_code, cleared.status_code) == (201, 204)
    assert (during.status_code, call("GET", CONTACTS).status_code) == (503, 200)


@pytest.mark.parametrize("body", [{"colour": "red"}, {"reached": True}, {"path": "("}])
def test_control_api_refuses_a_fault_it_does_not_know(
    emulator: Emulator, body: dict[str, object]
) -> None:
    response = requests.post(f"{emulator.url}/_emulator/faults", json=body, timeout=5)
    assert response.status_code == 400
    name = next(iter(body))
    assert name == "path" or f"a fault has no {name} here, but: after_write" in response.text


def test_control_api_shows_requests_and_is_none_itself(emulator: Emulator, call: Call) -> None:
    emulator.daily_limit = 1
    emulator.fault(method="GET", status=500, times=None)
    call("DELETE", f"{CONTACTS}/1")

    response = requests.get(f"{emulator.url}/_emulator/requests", timeout=5)

    assert response.json() == {"count": 1, "requests": [["DELETE", f"{CONTACTS}/1"]]}
    assert emulator.request_count == 1


def test_control_api_has_no_other_doors(emulator: Emulator) -> None:
    assert requests.get(f"{emulator.url}/_emulator/secrets", timeout=5).status_code == 404


def test_preloaded_contact_may_not_take_an_email_that_is_taken(emulator: Emulator) -> None:
    emulator.add_contact({"email": "ada@example.com"}, additional_emails=["l@example.com"])

    with pytest.raises(ValueError, match="another contact holds the address"):
        emulator.add_contact({"email": "L@example.com"})


def test_contacts_without_an_email_do_not_collide(emulator: Emulator) -> None:
    emulator.add_contact({"firstname": "Ada"})
    emulator.add_contact({"firstname": "Grace", "email": ""})

    assert [each["properties"] for each in emulator.contacts()] == [
        {"firstname": "Ada"},
        {"firstname": "Grace"},
    ]
    assert emulator.contact_by_email("") is None


def test_delete_contact_frees_its_emails(emulator: Emulator) -> None:
    ada = emulator.add_contact({"email": "ada@example.com"})
    emulator.delete_contact(ada)
    emulator.delete_contact(ada)

    assert emulator.contact_by_email("ada@example.com") is None
    assert emulator.contacts() == []


def test_archive_property_hides_it(emulator: Emulator) -> None:
    emulator.add_property({"name": "p"})
    assert (emulator.property("p") or {})["label"] == "p"

    emulator.archive_property("p")

    assert emulator.property("p") is None


def test_faults_are_told_apart(emulator: Emulator) -> None:
    first, second = emulator.fault(status=500), emulator.fault(status=500)
    assert isinstance(first, Fault)
    assert first is not second
    assert first.reached is not second.reached


def test_token_stays_out_of_the_representation(emulator: Emulator) -> None:
    assert TOKEN not in repr(emulator)
