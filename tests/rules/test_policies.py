"""Which values are sent to a record that exists, and what is said of those that are not."""

from collections.abc import Mapping, Sequence
from uuid import uuid4

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from hubspot_sync.rules.clearing import Clearing, free_to_clear
from hubspot_sync.rules.grouping import Group, group_by_email
from hubspot_sync.rules.identity import HubSpotRecord, holds_what_was_sent
from hubspot_sync.rules.mapping import (
    CLEARING_POLICIES,
    CONTACTS,
    Contact,
    Field,
    NullPolicy,
    OnInvalid,
    PropertyMapping,
    WritePolicy,
)
from hubspot_sync.rules.plan import (
    Absence,
    Need,
    PlannedWrite,
    Seen,
    Target,
    WriteKind,
    clearings,
    plan,
    plan_records,
)
from hubspot_sync.rules.policies import Change, WhyKept, value_hash
from hubspot_sync.rules.shaping import to_properties
from hubspot_sync.rules.value_types import TypeSpec, ValueType
from tests.contacts import context_of
from tests.for_each import for_each
from tests.rules.test_plan import TODAY

EMAIL, OTHER_EMAIL = "ada@x.org", "ada@y.org"

SENT = """
# what we last wrote there, where history exists: none, other (than HubSpot has now), held
# policy      ours   HubSpot  written   sent
  always      value  empty    any       ours
  always      value  same     any       nothing
  always      value  differs  any       ours
  always      empty  any      any       clear
  if-empty    value  empty    none      ours
  if-empty    value  empty    other     nothing
  if-empty    value  same     any       nothing
  if-empty    value  differs  any       nothing
  if-empty    empty  any      any       nothing
  create-only value  any      any       nothing
  create-only empty  any      any       nothing
  if-ours     value  empty    any       ours
  if-ours     value  same     any       nothing
  if-ours     value  differs  none      nothing
  if-ours     value  differs  other     nothing
  if-ours     value  differs  held      ours
  if-ours     empty  same     held      clear
  if-ours     empty  differs  held      clear
  if-ours     empty  any      none      nothing
  if-ours     empty  any      other     nothing
"""
"""What a record that exists is sent of one property. `clear` only where `null` says so, HubSpot has
a value, and no other row has one; an invalid value is no empty one, and nothing is sent."""

ROWS = [line.split() for line in SENT.splitlines() if line.strip() and "#" not in line]


def promised(policy: str, ours: str, held: str, written: str) -> str:
    """What the table says."""
    (sent,) = {
        row[4]
        for row in ROWS
        if row[0] == policy
        and row[1] == ours
        and row[2] in ("any", held)
        and row[3] in ("any", written)
    }
    return sent


def merged_by_hand(values: Sequence[str | None]) -> str | None:
    """What the rows of one contact have together: a number, None, or 'invalid'."""
    valid = [value for value in values if value in ("1", "2")]
    if valid:
        return valid[-1]
    return "invalid" if "bad" in values else None


def line_of(write: WritePolicy, null: NullPolicy, *, stamp: bool = False) -> Field:
    return Field(
        "score",
        "score",
        type=TypeSpec(ValueType.NUMBER),
        on_invalid=OnInvalid.DROP,
        write=write,
        null=null,
        stamp=stamp,
    )


policies = st.sampled_from([
    (write, null)
    for write in WritePolicy
    for null in NullPolicy
    if null is NullPolicy.KEEP or write in CLEARING_POLICIES
])  # fmt: skip
cells = st.sampled_from([None, "", "1", "2", "bad"])


