"""The batch lane over real HTTP: what HubSpot holds, what each contact's outcome is."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubspot_sync.clock import Ending, Pulse
from hubspot_sync.errors import (
    EveryoneRefused,
    HubSpotDenied,
    HubSpotDown,
    Interrupted,
    PropertyMissing,
    QuotaSpent,
)
from hubspot_sync.hubspot.batch_lane import BatchLane
from hubspot_sync.hubspot.careful_lane import CarefulLane
from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.ends import Cut, Ends
from hubspot_sync.hubspot.pace import Pace
from hubspot_sync.hubspot.transport import Transport
from hubspot_sync.rules.grouping import Group, group_by_email
from hubspot_sync.rules.mapping import Contact
from hubspot_sync.rules.settlement import Delivered, Failed, Outcome, Rejected
from tests.conftest import NOW, TOKEN, Waits, lanes_of
from tests.contacts import contacts_client, edited, scraped

CREATE, UPDATE, READ = "/batch/create", "/batch/update", "/batch/read"
OBJECTS = "/objects/contacts"


@pytest.fixture
def batch(client: HubSpotClient) -> BatchLane:
    return batch_lane(client)


def batch_lane(client: HubSpotClient) -> BatchLane:
    lanes = lanes_of(client)
    return BatchLane(lanes, CarefulLane(lanes))


def stumble(fault: Exception, _: Group | None) -> Outcome:
    raise fault


def contact(email: str, **columns: Any) -> Contact:
    return scraped(str(uuid4()), email, domain_id=str(uuid4()), page_id=str(uuid4()), **columns)


def mapped(each: Contact, **properties: str) -> tuple[Contact, dict[str, str]]:
    ours = {
        "email": str(each.email).strip().lower(),
        "scrapersky_domain_id": str(each.value("domain_id")),
        "scrapersky_page_id": str(each.value("page_id")),
    }
    return each, ours | properties


def groups_of(*contacts: Contact) -> list[Group]:
    return group_by_email(map(mapped, contacts))


def numbered(count: int) -> list[Group]:
    return groups_of(*(contact(f"c{number}@example.com") for number in range(count)))


def deliver(lane: BatchLane, groups: list[Group]) -> dict[str, Outcome]:
    """Deliver groups, and see to it that each has exactly one outcome."""
    ends: Ends = []
    try:
        lane.deliver(groups, ends.extend, stumble)
    except Cut as cut:
        raise cut.why from cut
    assert sorted(group.email for group, _ in ends) == sorted(group.email for group in groups)
    return {group.email: outcome for group, outcome in ends}


def cut_short(lane: BatchLane, groups: list[Group], ends: Ends | None = None) -> Cut:
    """Deliver groups until something ends it, and return what that leaves."""
    with pytest.raises(Cut) as caught:
        lane.deliver(groups, ([] if ends is None else ends).extend, stumble)
    return caught.value


def kinds(outcomes: dict[str, Outcome]) -> dict[str, int]:
    told: dict[str, int] = {}
    for outcome in outcomes.values():
        name = type(outcome).__name__.lower()
        if isinstance(outcome, Delivered):
            name = str(outcome.name)
        told[name] = told.get(name, 0) + 1
    return told


def objects_requests(hubspot: Emulator) -> list[str]:
    return [path for _, path in hubspot.requests if OBJECTS in path]


def test_batch_creates_a_hundred_in_two_requests(batch: BatchLane, hubspot: Emulator) -> None:
    outcomes = deliver(batch, numbered(100))
    assert kinds(outcomes) == {"created": 100}
    assert hubspot.request_count == 2
    for email, outcome in outcomes.items():
        held = hubspot.contact_by_email(email)
        assert held is not None
        assert isinstance(outcome, Delivered)
        assert held["id"] == outcome.hubspot_contact_id


def test_batch_updates_a_hundred_in_two_requests(batch: BatchLane, hubspot: Emulator) -> None:
    groups = numbered(100)
    ids = {group.email: hubspot.add_contact({"email": group.email}) for group in groups}
    outcomes = deliver(batch, groups)
    assert kinds(outcomes) == {"updated": 100}
    assert hubspot.request_count == 2
    assert {email: getattr(end, "hubspot_contact_id", "") for email, end in outcomes.items()} == ids
    for group in groups:
        held = hubspot.contact_by_email(group.email)
        assert held is not None
        domain = held["properties"]["scrapersky_domain_id"]
        assert domain == group.properties["scrapersky_domain_id"]


def test_batch_tells_created_and_updated_apart(batch: BatchLane, hubspot: Emulator) -> None:
    groups = numbered(10)
    for group in groups[:4]:
        hubspot.add_contact({"email": group.email})
    assert kinds(deliver(batch, groups)) == {"created": 6, "updated": 4}
    assert hubspot.request_count == 3


def test_batch_never_asks_the_search_index(batch: BatchLane, hubspot: Emulator) -> None:
    deliver(batch, numbered(5))
    assert not [path for path in objects_requests(hubspot) if "search" in path]


@pytest.mark.parametrize("echo", [True, False])
@pytest.mark.parametrize("multi_status", [True, False])
def test_batch_of_a_hundred_with_three_bad_rows(
    batch: BatchLane, hubspot: Emulator, echo: bool, multi_status: bool
) -> None:
    hubspot.echo_trace_ids, hubspot.update_multi_status = echo, multi_status
    groups = numbered(99)
    refused = contact("bad@example.con")
    groups += groups_of(refused)
    option, whole = groups[20], groups[60]
    pages = [group.properties["scrapersky_page_id"] for group in groups if group is not option]
    hubspot.archive_property("scrapersky_page_id")
    hubspot.add_property(
        {
            "name": "scrapersky_page_id",
            "type": "enumeration",
            "fieldType": "select",
            "options": [{"label": page, "value": page} for page in pages],
        }
    )
    odd = {"status": "error", "message": "An odd character", "category": "VALIDATION_ERROR"}
    hubspot.fault(
        method="POST", path=r"/contacts(/batch/create)?$", contains=whole.email, status=400,
        body=odd, times=None,
    )  # fmt: skip
    outcomes = deliver(batch, groups)
    assert kinds(outcomes) == {"created": 97, "failed": 1, "rejected": 2}
    reasons = {
        email: outcome.message
        for email, outcome in outcomes.items()
        if isinstance(outcome, Failed | Rejected)
    }
    assert "INVALID_EMAIL" in reasons["bad@example.con"]
    assert "INVALID_OPTION" in reasons[option.email]
    assert "An odd character" in reasons[whole.email]
    assert len(hubspot.contacts()) == 97
    # The look-up, the halvings of one bad row, its two steps in the careful lane, and, for its
    # refusal names no property, a look whether the account is full.
    assert hubspot.request_count <= 1 + 15 + 2 + 1


def test_batch_without_multi_status_finds_the_bad_update(
    batch: BatchLane, hubspot: Emulator
) -> None:
    hubspot.update_multi_status = False
    groups = numbered(16)
    for group in groups:
        hubspot.add_contact({"email": group.email})
    bad = groups[5]
    hubspot.fault(
        path=rf"({UPDATE}|/contacts/\d+)$",
        contains=bad.properties["scrapersky_page_id"], status=400,
        body={"status": "error", "message": "no", "category": "VALIDATION_ERROR"}, times=None,
    )  # fmt: skip
    outcomes = deliver(batch, groups)
    assert kinds(outcomes) == {"updated": 15, "failed": 1}
    assert isinstance(outcomes[bad.email], Failed)


def test_batch_accounts_without_trace_ids(batch: BatchLane, hubspot: Emulator) -> None:
    hubspot.echo_trace_ids = False
    groups = numbered(20)
    for group in groups[:8]:
        hubspot.add_contact({"email": group.email})
    assert kinds(deliver(batch, groups)) == {"created": 12, "updated": 8}
    assert hubspot.request_count == 3


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"status": "COMPLETE"},
        {"status": "COMPLETE", "results": None},
        {"status": "COMPLETE", "results": [{"id": ""}]},
        {"status": "COMPLETE", "results": ["odd"]},
        "<html>welcome</html>",
        "",
        [],
    ],
)
def test_batch_create_answered_with_nonsense_is_looked_up(
    batch: BatchLane, hubspot: Emulator, answer: object
) -> None:
    hubspot.fault(path=CREATE, status=200, body=answer, after_write=True)
    assert kinds(deliver(batch, numbered(5))) == {"created": 5}
    assert len(hubspot.contacts()) == 5
    assert len([path for path in objects_requests(hubspot) if CREATE in path]) == 1


@pytest.mark.parametrize("answer", [{"status": "COMPLETE", "results": []}, {"results": []}])
def test_batch_create_that_names_nobody_goes_through_the_careful_lane(
    batch: BatchLane, hubspot: Emulator, answer: object
) -> None:
    hubspot.search_lag = 3600
    hubspot.fault(path=CREATE, status=201, body=answer, after_write=True)
    assert kinds(deliver(batch, numbered(3))) == {"created": 3}
    assert len(hubspot.contacts()) == 3


def test_batch_create_that_lies_by_omission_is_found_out(
    batch: BatchLane, hubspot: Emulator
) -> None:
    hubspot.fault(path=CREATE, status=201, body={"status": "COMPLETE", "results": []})
    outcomes = deliver(batch, numbered(3))
    assert kinds(outcomes) == {"created": 3}
    assert len(hubspot.contacts()) == 3


def test_batch_update_that_lies_by_omission_is_found_out(
    batch: BatchLane, hubspot: Emulator
) -> None:
    groups = numbered(3)
    for group in groups:
        hubspot.add_contact({"email": group.email})
    hubspot.fault(path=UPDATE, status=200, body={"status": "COMPLETE", "results": []})
    assert kinds(deliver(batch, groups)) == {"updated": 3}
    for group in groups:
        held = hubspot.contact_by_email(group.email)
        assert held is not None
        assert held["properties"]["scrapersky_page_id"] == group.properties["scrapersky_page_id"]


@pytest.mark.parametrize("fault", [{"drop": True}, {"status": 502}, {"status": 504}])
@pytest.mark.parametrize("after_write", [True, False])
def test_batch_create_whose_answer_is_lost_creates_once(
    batch: BatchLane, hubspot: Emulator, fault: dict[str, Any], after_write: bool
) -> None:
    hubspot.search_lag = 3600
    hubspot.fault(path=CREATE, after_write=after_write, **fault)
    assert kinds(deliver(batch, numbered(10))) == {"created": 10}
    assert len(hubspot.contacts()) == 10


@pytest.mark.parametrize("echo", [True, False])
def test_batch_write_counts_however_hubspot_writes_the_phone_number(
    batch: BatchLane, hubspot: Emulator, echo: bool
) -> None:
    hubspot.reformats_phones, hubspot.echo_trace_ids = True, echo
    contacts = [contact(f"c{number}@example.com") for number in range(6)]
    groups = group_by_email(mapped(each, phone="(030) 123 456") for each in contacts)
    for group in groups[:2]:
        hubspot.add_contact({"email": group.email})
    old = hubspot.add_contact({"email": groups[2].email})
    merged = hubspot.merge_contacts(old, hubspot.add_contact({"email": "b@example.com"}))
    shown = [{"id": old, "properties": {"email": groups[2].email}}]
    shown += [
        {"id": each["id"], "properties": {"email": each["properties"]["email"]}}
        for each in hubspot.contacts()[:2]
    ]
    missing = {
        "category": "OBJECT_NOT_FOUND",
        "context": {"ids": [group.email for group in groups[3:]]},
    }
    hubspot.fault(path=READ, status=207, body={"results": shown, "errors": [missing]})
    hubspot.fault(path=CREATE, drop=True, after_write=True)
    outcomes = deliver(batch, groups)
    assert kinds(outcomes) == {"created": 3, "updated": 3}
    assert outcomes[groups[2].email] == Delivered(merged, created=False)
    assert {each["properties"]["phone"] for each in hubspot.contacts()} == {"+49 30 123456"}
    # Look-up, create, look again, update; where the answer names a merged one only by its new id,
    # that one is looked up and updated once more.
    assert hubspot.request_count == (4 if echo else 6)


def test_batch_kept_back_after_a_lost_create_does_not_call_it_unsent(
    hubspot: Emulator, pulse: Pulse
) -> None:
    hubspot.daily_limit = 20
    pace = Pace(pulse, reserve_percent=90)
    transport = Transport(hubspot.url, TOKEN, timeout_seconds=5, pulse=pulse, pace=pace)
    client = contacts_client(transport)
    lane = batch_lane(client)
    hubspot.fault(path=CREATE, drop=True, after_write=True)
    groups = numbered(3)
    cut = cut_short(lane, groups)
    transport.close()
    assert isinstance(cut.why, QuotaSpent)
    assert len(hubspot.contacts()) == 3
    assert cut.exposure.unconfirmed == tuple(groups)


def test_batch_create_lost_beside_another_program_that_created_one(
    batch: BatchLane, hubspot: Emulator
) -> None:
    groups = numbered(4)
    fault = hubspot.fault(path=CREATE, drop=True, after_write=True)
    real = fault.reached.set

    def meanwhile() -> None:
        held = hubspot.contact_by_email(groups[0].email)
        assert held is not None
        real()

    fault.reached.set = meanwhile  # type: ignore[method-assign]
    assert kinds(deliver(batch, groups)) == {"created": 4}


def test_batch_create_in_conflict_updates_the_existing(
    batch: BatchLane, hubspot: Emulator, client: HubSpotClient
) -> None:
    groups = numbered(6)
    late = groups[2]
    read = client.read_batch

    def look_too_early(*args: Any, **options: Any) -> Any:
        answer = read(*args, **options)
        # Another worker creates it between the look-up and our create.
        hubspot.add_contact({"email": late.email, "firstname": "Theirs"})
        client.read_batch = read  # type: ignore[method-assign]
        return answer

    client.read_batch = look_too_early  # type: ignore[method-assign]
    outcomes = deliver(batch, groups)
    assert kinds(outcomes) == {"created": 5, "updated": 1}
    held = hubspot.contact_by_email(late.email)
    assert held is not None
    assert held["properties"]["scrapersky_page_id"] == late.properties["scrapersky_page_id"]
    assert held["properties"]["firstname"] == "Theirs"
    assert len(hubspot.contacts()) == 6


def test_batch_update_of_a_contact_deleted_meanwhile_creates_it(
    batch: BatchLane, hubspot: Emulator, client: HubSpotClient
) -> None:
    groups = numbered(3)
    ids = [hubspot.add_contact({"email": group.email}) for group in groups]
    update = client.update_batch

    def too_late(*args: Any, **options: Any) -> Any:
        hubspot.delete_contact(ids[1])
        client.update_batch = update  # type: ignore[method-assign]
        return update(*args, **options)

    client.update_batch = too_late  # type: ignore[method-assign]
    assert kinds(deliver(batch, groups)) == {"updated": 2, "created": 1}
    assert len(hubspot.contacts()) == 3


def test_batch_found_by_a_secondary_email_keeps_the_primary(
    batch: BatchLane, hubspot: Emulator
) -> None:
    held = hubspot.add_contact({"email": "main@example.com"}, additional_emails=["old@example.com"])
    outcomes = deliver(batch, groups_of(contact("Old@example.com")))
    assert outcomes == {"old@example.com": Delivered(held, created=False)}
    (record,) = hubspot.contacts()
    assert record["properties"]["email"] == "main@example.com"
    assert record["additional_emails"] == ["old@example.com"]


def test_batch_primary_and_secondary_of_one_contact_meet_in_one_update(
    batch: BatchLane, hubspot: Emulator
) -> None:
    held = hubspot.add_contact({"email": "main@example.com"}, additional_emails=["old@example.com"])
    outcomes = deliver(batch, groups_of(contact("old@example.com"), contact("main@example.com")))
    assert set(outcomes.values()) == {Delivered(held, created=False)}
    assert hubspot.request_count == 2


def test_batch_new_address_changes_the_same_contact(batch: BatchLane, hubspot: Emulator) -> None:
    ours = contact("new@example.com")
    held = hubspot.add_contact(
        {"email": "old@example.com"} | mapped(ours)[1] | {"email": "old@example.com"}
    )
    moved = edited(ours, hubspot_contact_id=held)
    outcomes = deliver(batch, groups_of(moved))
    assert outcomes == {"new@example.com": Delivered(held, created=False)}
    (record,) = hubspot.contacts()
    assert record["properties"]["email"] == "new@example.com"


def test_batch_new_address_that_another_contact_owns_updates_that_one(
    batch: BatchLane, hubspot: Emulator
) -> None:
    ours = contact("new@example.com")
    old = hubspot.add_contact(mapped(ours)[1] | {"email": "old@example.com"})
    owner = hubspot.add_contact({"email": "new@example.com"})
    moved = edited(ours, hubspot_contact_id=old)
    assert deliver(batch, groups_of(moved)) == {"new@example.com": Delivered(owner, created=False)}
    held = hubspot.contact_by_email("old@example.com")
    assert held is not None
    assert held["id"] == old


@pytest.mark.parametrize("whose", ["stranger", "deleted", "merged", "nonsense"])
def test_batch_stored_id_of_somebody_else_is_never_written_to(
    batch: BatchLane, hubspot: Emulator, whose: str
) -> None:
    ours = contact("ours@example.com")
    stored = hubspot.add_contact({"email": "theirs@example.com", "firstname": "Theirs"})
    if whose == "deleted":
        hubspot.delete_contact(stored)
    if whose == "merged":
        other = hubspot.add_contact({"email": "third@example.com"})
        hubspot.merge_contacts(other, stored)
    if whose == "nonsense":
        stored = "not-a-number"
    before = {each["id"]: each for each in hubspot.contacts()}
    claimed = edited(ours, hubspot_contact_id=stored)
    outcomes = deliver(batch, groups_of(claimed, contact("other@example.com")))
    assert kinds(outcomes) == {"created": 2}
    after = {each["id"]: each for each in hubspot.contacts()}
    assert {key: after[key] for key in before} == before


def test_batch_missing_property_stops(batch: BatchLane, hubspot: Emulator) -> None:
    hubspot.archive_property("scrapersky_page_id")
    groups = numbered(5)
    cut = cut_short(batch, groups)
    assert isinstance(cut.why, PropertyMissing)
    assert sorted(group.email for group in cut.exposure.refused) == [
        group.email for group in groups
    ]


def test_batch_missing_property_hands_out_what_was_delivered_first(
    batch: BatchLane, hubspot: Emulator
) -> None:
    groups = numbered(3)
    told = [{"isValid": False, "error": "PROPERTY_DOESNT_EXIST", "name": "scrapersky_page_id"}]
    body = {
        "results": [{"id": "77", "properties": {"email": groups[0].email}}],
        "errors": [
            {
                "category": "VALIDATION_ERROR",
                "message": f"Property values were not valid: {json.dumps(told)}",
                "context": {"objectWriteTraceId": [group.trace_id]},
            }
            for group in groups[1:]
        ],
    }
    hubspot.fault(path=CREATE, status=207, body=body)
    ends: Ends = []
    cut = cut_short(batch, groups, ends)
    assert ends == [(groups[0], Delivered("77", created=True))]
    assert isinstance(cut.why, PropertyMissing)
    assert cut.exposure.refused == tuple(groups[1:])


@pytest.mark.parametrize(("path", "status"), [(READ, 401), (CREATE, 401), (READ, 403)])
def test_batch_refused_token_stops_with_what_was_in_the_request(
    batch: BatchLane, hubspot: Emulator, path: str, status: int
) -> None:
    hubspot.fault(path=path, status=status)
    groups = numbered(5)
    cut = cut_short(batch, groups)
    assert isinstance(cut.why, HubSpotDenied)
    assert cut.exposure.refused == tuple(groups)


def test_batch_with_hubspot_down_stops(batch: BatchLane, hubspot: Emulator) -> None:
    hubspot.fault(status=502, times=None)
    with pytest.raises(HubSpotDown):
        deliver(batch, numbered(5))
    assert hubspot.request_count == 4


def test_batch_that_hubspot_will_not_write_stops_after_ten_refusals(
    batch: BatchLane, hubspot: Emulator
) -> None:
    hubspot.fault(method="POST", path=r"(batch/create|contacts)$", status=500, times=None)
    groups = numbered(100)
    cut = cut_short(batch, groups)
    assert isinstance(cut.why, EveryoneRefused)
    exposed = {group.email for group in cut.exposure.unconfirmed}
    assert exposed == {group.email for group in groups}
    assert hubspot.request_count < 60


def test_batch_interrupted_before_its_writes_has_written_nothing(
    batch: BatchLane, hubspot: Emulator, pulse: Pulse, client: HubSpotClient
) -> None:
    read = client.read_batch

    def then_end(*args: Any, **options: Any) -> Any:
        answer = read(*args, **options)
        pulse.ending.ask()
        return answer

    client.read_batch = then_end  # type: ignore[method-assign]
    cut = cut_short(batch, numbered(5))
    assert isinstance(cut.why, Interrupted)
    assert cut.exposure.unconfirmed == ()
    assert hubspot.contacts() == []


FAULTS = (
    {"status": 500},
    {"status": 502, "after_write": True},
    {"drop": True},
    {"drop": True, "after_write": True},
    {"status": 429},
    {"status": 423},
    {"status": 200, "body": {}, "after_write": True},
    {"status": 201, "body": {"status": "COMPLETE", "results": []}, "after_write": True},
    {"status": 200, "body": {"status": "COMPLETE", "results": []}},
    {"status": 200, "body": "<html></html>"},
    {"status": 207, "body": {"results": [], "errors": [{}], "numErrors": 1}},
    {"status": 400, "body": {}},
    {"status": 409, "body": {}},
    {"status": 404, "body": {"status": "error"}},
    {"status": 302, "headers": {"Location": "http://127.0.0.1:9/"}},
)


@pytest.fixture(scope="module")
def one_hubspot() -> Iterator[Emulator]:
    with Emulator(token=TOKEN) as emulator:
        for name in ("scrapersky_domain_id", "scrapersky_page_id"):
            emulator.add_property({"name": name, "type": "string", "fieldType": "text"})
        yield emulator


rows = st.lists(
    st.tuples(
        st.sampled_from([f"c{number}@example.com" for number in range(8)] + ["bad@example.con"]),
        st.sampled_from(["new", "known", "secondary", "moved", "strange"]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda row: row[0],
)
faults = st.lists(
    st.tuples(
        st.sampled_from([READ, CREATE, UPDATE, r"contacts$", r"contacts/\d+", r"c\d%40"]),
        st.sampled_from(FAULTS),
        st.integers(1, 4),
    ),
    max_size=3,
)


def arrange(hubspot: Emulator, drawn: list[tuple[str, str]]) -> list[Contact]:
    """Give HubSpot the history of each contact, and return the contacts as claimed."""
    hubspot.clear_faults()
    for held in hubspot.contacts():
        hubspot.delete_contact(held["id"])
    contacts = []
    for email, history in drawn:
        ours, stored = contact(email), None
        match history:
            case "known":
                hubspot.add_contact({"email": email})
            case "secondary":
                hubspot.add_contact({"email": f"main-{email}"}, additional_emails=[email])
            case "moved":
                stored = hubspot.add_contact(mapped(ours)[1] | {"email": f"old-{email}"})
            case "strange":
                stored = hubspot.add_contact({"email": f"strange-{email}"})
        contacts.append(replace(ours, hubspot_contact_id=stored))
    return contacts


def deliver_until_stopped(lane: BatchLane, groups: list[Group]) -> tuple[dict[str, Outcome], bool]:
    """Return each group's outcome, none of them told twice, and whether the run was stopped."""
    seen: dict[str, Outcome] = {}

    def conclude(ends: Ends) -> None:
        for group, outcome in ends:
            assert group.email not in seen
            seen[group.email] = outcome

    try:
        lane.deliver(groups, conclude, stumble)
    except Cut:
        return seen, True
    return seen, False


