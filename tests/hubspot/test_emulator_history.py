"""Histories that the emulator keeps, and what people do to records in it."""

from typing import Any

import pytest
import requests

from hubspot_sync.hubspot.emulator import Emulator
from tests.hubspot.emulator_calls import CONTACTS, Call, Clock, ids, inputs, problem, refusal

READ = f"{CONTACTS}/batch/read"
UPDATE = f"{CONTACTS}/batch/update"
T0, T1, T2 = (f"2026-10-01T16:0{minute}:00.000Z" for minute in range(3))


@pytest.fixture
def ada(call: Call) -> str:
    """A contact that was created over the API."""
    body = {"properties": {"email": "ada@example.com", "phone": "1", "company": "Engines"}}
    return str(call("POST", CONTACTS, body).json()["id"])


def by_app(value: str, timestamp: str) -> dict[str, Any]:
    return {
        "value": value,
        "timestamp": timestamp,
        "sourceType": "INTEGRATION",
        "sourceId": "303",
    }


def by_person(value: str, timestamp: str, user_id: int = 7) -> dict[str, Any]:
    return {
        "value": value,
        "timestamp": timestamp,
        "sourceType": "CRM_UI",
        "sourceId": f"userId:{user_id}",
        "updatedByUserId": user_id,
    }


def histories(call: Call, contact_id: str, *names: str) -> dict[str, Any]:
    body = {"propertiesWithHistory": list(names), **inputs({"id": contact_id})}
    [result] = call("POST", READ, body).json()["results"]
    return dict(result["propertiesWithHistory"])


def patch(call: Call, contact_id: str, **properties: str) -> dict[str, Any]:
    answer = call("PATCH", f"{CONTACTS}/{contact_id}", {"properties": properties})
    assert answer.status_code == 200
    return dict(answer.json())


def test_history_has_the_newest_first_and_names_who_wrote(
    emulator: Emulator, call: Call, clock: Clock, ada: str
) -> None:
    clock.now += 60
    emulator.edit_contact(ada, {"phone": "2"}, user_id=7)
    clock.now += 60
    patch(call, ada, phone="3", firstname="Ada")

    assert histories(call, ada, "phone", "firstname", "company") == {
        "phone": [by_app("3", T2), by_person("2", T1), by_app("1", T0)],
        "firstname": [by_app("Ada", T2)],
        "company": [by_app("Engines", T0)],
    }
    assert emulator.history(ada, "phone") == histories(call, ada, "phone")["phone"]


def test_get_shows_history_and_value_of_what_it_asks_for_and_of_nothing_else(
    call: Call, ada: str
) -> None:
    path = f"{CONTACTS}/{ada}?properties=company&propertiesWithHistory=phone,nope,jobtitle"

    one = call("GET", path).json()

    assert one["properties"].keys() - {"createdate", "hs_object_id", "lastmodifieddate"} == {
        "company",
        "phone",
        "jobtitle",
    }
    assert one["propertiesWithHistory"] == {"phone": [by_app("1", T0)]}
    alone = call("GET", f"{CONTACTS}/{ada}?propertiesWithHistory=phone").json()
    assert alone["properties"].keys() == {
        "phone",
        "createdate",
        "hs_object_id",
        "lastmodifieddate",
    }
    assert "propertiesWithHistory" not in call("GET", f"{CONTACTS}/{ada}").json()


def test_batch_read_shows_histories_beside_the_values_asked_for(
    emulator: Emulator, call: Call, ada: str
) -> None:
    grace = emulator.add_contact({"email": "grace@example.com", "phone": "9"}, user_id=8)
    keys = [{"id": "ada@example.com"}, {"id": "grace@example.com"}]
    body = {
        "idProperty": "email",
        "properties": ["email"],
        "propertiesWithHistory": ["phone"],
        "inputs": keys,
    }

    results = {each["id"]: each for each in call("POST", READ, body).json()["results"]}

    assert results[ada]["properties"]["email"] == "ada@example.com"
    assert "phone" not in results[ada]["properties"]
    assert results[ada]["propertiesWithHistory"] == {"phone": [by_app("1", T0)]}
    assert results[grace]["propertiesWithHistory"] == {"phone": [by_person("9", T0, 8)]}


def test_list_shows_histories_too(call: Call, ada: str) -> None:
    listed = call("GET", f"{CONTACTS}?limit=50&propertiesWithHistory=phone")

    assert listed.json()["results"][0]["propertiesWithHistory"] == {"phone": [by_app("1", T0)]}
    assert call("GET", f"{CONTACTS}?limit=51&propertiesWithHistory=phone").status_code == 400
    assert call("GET", f"{CONTACTS}?limit=51").status_code == 200