@settings(max_examples=500)
@given(
    policy=policies,
    rows=st.lists(st.tuples(st.sampled_from([EMAIL, OTHER_EMAIL]), cells), min_size=1, max_size=4),
    held=st.sampled_from([None, "1", "1.0", "2", "3"]),
    written=st.sampled_from(["none", "other", "held"]),
    is_free=st.booleans(),
)
def test_what_is_sent_is_what_the_table_says(
    policy: tuple[WritePolicy, NullPolicy],
    rows: list[tuple[str, str | None]],
    held: str | None,
    written: str,
    is_free: bool,
) -> None:
    mapping = PropertyMapping((line_of(*policy),))
    contacts = [Contact(n, email, (("score", cell),)) for n, (email, cell) in enumerate(rows)]
    groups = group_by_email((c, to_properties(c, mapping, context_of(TODAY))) for c in contacts)
    # Groups are merged in the order of their first rows.
    together = [cell for group in groups for email, cell in rows if email == group.email]
    record = HubSpotRecord(
        "7",
        {"email": EMAIL, "hs_additional_emails": OTHER_EMAIL} | ({"score": held} if held else {}),
    )
    if written == "held" and held is None:
        written = "other"
    memory = {
        "none": None,
        "other": {"score": value_hash("9")},
        "held": {"score": value_hash(held or "")},
    }
    target = Target(
        record,
        may_clear=frozenset({"score"} if is_free else ()),
        last_written=memory[written],
    )
    (planned,) = plan_records([(group, target) for group in groups], mapping, CONTACTS)
    write = planned.write

    ours = merged_by_hand(together)
    is_same = ours in ("1", "2") and held is not None and float(held) == float(ours)
    theirs = "empty" if held is None else "same" if is_same else "differs"
    if ours == "invalid":
        expected = "nothing"
    else:
        expected = promised(policy[0], "value" if ours else "empty", theirs, written)
    if expected == "clear" and not (held and is_free and policy[1] is NullPolicy.CLEAR):
        expected = "nothing"
    event(f"{policy[0]}: {expected}")

    sent = {"ours": {"score": ours}, "clear": {"score": ""}, "nothing": {}}[expected]
    assert write.properties == sent
    assert write.kind is (WriteKind.UPDATE if sent else WriteKind.NOTHING)
    assert write.cleared == (("score",) if expected == "clear" else ())
    assert [each.property_name for each in write.dropped] == ["score"] * (ours == "invalid")
    is_withheld = ours in ("1", "2") and not is_same and not sent
    wanted_clearing = not ours and held is not None and policy[1] is NullPolicy.CLEAR
    assert len(write.kept) == (is_withheld or (wanted_clearing and not sent))
    assert write.same == int(is_same)


@given(policy=policies, cell=cells)
def test_create_sends_every_value_whatever_the_policy(
    policy: tuple[WritePolicy, NullPolicy], cell: str | None
) -> None:
    mapping = PropertyMapping((line_of(*policy),))
    write = planned_of(mapping, Seen(by_email=Absence.GONE), score=cell)
    assert write.kind is WriteKind.CREATE
    assert write.properties == {"email": EMAIL} | ({"score": cell} if cell in ("1", "2") else {})


def group_of(mapping: PropertyMapping, *members: Contact) -> Group:
    (group,) = group_by_email((c, to_properties(c, mapping, context_of(TODAY))) for c in members)
    return group


def planned_of(mapping: PropertyMapping, seen: Seen, **values: str | None) -> PlannedWrite:
    contact = Contact(str(uuid4()), EMAIL, tuple(values.items()))
    write = plan(group_of(mapping, contact), seen, mapping, CONTACTS)
    assert isinstance(write, PlannedWrite)
    return write


def seen_with(held: Mapping[str, str], memory: Mapping[str, str] | None = None) -> Seen:
    return Seen(HubSpotRecord("7", {"email": EMAIL, **held}), last_written=memory)


@for_each(
    ("write", "held", "memory", "words"),
    [
        (WritePolicy.IF_EMPTY, "2", None, "kept: HubSpot has 2"),
        (WritePolicy.IF_EMPTY, None, {"score": "x"}, "emptied in HubSpot"),
        (WritePolicy.CREATE_ONLY, "2", None, "only a new one gets a value here; HubSpot has 2"),
        (WritePolicy.CREATE_ONLY, None, None, "HubSpot has nothing"),
        (WritePolicy.IF_OURS, "2", None, "which is not what was last written"),
    ],
)
def test_what_is_kept_says_why(
    write: WritePolicy, held: str | None, memory: dict[str, str] | None, words: str
) -> None:
    mapping = PropertyMapping((line_of(write, NullPolicy.KEEP),))
    seen = seen_with({"score": held} if held else {}, memory)
    (kept,) = planned_of(mapping, seen, score="1").kept
    assert words in str(kept)
    assert (kept.ours, kept.held) == ("1", held)


def test_dropped_value_says_why() -> None:
    mapping = PropertyMapping((line_of(WritePolicy.ALWAYS, NullPolicy.KEEP),))
    (dropped,) = planned_of(mapping, seen_with({}), score="bad").dropped
    assert str(dropped) == "dropped: 'bad' is not a number"


def test_options_are_added_to_those_that_are_there() -> None:
    spec = TypeSpec(ValueType.MULTI_CHECKBOX, appends=True)
    mapping = PropertyMapping((Field("topics", "topics", type=spec),))
    write = planned_of(mapping, seen_with({"topics": "a;b"}), topics="b;c")
    assert write.changes == (Change("topics", "a;b", "a;b;c", appends=True),)
    assert write.properties == {"topics": ";c"}
    after = HubSpotRecord("7", {"topics": "c;a;b"})
    assert holds_what_was_sent(after, write.properties, mapping)
    assert not holds_what_was_sent(HubSpotRecord("7", {"topics": "a"}), write.properties, mapping)
    assert planned_of(mapping, seen_with({"topics": "c;b"}), topics="b").kind is WriteKind.NOTHING
    assert planned_of(mapping, seen_with({}), topics="b;c").properties == {"topics": "b;c"}