@given(rows, faults, st.booleans(), st.booleans())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_batch_gives_every_contact_exactly_one_outcome_whatever_hubspot_answers(
    one_hubspot: Emulator,
    drawn: list[tuple[str, str]],
    drawn_faults: list[tuple[str, dict[str, Any], int]],
    echo: bool,
    multi_status: bool,
) -> None:
    hubspot = one_hubspot
    groups = groups_of(*arrange(hubspot, drawn))
    hubspot.echo_trace_ids, hubspot.update_multi_status = echo, multi_status
    for path, fault, times in drawn_faults:
        hubspot.fault(path=path, times=times, **fault)
    waits = Waits()
    pulse = Pulse(Ending(), waits.sleep, lambda: 0.5, lambda: waits.clock, lambda: NOW)
    transport = Transport(hubspot.url, TOKEN, timeout_seconds=5, pulse=pulse)
    client = contacts_client(transport)
    lane = batch_lane(client)
    seen, is_stopped = deliver_until_stopped(lane, groups)
    transport.close()
    hubspot.clear_faults()
    assert is_stopped or sorted(seen) == sorted(group.email for group in groups)
    emails = [held["properties"]["email"] for held in hubspot.contacts()]
    assert len(emails) == len(set(emails))
    for group in groups:
        if isinstance(outcome := seen.get(group.email), Delivered):
            assert_holds(hubspot, group, outcome)


def assert_holds(hubspot: Emulator, group: Group, outcome: Delivered) -> None:
    held = hubspot.contact_by_email(group.email)
    assert held is not None
    assert held["id"] == outcome.hubspot_contact_id
    page = held["properties"]["scrapersky_page_id"]
    assert page == group.properties["scrapersky_page_id"]