def test_batch_read_takes_50_inputs_with_history_and_100_without(call: Call) -> None:
    def read(count: int, *history: str) -> requests.Response:
        items = [{"id": str(number)} for number in range(count)]
        return call("POST", READ, {"propertiesWithHistory": history, **inputs(*items)})

    assert read(50, "phone").status_code == 207
    assert read(100).status_code == 207
    assert refusal(read(51, "phone")) == (
        400,
        {
            "status": "error",
            "message": (
                "The maximum number of inputs supported in a batch request for property histories "
                "is 50. Please reduce the number of items and try again"
            ),
            "category": "VALIDATION_ERROR",
        },
    )


def test_clearing_is_an_entry_and_writing_the_same_again_is_none(
    call: Call, clock: Clock, ada: str
) -> None:
    clock.now += 60
    patch(call, ada, phone="")
    clock.now += 60
    patch(call, ada, phone="", company="Engines")

    assert histories(call, ada, "phone", "company") == {
        "phone": [by_app("", T1), by_app("1", T0)],
        "company": [by_app("Engines", T0)],
    }


@pytest.mark.parametrize("limit", [1, 3, 45])
def test_history_keeps_the_newest_entries_of_each_property(
    emulator: Emulator, call: Call, ada: str, limit: int
) -> None:
    emulator.history_limit = limit
    for number in range(60):
        patch(call, ada, phone=f"n{number}")
    patch(call, ada, firstname="Ada")

    found = histories(call, ada, "phone", "company", "firstname")

    assert [each["value"] for each in found["phone"]] == [f"n{59 - n}" for n in range(limit)]
    assert found["company"] == [by_app("Engines", T0)]
    assert found["firstname"] == [by_app("Ada", T0)]
    contact = emulator._portal.contacts[ada]
    assert len(contact.changes) <= 2 * limit + 1


def test_histories_name_the_app_and_so_does_the_tokens_own_page(
    emulator: Emulator, call: Call, ada: str
) -> None:
    emulator.app_id = 404
    patch(call, ada, phone="2")

    assert [each["sourceId"] for each in histories(call, ada, "phone")["phone"]] == ["404", "303"]
    path = "/oauth/v2/private-apps/get/access-token-info"
    assert call("POST", path, {"tokenKey": emulator.token}).json()["appId"] == 404


@pytest.mark.parametrize("operation", ["update", "upsert"])
def test_updated_at_of_a_batch_agrees_with_the_history(
    call: Call, clock: Clock, ada: str, operation: str
) -> None:
    clock.now += 60.123
    key = {"id": "ada@example.com", "idProperty": "email"} if operation == "upsert" else {"id": ada}

    answer = call(
        "POST", f"{CONTACTS}/batch/{operation}", inputs({**key, "properties": {"phone": "2"}})
    )

    [result] = answer.json()["results"]
    newest = histories(call, ada, "phone")["phone"][0]
    assert newest["timestamp"] == result["updatedAt"] == "2026-10-01T16:01:00.123Z"
    assert result["properties"]["lastmodifieddate"] == result["updatedAt"]


def test_updated_at_of_a_single_update_agrees_with_the_history(
    call: Call, clock: Clock, ada: str
) -> None:
    clock.now += 60
    answer = patch(call, ada, phone="2")

    assert histories(call, ada, "phone")["phone"][0] == by_app("2", answer["updatedAt"])
    assert answer["createdAt"] == T0


def test_batch_that_is_refused_whole_leaves_no_history(call: Call, ada: str) -> None:
    other = call("POST", CONTACTS, {"properties": {"email": "b@example.com"}}).json()["id"]
    good, bad = (
        {"id": ada, "properties": {"phone": "2"}},
        {"id": other, "properties": {"nope": "1"}},
    )

    assert call("POST", UPDATE, inputs(good, bad)).status_code == 400

    assert histories(call, ada, "phone") == {"phone": [by_app("1", T0)]}


def test_archived_property_shows_no_history_until_it_is_back(
    emulator: Emulator, call: Call, ada: str
) -> None:
    emulator.add_property({"name": "p"})
    patch(call, ada, p="x")
    emulator.archive_property("p")
    assert histories(call, ada, "p") == {}

    emulator.add_property({"name": "p"})
    assert histories(call, ada, "p") == {"p": [by_app("x", T0)]}


