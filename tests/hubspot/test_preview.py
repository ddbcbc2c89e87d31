"""What a preview says is what a run then does, and it only reads."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hubspot_sync.errors import HubSpotDenied, HubSpotDown
from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.portal import look_at_portal
from hubspot_sync.hubspot.preview import preview
from hubspot_sync.report import PlannedAction, PlannedContact, PropertyChange, RunReport
from hubspot_sync.rules.mapping import (
    Contact,
    Field,
    OnInvalid,
    PropertyMapping,
    PropertyNames,
    WritePolicy,
)
from hubspot_sync.rules.settlement import OutcomeName
from hubspot_sync.rules.shaping import RunContext
from hubspot_sync.rules.value_types import TypeSpec, ValueType
from hubspot_sync.store.contact_queue import ContactQueue
from tests.conftest import NOW, Runs, lanes_of
from tests.contacts import MAPPING, contacts_client, scraped
from tests.tables import Contacts

EXAMPLES = 5 * int(os.environ.get("STRANGERS_EXAMPLES", "6"))
NAMES = PropertyNames()
READ = {"path": "/batch/read$"}
OWNERS = [str(UUID(int=number)) for number in range(3)]
"""Each is the domain and the page of some contacts."""

CREATE, UPDATE = PlannedAction.CREATE, PlannedAction.UPDATE
UNCHANGED = PlannedAction.UNCHANGED
REJECT, UNKNOWN = PlannedAction.REJECT, PlannedAction.UNKNOWN

on_sqlite = pytest.mark.parametrize("shape", ["sqlite"])


class Held(NamedTuple):
    """What HubSpot holds at one moment: of each record id the properties."""

    records: dict[str, dict[str, str]]

    @classmethod
    def by(cls, hubspot: Emulator) -> "Held":
        return cls({each["id"]: dict(each["properties"]) for each in hubspot.contacts()})

    def changes_since(self, before: "Held") -> dict[str, set[PropertyChange]]:
        """Return what is otherwise now, by record id."""
        found = {}
        for record_id, properties in self.records.items():
            old = before.records.get(record_id, {})
            changes = {
                PropertyChange(name, old.get(name) or None, new)
                for name, new in properties.items()
                if (old.get(name) or None) != (new or None)
            }
            if changes:
                found[record_id] = changes
        return found


def look(
    client: HubSpotClient, contacts: Sequence[Contact], mapping: PropertyMapping | None = None
) -> list[PlannedContact]:
    return preview(lanes_of(client, mapping or MAPPING), contacts, RunContext(NOW))


def contact(email: str | None, **columns: Any) -> Contact:
    return scraped(str(uuid4()), email, **columns)


def plan_run_compare(
    queue: ContactQueue, client: HubSpotClient, hubspot: Emulator, runs: Runs
) -> list[PlannedContact]:
    """Preview what is due, run, and fail unless each word of the preview came true."""
    due = [row.contact for row in queue.peek_due(100)]
    before = Held.by(hubspot)
    plans = look(client, due)
    assert [plan.id for plan in plans] == [each.id for each in due]
    assert Held.by(hubspot) == before
    report = runs.queue(100)
    assert_came_true(plans, report, Held.by(hubspot).changes_since(before))
    return plans


def assert_came_true(
    plans: Sequence[PlannedContact],
    report: RunReport,
    happened: Mapping[str, set[PropertyChange]],
) -> None:
    ended = {each.id: each for each in report.contacts}
    assert set(ended) == {plan.id for plan in plans}
    foretold: dict[str, set[PropertyChange]] = {}
    for plan in plans:
        end = ended[plan.id]
        assert end.outcome is {
            CREATE: OutcomeName.CREATED,
            UPDATE: OutcomeName.UPDATED,
            UNCHANGED: OutcomeName.UNCHANGED,
            REJECT: OutcomeName.REJECTED,
        }.get(plan.action)
        assert set(end.shared_with) == set(plan.shared_with)
        if plan.action is REJECT:
            assert (end.error, end.outcome) == (plan.message, OutcomeName.REJECTED)
            continue
        assert plan.hubspot_contact_id in (None, end.hubspot_contact_id)
        assert (plan.action is CREATE) is (plan.hubspot_contact_id is None)
        foretold.setdefault(str(end.hubspot_contact_id), set()).update(plan.changes)
    assert {record: changes for record, changes in foretold.items() if changes} == happened


# What is said comes true


class Drawn(NamedTuple):
    """A contact of an example; the stored id is that of a record, by number."""

    email: str
    name: str | None
    phone_number: str | None
    owner: int
    stored: int | str | None


drawn_contacts = st.builds(
    Drawn,
    st.sampled_from(
        [
            *("new0@x.org", "new1@x.org", " New0@X.org", "p0@x.org", "P0@x.ORG", "p1@x.org"),
            *("p2@x.org", "s0@x.org", "s1@x.org", "bad", " ", "a b@x.org"),
        ]
    ),
    st.sampled_from([None, "Ada", "Ada King", "Bo", "Old Name"]),
    st.sampled_from([None, "+44 1", " +44 2\x00"]),
    st.integers(0, 2),
    st.sampled_from([None, 0, 1, 2, "999999999", "x"]),
)


def set_up(table: Contacts, hubspot: Emulator, drawn: Sequence[Drawn]) -> None:
    """Make HubSpot hold three contacts, two of them of owners of ours, and queue those drawn."""
    table.clear()
    for each in hubspot.contacts():
        hubspot.delete_contact(each["id"])
    ids = []
    for number in range(3):
        values = {"email": f"p{number}@x.org", "firstname": "Old", "city": "Bath"}
        if number:
            owner = str(OWNERS[number])
            values |= {NAMES.domain_id: owner, NAMES.page_id: owner, "phone": "+44 1"}
        other = [f"s{number}@x.org"] if number < 2 else []
        ids.append(hubspot.add_contact(values, additional_emails=other))
    for number, one in enumerate(drawn):
        table.add(
            one.email,
            age=timedelta(minutes=30 - number),
            name=one.name,
            phone_number=one.phone_number,
            hubspot_contact_id=ids[one.stored] if isinstance(one.stored, int) else one.stored,
            **columns_of(OWNERS[one.owner]),
        )


@on_sqlite
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="STRANGERS_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(drawn_contacts, min_size=1, max_size=8))
@example([Drawn("p0@x.org", "Ada", None, 0, None), Drawn("bad", None, None, 0, None)])
@example([Drawn("s0@x.org", "Ada", None, 0, 2), Drawn("new0@x.org", "Bo", "+44 1", 1, 1)])
@example([Drawn("new0@x.org", None, None, 0, None), Drawn(" New0@X.org", "Bo", None, 1, None)])
def test_every_change_foretold_comes_true_and_no_other(
    table: Contacts,
    queue: ContactQueue,
    client: HubSpotClient,
    hubspot: Emulator,
    runs: Runs,
    drawn: list[Drawn],
) -> None:
    set_up(table, hubspot, drawn)
    plan_run_compare(queue, client, hubspot, runs)


def test_preview_of_each_kind_of_contact_comes_true(
    table: Contacts, queue: ContactQueue, client: HubSpotClient, hubspot: Emulator, runs: Runs
) -> None:
    known = hubspot.add_contact({"email": "known@x.org", "firstname": "Old", "phone": "+44 1"})
    second = hubspot.add_contact({"email": "first@x.org"}, additional_emails=["second@x.org"])
    moved = hubspot.add_contact({"email": "before@x.org"} | ids_of(OWNERS[1]))
    foreign = hubspot.add_contact({"email": "else@x.org"} | ids_of(OWNERS[2]))
    kinds: list[tuple[str, dict[str, Any], PlannedAction, str | None]] = [
        ("new@x.org", {"name": "Ada King"}, CREATE, None),
        ("Known@x.org ", {"name": "Ada", "phone_number": "+44 1"}, UPDATE, known),
        ("second@x.org", {"name": "Bo"}, UPDATE, second),
        ("after@x.org", {"hubspot_contact_id": moved} | columns_of(OWNERS[1]), UPDATE, moved),
        ("stranger@x.org", {"hubspot_contact_id": foreign}, CREATE, None),
        ("gone@x.org", {"hubspot_contact_id": "999999999"}, CREATE, None),
        ("twice@x.org", {"name": "Cy First"}, CREATE, None),
        ("Twice@x.org", {"name": "Cy Last"}, CREATE, None),
        ("bad", {}, REJECT, None),
    ]
    for number, (email, columns, _, _) in enumerate(kinds):
        table.add(email, age=timedelta(minutes=30 - number), **columns)
    plans = plan_run_compare(queue, client, hubspot, runs)
    told = [(plan.email, plan.action, plan.hubspot_contact_id) for plan in plans]
    assert told == [(email, action, record) for email, _, action, record in kinds]


def ids_of(owner: str) -> dict[str, str]:
    return {NAMES.domain_id: str(owner), NAMES.page_id: str(owner)}


def columns_of(owner: str) -> dict[str, Any]:
    return {"domain_id": str(owner), "page_id": str(owner)}


@on_sqlite
def test_preview_after_a_run_finds_nothing_to_change(
    table: Contacts, queue: ContactQueue, client: HubSpotClient, runs: Runs
) -> None:
    key = table.add(name="Ada King", phone_number="+44 1")
    runs.queue()
    (plan,) = look(client, [queue.read_one(key).contact])
    assert (plan.action, plan.changes, plan.unchanged) == (UNCHANGED, (), 6)


@on_sqlite
def test_two_addresses_of_one_contact_are_foretold_as_the_one_update_that_is_sent(
    table: Contacts, queue: ContactQueue, client: HubSpotClient, hubspot: Emulator, runs: Runs
) -> None:
    hubspot.add_contact({"email": "p@x.org", "firstname": "Old"}, additional_emails=["s@x.org"])
    table.add("p@x.org", name="Ada", age=timedelta(minutes=9))
    table.add("s@x.org", name="Bo", age=timedelta(minutes=8))
    plan_run_compare(queue, client, hubspot, runs)


@on_sqlite
def test_new_email_is_foretold_where_our_ids_are_read_only(
    table: Contacts, queue: ContactQueue, client: HubSpotClient, hubspot: Emulator, runs: Runs
) -> None:
    for name in (NAMES.domain_id, NAMES.page_id):
        hubspot.add_property({"name": name, "modificationMetadata": {"readOnlyValue": True}})
    record = hubspot.add_contact({"email": "before@x.org"} | ids_of(OWNERS[1]))
    table.add("after@x.org", hubspot_contact_id=record, **columns_of(OWNERS[1]))
    mapping = look_at_portal(client, MAPPING, None)
    before = Held.by(hubspot)
    plans = look(client, [row.contact for row in queue.peek_due(9)], mapping)
    assert_came_true(plans, runs.queue(), Held.by(hubspot).changes_since(before))


@pytest.mark.parametrize(
    ("kind", "told"),
    [("date", "2026-11-24"), ("string", "2026-11-24"), ("datetime", "2026-11-24T00:00:00.000Z")],
)
@on_sqlite
def test_date_is_compared_as_the_portal_holds_it(
    table: Contacts, queue: ContactQueue, client: HubSpotClient, hubspot: Emulator, runs: Runs,
    kind: str, told: str,
) -> None:  # fmt: skip
    hubspot.add_property({"name": NAMES.sync_date, "type": kind, "fieldType": "text"})
    key = table.add()
    row = queue.read_one(key).contact
    mapping = look_at_portal(client, MAPPING, None)
    (plan,) = look(client, [row], mapping)
    assert PropertyChange(NAMES.sync_date, None, told) in plan.changes
    runs.queue()
    (again,) = look(client, [row], mapping)
    assert again.changes == ()


# What is said


def test_preview_tells_old_value_and_new_one(client: HubSpotClient, hubspot: Emulator) -> None:
    held = {"email": "ada@x.org", "firstname": "Ida", "lastname": "King", "phone": ""}
    record = hubspot.add_contact(held)
    ada = contact("Ada@x.org", name="Ada King", phone_number="+44 1", domain_id="d")
    (plan,) = look(client, [ada])
    assert plan == PlannedContact(
        ada.id,
        "Ada@x.org",
        UPDATE,
        hubspot_contact_id=record,
        changes=(
            PropertyChange("firstname", "Ida", "Ada"),
            PropertyChange("phone", None, "+44 1"),
            PropertyChange(NAMES.domain_id, None, "d"),
            PropertyChange(NAMES.sync_date, None, "2026-11-24"),
        ),
        unchanged=1,
    )


def test_preview_of_a_new_contact_tells_the_email_and_nothing_unchanged(
    client: HubSpotClient,
) -> None:
    (plan,) = look(client, [contact(" Ada@X.org ")])
    changes = [PropertyChange("email", None, "ada@x.org")]
    changes += [PropertyChange(NAMES.sync_date, None, "2026-11-24")]
    assert (plan.action, plan.changes, plan.unchanged) == (CREATE, tuple(changes), 0)


def test_preview_never_touches_the_email_of_a_contact_known_by_another_address(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    hubspot.add_contact({"email": "p@x.org"}, additional_emails=["s@x.org"])
    (plan,) = look(client, [contact("s@x.org")])
    assert "email" not in {change.name for change in plan.changes}


def test_contacts_that_share_an_email_share_the_later_values(client: HubSpotClient) -> None:
    first, last = contact("a@x.org", name="Ada King"), contact("A@x.org", name="Bo")
    plans = look(client, [first, last])
    assert plans[0].changes == plans[1].changes
    told = {change.name: change.new for change in plans[0].changes}
    assert (told["firstname"], told["lastname"]) == ("Bo", "King")
    assert [plan.shared_with for plan in plans] == [(last.id,), (first.id,)]


@pytest.mark.parametrize("email", [None, "", "  ", "bad", "a b@x.org", f"{'a' * 255}@x.org"])
def test_contact_that_cannot_be_sent_fails_without_a_request(
    client: HubSpotClient, hubspot: Emulator, email: str | None
) -> None:
    (plan,) = look(client, [contact(email)])
    assert (plan.action, plan.email, plan.changes, plan.unchanged) == (REJECT, email, (), 0)
    assert "mark" in (plan.message or "")
    assert hubspot.request_count == 0


def test_preview_keeps_the_order(client: HubSpotClient, hubspot: Emulator) -> None:
    for number in range(0, 240, 3):
        hubspot.add_contact({"email": f"c{number}@x.org"})
    asked = [contact(f"c{number}@x.org" if number % 7 else "bad") for number in range(240)]
    plans = look(client, asked)
    assert [plan.id for plan in plans] == [each.id for each in asked]
    for number, plan in enumerate(plans):
        known = UNCHANGED if number % 3 == 0 else CREATE
        assert plan.action is (known if number % 7 else REJECT)


# What could not be checked


def answer(records: Mapping[str, str], missing: Sequence[str]) -> dict[str, Any]:
    """Return an answer that names these records by email and these addresses as missing."""
    results = [{"id": key, "properties": {"email": email}} for email, key in records.items()]
    gone = {"category": "OBJECT_NOT_FOUND", "message": "gone", "context": {"ids": list(missing)}}
    return {"status": "COMPLETE", "results": results, "errors": [gone], "numErrors": 1}


def test_contact_that_the_answer_leaves_out_is_not_known(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    hubspot.fault(**READ, status=207, body=answer({"known@x.org": "77"}, ["new@x.org"]))
    emails = ("new@x.org", "left@x.org", "known@x.org")
    plans = look(client, [contact(email) for email in emails])
    assert [plan.action for plan in plans] == [CREATE, UNKNOWN, UNCHANGED]
    assert (plans[1].changes, plans[1].unchanged, plans[1].hubspot_contact_id) == ((), 0, None)


def test_contact_that_is_not_known_says_why(client: HubSpotClient, hubspot: Emulator) -> None:
    hubspot.fault(**READ, body={"status": "COMPLETE", "results": []})
    (plan,) = look(client, [contact("left@x.org")])
    assert plan.action is UNKNOWN
    assert plan.message


def test_stored_id_that_the_answer_leaves_out_is_not_known(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    record = hubspot.add_contact({"email": "before@x.org"} | ids_of(OWNERS[1]))
    hubspot.fault(**READ, contains=record, body={"status": "COMPLETE", "results": []})
    moved = contact("after@x.org", hubspot_contact_id=record, **columns_of(OWNERS[1]))
    (plan,) = look(client, [moved])
    assert plan.action is UNKNOWN


def test_address_that_hubspot_will_not_read_keeps_nobody_else_from_being_told(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    body = {"category": "VALIDATION_ERROR", "message": "bad input"}
    hubspot.fault(**READ, contains="odd@x.org", status=400, body=body, times=None)
    plans = look(client, [contact(email) for email in ("a@x.org", "odd@x.org", "b@x.org")])
    assert [plan.action for plan in plans] == [CREATE, UNKNOWN, CREATE]


@pytest.mark.parametrize("fault", [{"status": 502}, {"drop": True}, {"body": "<html/>"}])
def test_preview_without_an_answer_stops(
    client: HubSpotClient, hubspot: Emulator, fault: dict[str, Any]
) -> None:
    hubspot.fault(path="/contacts", times=None, **fault)
    with pytest.raises(HubSpotDown, match="is down or cannot be reached"):
        look(client, [contact("a@x.org")])


def test_address_that_hubspot_stumbles_over_keeps_nobody_else_from_being_told(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    hubspot.fault(**READ, contains="odd@x.org", status=500, times=None)
    plans = look(client, [contact(email) for email in ("a@x.org", "odd@x.org", "b@x.org")])
    assert [plan.action for plan in plans] == [CREATE, UNKNOWN, CREATE]


def test_preview_waits_out_trouble_that_passes(client: HubSpotClient, hubspot: Emulator) -> None:
    hubspot.fault(**READ, status=502, times=2)
    assert look(client, [contact("a@x.org")])[0].action is CREATE


def test_preview_with_a_token_that_is_not_accepted_stops(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    hubspot.token = "pat-na1-yyyyyyyy"
    with pytest.raises(HubSpotDenied, match="HUBSPOT_API_KEY"):
        look(client, [contact("a@x.org")])


# What it costs


@pytest.mark.parametrize(
    ("number", "stored", "requests"), [(0, 0, 0), (1, 0, 1), (100, 0, 1), (101, 0, 2), (100, 40, 2)]
)
def test_preview_reads_a_hundred_at_a_time(
    client: HubSpotClient, hubspot: Emulator, number: int, stored: int, requests: int
) -> None:
    look(
        client,
        [
            contact(f"c{each}@x.org", hubspot_contact_id=str(each + 1) if each < stored else None)
            for each in range(number)
        ],
    )
    assert hubspot.requests == [("POST", "/crm/v3/objects/contacts/batch/read")] * requests


def test_stored_ids_of_contacts_that_hubspot_knows_are_not_read(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    record = hubspot.add_contact({"email": "a@x.org"})
    look(client, [contact("a@x.org", hubspot_contact_id=record)])
    assert hubspot.request_count == 1


@pytest.mark.parametrize("stored", ["x", "", "12 34", "-1", "../1"])
def test_stored_id_that_can_be_none_is_not_asked_for(
    client: HubSpotClient, hubspot: Emulator, stored: str
) -> None:
    assert look(client, [contact("a@x.org", hubspot_contact_id=stored)])[0].action is CREATE
    assert hubspot.request_count == 1


def test_preview_speaks_a_dated_version(client: HubSpotClient, hubspot: Emulator) -> None:
    dated = contacts_client(client.transport, api_version="2026-09")
    assert look(dated, [contact("a@x.org")])[0].action is CREATE
    assert hubspot.requests == [("POST", "/crm/objects/2026-09/contacts/batch/read")]


def test_contact_that_the_mapping_rejects_is_foreseen(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    number = Field("phone", "phone_number", type=TypeSpec(ValueType.NUMBER))
    drop = replace(number, on_invalid=OnInvalid.DROP)
    bad = contact("bad@example.com", phone_number="ext. 4")
    (rejected,) = look(client, [bad], PropertyMapping((number,)))
    assert rejected.action is PlannedAction.REJECT
    assert "'ext. 4' is not a number" in (rejected.message or "")
    (dropped,) = look(client, [bad], PropertyMapping((drop,)))
    assert dropped.action is PlannedAction.CREATE
    assert [str(each) for each in dropped.dropped] == ["dropped: 'ext. 4' is not a number"]


def test_what_a_policy_keeps_is_foreseen(client: HubSpotClient, hubspot: Emulator) -> None:
    hubspot.add_contact({"email": "ada@example.com", "phone": "typed"})
    line = Field("phone", "phone_number", write=WritePolicy.IF_EMPTY)
    ada = contact("ada@example.com", phone_number="scraped")
    (planned,) = look(client, [ada], PropertyMapping((line,)))
    assert planned.action is PlannedAction.UNCHANGED
    assert [str(each) for each in planned.kept] == ["kept: HubSpot has typed"]
