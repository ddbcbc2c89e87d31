"""When the circuit opens: does a refusal concern one contact, or every contact?"""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hubspot_sync.errors import Signature
from hubspot_sync.rules.circuit_breaker import CircuitState, RefusalCount, said_of_everyone
from hubspot_sync.rules.invalid import InvalidCode
from hubspot_sync.rules.mapping import Field, PropertyMapping
from hubspot_sync.rules.reaction import UNAVAILABLE
from hubspot_sync.rules.settlement import Failed
from tests.for_each import for_each
from tests.messages import said

RULE = Signature("VALIDATION_ERROR", "phone")
OTHER_CODE = Signature("INVALID_OPTION", "phone")
OTHER_PROPERTY = Signature("VALIDATION_ERROR", "lastname")
EMAIL = Signature("INVALID_EMAIL", "email")

Event = Signature | None
"""A contact's end: how it was refused, or None where it was accepted."""


def _count(*events: Event) -> RefusalCount:
    count = RefusalCount()
    for event in events:
        count = count.accepted() if event is None else count.refused(event)
    return count


def _state(*events: Event) -> CircuitState:
    return _count(*events).state


def test_run_that_has_sent_nothing_withholds_nothing() -> None:
    assert RefusalCount().state is CircuitState.CLOSED


@for_each("signature", [RULE, OTHER_CODE, Signature("VALIDATION_ERROR"), Signature("HTTP_402")])
def test_ten_refused_alike_from_the_start_open_the_circuit(signature: Signature) -> None:
    assert _state(*[signature] * 10) is CircuitState.OPEN


@for_each("count", range(1, 10))
def test_fewer_than_ten_refused_alike_are_withheld(count: int) -> None:
    assert _state(*[RULE] * count) is CircuitState.COUNTING


def test_acceptance_makes_nine_refused_alike_the_contacts_own() -> None:
    assert _state(*[RULE] * 9, None) is CircuitState.CLOSED


@pytest.mark.parametrize("other", [OTHER_CODE, OTHER_PROPERTY])
def test_another_refusal_makes_nine_refused_alike_the_contacts_own(other: Signature) -> None:
    assert _state(*[RULE] * 9, other) is CircuitState.CLOSED


def test_another_refusal_first_makes_all_others_the_contacts_own() -> None:
    assert _state(OTHER_PROPERTY, *[RULE] * 20) is CircuitState.CLOSED


@for_each("when", range(10))
def test_one_acceptance_in_the_run_means_that_refusals_are_the_contacts_own(when: int) -> None:
    assert _state(*[RULE] * when, None, *[RULE] * 20) is CircuitState.CLOSED


@for_each("count", [1, 9, 10, 100])
def test_invalid_emails_are_always_the_contacts_own(count: int) -> None:
    assert _state(*[EMAIL] * count) is CircuitState.CLOSED


def test_invalid_email_on_any_property_is_the_contacts_own() -> None:
    assert _state(*[Signature("INVALID_EMAIL")] * 10) is CircuitState.CLOSED


def test_invalid_email_neither_counts_nor_breaks_the_count() -> None:
    assert _state(*[RULE] * 9, EMAIL) is CircuitState.COUNTING
    assert _state(EMAIL, *[RULE] * 5, EMAIL, *[RULE] * 5) is CircuitState.OPEN


def test_ten_unavailable_from_the_start_open_the_circuit() -> None:
    assert _state(*[UNAVAILABLE] * 10) is CircuitState.OPEN


@pytest.mark.parametrize("before", [None, RULE, EMAIL])
def test_ten_unavailable_in_a_row_open_the_circuit_anywhere(before: Event) -> None:
    assert _state(before, *[UNAVAILABLE] * 10) is CircuitState.OPEN


def test_nine_unavailable_after_an_acceptance_are_withheld() -> None:
    assert _state(None, *[UNAVAILABLE] * 9) is CircuitState.COUNTING


def test_acceptance_makes_nine_unavailable_the_contacts_own() -> None:
    assert _state(None, *[UNAVAILABLE] * 9, None) is CircuitState.CLOSED


def test_acceptance_begins_the_count_of_unavailable_anew() -> None:
    assert _state(*[UNAVAILABLE] * 9, None, *[UNAVAILABLE] * 9) is CircuitState.COUNTING


