"""Values that are cleared, in both lanes and the dry run: the table is asked last before."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from hubspot_sync.hubspot.batch_lane import BatchLane
from hubspot_sync.hubspot.careful_lane import CarefulLane, Lanes
from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.ends import Ends
from hubspot_sync.hubspot.preview import preview
from hubspot_sync.report import PlannedAction
from hubspot_sync.rules.clearing import Clearing
from hubspot_sync.rules.grouping import Group, group_by_email
from hubspot_sync.rules.mapping import Contact, Field, NullPolicy, PropertyMapping
from hubspot_sync.rules.settlement import Outcome
from hubspot_sync.rules.shaping import RunContext, to_properties
from tests.conftest import NOW, lanes_of

MAPPING = PropertyMapping((
    Field("phone", "phone", null=NullPolicy.CLEAR),
    Field("firstname", "name", null=NullPolicy.CLEAR),
    Field("lastname", "surname"),
))  # fmt: skip
ADA = {"email": "ada@x.org", "firstname": "Ada", "lastname": "King", "phone": "1"}
BOB = {"email": "bob@x.org", "firstname": "Bob", "phone": "2"}
PHONE_ALONE = frozenset({"phone"})


class Table:
    """Answers for a table, and keeps what it was asked."""

    def __init__(self, free: frozenset[str]) -> None:
        self.free = free
        self.asked: list[list[Clearing]] = []

    def __call__(self, clearings: Sequence[Clearing]) -> Mapping[str, frozenset[str]]:
        self.asked.append(list(clearings))
        return {each.record_id: each.properties & self.free for each in clearings}


def emptied(email: str, key: int) -> Contact:
    return Contact(key, email, (("phone", None), ("name", ""), ("surname", None)))


def lanes(client: HubSpotClient, table: Table | None) -> Lanes:
    made = lanes_of(client, MAPPING)
    return replace(made, may_be_cleared=table) if table else made


def deliver(lanes: Lanes, contacts: Sequence[Contact], *, carefully: bool) -> dict[str, Outcome]:
    def stumble(fault: Exception, _: Group | None) -> Outcome:
        raise fault

    context = RunContext(NOW)
    groups = group_by_email((each, to_properties(each, MAPPING, context)) for each in contacts)
    ends: Ends = []
    lane = BatchLane(lanes, CarefulLane(lanes))
    lane.deliver(groups, ends.extend, stumble, carefully=carefully)
    return {group.email: outcome for group, outcome in ends}


def held(hubspot: Emulator) -> dict[str, dict[str, str]]:
    names = ("firstname", "lastname", "phone")
    return {
        each["properties"]["email"]: {
            name: each["properties"][name] for name in names if each["properties"].get(name)
        }
        for each in hubspot.contacts()
    }


@pytest.mark.parametrize("carefully", [False, True])
def test_empty_values_clear_what_no_other_row_has(
    client: HubSpotClient, hubspot: Emulator, carefully: bool
) -> None:
    hubspot.add_contact(ADA)
    hubspot.add_contact(BOB)
    table = Table(PHONE_ALONE)
    contacts = [emptied("ada@x.org", 1), emptied("bob@x.org", 2)]
    ends = deliver(lanes(client, table), contacts, carefully=carefully)
    assert [str(end.name) for end in ends.values()] == ["updated", "updated"]  # type: ignore[union-attr]
    assert held(hubspot) == {
        "ada@x.org": {"firstname": "Ada", "lastname": "King"},
        "bob@x.org": {"firstname": "Bob"},
    }
    # One question a batch; the careful lane asks for each contact.
    assert [len(asked) for asked in table.asked] == ([1, 1] if carefully else [2])
    assert {each.properties for asked in table.asked for each in asked} == {
        frozenset({"phone", "firstname"})
    }


@pytest.mark.parametrize("carefully", [False, True])
def test_nothing_is_cleared_where_nobody_answers_for_the_table(
    client: HubSpotClient, hubspot: Emulator, carefully: bool
) -> None:
    hubspot.add_contact(ADA)
    ends = deliver(lanes(client, None), [emptied("ada@x.org", 1)], carefully=carefully)
    assert [str(end.name) for end in ends.values()] == ["unchanged"]  # type: ignore[union-attr]
    assert held(hubspot)["ada@x.org"]["phone"] == "1"


def test_table_is_not_asked_where_nothing_would_be_cleared(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    hubspot.add_contact({"email": "ada@x.org", "lastname": "King"})
    table = Table(PHONE_ALONE)
    contacts = [emptied("ada@x.org", 1), emptied("new@x.org", 2)]
    deliver(lanes(client, table), contacts, carefully=False)
    assert table.asked == []


def test_value_is_cleared_on_the_record_that_a_create_met(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    gone = {
        "category": "OBJECT_NOT_FOUND",
        "message": "gone",
        "context": {"ids": ["ada@x.org"]},
    }
    nobody = {"status": "COMPLETE", "results": [], "errors": [gone]}
    hubspot.fault(path="batch/read", status=200, body=nobody, times=1)
    hubspot.add_contact(ADA)
    table = Table(PHONE_ALONE)
    deliver(lanes(client, table), [emptied("ada@x.org", 1)], carefully=False)
    assert held(hubspot)["ada@x.org"] == {"firstname": "Ada", "lastname": "King"}


def test_dry_run_shows_what_is_cleared_and_what_is_kept(
    client: HubSpotClient, hubspot: Emulator
) -> None:
    hubspot.add_contact(ADA)
    table = Table(PHONE_ALONE)
    (planned,) = preview(lanes(client, table), [emptied("ada@x.org", 1)], RunContext(NOW))
    assert planned.action is PlannedAction.UPDATE
    assert [(each.name, each.old, each.new) for each in planned.changes] == [("phone", "1", "")]
    (kept,) = planned.kept
    assert str(kept) == "kept: HubSpot has Ada, and another row of the same contact has a value"
    assert held(hubspot)["ada@x.org"]["phone"] == "1"
