"""The portal as a whole: whose it is, what it has, and what a sync would find there."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from hubspot_sync.clock import Pulse
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import (
    HubSpotDenied,
    HubSpotDown,
    Interrupted,
    MappingUnfit,
    PropertyMissing,
    QuotaSpent,
    WrongPortal,
)
from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.portal import (
    create_properties,
    look_at_portal,
    next_day,
)
from hubspot_sync.hubspot.transport import Transport
from hubspot_sync.report import PropertyState
from hubspot_sync.rules.mapping import (
    CustomProperty,
    Field,
    PropertyMapping,
    PropertyNames,
    built_in_mapping,
)
from hubspot_sync.rules.value_types import TypeSpec, ValueType
from tests.conftest import NOW, TOKEN
from tests.contacts import MAPPING, contacts_client

NAMES = PropertyNames()
OWN = built_in_mapping(
    PropertyNames(domain_id="our_domain", page_id="our_page", sync_date="our_date")
)
ALL_NAMES = [custom.name for custom in MAPPING.custom_properties]
PORTAL = "24680135"
KEY = str(UUID(int=1))
EMAIL = "ada@example.com"

CREATED, EXISTS = PropertyState.CREATED, PropertyState.EXISTS
DIFFERS, WOULD_CREATE = PropertyState.DIFFERS, PropertyState.WOULD_CREATE

ACCOUNT = {"path": "/account-info/"}
DEFINE = {"method": "POST", "path": "/properties/contacts$"}


@pytest.fixture
def bare() -> Iterator[Emulator]:
    """A local HubSpot that has none of our custom properties."""
    with Emulator(token=TOKEN) as emulator:
        yield emulator


@pytest.fixture
def bare_client(bare: Emulator, pulse: Pulse) -> Iterator[HubSpotClient]:
    """A client of that HubSpot."""
    transport = Transport(bare.url, TOKEN, timeout_seconds=5, pulse=pulse)
    yield contacts_client(transport)
    transport.close()


def create(client: HubSpotClient, **options: Any) -> dict[str, PropertyState]:
    """Create the properties, and return the state of each by name."""
    reports = create_properties(client, MAPPING, **options)
    return {report.property.name: report.state for report in reports}


def definitions(hubspot: Emulator) -> list[dict[str, Any] | None]:
    return [hubspot.property(name) for name in ALL_NAMES]


def count(hubspot: Emulator, method: str, path_end: str) -> int:
    return sum(each == method and path.endswith(path_end) for each, path in hubspot.requests)


def test_look_at_portal_returns_how_to_fill_its_properties(client: HubSpotClient) -> None:
    assert look_at_portal(client, MAPPING, PORTAL).property_names == MAPPING.property_names


def test_look_at_portal_reads_only(client: HubSpotClient, hubspot: Emulator) -> None:
    before = definitions(hubspot)
    look_at_portal(client, MAPPING, PORTAL)
    assert hubspot.requests == [
        ("GET", "/account-info/v3/details"),
        ("POST", "/crm/v3/properties/contacts/batch/read"),
    ]
    assert definitions(hubspot) == before


def test_look_at_portal_asks_for_no_account_where_any_will_do(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    look_at_portal(client, MAPPING, None)
    assert count(hubspot, "GET", "details") == 0


def test_look_at_portal_of_another_account_stops_the_run(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    with pytest.raises(WrongPortal, match=r"portal 24680135, but HUBSPOT_PORTAL_ID is 999"):
        look_at_portal(client, MAPPING, "999")
    assert hubspot.request_count == 1


def test_look_at_portal_names_the_property_that_is_missing(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    hubspot.archive_property("scrapersky_page_id")
    with pytest.raises(PropertyMissing, match="create-properties") as caught:
        look_at_portal(client, MAPPING, None)
    assert "scrapersky_page_id" in str(caught.value)
    assert "scrapersky_domain_id" not in str(caught.value)


def test_look_at_portal_names_all_properties_that_are_missing(bare_client: HubSpotClient) -> None:
    with pytest.raises(PropertyMissing) as caught:
        look_at_portal(bare_client, MAPPING, PORTAL)
    assert ", ".join(ALL_NAMES) in str(caught.value)


def test_look_at_portal_looks_for_the_names_of_the_settings(client: HubSpotClient) -> None:
    with pytest.raises(PropertyMissing, match="our_domain, our_page, our_date"):
        look_at_portal(client, OWN, None)


@pytest.mark.parametrize(
    ("kind", "field_type"), [("date", "date"), ("datetime", "date"), ("string", "text")]
)
def test_look_at_portal_learns_the_type_of_the_sync_date(
    client: HubSpotClient, hubspot: Emulator, kind: str, field_type: str
) -> None:
    hubspot.add_property({"name": NAMES.sync_date, "type": kind, "fieldType": field_type})
    line = look_at_portal(client, MAPPING, None).field_of(NAMES.sync_date)
    assert line
    assert str(line.spec.type) == kind


def test_look_at_portal_learns_what_is_read_only(client: HubSpotClient, hubspot: Emulator) -> None:
    read_only = {"readOnlyValue": True}
    hubspot.add_property({"name": NAMES.page_id, "modificationMetadata": read_only})
    assert look_at_portal(client, MAPPING, None).read_only == {NAMES.page_id}


@pytest.mark.parametrize("portal_id", [None, PORTAL])
def test_look_at_portal_that_cannot_be_reached_stops_the_run(
    client: HubSpotClient, hubspot: Emulator, portal_id: str | None
) -> None:
    hubspot.stop()
    with pytest.raises(HubSpotDown, match="could not be reached"):
        look_at_portal(client, MAPPING, portal_id)


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429},
        {"status": 502},
        {"status": 302},
        {"drop": True},
        {"body": "<html>Welcome</html>"},
        {"body": {}},
        {"status": 400, "body": {"message": "odd"}},
        {"status": 404},
        {"status": 409, "body": {"message": "odd"}},
    ],
)
@pytest.mark.parametrize("path", ["/account-info/", "/batch/read$"])
def test_look_at_portal_without_a_usable_answer_stops_the_run(
    client: HubSpotClient, hubspot: Emulator, path: str, fault: dict[str, Any]
) -> None:
    hubspot.fault(path=path, times=None, **fault)
    with pytest.raises(HubSpotDown):
        look_at_portal(client, MAPPING, PORTAL)


def test_look_at_portal_waits_out_trouble_that_passes(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    hubspot.fault(**ACCOUNT, status=502, times=2)
    assert look_at_portal(client, MAPPING, PORTAL).property_names == MAPPING.property_names


def test_look_at_portal_of_a_version_that_hubspot_lacks_names_the_setting(
    client: HubSpotClient,
) -> None:
    strange = contacts_client(client.transport, api_version="v9")
    with pytest.raises(HubSpotDown, match="HUBSPOT_API_VERSION"):
        look_at_portal(strange, MAPPING, None)


@pytest.mark.parametrize("portal_id", [None, PORTAL])
def test_look_at_portal_with_a_token_that_is_not_accepted_stops_the_run(
    client: HubSpotClient, hubspot: Emulator, portal_id: str | None
) -> None:
    hubspot.token = "pat-na1-yyyyyyyy"
    with pytest.raises(HubSpotDenied, match="HUBSPOT_API_KEY"):
        look_at_portal(client, MAPPING, portal_id)


def test_look_at_portal_without_a_scope_names_it(client: HubSpotClient, hubspot: Emulator) -> None:
    hubspot.scopes = []
    with pytest.raises(HubSpotDenied, match=r"crm\.schemas\.contacts\.read"):
        look_at_portal(client, MAPPING, None)


def test_look_at_portal_when_the_days_quota_is_spent_stops_the_run(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    hubspot.daily_limit = 0
    with pytest.raises(QuotaSpent):
        look_at_portal(client, MAPPING, PORTAL)


@pytest.mark.parametrize("zone", ["US/Eastern", "Atlantis/Sunken"])
def test_hour_at_which_the_quota_begins_anew_is_told(
    client: HubSpotClient, hubspot: Emulator, zone: str
) -> None:
    hubspot.time_zone = zone
    hour = datetime(2026, 11, 25, 5 if zone == "US/Eastern" else 0, tzinfo=UTC)
    assert next_day(client, NOW) == hour


@pytest.mark.parametrize("status", [401, 429, 502])
def test_hour_is_left_out_where_hubspot_tells_it_no_more(
    client: HubSpotClient, hubspot: Emulator, status: int
) -> None:
    hubspot.fault(path="/account-info/", status=status, policy="DAILY", times=None)
    assert next_day(client, NOW) is None


def test_end_of_a_quota_names_the_hour_at_which_the_next_begins() -> None:
    hour = datetime(2026, 11, 25, 5, tzinfo=UTC)
    told = QuotaSpent(ErrorCode.DAILY_LIMIT, is_daily=True, kept_back=True).until(hour)
    assert (told.resume_at, told.kept_back, told.is_daily) == (hour, True, True)
    assert "It can go on at 2026-11-25 05:00 UTC" in str(told)


def test_look_at_portal_after_a_signal_asks_nothing(
    client: HubSpotClient, hubspot: Emulator, pulse: Pulse
) -> None:
    pulse.ending.ask()
    with pytest.raises(Interrupted):
        look_at_portal(client, MAPPING, PORTAL)
    assert hubspot.request_count == 0


def test_create_properties_creates_those_that_are_missing(
    bare_client: HubSpotClient, bare: Emulator
) -> None:
    assert create(bare_client) == dict.fromkeys(ALL_NAMES, CREATED)
    assert None not in definitions(bare)


@pytest.mark.parametrize(
    ("name", "label", "kind", "field_type"),
    [
        ("scrapersky_domain_id", "ScraperSky Domain ID", "string", "text"),
        ("scrapersky_page_id", "ScraperSky Page ID", "string", "text"),
        ("scrapersky_sync_date", "ScraperSky Sync Date", "date", "date"),
    ],
)
def test_create_properties_defines_each_as_promised(
    bare_client: HubSpotClient, bare: Emulator, name: str, label: str, kind: str, field_type: str
) -> None:
    create(bare_client)
    definition = bare.property(name)
    assert definition is not None
    assert definition["label"] == label
    assert (definition["type"], definition["fieldType"]) == (kind, field_type)
    assert definition["groupName"] == "contactinformation"


def test_create_properties_makes_the_portal_ready(bare_client: HubSpotClient) -> None:
    create(bare_client)
    assert look_at_portal(bare_client, MAPPING, PORTAL).property_names == MAPPING.property_names


def test_create_properties_uses_the_names_of_the_settings(
    bare_client: HubSpotClient, bare: Emulator
) -> None:
    create_properties(bare_client, OWN)
    assert bare.property("our_page") is not None
    assert definitions(bare) == [None, None, None]


def test_create_properties_speaks_a_dated_version(
    bare_client: HubSpotClient, bare: Emulator
) -> None:
    create(contacts_client(bare_client.transport, api_version="2026-09"))
    assert None not in definitions(bare)


def test_create_properties_leaves_those_that_exist(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    before = definitions(hubspot)
    assert create(client) == dict.fromkeys(ALL_NAMES, EXISTS)
    assert definitions(hubspot) == before
    assert hubspot.request_count == 1


def test_create_properties_creates_only_what_is_missing(
    bare_client: HubSpotClient, bare: Emulator
) -> None:
    bare.add_property({"name": "scrapersky_page_id", "label": "Page"})
    before = bare.property("scrapersky_page_id")
    assert create(bare_client) == {
        "scrapersky_domain_id": CREATED,
        "scrapersky_page_id": EXISTS,
        "scrapersky_sync_date": CREATED,
    }
    assert bare.property("scrapersky_page_id") == before


def test_create_properties_again_and_again_changes_nothing(
    bare_client: HubSpotClient, bare: Emulator
) -> None:
    create(bare_client)
    before = definitions(bare)
    for _ in range(3):
        assert create(bare_client) == dict.fromkeys(ALL_NAMES, EXISTS)
    assert definitions(bare) == before
    assert count(bare, "POST", "/properties/contacts") == 3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"type": "number", "fieldType": "number"}, ["type is number, not string", "field type"]),
        ({"fieldType": "textarea"}, ["field type is textarea, not text"]),
        ({"modificationMetadata": {"readOnlyValue": True}}, ["read-only"]),
    ],
)
def test_create_properties_reports_one_that_differs_and_never_changes_it(
    client: HubSpotClient, hubspot: Emulator, given: dict[str, Any], told: list[str]
) -> None:
    hubspot.add_property({"name": "scrapersky_page_id", **given})
    before = definitions(hubspot)
    _, report, _ = create_properties(client, MAPPING)
    assert report.state is DIFFERS
    assert all(words in report.note for words in told)
    assert definitions(hubspot) == before
    assert hubspot.request_count == 1


def test_create_properties_brings_an_archived_one_back_and_says_so(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    hubspot.archive_property("scrapersky_page_id")
    _, report, _ = create_properties(client, MAPPING)
    assert report.state is CREATED
    assert "archived" in report.note
    assert hubspot.property("scrapersky_page_id") is not None


def test_create_properties_says_nothing_of_an_archive_where_there_was_none(
    bare_client: HubSpotClient,
) -> None:
    assert [report.note for report in create_properties(bare_client, MAPPING)] == ["", "", ""]


def test_create_properties_takes_one_that_someone_else_just_made_as_existing(
    bare_client: HubSpotClient, bare: Emulator
) -> None:
    body = {"category": "OBJECT_ALREADY_EXISTS", "message": "A property named 'x' already exists."}
    bare.fault(**DEFINE, contains="scrapersky_page_id", status=409, body=body)
    assert create(bare_client) == {
        "scrapersky_domain_id": CREATED,
        "scrapersky_page_id": EXISTS,
        "scrapersky_sync_date": CREATED,
    }


def test_create_properties_whose_answer_is_lost_finds_it_the_next_time(
    bare_client: HubSpotClient, bare: Emulator
) -> None:
    bare.fault(**DEFINE, after_write=True, drop=True)
    with pytest.raises(HubSpotDown):
        create(bare_client)
    assert create(bare_client) == {
        "scrapersky_domain_id": EXISTS,
        "scrapersky_page_id": CREATED,
        "scrapersky_sync_date": CREATED,
    }


def test_create_properties_dry_run_writes_nothing(
    bare_client: HubSpotClient, bare: Emulator
) -> None:
    assert create(bare_client, dry_run=True) == dict.fromkeys(ALL_NAMES, WOULD_CREATE)
    assert definitions(bare) == [None, None, None]
    assert count(bare, "POST", "/properties/contacts") == 0


def test_create_properties_dry_run_says_what_would_come_back(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    hubspot.archive_property("scrapersky_page_id")
    _, report, _ = create_properties(client, MAPPING, dry_run=True)
    assert report.state is WOULD_CREATE
    assert "archived" in report.note
    assert hubspot.property("scrapersky_page_id") is None


def test_create_properties_dry_run_tells_what_exists_and_what_differs(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    hubspot.add_property({"name": "scrapersky_page_id", "type": "number", "fieldType": "number"})
    assert create(client, dry_run=True) == {
        "scrapersky_domain_id": EXISTS,
        "scrapersky_page_id": DIFFERS,
        "scrapersky_sync_date": EXISTS,
    }


def test_create_properties_in_the_right_portal_creates(
    bare_client: HubSpotClient, bare: Emulator
) -> None:
    assert create(bare_client, portal_id=PORTAL) == dict.fromkeys(ALL_NAMES, CREATED)
    assert None not in definitions(bare)


def test_create_properties_in_another_portal_writes_nothing(
    bare_client: HubSpotClient, bare: Emulator
) -> None:
    with pytest.raises(WrongPortal):
        create(bare_client, portal_id="999")
    assert definitions(bare) == [None, None, None]
    assert bare.request_count == 1


def test_create_properties_without_the_scope_names_it(
    bare_client: HubSpotClient, bare: Emulator
) -> None:
    bare.scopes = ["crm.objects.contacts.read", "crm.objects.contacts.write"]
    with pytest.raises(HubSpotDenied, match=r"crm\.schemas\.contacts\.write"):
        create(bare_client)
    assert definitions(bare) == [None, None, None]


def test_create_properties_with_a_token_that_is_not_accepted_stops(
    bare_client: HubSpotClient, bare: Emulator
) -> None:
    bare.token = "pat-na1-yyyyyyyy"
    with pytest.raises(HubSpotDenied, match="HUBSPOT_API_KEY"):
        create(bare_client)


def test_create_properties_that_hubspot_refuses_stops_in_its_words(
    bare_client: HubSpotClient, bare: Emulator
) -> None:
    body = {"message": "You have reached your limit of 10 custom properties."}
    bare.fault(**DEFINE, status=400, body=body)
    with pytest.raises(HubSpotDown, match="reached your limit of 10 custom properties"):
        create(bare_client)


def test_create_properties_where_hubspot_cannot_be_reached_stops(
    bare_client: HubSpotClient, bare: Emulator
) -> None:
    bare.stop()
    with pytest.raises(HubSpotDown, match="could not be reached"):
        create(bare_client)


def mapped_file(*lines: Field) -> PropertyMapping:
    return PropertyMapping(lines, file="m.toml")


def test_look_at_portal_tells_all_that_a_file_fills_and_the_portal_lacks(
    client: HubSpotClient,
) -> None:
    nowhere = Field("no_such_property", "a", line=4)
    unlike = Field("firstname", "b", type=TypeSpec(ValueType.NUMBER), line=5)
    with pytest.raises(MappingUnfit) as raised:
        look_at_portal(client, mapped_file(nowhere, unlike), None)
    assert [fault.partition(": ")[0] for fault in raised.value.faults] == [
        "m.toml, line 4, no_such_property",
        "m.toml, line 5, firstname",
    ]


def test_look_at_portal_fits_a_file_to_all_its_properties_in_one_request(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    before = len(hubspot.requests)
    lines = (Field("firstname", "a"), Field("scrapersky_sync_date", "b"))
    mapping = look_at_portal(client, mapped_file(*lines), None)
    assert [line.spec.type for line in mapping.fields] == [ValueType.STRING, ValueType.DATE]
    assert len(hubspot.requests) == before + 1


def test_create_properties_makes_an_enumeration_with_its_options(
    bare_client: HubSpotClient,
) -> None:
    options = (("gold", "Gold"), ("tin", "Tin"))
    tier = CustomProperty("tier", "enumeration", "select", "Tier", options)
    create_properties(bare_client, mapped_file(Field("tier", "tier", create=tier)))
    made = bare_client.read_properties(["tier"])["tier"]
    assert (made.type, made.field_type, made.options) == ("enumeration", "select", ("gold", "tin"))