@pytest.mark.parametrize("between", [RULE, EMAIL])
def test_other_refusals_between_do_not_interrupt_a_row_of_unavailable(between: Signature) -> None:
    events = [*[UNAVAILABLE] * 5, between, *[UNAVAILABLE] * 5]
    assert _state(None, *events) is CircuitState.OPEN


@pytest.mark.parametrize("between", [RULE, EMAIL])
def test_refusals_among_unavailable_ones_do_not_make_ten(between: Signature) -> None:
    assert _state(None, *[UNAVAILABLE] * 9, between) is CircuitState.COUNTING


def test_counting_leaves_the_earlier_count_as_it_was() -> None:
    before = _count(*[RULE] * 9)
    before.refused(RULE)
    assert before.state is CircuitState.COUNTING


@given(st.lists(st.sampled_from([RULE, OTHER_PROPERTY, EMAIL, UNAVAILABLE, None]), max_size=30))
@example([UNAVAILABLE] * 9 + [EMAIL, RULE, UNAVAILABLE])
@settings(derandomize=True, deadline=None, database=None)
def test_run_stops_for_ten_all_alike_or_ten_unavailable_without_an_acceptance(
    events: list[Event],
) -> None:
    all_alike = len(events) >= 10 and set(events) in ({RULE}, {OTHER_PROPERTY}, {UNAVAILABLE})
    since = events[::-1].index(None) if None in events else len(events)
    unavailable = events[len(events) - since :].count(UNAVAILABLE)
    stops = _state(*events) is CircuitState.OPEN
    assert stops == (all_alike or unavailable >= 10)


@given(st.lists(st.sampled_from([RULE, OTHER_PROPERTY, EMAIL, UNAVAILABLE, None]), max_size=30))
@settings(derandomize=True, deadline=None, database=None)
def test_acceptance_withholds_nothing_any_longer(events: list[Event]) -> None:
    assert _state(*events, None) is CircuitState.CLOSED


BAD_DATE = Signature(InvalidCode.NOT_A_DATE, "birthday")
BAD_PHONE = Signature(InvalidCode.NOT_A_PHONE_NUMBER, "phone")


def test_ten_values_of_a_field_that_had_no_valid_one_open_the_circuit() -> None:
    assert _state(*[BAD_DATE] * 9) is CircuitState.COUNTING
    assert _state(*[BAD_DATE] * 10) is CircuitState.OPEN


def test_invalid_values_are_counted_by_field_and_reason() -> None:
    assert _state(*[BAD_DATE, BAD_PHONE] * 9) is CircuitState.COUNTING
    assert _state(*[BAD_DATE, BAD_PHONE] * 10) is CircuitState.OPEN


def test_valid_value_makes_the_invalid_ones_of_its_field_the_contacts_own() -> None:
    count = _count(*[BAD_DATE] * 9, BAD_PHONE).had_values(frozenset({"birthday"}))
    assert count.invalid.counts == {BAD_PHONE: 1}
    for _ in range(20):
        count = count.refused(BAD_DATE)
    assert count.state is CircuitState.COUNTING
    assert count.refused(BAD_PHONE).invalid.most == 2


def test_contact_that_hubspot_accepts_says_nothing_about_a_field_it_has_no_value_for() -> None:
    assert _state(*[BAD_DATE] * 9, None, BAD_DATE) is CircuitState.OPEN


def test_invalid_values_neither_count_among_hubspots_refusals_nor_break_their_count() -> None:
    assert _state(*[RULE] * 9, BAD_DATE, RULE) is CircuitState.OPEN
    assert _state(*[RULE] * 8, BAD_DATE, RULE) is CircuitState.COUNTING


@pytest.mark.parametrize(
    ("file", "expected"),
    [("m.toml", "(VALIDATION_ERROR on phone; m.toml, line 9, phone)"), (None, "on phone)")],
)
def test_line_of_a_mapping_file_is_named_where_everyone_is_refused(
    file: str | None, expected: str
) -> None:
    mapping = PropertyMapping((Field("phone", "phone", line=9),), file=file)
    assert expected in said_of_everyone(Failed(said("no"), RULE), mapping)
    assert said_of_everyone(Failed(said("no"), Signature("HTTP_402")), mapping)
