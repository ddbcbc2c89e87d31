"""The careful lane over real HTTP: whatever goes wrong, what does HubSpot hold in the end?"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from hubspot_sync.clock import Pulse
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import (
    HubSpotDenied,
    HubSpotDown,
    PropertyMissing,
    QuotaSpent,
    Signature,
)
from hubspot_sync.hubspot.careful_lane import CarefulLane
from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.ends import Cut
from hubspot_sync.hubspot.pace import Pace
from hubspot_sync.hubspot.portal import look_at_portal
from hubspot_sync.hubspot.transport import Transport
from hubspot_sync.rules.grouping import group_by_email
from hubspot_sync.rules.mapping import Contact, PropertyMapping
from hubspot_sync.rules.reaction import UNAVAILABLE
from hubspot_sync.rules.settlement import Delivered, Failed, Outcome, Rejected, Released, Stopped
from hubspot_sync.sentences import Message
from tests.conftest import NOW, TOKEN, Waits, lanes_of
from tests.contacts import MAPPING, contacts_client, properties_of, scraped

EMAIL = "ada@example.com"
NEW_EMAIL = "ada@lovelace.example"
DOMAIN_ID = "6f1c1d1e-0000-4000-8000-00000000000d"
PAGE_ID = "6f1c1d1e-0000-4000-8000-00000000000e"
OURS = {"scrapersky_domain_id": DOMAIN_ID, "scrapersky_page_id": PAGE_ID}
PROPERTIES = {
    "email": EMAIL,
    "firstname": "Ada",
    "lastname": "Lovelace",
    "phone": "+44 20 7946 0000",
    **OURS,
    "scrapersky_sync_date": "2026-11-24",
}
AN_HOUR = 3600.0

CREATE = {"method": "POST", "path": "contacts$"}
FIND = {"method": "GET", "path": "idProperty=email"}
UPDATE = {"method": "PATCH"}
PROBE = {"method": "GET", "path": r"\?limit=1$"}

Faults = dict[str, Any]


def a_contact(**values: str | None) -> Contact:
    given: dict[str, Any] = {
        "email": EMAIL,
        "name": "Ada Lovelace",
        "phone_number": "+44 20 7946 0000",
        "domain_id": DOMAIN_ID,
        "page_id": PAGE_ID,
    }
    return scraped(key=str(UUID(int=1)), **(given | values))


def deliver(
    lane: CarefulLane,
    contact: Contact | None = None,
    mapping: PropertyMapping | None = None,
    properties: Mapping[str, str] | None = None,
) -> Outcome:
    contact = contact or a_contact()
    if mapping:
        lane = CarefulLane(replace(lane.lanes, mapping=mapping))
    told = properties or properties_of(contact, lane.lanes.mapping, NOW.date())
    (group,) = group_by_email([(contact, told)])
    try:
        return lane.deliver(group)
    except Cut as cut:
        raise cut.why from cut


def held(hubspot: Emulator) -> dict[str, str]:
    """Return the properties of the only contact that HubSpot holds."""
    (contact,) = hubspot.contacts()
    return dict(contact["properties"])


def held_under(hubspot: Emulator, contact_id: str) -> dict[str, str]:
    (found,) = [each for each in hubspot.contacts() if each["id"] == contact_id]
    return dict(found["properties"])


def sent(hubspot: Emulator, method: str, path_end: str) -> int:
    """Count the requests of a method whose path ends so."""
    return sum(each == method and path.endswith(path_end) for each, path in hubspot.requests)


def end_after_answer(client: HubSpotClient, pulse: Pulse, number: int) -> None:
    """Let a signal come in with the answer of this number, counted from 1."""
    answers = iter(range(1, number + 1))

    def now() -> datetime:
        if next(answers, None) == number:
            pulse.ending.ask()
        return NOW

    client.transport.pulse = replace(pulse, now=now)


def end_while_waiting(client: HubSpotClient, pulse: Pulse) -> None:
    """Let a signal come in during the first wait."""
    client.transport.pulse = replace(pulse, sleep=lambda _: pulse.ending.ask())


def test_contact_that_hubspot_does_not_know_is_created(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    outcome = deliver(lane)
    assert held(hubspot) == PROPERTIES
    assert outcome == Delivered(hubspot.contacts()[0]["id"], created=True)


def test_contact_that_hubspot_knows_is_updated(lane: CarefulLane, hubspot: Emulator) -> None:
    known = hubspot.add_contact({"email": EMAIL, "firstname": "Augusta", "company": "Analytical"})
    assert deliver(lane) == Delivered(known, created=False)
    assert held(hubspot) == PROPERTIES | {"company": "Analytical"}


def test_contact_takes_two_requests(lane: CarefulLane, hubspot: Emulator) -> None:
    deliver(lane)
    deliver(lane, a_contact(name="Ada King"))
    assert hubspot.request_count == 4


def test_contact_of_which_hubspot_holds_all_is_not_written(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    held_id = hubspot.add_contact(PROPERTIES | {"scrapersky_sync_date": "2020-01-01"})
    assert deliver(lane) == Delivered(held_id, created=False, unchanged=True)
    assert hubspot.request_count == 1


def test_update_does_not_send_the_email(lane: CarefulLane, hubspot: Emulator) -> None:
    hubspot.add_contact({"email": EMAIL})
    trap = hubspot.fault(**UPDATE, contains='"email"', status=500)
    deliver(lane)
    assert trap.times == 1


def test_update_leaves_what_the_contact_lacks(lane: CarefulLane, hubspot: Emulator) -> None:
    hubspot.add_contact({"email": EMAIL, "phone": "+1 555 0100", "lastname": "Byron"})
    deliver(lane, a_contact(name=None, phone_number=None))
    assert held(hubspot)["phone"] == "+1 555 0100"
    assert held(hubspot)["lastname"] == "Byron"


def test_email_in_capitals_finds_the_contact(lane: CarefulLane, hubspot: Emulator) -> None:
    known = hubspot.add_contact({"email": EMAIL})
    assert deliver(lane, a_contact(email=" Ada@Example.COM ")) == Delivered(known, created=False)


def test_secondary_email_updates_its_contact_and_keeps_the_primary(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    known = hubspot.add_contact({"email": "first@example.com"}, additional_emails=[EMAIL])
    assert deliver(lane) == Delivered(known, created=False)
    assert held(hubspot) == PROPERTIES | {"email": "first@example.com"}
    assert hubspot.contacts()[0]["additional_emails"] == [EMAIL]


def test_contact_that_was_just_created_is_found_before_it_is_in_the_search_index(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    hubspot.search_lag = AN_HOUR
    first = deliver(lane)
    assert isinstance(first, Delivered)
    hubspot.reset_requests()
    outcome = deliver(lane, a_contact(name="Augusta King"))
    assert [method for method, _ in hubspot.requests] == ["GET", "PATCH"]
    assert outcome == Delivered(first.hubspot_contact_id, created=False)
    assert held(hubspot)["firstname"] == "Augusta"


@pytest.mark.parametrize(
    "body",
    [
        {"message": "Contact already exists. Existing ID: {}", "category": "CONFLICT"},
        {"message": "Contact already exists.", "context": {"existingId": ["{}"]}},
        {"message": "Contact already exists. Existing ID: 1", "context": {"existingId": ["{}"]}},
    ],
)
def test_conflict_updates_the_contact_that_it_names(
    lane: CarefulLane, hubspot: Emulator, body: dict[str, Any]
) -> None:
    owner = hubspot.add_contact({"firstname": "Augusta"})
    filled = {
        name: {"existingId": [owner]} if name == "context" else text.format(owner)
        for name, text in body.items()
    }
    hubspot.fault(**CREATE, status=409, body=filled)
    assert deliver(lane) == Delivered(owner, created=False)
    assert held(hubspot)["firstname"] == "Ada"


def test_conflict_that_names_nobody_is_looked_up_by_email(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    hubspot.search_lag = AN_HOUR
    deliver(lane)
    hubspot.fault(**CREATE, status=409, body={"message": "Contact already exists."})
    outcome = deliver(lane, a_contact(name="Augusta King"))
    assert outcome == Delivered(hubspot.contacts()[0]["id"], created=False)
    assert held(hubspot)["firstname"] == "Augusta"


def test_conflict_without_an_owner_fails_the_contact(lane: CarefulLane, hubspot: Emulator) -> None:
    hubspot.fault(**CREATE, status=409, body={"message": "Contact already exists."}, times=None)
    outcome = deliver(lane)
    assert isinstance(outcome, Failed)
    assert outcome.signature == Signature("CONFLICT")
    assert outcome.message == "HubSpot refused the contact: Contact already exists."
    assert outcome.correlation_id
    assert hubspot.contacts() == []


def test_contact_over_which_hubspot_stumbles_fails_in_hubspots_words(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    hubspot.fault(**FIND, status=503, body={"message": "odd words"}, times=3)
    outcome = deliver(lane)
    assert isinstance(outcome, Failed)
    assert outcome.message.code is ErrorCode.CONTACT_STUMBLED
    assert "odd words" in outcome.message
    assert "odd words" not in outcome.message.data["trouble"]


def test_contradiction_fails_in_hubspots_last_words(lane: CarefulLane, hubspot: Emulator) -> None:
    gone = {"message": "resource not found, odd words"}
    hubspot.add_contact({"email": EMAIL})
    hubspot.fault(**UPDATE, status=404, body=gone, times=None)
    outcome = deliver(lane)
    assert isinstance(outcome, Failed)
    assert outcome.message.data["trouble"].code is ErrorCode.CONTRADICTION
    assert "odd words" in outcome.message


def look_up_shows(hubspot: Emulator, contact_id: str) -> None:
    """Let the look-up show a contact under an id that is out of date when it is written to."""
    record = {"id": contact_id, "properties": {"email": EMAIL}}
    hubspot.fault(**FIND, status=200, body=record)


def test_update_of_a_contact_that_is_gone_creates_it(lane: CarefulLane, hubspot: Emulator) -> None:
    gone = hubspot.add_contact({"email": EMAIL})
    look_up_shows(hubspot, gone)
    hubspot.delete_contact(gone)
    outcome = deliver(lane)
    assert outcome == Delivered(hubspot.contacts()[0]["id"], created=True)
    assert held(hubspot) == PROPERTIES


def test_update_of_a_contact_that_was_made_anew_updates_the_new_one(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    gone = hubspot.add_contact({"email": EMAIL})
    look_up_shows(hubspot, gone)
    hubspot.delete_contact(gone)
    new = hubspot.add_contact({"email": EMAIL})
    assert deliver(lane) == Delivered(new, created=False)
    assert held(hubspot) == PROPERTIES


def test_contact_that_exists_and_does_not_in_turn_comes_to_an_end(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    taken = {"message": "Contact already exists. Existing ID: 999"}
    hubspot.fault(**CREATE, status=409, body=taken, times=None)
    outcome = deliver(lane)
    assert isinstance(outcome, Failed)
    assert outcome.signature == Signature("CONFLICT")
    assert hubspot.request_count < 15


UNREADABLE: list[Any] = [
    pytest.param({"drop": True}, id="dropped"),
    pytest.param({"status": 500}, id="500"),
    pytest.param({"status": 502}, id="502-html"),
    pytest.param({"status": 504}, id="504-html"),
    pytest.param({"status": 201, "body": "<html>Welcome</html>"}, id="201-html"),
    pytest.param({"status": 201, "body": ""}, id="201-empty"),
    pytest.param({"status": 204}, id="204"),
]
LOST: list[Any] = [
    *UNREADABLE,
    pytest.param({"status": 201, "body": {}}, id="201-nothing"),
    pytest.param({"status": 201, "body": {"properties": {}}}, id="201-no-id"),
]


@pytest.mark.parametrize("fault", LOST)
def test_create_whose_answer_is_lost_after_the_write_is_found(
    lane: CarefulLane, hubspot: Emulator, fault: Faults
) -> None:
    hubspot.search_lag = AN_HOUR
    hubspot.fault(**CREATE, after_write=True, **fault)
    outcome = deliver(lane)
    assert held(hubspot) == PROPERTIES
    assert outcome == Delivered(hubspot.contacts()[0]["id"], created=True)
    assert sent(hubspot, "POST", "contacts") == 1


@pytest.mark.parametrize("fault", LOST)
def test_create_whose_answer_is_lost_before_the_write_is_sent_again(
    lane: CarefulLane, hubspot: Emulator, waits: Waits, fault: Faults
) -> None:
    hubspot.fault(**CREATE, **fault)
    outcome = deliver(lane)
    assert held(hubspot) == PROPERTIES
    assert outcome == Delivered(hubspot.contacts()[0]["id"], created=True)
    assert sent(hubspot, "POST", "contacts") == 2
    assert waits.asked == [0.75]


def test_create_whose_answer_is_lost_updates_whoever_has_the_email(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    known = hubspot.add_contact({"email": EMAIL, "firstname": "Augusta"})
    hubspot.fault(**FIND, status=404)
    hubspot.fault(**CREATE, drop=True)
    assert deliver(lane) == Delivered(known, created=False)
    assert held(hubspot) == PROPERTIES


def test_create_whose_answer_is_always_lost_fails_the_contact(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    hubspot.fault(**CREATE, drop=True, times=None)
    outcome = deliver(lane)
    assert isinstance(outcome, Failed)
    assert outcome.signature == UNAVAILABLE
    assert hubspot.contacts() == []
    assert sent(hubspot, "POST", "contacts") == 3


@pytest.mark.parametrize("fault", LOST)
def test_update_whose_answer_is_lost_after_the_write_is_confirmed_by_reading(
    lane: CarefulLane, hubspot: Emulator, fault: Faults
) -> None:
    known = hubspot.add_contact({"email": EMAIL})
    hubspot.fault(**UPDATE, after_write=True, times=3, **fault)
    assert deliver(lane) == Delivered(known, created=False)
    assert held(hubspot) == PROPERTIES


@pytest.mark.parametrize("fault", LOST)
def test_update_whose_answer_is_lost_before_the_write_is_not_called_delivered(
    lane: CarefulLane, hubspot: Emulator, fault: Faults
) -> None:
    hubspot.add_contact({"email": EMAIL, "firstname": "Augusta"})
    hubspot.fault(**UPDATE, times=None, **fault)
    outcome = deliver(lane)
    assert isinstance(outcome, Failed)
    assert outcome.signature == UNAVAILABLE
    assert held(hubspot) == {"email": EMAIL, "firstname": "Augusta"}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_update_whose_answer_is_lost_once_is_sent_again(
    lane: CarefulLane, hubspot: Emulator, fault: Faults
) -> None:
    known = hubspot.add_contact({"email": EMAIL})
    hubspot.fault(**UPDATE, **fault)
    assert deliver(lane) == Delivered(known, created=False)
    assert held(hubspot) == PROPERTIES


NATIONAL = "(030) 123 456"
AS_HUBSPOT_WRITES_IT = "+49 30 123456"


def test_update_answered_under_the_id_of_a_merge_is_delivered_whatever_became_of_the_values(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    hubspot.reformats_phones = True
    known = hubspot.add_contact({"email": EMAIL})
    look_up_shows(hubspot, known)
    merged = hubspot.merge_contacts(known, hubspot.add_contact({"email": "b@example.com"}))
    outcome = deliver(lane, a_contact(phone_number="030 / 12 34 (ask for Ada, room 7)"))
    assert outcome == Delivered(merged, created=False)
    assert [method for method, _ in hubspot.requests] == ["GET", "PATCH", "GET"]


def test_update_answered_under_the_id_of_a_stranger_is_sent_again(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    known = hubspot.add_contact({"email": EMAIL})
    hubspot.fault(**UPDATE, status=200, body={"id": "7", "properties": {}})
    assert deliver(lane) == Delivered(known, created=False)
    assert held(hubspot) == PROPERTIES
    assert [method for method, _ in hubspot.requests] == ["GET", "PATCH", "GET", "PATCH"]


def test_update_of_a_record_that_vanishes_after_its_answer_creates_the_contact(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    look_up_shows(hubspot, "999")
    hubspot.fault(**UPDATE, status=200, body={"id": "7", "properties": {}})
    outcome = deliver(lane)
    assert outcome == Delivered(hubspot.contacts()[0]["id"], created=True)


def test_signal_after_an_update_answered_under_another_id_stops_the_contact(
    lane: CarefulLane, client: HubSpotClient, hubspot: Emulator, pulse: Pulse
) -> None:
    hubspot.add_contact({"email": EMAIL})
    hubspot.fault(**UPDATE, status=200, body={"id": "7", "properties": {}})
    end_after_answer(client, pulse, 2)
    assert isinstance(deliver(lane), Stopped)


@pytest.mark.parametrize("known", [True, False])
def test_lost_write_counts_where_hubspot_shows_the_phone_number_in_its_own_form(
    lane: CarefulLane, hubspot: Emulator, known: bool
) -> None:
    hubspot.reformats_phones = True
    if known:
        hubspot.add_contact({"email": EMAIL})
    hubspot.fault(**(UPDATE if known else CREATE), after_write=True, status=502, times=3)
    outcome = deliver(lane, a_contact(phone_number=NATIONAL))
    assert outcome == Delivered(hubspot.contacts()[0]["id"], created=not known)
    assert held(hubspot) == PROPERTIES | {"phone": AS_HUBSPOT_WRITES_IT}
    assert sent(hubspot, "POST", "contacts") == (0 if known else 1)


def test_create_answered_with_the_email_among_others_is_created(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    properties = {"email": "first@example.com", "hs_additional_emails": EMAIL}
    hubspot.fault(**CREATE, status=201, body={"id": "7", "properties": properties})
    assert deliver(lane) == Delivered("7", created=True)


@pytest.mark.parametrize("step", [CREATE, UPDATE])
def test_quota_kept_back_after_a_lost_write_does_not_call_the_contact_unsent(
    hubspot: Emulator, pulse: Pulse, step: Faults
) -> None:
    know_the_contact_if(step, hubspot)
    hubspot.daily_limit = 20
    pace = Pace(pulse, reserve_percent=90)
    transport = Transport(hubspot.url, TOKEN, timeout_seconds=5, pulse=pulse, pace=pace)
    hubspot.fault(**step, status=502, after_write=True, times=None)
    with pytest.raises(QuotaSpent) as caught:
        deliver(CarefulLane(lanes_of(contacts_client(transport))))
    transport.close()
    cut = caught.value.__cause__
    assert isinstance(cut, Cut)
    assert cut.exposure.unconfirmed or not caught.value.kept_back


STEPS: list[Any] = [
    pytest.param(FIND, id="find"),
    pytest.param(CREATE, id="create"),
    pytest.param(UPDATE, id="update"),
]


def know_the_contact_if(step: Faults, hubspot: Emulator) -> None:
    if step == UPDATE:
        hubspot.add_contact({"email": EMAIL})


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("status", [423, 500, 502, 503, 504])
def test_trouble_with_one_contact_alone_fails_it(
    lane: CarefulLane, hubspot: Emulator, step: Faults, status: int
) -> None:
    know_the_contact_if(step, hubspot)
    hubspot.fault(**step, status=status, times=3)
    outcome = deliver(lane)
    assert isinstance(outcome, Failed)
    assert outcome.signature == UNAVAILABLE
    assert sent(hubspot, "GET", "?limit=1") == 1


@pytest.mark.parametrize("step", STEPS)
def test_trouble_with_everything_means_that_hubspot_is_down(
    lane: CarefulLane, hubspot: Emulator, step: Faults
) -> None:
    know_the_contact_if(step, hubspot)
    hubspot.fault(**step, status=502, times=None)
    probe = hubspot.fault(**PROBE, status=502, times=None)
    with pytest.raises(HubSpotDown, match="is down or cannot be reached"):
        deliver(lane)
    assert probe.reached.is_set()


def test_hubspot_that_cannot_be_reached_is_down(lane: CarefulLane, hubspot: Emulator) -> None:
    hubspot.stop()
    with pytest.raises(HubSpotDown, match="could not be reached"):
        deliver(lane)


def test_probe_is_sent_once(lane: CarefulLane, hubspot: Emulator) -> None:
    hubspot.fault(status=503, times=None)
    with pytest.raises(HubSpotDown):
        deliver(lane)
    assert sent(hubspot, "GET", "?limit=1") == 1


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("policy", ["SECONDLY", "TEN_SECONDLY_ROLLING"])
def test_rate_limit_stops_the_contact_without_failing_it(
    lane: CarefulLane, hubspot: Emulator, step: Faults, policy: str
) -> None:
    know_the_contact_if(step, hubspot)
    limit = hubspot.fault(**step, status=429, policy=policy, times=3)
    outcome = deliver(lane)
    assert isinstance(outcome, Stopped)
    assert "rate limit" in outcome.message
    assert limit.times == 0


def test_rate_limit_that_passes_is_waited_out(
    lane: CarefulLane, hubspot: Emulator, waits: Waits
) -> None:
    hubspot.fault(**CREATE, status=429, times=2)
    assert isinstance(deliver(lane), Delivered)
    assert waits.asked == [10.0, 10.0]


def test_rate_limit_that_takes_the_probe_too_stops_the_run(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    hubspot.fault(status=429, times=None)
    with pytest.raises(HubSpotDown, match="rate limit is used up"):
        deliver(lane)


def test_daily_limit_stops_the_run(lane: CarefulLane, hubspot: Emulator) -> None:
    hubspot.daily_limit = 1
    with pytest.raises(QuotaSpent):
        deliver(lane)
    assert hubspot.contacts() == []


def test_token_that_is_not_accepted_stops_the_run(lane: CarefulLane, hubspot: Emulator) -> None:
    hubspot.token = "pat-na1-yyyyyyyy"
    with pytest.raises(HubSpotDenied, match="HUBSPOT_API_KEY"):
        deliver(lane)
    assert hubspot.request_count == 1


@pytest.mark.parametrize("step", [CREATE, UPDATE])
def test_token_without_a_scope_stops_the_run_and_names_it(
    lane: CarefulLane, hubspot: Emulator, step: Faults
) -> None:
    know_the_contact_if(step, hubspot)
    hubspot.scopes = ["crm.objects.contacts.read"]
    with pytest.raises(HubSpotDenied, match=r"crm\.objects\.contacts\.write"):
        deliver(lane)


@pytest.mark.parametrize("step", [CREATE, UPDATE])
def test_custom_property_that_is_missing_stops_the_run(
    lane: CarefulLane, hubspot: Emulator, step: Faults
) -> None:
    know_the_contact_if(step, hubspot)
    hubspot.archive_property("scrapersky_page_id")
    with pytest.raises(
        PropertyMissing, match=r"scrapersky_page_id\. Run 'hubspot-sync create-properties'"
    ):
        deliver(lane)
    assert all(set(each["properties"]) == {"email"} for each in hubspot.contacts())


def test_email_that_hubspot_refuses_rejects_the_contact(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    outcome = deliver(lane, a_contact(email="ada@example.con"))
    assert isinstance(outcome, Rejected)
    assert replace(outcome, correlation_id=None) == Rejected(
        Message(
            ErrorCode.HUBSPOT_REFUSED,
            words="email: Email address ada@example.con is invalid (INVALID_EMAIL)",
        ),
        Signature("INVALID_EMAIL", "email"),
    )
    assert outcome.correlation_id
    assert hubspot.contacts() == []


def test_value_that_hubspot_refuses_fails_the_update(lane: CarefulLane, hubspot: Emulator) -> None:
    hubspot.add_contact({"email": EMAIL})
    outcome = deliver(lane, a_contact(name="A" * 70_000))
    assert isinstance(outcome, Failed)
    assert outcome.signature == Signature("VALUE_TOO_LONG", "firstname")
    assert held(hubspot) == {"email": EMAIL}


def test_refusal_without_properties_fails_the_contact_in_hubspots_words(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    body = {"status": "error", "message": "An odd character", "category": "VALIDATION_ERROR"}
    hubspot.fault(method="POST", path="/contacts$", status=400, body=body)
    outcome = deliver(lane)
    assert isinstance(outcome, Failed)
    assert "An odd character" in outcome.message
    assert outcome.signature == Signature("VALIDATION_ERROR")


def test_refusal_by_a_full_account_costs_no_attempt(lane: CarefulLane, hubspot: Emulator) -> None:
    hubspot.contact_quota = 0
    outcome = deliver(lane)
    assert isinstance(outcome, Stopped)
    assert "reached its limit of 0 contacts" in outcome.message
    assert outcome.signature == Signature("CONTACT_LIMIT")


@pytest.mark.parametrize("status", [403, 404, 502])
def test_refusal_costs_an_attempt_where_hubspot_tells_no_limit(
    lane: CarefulLane, hubspot: Emulator, status: int
) -> None:
    hubspot.contact_quota = 0
    hubspot.fault(path="/limits/", status=status, times=None)
    assert isinstance(deliver(lane), Failed)


def test_refusal_is_not_repeated(lane: CarefulLane, hubspot: Emulator, waits: Waits) -> None:
    deliver(lane, a_contact(email="ada@example.con"))
    assert hubspot.request_count == 2
    assert waits.asked == []


def test_email_blocked_by_gdpr_rejects_the_contact(lane: CarefulLane, hubspot: Emulator) -> None:
    hubspot.block_email(EMAIL)
    outcome = deliver(lane)
    assert isinstance(outcome, Rejected)
    assert "GDPR" in outcome.message


def test_new_email_changes_the_email_of_the_contact_stored(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    stored = hubspot.add_contact({"email": EMAIL, **OURS, "company": "Analytical"})
    outcome = deliver(lane, a_contact(email=NEW_EMAIL, hubspot_contact_id=stored))
    assert outcome == Delivered(stored, created=False)
    assert held(hubspot) == PROPERTIES | {"email": NEW_EMAIL, "company": "Analytical"}


def test_new_email_that_another_contact_owns_updates_that_one(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    stored = hubspot.add_contact({"email": EMAIL, **OURS})
    owner = hubspot.add_contact({"email": NEW_EMAIL})
    outcome = deliver(lane, a_contact(email=NEW_EMAIL, hubspot_contact_id=stored))
    assert outcome == Delivered(owner, created=False)
    assert held_under(hubspot, owner) == PROPERTIES | {"email": NEW_EMAIL}
    assert held_under(hubspot, stored) == {"email": EMAIL, **OURS}


def test_new_email_that_another_contact_is_given_meanwhile_updates_that_one(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    stored = hubspot.add_contact({"email": EMAIL, **OURS})
    owner = hubspot.add_contact({"email": NEW_EMAIL})
    hubspot.fault(**FIND, status=404)
    outcome = deliver(lane, a_contact(email=NEW_EMAIL, hubspot_contact_id=stored))
    assert outcome == Delivered(owner, created=False)
    assert held_under(hubspot, owner) == PROPERTIES | {"email": NEW_EMAIL}
    assert held_under(hubspot, stored) == {"email": EMAIL, **OURS}


def test_new_email_whose_answer_is_lost_is_confirmed_by_reading(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    stored = hubspot.add_contact({"email": EMAIL, **OURS})
    hubspot.fault(**UPDATE, after_write=True, status=502, times=3)
    outcome = deliver(lane, a_contact(email=NEW_EMAIL, hubspot_contact_id=stored))
    assert outcome == Delivered(stored, created=False)
    assert held(hubspot)["email"] == NEW_EMAIL


@pytest.mark.parametrize(
    "theirs",
    [
        pytest.param({}, id="without-our-ids"),
        pytest.param({**OURS, "scrapersky_page_id": "another"}, id="another-page"),
        pytest.param({**OURS, "scrapersky_domain_id": "another"}, id="another-domain"),
        pytest.param({"scrapersky_page_id": PAGE_ID}, id="half-of-them"),
    ],
)
def test_stored_id_of_a_stranger_is_never_written_to(
    lane: CarefulLane, hubspot: Emulator, theirs: dict[str, str]
) -> None:
    stranger = hubspot.add_contact({"email": "stranger@example.com", **theirs})
    outcome = deliver(lane, a_contact(hubspot_contact_id=stranger))
    assert held_under(hubspot, stranger) == {"email": "stranger@example.com", **theirs}
    assert outcome == Delivered(hubspot.contacts()[1]["id"], created=True)


def test_stored_id_of_a_contact_without_our_ids_proves_nothing(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    stranger = hubspot.add_contact({"email": "stranger@example.com"})
    deliver(lane, a_contact(domain_id=None, page_id=None, hubspot_contact_id=stranger))
    assert held_under(hubspot, stranger) == {"email": "stranger@example.com"}
    assert len(hubspot.contacts()) == 2


def test_stored_id_of_a_merged_contact_is_never_written_to(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    stored = hubspot.add_contact({"email": EMAIL, **OURS})
    other = hubspot.add_contact({"email": "other@example.com"})
    merged = hubspot.merge_contacts(stored, other)
    before = held_under(hubspot, merged)
    outcome = deliver(lane, a_contact(email=NEW_EMAIL, hubspot_contact_id=stored))
    assert held_under(hubspot, merged) == before
    assert outcome == Delivered(hubspot.contacts()[1]["id"], created=True)


def test_stored_id_of_a_merged_contact_gives_way_to_the_owner_of_the_email(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    stored = hubspot.add_contact({"email": EMAIL, **OURS})
    other = hubspot.add_contact({"email": "other@example.com"})
    merged = hubspot.merge_contacts(other, stored)
    outcome = deliver(lane, a_contact(hubspot_contact_id=stored))
    assert outcome == Delivered(merged, created=False)
    assert held(hubspot)["email"] == "other@example.com"
    assert held(hubspot)["firstname"] == "Ada"


@pytest.mark.parametrize("stored", ["20999", "not-a-number", "1/../2", "?x=1", " "])
def test_stored_id_that_hubspot_does_not_know_counts_for_nothing(
    lane: CarefulLane, hubspot: Emulator, stored: str
) -> None:
    outcome = deliver(lane, a_contact(hubspot_contact_id=stored))
    assert outcome == Delivered(hubspot.contacts()[0]["id"], created=True)
    assert held(hubspot) == PROPERTIES


def test_stored_id_of_a_deleted_contact_counts_for_nothing(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    deleted = hubspot.add_contact({"email": EMAIL, **OURS})
    hubspot.delete_contact(deleted)
    outcome = deliver(lane, a_contact(hubspot_contact_id=deleted))
    assert outcome == Delivered(hubspot.contacts()[0]["id"], created=True)
    assert outcome.hubspot_contact_id != deleted


def test_stored_id_is_not_written_to_where_the_email_belongs_to_another(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    owner = hubspot.add_contact({"email": EMAIL})
    stored = hubspot.add_contact({"email": "old@example.com", **OURS})
    assert deliver(lane, a_contact(hubspot_contact_id=stored)) == Delivered(owner, created=False)
    assert held_under(hubspot, stored) == {"email": "old@example.com", **OURS}


@pytest.mark.parametrize(
    ("kind", "field_type", "written"),
    [
        ("date", "date", "2026-11-24"),
        ("datetime", "date", "2026-11-24T00:00:00.000Z"),
        ("string", "text", "2026-11-24"),
    ],
)
def test_sync_date_is_written_as_its_type_wants_it(
    lane: CarefulLane,
    client: HubSpotClient,
    hubspot: Emulator,
    kind: str,
    field_type: str,
    written: str,
) -> None:
    name = "scrapersky_sync_date"
    hubspot.add_property({"name": name, "type": kind, "fieldType": field_type})
    mapping = look_at_portal(client, MAPPING, None)
    assert isinstance(deliver(lane, mapping=mapping), Delivered)
    assert held(hubspot)[name] == written


@pytest.mark.parametrize("kind", ["date", "datetime", "string"])
def test_sync_date_is_recognised_when_it_is_read_back(
    lane: CarefulLane, client: HubSpotClient, hubspot: Emulator, kind: str
) -> None:
    known = hubspot.add_contact({"email": EMAIL})
    hubspot.add_property({"name": "scrapersky_sync_date", "type": kind, "fieldType": "date"})
    mapping = look_at_portal(client, MAPPING, None)
    hubspot.fault(**UPDATE, after_write=True, status=502, times=3)
    assert deliver(lane, mapping=mapping) == Delivered(known, created=False)


def test_sync_date_with_a_time_would_be_refused(lane: CarefulLane, hubspot: Emulator) -> None:
    odd = PROPERTIES | {"scrapersky_sync_date": "2026-11-24T00:00:00+00:00"}
    outcome = deliver(lane, properties=odd)
    assert isinstance(outcome, Rejected)
    assert outcome.signature == Signature("INVALID_LONG", "scrapersky_sync_date")
    assert hubspot.contacts() == []


def test_property_that_is_read_only_is_left_out(
    lane: CarefulLane, client: HubSpotClient, hubspot: Emulator
) -> None:
    read_only = {"readOnlyValue": True, "readOnlyDefinition": True, "archivable": False}
    hubspot.add_property({"name": "scrapersky_page_id", "modificationMetadata": read_only})
    mapping = look_at_portal(client, MAPPING, None)
    assert isinstance(deliver(lane, mapping=mapping), Delivered)
    assert "scrapersky_page_id" not in held(hubspot)


def test_signal_before_the_first_request_releases_the_contact(
    lane: CarefulLane, hubspot: Emulator, pulse: Pulse
) -> None:
    pulse.ending.ask()
    assert deliver(lane) == Released()
    assert hubspot.request_count == 0


def test_signal_after_the_look_up_releases_the_contact(
    lane: CarefulLane, client: HubSpotClient, hubspot: Emulator, pulse: Pulse
) -> None:
    end_after_answer(client, pulse, 1)
    assert deliver(lane) == Released()
    assert hubspot.contacts() == []


@pytest.mark.parametrize("step", STEPS)
def test_signal_while_a_rate_limit_is_waited_out_releases_the_contact(
    lane: CarefulLane, client: HubSpotClient, hubspot: Emulator, pulse: Pulse, step: Faults
) -> None:
    know_the_contact_if(step, hubspot)
    hubspot.fault(**step, status=429)
    end_while_waiting(client, pulse)
    assert deliver(lane) == Released()


def test_signal_with_the_answer_to_the_write_lets_it_count(
    lane: CarefulLane, client: HubSpotClient, hubspot: Emulator, pulse: Pulse
) -> None:
    end_after_answer(client, pulse, 2)
    assert deliver(lane) == Delivered(hubspot.contacts()[0]["id"], created=True)


@pytest.mark.parametrize("after_write", [True, False])
def test_signal_with_a_lost_answer_to_a_create_stops_the_contact(
    lane: CarefulLane, client: HubSpotClient, hubspot: Emulator, pulse: Pulse, after_write: bool
) -> None:
    hubspot.fault(**CREATE, status=502, after_write=after_write)
    end_after_answer(client, pulse, 2)
    assert isinstance(deliver(lane), Stopped)


def test_signal_while_a_lost_create_is_waited_out_stops_the_contact(
    lane: CarefulLane, client: HubSpotClient, hubspot: Emulator, pulse: Pulse
) -> None:
    hubspot.fault(**CREATE, drop=True)
    end_while_waiting(client, pulse)
    assert isinstance(deliver(lane), Stopped)
    assert sent(hubspot, "POST", "contacts") == 1


@pytest.mark.parametrize("after_write", [True, False])
def test_signal_with_the_last_lost_answer_to_an_update_stops_the_contact(
    lane: CarefulLane, client: HubSpotClient, hubspot: Emulator, pulse: Pulse, after_write: bool
) -> None:
    hubspot.add_contact({"email": EMAIL})
    hubspot.fault(**UPDATE, status=502, after_write=after_write, times=3)
    end_after_answer(client, pulse, 4)
    assert isinstance(deliver(lane), Stopped)


@pytest.mark.parametrize("after_write", [True, False])
def test_signal_while_a_lost_update_is_waited_out_stops_the_contact(
    lane: CarefulLane, client: HubSpotClient, hubspot: Emulator, pulse: Pulse, after_write: bool
) -> None:
    hubspot.add_contact({"email": EMAIL})
    hubspot.fault(**UPDATE, status=502, after_write=after_write)
    end_while_waiting(client, pulse)
    assert isinstance(deliver(lane), Stopped)


def test_lease_that_is_nearly_over_releases_the_contact(
    lane: CarefulLane, client: HubSpotClient, hubspot: Emulator, waits: Waits
) -> None:
    client.transport.hold_lease_until(waits.clock + 1)
    assert deliver(lane) == Released()
    assert hubspot.request_count == 0


def test_lease_that_ends_after_a_lost_create_stops_the_contact(
    lane: CarefulLane, client: HubSpotClient, hubspot: Emulator, waits: Waits
) -> None:
    hubspot.fault(**CREATE, drop=True)
    client.transport.hold_lease_until(waits.clock + 5.5)
    assert isinstance(deliver(lane), Stopped)
    assert sent(hubspot, "POST", "contacts") == 1


def test_lease_that_ends_after_a_lost_update_stops_the_contact(
    lane: CarefulLane, client: HubSpotClient, hubspot: Emulator, waits: Waits
) -> None:
    hubspot.add_contact({"email": EMAIL})
    hubspot.fault(**UPDATE, drop=True)
    client.transport.hold_lease_until(waits.clock + 5.5)
    assert isinstance(deliver(lane), Stopped)
    assert sent(hubspot, "POST", "contacts") == 0


@pytest.mark.parametrize("later", [{"status": 423}, {"status": 429}])
def test_update_that_was_written_before_a_lock_or_limit_is_confirmed_by_reading(
    lane: CarefulLane, hubspot: Emulator, later: Faults
) -> None:
    known = hubspot.add_contact({"email": EMAIL})
    hubspot.fault(**UPDATE, after_write=True, status=502)
    hubspot.fault(**UPDATE, times=2, **later)
    assert deliver(lane) == Delivered(known, created=False)


def test_signal_before_the_probe_costs_no_attempt(
    lane: CarefulLane, client: HubSpotClient, hubspot: Emulator, pulse: Pulse
) -> None:
    hubspot.fault(**FIND, status=502, times=3)
    end_after_answer(client, pulse, 3)
    assert deliver(lane) == Released()


def test_signal_before_the_probe_stops_a_contact_that_was_sent(
    lane: CarefulLane, client: HubSpotClient, hubspot: Emulator, pulse: Pulse
) -> None:
    # Answers: the look-up, three lost updates, the record that does not show them.
    hubspot.add_contact({"email": EMAIL})
    hubspot.fault(**UPDATE, status=502, times=3)
    end_after_answer(client, pulse, 5)
    assert isinstance(deliver(lane), Stopped)


def test_stored_contact_that_has_the_email_as_secondary_keeps_its_primary(
    lane: CarefulLane, hubspot: Emulator
) -> None:
    stored = hubspot.add_contact({"email": "first@example.com", **OURS}, additional_emails=[EMAIL])
    assert deliver(lane, a_contact(hubspot_contact_id=stored)) == Delivered(stored, created=False)
    assert held(hubspot)["email"] == "first@example.com"


@pytest.mark.parametrize(("step", "status"), [(FIND, 409), (CREATE, 404)])
def test_refusal_that_no_step_expects_fails_the_contact_in_hubspots_words(
    lane: CarefulLane, hubspot: Emulator, step: Faults, status: int
) -> None:
    hubspot.fault(**step, status=status, body={"message": "odd words"}, times=None)
    outcome = deliver(lane)
    assert isinstance(outcome, Failed)
    assert "odd words" in outcome.message
    assert outcome.signature is not None


@pytest.mark.parametrize("status", [400, 404, 409])
def test_probe_that_is_refused_means_that_hubspot_is_down(
    lane: CarefulLane, hubspot: Emulator, status: int
) -> None:
    hubspot.fault(**FIND, status=502, times=3)
    hubspot.fault(**PROBE, status=status, body={"message": "odd words"}, times=None)
    with pytest.raises(HubSpotDown, match="odd words"):
        deliver(lane)
