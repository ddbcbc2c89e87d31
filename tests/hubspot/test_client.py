"""The endpoints: what each request looks like, and what an answer must hold to count."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from requests_mock import ANY, Mocker

from hubspot_sync.clock import Pulse
from hubspot_sync.errors import Conflict, ContactRejected, NotFound, Unavailable
from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.transport import Transport
from hubspot_sync.rules.accounting import Success
from hubspot_sync.rules.identity import HubSpotRecord
from hubspot_sync.rules.mapping import CustomProperty, PropertyDefinition
from tests.conftest import TOKEN
from tests.contacts import contacts_client
from tests.for_each import for_each

BASE_URL = "https://api.hubapi.com"
EMAIL = "ada@example.com"
ODD_EMAIL = "a+b/c#d%e?f@x.com"
ODD_EMAIL_ENCODED = "a%2Bb%2Fc%23d%25e%3Ff%40x.com"
PAGE_ID = CustomProperty("scrapersky_page_id", "string", "text", "ScraperSky Page ID")
RECORD = {"id": "20001", "properties": {"email": EMAIL}}
PROPERTY = {"name": "scrapersky_page_id", "type": "string", "fieldType": "text"}

Call = Callable[[HubSpotClient], object]

CONTACTS = {"v3": "/crm/v3/objects/contacts", "2026-09": "/crm/objects/2026-09/contacts"}
PROPERTIES = {"v3": "/crm/v3/properties/contacts", "2026-09": "/crm/properties/2026-09/contacts"}
ACCOUNT = {"v3": "/account-info/v3/details", "2026-09": "/account-info/2026-09/details"}


@pytest.fixture(params=["v3", "2026-09"])
def version(request: pytest.FixtureRequest) -> str:
    """Every test that asks for it is run with the paths of both generations."""
    return str(request.param)


@pytest.fixture
def transport(pulse: Pulse) -> Iterator[Transport]:
    """A transport to the HubSpot that requests-mock plays."""
    made = Transport(BASE_URL, TOKEN, timeout_seconds=5, pulse=pulse)
    yield made
    made.close()


@pytest.fixture
def versioned(transport: Transport, version: str) -> HubSpotClient:
    """A client of one generation of the API."""
    return contacts_client(transport, api_version=version)


@pytest.fixture
def mocked(transport: Transport) -> HubSpotClient:
    """A client of the HubSpot that requests-mock plays."""
    return contacts_client(transport)


def sent(requests_mock: Mocker) -> tuple[str, str, Any]:
    """Return the method, the URL as sent, and the body of the only request."""
    (request,) = requests_mock.request_history
    assert request.url.startswith(BASE_URL)
    return request.method, request.url.removeprefix(BASE_URL), request.body and request.json()


def answer_all(requests_mock: Mocker, **answer: Any) -> None:
    """Answer whatever comes."""
    requests_mock.register_uri(ANY, ANY, **answer)


def test_read_by_email_returns_the_contact_of_a_secondary_email(
    mocked: HubSpotClient, requests_mock: Mocker
) -> None:
    properties = {"email": "first@example.com", "hs_additional_emails": f"old@example.com;{EMAIL}"}
    answer_all(requests_mock, json={"id": "7", "properties": properties})
    assert mocked.read_by_email(EMAIL) == HubSpotRecord("7", properties)


def test_read_by_email_does_not_take_a_contact_of_another_email_for_the_owner(
    mocked: HubSpotClient, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, json={"id": "7", "properties": {"email": "another@example.com"}})
    assert mocked.read_by_email(EMAIL) is None


def test_read_by_email_asks_the_record_store(
    versioned: HubSpotClient, version: str, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, json=RECORD)
    versioned.read_by_email(EMAIL)
    path = f"{CONTACTS[version]}/ada%40example.com"
    query = "properties=email%2Chs_additional_emails&idProperty=email"
    assert sent(requests_mock) == ("GET", f"{path}?{query}", None)


def test_read_by_email_encodes_the_email(mocked: HubSpotClient, requests_mock: Mocker) -> None:
    answer_all(requests_mock, json=RECORD)
    mocked.read_by_email(ODD_EMAIL)
    path = sent(requests_mock)[1].partition("?")[0]
    assert path == f"{CONTACTS['v3']}/{ODD_EMAIL_ENCODED}"


def test_read_by_email_finds_an_odd_email(client: HubSpotClient, hubspot: Emulator) -> None:
    hubspot_id = hubspot.add_contact({"email": ODD_EMAIL})
    hubspot.add_contact({"email": "a b/c#d%e?f@x.com"})
    found = client.read_by_email(ODD_EMAIL)
    assert found is not None
    assert found.id == hubspot_id


def test_read_by_email_asks_for_further_properties(
    mocked: HubSpotClient, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, json=RECORD)
    mocked.read_by_email(EMAIL, ("firstname", "phone"))
    query = sent(requests_mock)[1].partition("?")[2]
    assert "properties=email%2Chs_additional_emails%2Cfirstname%2Cphone" in query


def test_read_by_email_returns_none_where_hubspot_has_none(
    mocked: HubSpotClient, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, status_code=404, json={"message": "resource not found"})
    assert mocked.read_by_email(EMAIL) is None


def test_read_by_id_asks_for_the_record(
    versioned: HubSpotClient, version: str, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, json=RECORD)
    versioned.read_by_id("20001", ("scrapersky_page_id",))
    query = "properties=email%2Chs_additional_emails%2Cscrapersky_page_id"
    assert sent(requests_mock) == ("GET", f"{CONTACTS[version]}/20001?{query}", None)


def test_read_by_id_encodes_a_strange_id(mocked: HubSpotClient, requests_mock: Mocker) -> None:
    answer_all(requests_mock, json=RECORD)
    mocked.read_by_id("1/../2?x=1")
    assert sent(requests_mock)[1].startswith(f"{CONTACTS['v3']}/1%2F..%2F2%3Fx%3D1?")


def test_read_by_id_returns_none_where_hubspot_has_none(
    mocked: HubSpotClient, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, status_code=404, json={"message": "resource not found"})
    assert mocked.read_by_id("20001") is None


def test_read_leaves_out_empty_properties(mocked: HubSpotClient, requests_mock: Mocker) -> None:
    properties = {"email": EMAIL, "phone": None, "firstname": ""}
    answer_all(requests_mock, json={"id": "20001", "properties": properties})
    assert mocked.read_by_id("20001") == HubSpotRecord("20001", {"email": EMAIL})


def test_create_posts_the_properties(
    versioned: HubSpotClient, version: str, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, status_code=201, json=RECORD)
    assert versioned.create({"email": EMAIL, "firstname": "Ada"}) == "20001"
    body = {"properties": {"email": EMAIL, "firstname": "Ada"}}
    assert sent(requests_mock) == ("POST", CONTACTS[version], body)


def test_create_returns_a_numeric_id_as_text(mocked: HubSpotClient, requests_mock: Mocker) -> None:
    answer_all(requests_mock, status_code=201, json=RECORD | {"id": 20001})
    assert mocked.create({"email": EMAIL}) == "20001"


def test_create_is_not_repeated_where_its_answer_is_lost(
    mocked: HubSpotClient, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, status_code=502, text="<html>Bad Gateway</html>")
    with pytest.raises(Unavailable) as caught:
        mocked.create({"email": EMAIL})
    assert caught.value.outcome_unknown
    assert requests_mock.call_count == 1


@pytest.mark.parametrize(
    "body",
    [
        {"message": "Contact already exists. Existing ID: 37765128953", "category": "CONFLICT"},
        {"message": "Contact already exists.", "context": {"existingId": ["37765128953"]}},
        {"message": "Existing ID: 1", "context": {"existingId": ["37765128953"]}},
    ],
)
def test_create_of_an_email_that_is_taken_names_its_owner(
    mocked: HubSpotClient, requests_mock: Mocker, body: dict[str, Any]
) -> None:
    answer_all(requests_mock, status_code=409, json=body)
    with pytest.raises(Conflict) as caught:
        mocked.create({"email": EMAIL})
    assert caught.value.existing_id == "37765128953"


def test_update_patches_by_record_id(
    versioned: HubSpotClient, version: str, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, json=RECORD)
    assert versioned.update("20001", {"firstname": "Ada"}) == "20001"
    body = {"properties": {"firstname": "Ada"}}
    assert sent(requests_mock) == ("PATCH", f"{CONTACTS[version]}/20001", body)


def test_update_returns_the_id_that_hubspot_confirms(
    mocked: HubSpotClient, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, json=RECORD | {"id": "30001"})
    assert mocked.update("20001", {"firstname": "Ada"}) == "30001"


def test_update_of_a_contact_that_is_gone_says_so(
    mocked: HubSpotClient, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, status_code=404, json={"message": "resource not found"})
    with pytest.raises(NotFound):
        mocked.update("20001", {"firstname": "Ada"})


def test_update_that_is_refused_says_why(mocked: HubSpotClient, requests_mock: Mocker) -> None:
    error = {
        "message": "too long",
        "code": "VALUE_TOO_LONG",
        "context": {"propertyName": ["firstname"]},
    }
    answer_all(requests_mock, status_code=400, json={"errors": [error], "correlationId": "c0ffee"})
    with pytest.raises(ContactRejected, match="firstname: too long") as caught:
        mocked.update("20001", {"firstname": "A" * 70_000})
    assert caught.value.correlation_id == "c0ffee"


@pytest.mark.parametrize(("by_email", "key"), [(True, {"idProperty": "email"}), (False, {})])
def test_read_batch_asks_the_record_store(
    versioned: HubSpotClient,
    version: str,
    requests_mock: Mocker,
    by_email: bool,
    key: dict[str, str],
) -> None:
    answer_all(requests_mock, json={"results": []})
    versioned.read_batch(["one", "two"], ("phone",), by_email=by_email)
    body = {
        "properties": ["email", "hs_additional_emails", "phone"],
        "propertiesWithHistory": [],
        "inputs": [{"id": "one"}, {"id": "two"}],
    }
    assert sent(requests_mock) == ("POST", f"{CONTACTS[version]}/batch/read", body | key)


def test_read_batch_returns_the_records_and_the_keys_that_hubspot_lacks(
    mocked: HubSpotClient, requests_mock: Mocker
) -> None:
    error = {
        "category": "OBJECT_NOT_FOUND",
        "message": "Could not get some CONTACT objects, they may be deleted or not exist.",
        "context": {"ids": ["Unknown@example.com"]},
    }
    answer_all(
        requests_mock,
        status_code=207,
        json={"status": "COMPLETE", "results": [RECORD], "numErrors": 1, "errors": [error]},
    )
    found, missing = mocked.read_batch([EMAIL, "Unknown@example.com"], by_email=True)
    assert found == [HubSpotRecord("20001", {"email": EMAIL})]
    assert missing == {"unknown@example.com"}


def test_create_batch_posts_each_input_with_its_trace_id(
    versioned: HubSpotClient, version: str, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, status_code=201, json={"results": []})
    versioned.create_batch([("trace-1", {"email": EMAIL})])
    body = {"inputs": [{"properties": {"email": EMAIL}, "objectWriteTraceId": "trace-1"}]}
    assert sent(requests_mock) == ("POST", f"{CONTACTS[version]}/batch/create", body)


def test_create_batch_is_not_repeated_where_its_answer_is_lost(
    mocked: HubSpotClient, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, status_code=502, text="<html>Bad Gateway</html>")
    with pytest.raises(Unavailable) as caught:
        mocked.create_batch([("trace-1", {"email": EMAIL})])
    assert caught.value.outcome_unknown
    assert requests_mock.call_count == 1


def test_update_batch_posts_each_input_by_record_id(
    versioned: HubSpotClient, version: str, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, json={"results": []})
    versioned.update_batch([("trace-1", "20001", {"phone": "1"})])
    entry = {"id": "20001", "properties": {"phone": "1"}, "objectWriteTraceId": "trace-1"}
    body = {"inputs": [entry]}
    assert sent(requests_mock) == ("POST", f"{CONTACTS[version]}/batch/update", body)


def test_update_batch_returns_what_was_written_and_what_was_refused(
    mocked: HubSpotClient, requests_mock: Mocker
) -> None:
    error = {
        "category": "CONFLICT",
        "message": "Contact already exists.",
        "context": {"objectWriteTraceId": ["trace-2"], "existingId": ["20009"]},
    }
    written = RECORD | {"objectWriteTraceId": "trace-1"}
    answer_all(requests_mock, status_code=207, json={"results": [written], "errors": [error]})
    reply = mocked.update_batch([("trace-1", "20001", {}), ("trace-2", "20002", {})])
    (success,), (refusal,) = reply.successes, reply.refusals
    assert success == Success(HubSpotRecord("20001", {"email": EMAIL}), "trace-1")
    assert refusal.trace_ids == ("trace-2",)
    assert isinstance(refusal.error, Conflict)
    assert refusal.error.existing_id == "20009"


@pytest.mark.parametrize("call", ["read_batch", "update_batch"])
def test_batch_of_one_try_is_not_repeated(
    mocked: HubSpotClient, requests_mock: Mocker, call: str
) -> None:
    answer_all(requests_mock, status_code=503, json={})
    calls: dict[str, Call] = {
        "read_batch": lambda client: client.read_batch([EMAIL], by_email=True, tries=1),
        "update_batch": lambda client: client.update_batch([("t", "1", {})], tries=1),
    }
    with pytest.raises(Unavailable):
        calls[call](mocked)
    assert requests_mock.call_count == 1


def test_probe_reads_one_contact_once(
    versioned: HubSpotClient, version: str, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, json={"results": []})
    versioned.probe()
    assert sent(requests_mock) == ("GET", f"{CONTACTS[version]}?limit=1", None)


@pytest.mark.parametrize(
    "answer",
    [
        {"status_code": 429, "json": {"policyName": "SECONDLY"}},
        {"status_code": 503, "json": {}},
        {"status_code": 200, "text": "<html>Welcome</html>"},
        {"status_code": 200, "json": {"results": "none"}},
    ],
)
def test_probe_is_not_repeated(
    mocked: HubSpotClient, requests_mock: Mocker, answer: dict[str, Any]
) -> None:
    answer_all(requests_mock, **answer)
    with pytest.raises(Unavailable):
        mocked.probe()
    assert requests_mock.call_count == 1


def test_account_names_the_portal(
    versioned: HubSpotClient, version: str, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, json={"portalId": 24680135, "timeZone": "US/Eastern"})
    assert versioned.account().portal_id == "24680135"
    assert sent(requests_mock) == ("GET", ACCOUNT[version], None)


def test_read_properties_asks_for_all_at_once(
    versioned: HubSpotClient, version: str, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, json={"results": []})
    versioned.read_properties(["one", "two"])
    body = {"archived": False, "inputs": [{"name": "one"}, {"name": "two"}]}
    assert sent(requests_mock) == ("POST", f"{PROPERTIES[version]}/batch/read", body)


def test_read_properties_asks_for_a_hundred_in_a_request(
    mocked: HubSpotClient, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, json={"results": []})
    mocked.read_properties([f"p{number}" for number in range(230)])
    asked = [len(request.json()["inputs"]) for request in requests_mock.request_history]
    assert asked == [100, 100, 30]


def test_read_properties_returns_those_that_exist(
    mocked: HubSpotClient, requests_mock: Mocker
) -> None:
    read_only = {"name": "score", "type": "number", "fieldType": "number"}
    read_only["modificationMetadata"] = {"readOnlyValue": True}  # type: ignore[assignment]
    errors = [{"category": "OBJECT_NOT_FOUND", "context": {"name": ["gone"]}}]
    answer_all(
        requests_mock,
        status_code=207,
        json={"results": [PROPERTY, read_only], "numErrors": 1, "errors": errors},
    )
    assert mocked.read_properties(["scrapersky_page_id", "score", "gone"]) == {
        "scrapersky_page_id": PropertyDefinition("scrapersky_page_id", "string", "text"),
        "score": PropertyDefinition("score", "number", "number", read_only=True),
    }


def test_has_archived_property_looks_into_the_bin(
    versioned: HubSpotClient, version: str, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, json=PROPERTY | {"archived": True})
    assert versioned.has_archived_property("scrapersky_page_id")
    path = f"{PROPERTIES[version]}/scrapersky_page_id?archived=true"
    assert sent(requests_mock) == ("GET", path, None)


def test_has_archived_property_is_false_where_the_bin_has_none(
    mocked: HubSpotClient, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, status_code=404, json={"category": "OBJECT_NOT_FOUND"})
    assert not mocked.has_archived_property("scrapersky_page_id")


def test_create_property_posts_the_definition(
    versioned: HubSpotClient, version: str, requests_mock: Mocker
) -> None:
    answer_all(requests_mock, status_code=201, json=PROPERTY)
    versioned.create_property(PAGE_ID)
    body = {
        "name": "scrapersky_page_id",
        "label": "ScraperSky Page ID",
        "type": "string",
        "fieldType": "text",
        "groupName": "contactinformation",
    }
    assert sent(requests_mock) == ("POST", PROPERTIES[version], body)


def test_create_property_that_exists_is_a_conflict(
    mocked: HubSpotClient, requests_mock: Mocker
) -> None:
    body = {"category": "OBJECT_ALREADY_EXISTS", "message": "A property named 'x' already exists."}
    answer_all(requests_mock, status_code=409, json=body)
    with pytest.raises(Conflict):
        mocked.create_property(PAGE_ID)


CALLS: dict[str, Call] = {
    "read_by_email": lambda client: client.read_by_email(EMAIL),
    "read_by_id": lambda client: client.read_by_id("20001"),
    "create": lambda client: client.create({"email": EMAIL}),
    "update": lambda client: client.update("20001", {"firstname": "Ada"}),
    "read_batch": lambda client: client.read_batch([EMAIL], by_email=True),
    "create_batch": lambda client: client.create_batch([("trace-1", {"email": EMAIL})]),
    "update_batch": lambda client: client.update_batch([("trace-1", "20001", {"phone": "1"})]),
    "probe": lambda client: client.probe(),
    "account": lambda client: client.account(),
    "read_properties": lambda client: client.read_properties(["scrapersky_page_id"]),
}
ALL_CALLS = CALLS | {
    "has_archived_property": lambda client: client.has_archived_property("scrapersky_page_id"),
    "create_property": lambda client: client.create_property(PAGE_ID),
}


@for_each("name", list(ALL_CALLS))
@for_each(
    ("status", "text"),
    [
        (200, ""),
        (201, ""),
        (204, ""),
        (200, "<html>Welcome</html>"),
        (200, "null"),
        (200, '"done"'),
        (200, "[]"),
        (200, '{"id": "1", "properties": {'),
    ],
)
def test_success_that_is_no_json_object_is_no_answer(
    mocked: HubSpotClient, requests_mock: Mocker, name: str, status: int, text: str
) -> None:
    answer_all(requests_mock, status_code=status, text=text)
    with pytest.raises(Unavailable) as caught:
        ALL_CALLS[name](mocked)
    assert caught.value.outcome_unknown


NOT_A_LIST: list[Any] = [{}, {"results": None}, {"results": {}}, {"results": "x"}, {"id": "1"}]
NOT_A_RECORD: list[Any] = [
    {},
    {"id": "1"},
    {"properties": {"email": EMAIL}},
    {"id": None, "properties": {"email": EMAIL}},
    {"id": "", "properties": {"email": EMAIL}},
    {"id": ["1"], "properties": {"email": EMAIL}},
    {"id": "1", "properties": None},
    {"id": "1", "properties": ["email"]},
    {"results": [RECORD]},
]
BATCHES = ("read_batch", "create_batch", "update_batch")
LACKING = [
    *(("read_by_email", body) for body in NOT_A_RECORD),
    *(("read_by_id", body) for body in NOT_A_RECORD),
    *(("create", body) for body in NOT_A_RECORD),
    *(("update", body) for body in NOT_A_RECORD),
    *((call, body) for call in BATCHES for body in NOT_A_LIST),
    *((call, {"results": [entry]}) for call in BATCHES for entry in [*NOT_A_RECORD, None, "x"]),
    *(("probe", body) for body in NOT_A_LIST),
    *(("account", body) for body in ({}, {"portalId": None}, {"portalId": [1]})),
    *(("read_properties", body) for body in NOT_A_LIST),
    *(
        ("read_properties", {"results": [entry]})
        for entry in (None, "x", {}, {"name": None}, {"type": "string"})
    ),
]


@for_each(("name", "body"), LACKING)
def test_success_that_lacks_what_was_promised_is_no_answer(
    mocked: HubSpotClient, requests_mock: Mocker, name: str, body: Any
) -> None:
    answer_all(requests_mock, json=body)
    with pytest.raises(Unavailable) as caught:
        CALLS[name](mocked)
    assert caught.value.outcome_unknown


@pytest.mark.parametrize("text", ["{}", '{"name": null}', '{"name": "another"}'])
def test_create_property_without_confirmation_is_no_answer(
    transport: Transport, requests_mock: Mocker, text: str
) -> None:
    requests_mock.post("https://api.hubapi.com/crm/v3/properties/contacts", text=text)
    wanted = CustomProperty("scrapersky_page_id", "string", "text", "Page")
    with pytest.raises(Unavailable) as caught:
        contacts_client(transport).create_property(wanted)
    assert caught.value.outcome_unknown