def test_person_edits_clears_and_renames(emulator: Emulator, call: Call, ada: str) -> None:
    emulator.edit_contact(ada, {"email": "Lovelace@Example.com", "phone": "", "company": "Own"})

    assert emulator.contacts() == [
        {
            "id": ada,
            "properties": {"email": "lovelace@example.com", "company": "Own"},
            "additional_emails": [],
        }
    ]
    assert emulator.contact_by_email("ada@example.com") is None
    assert histories(call, ada, "email")["email"][0] == by_person("lovelace@example.com", T0, 101)


def test_person_may_move_a_stage_backwards(emulator: Emulator, call: Call, ada: str) -> None:
    patch(call, ada, lifecyclestage="customer")
    emulator.edit_contact(ada, {"lifecyclestage": "lead"})

    assert emulator.contacts()[0]["properties"]["lifecyclestage"] == "lead"


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"nope": "1"}, "no property nope"),
        ({"email": "grace@example.com"}, "holds the address grace"),
    ],
)
def test_person_cannot_write_what_hubspot_has_no_place_for(
    emulator: Emulator, ada: str, properties: dict[str, str], message: str
) -> None:
    emulator.add_contact({"email": "grace@example.com"})
    before = emulator.contacts()

    with pytest.raises(ValueError, match=message):
        emulator.edit_contact(ada, properties)

    assert emulator.contacts() == before


def test_contact_that_is_gone_can_be_neither_edited_nor_looked_at(
    emulator: Emulator, ada: str
) -> None:
    emulator.delete_contact(ada)
    with pytest.raises(KeyError):
        emulator.edit_contact(ada, {"phone": "2"})
    with pytest.raises(KeyError):
        emulator.history(ada, "phone")


def test_merge_keeps_the_primary_history_and_enters_what_came_from_the_other(
    emulator: Emulator, call: Call, clock: Clock, ada: str
) -> None:
    clock.now += 60
    patch(call, ada, phone="2")
    other = emulator.add_contact({"email": "al@example.com", "phone": "9", "city": "London"})
    clock.now += 60

    merged = emulator.merge_contacts(ada, other, user_id=7)

    assert histories(call, ada, "phone", "city", "email") == {
        "phone": [by_app("2", T1), by_app("1", T0)],
        "city": [by_person("London", T2) | {"sourceType": "MERGE_CONTACTS"}],
        "email": [by_app("ada@example.com", T0)],
    }
    emulator.edit_contact(other, {"city": "Paris"}, user_id=7)
    assert [each["value"] for each in emulator.history(merged, "city")] == ["Paris", "London"]


def test_control_api_edits_archives_and_merges_as_people_do(
    emulator: Emulator, call: Call, ada: str
) -> None:
    url = f"{emulator.url}/_emulator"
    grace, alan = (emulator.add_contact({"email": f"{name}@example.com"}) for name in "ga")

    edited = requests.patch(
        f"{url}/contacts/{ada}", json={"properties": {"phone": 2}, "user_id": 7}, timeout=5
    )
    archived = requests.delete(f"{url}/contacts/{grace}", timeout=5)
    merged = requests.post(f"{url}/merges", json={"primary": ada, "other": alan}, timeout=5)

    assert [each.status_code for each in (edited, archived, merged)] == [204, 204, 201]
    assert emulator.history(ada, "phone") == [by_person("2", T0), by_app("1", T0)]
    assert ids(call("GET", CONTACTS)) == [merged.json()["id"]]
    missing = (
        requests.patch(f"{url}/contacts/{grace}", json={"properties": {}}, timeout=5),
        requests.post(f"{url}/merges", json={"primary": grace, "other": ada}, timeout=5),
    )
    assert [each.status_code for each in missing] == [404, 404]


def test_person_who_edits_between_read_and_write_is_in_the_history(
    emulator: Emulator, call: Call, clock: Clock, ada: str
) -> None:
    emulator.edit_contact(ada, {"phone": "theirs"}, user_id=7)
    clock.now += 60
    patch(call, ada, phone="ours")

    assert [each["value"] for each in histories(call, ada, "phone")["phone"]] == [
        "ours",
        "theirs",
        "1",
    ]
    # HubSpot has no conditional write: what they typed is overwritten all the same.
    assert emulator.contacts()[0]["properties"]["phone"] == "ours"


def test_write_to_an_archived_property_is_refused_as_to_one_that_never_was(
    emulator: Emulator, call: Call, ada: str
) -> None:
    emulator.add_property({"name": "p"})
    emulator.archive_property("p")

    found = problem(call("PATCH", f"{CONTACTS}/{ada}", {"properties": {"p": "1"}}))

    assert (found["error"], found["name"]) == ("PROPERTY_DOESNT_EXIST", "p")
    with pytest.raises(ValueError, match="no property p"):
        emulator.edit_contact(ada, {"p": "1"})