def test_stamp_travels_with_what_is_cleared_and_not_with_what_is_kept() -> None:
    stamp = Field("synced", constant="now", stamp=True)
    always = PropertyMapping((line_of(WritePolicy.ALWAYS, NullPolicy.CLEAR), stamp))
    seen = Seen(HubSpotRecord("7", {"email": EMAIL, "score": "1"}), may_clear=frozenset({"score"}))
    assert planned_of(always, seen).properties == {"score": "", "synced": "now"}
    if_empty = PropertyMapping((line_of(WritePolicy.IF_EMPTY, NullPolicy.KEEP), stamp))
    write = planned_of(if_empty, seen, score="2")
    assert (write.kind, len(write.kept), write.same) == (WriteKind.NOTHING, 1, 1)


CLEARED = PropertyMapping((
    line_of(WritePolicy.ALWAYS, NullPolicy.CLEAR),
    Field("phone", "phone"),
))  # fmt: skip


def test_table_is_asked_before_a_value_is_cleared() -> None:
    contact = Contact(1, EMAIL, (("score", None), ("phone", None)))
    group, seen = group_of(CLEARED, contact), seen_with({"score": "1", "phone": "2"})
    assert plan(group, seen, CLEARED, CONTACTS) is Need.CLEARING
    assert isinstance(seen.by_email, HubSpotRecord)
    assert clearings([(group, Target(seen.by_email))], CLEARED) == [
        Clearing("7", frozenset({EMAIL}), frozenset({"score"}), frozenset({1}))
    ]


@pytest.mark.parametrize(
    ("score", "held"), [("2", {"score": "1"}), (None, {}), ("bad", {"score": "1"})]
)
def test_table_is_not_asked_where_nothing_would_be_cleared(
    score: str | None, held: dict[str, str]
) -> None:
    group = group_of(CLEARED, Contact(1, EMAIL, (("score", score),)))
    assert isinstance(plan(group, seen_with(held), CLEARED, CONTACTS), PlannedWrite)


def test_groups_that_meet_in_one_record_are_asked_about_as_one() -> None:
    record = HubSpotRecord("7", {"email": EMAIL, "hs_additional_emails": OTHER_EMAIL, "score": "1"})
    groups = [group_of(CLEARED, Contact(n, e)) for n, e in enumerate([EMAIL, OTHER_EMAIL])]
    (asked,) = clearings([(group, Target(record)) for group in groups], CLEARED)
    assert asked.members == {0, 1}
    filled = group_of(CLEARED, Contact(2, OTHER_EMAIL, (("score", "5"),)))
    assert clearings([(groups[0], Target(record)), (filled, Target(record))], CLEARED) == []


def test_value_is_kept_where_another_row_has_one() -> None:
    seen = Seen(HubSpotRecord("7", {"email": EMAIL, "score": "1"}), may_clear=frozenset())
    write = planned_of(CLEARED, seen, score=None)
    assert write.kind is WriteKind.NOTHING
    (kept,) = write.kept
    assert (kept.why, kept.ours) == (WhyKept.OTHER_ROW, "")


def test_read_only_property_is_not_cleared() -> None:
    mapping = PropertyMapping(CLEARED.fields, read_only=frozenset({"score"}))
    write = planned_of(mapping, seen_with({"score": "1"}), score=None)
    assert (write.kind, write.kept) == (WriteKind.NOTHING, ())


ASKED = Clearing("7", frozenset({EMAIL}), frozenset({"score"}), frozenset({1}))


@for_each(
    ("row", "is_free"),
    [
        (Contact(1, EMAIL, (("score", "5"),), "7"), True),
        (Contact(2, EMAIL, (("score", "5"),)), False),
        (Contact(2, f" {EMAIL.upper()} ", (("score", "5"),)), False),
        (Contact(2, None, (("score", "5"),), "7"), False),
        (Contact(2, EMAIL, (("score", "bad"),)), False),
        (Contact(2, EMAIL, (("score", " "),)), True),
        (Contact(2, EMAIL, (("phone", "5"),)), True),
        (Contact(2, "b@x.org", (("score", "5"),), "8"), True),
    ],
)
def test_value_of_another_row_keeps_hubspots(row: Contact, is_free: bool) -> None:
    free = free_to_clear([ASKED], [row], CLEARED)
    assert free == {"7": frozenset({"score"} if is_free else ())}
