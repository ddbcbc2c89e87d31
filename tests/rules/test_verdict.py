"""Whose fault is a refusal."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hubspot_sync.errors import Signature
from hubspot_sync.rules.reaction import UNAVAILABLE
from hubspot_sync.rules.verdict import Tally, Verdict

RULE = Signature("VALIDATION_ERROR", "phone")
OTHER_CODE = Signature("INVALID_OPTION", "phone")
OTHER_PROPERTY = Signature("VALIDATION_ERROR", "lastname")
EMAIL = Signature("INVALID_EMAIL", "email")

Event = Signature | None
"""A contact's end: how it was refused, or None where it was accepted."""


def _tally(*events: Event) -> Tally:
    tally = Tally()
    for event in events:
        tally = tally.accepted() if event is None else tally.refused(event)
    return tally


def _verdict(*events: Event) -> Verdict:
    return _tally(*events).verdict


def test_run_that_has_sent_nothing_withholds_nothing() -> None:
    assert Tally().verdict is Verdict.CONTACTS


@pytest.mark.parametrize(
    "signature", [RULE, OTHER_CODE, Signature("VALIDATION_ERROR"), Signature("HTTP_402")]
)
def test_ten_refused_alike_from_the_start_are_everyones(signature: Signature) -> None:
    assert _verdict(*[signature] * 10) is Verdict.EVERYONES


@pytest.mark.parametrize("count", range(1, 10))
def test_fewer_than_ten_refused_alike_are_withheld(count: int) -> None:
    assert _verdict(*[RULE] * count) is Verdict.OPEN


def test_acceptance_makes_nine_refused_alike_the_contacts_own() -> None:
    assert _verdict(*[RULE] * 9, None) is Verdict.CONTACTS


@pytest.mark.parametrize("other", [OTHER_CODE, OTHER_PROPERTY])
def test_another_refusal_makes_nine_refused_alike_the_contacts_own(other: Signature) -> None:
    assert _verdict(*[RULE] * 9, other) is Verdict.CONTACTS


def test_another_refusal_first_makes_all_others_the_contacts_own() -> None:
    assert _verdict(OTHER_PROPERTY, *[RULE] * 20) is Verdict.CONTACTS


@pytest.mark.parametrize("when", range(10))
def test_one_acceptance_in_the_run_means_that_refusals_are_the_contacts_own(when: int) -> None:
    assert _verdict(*[RULE] * when, None, *[RULE] * 20) is Verdict.CONTACTS


@pytest.mark.parametrize("count", [1, 9, 10, 100])
def test_invalid_emails_are_always_the_contacts_own(count: int) -> None:
    assert _verdict(*[EMAIL] * count) is Verdict.CONTACTS


def test_invalid_email_on_any_property_is_the_contacts_own() -> None:
    assert _verdict(*[Signature("INVALID_EMAIL")] * 10) is Verdict.CONTACTS


def test_invalid_email_neither_counts_nor_breaks_the_count() -> None:
    assert _verdict(*[RULE] * 9, EMAIL) is Verdict.OPEN
    assert _verdict(EMAIL, *[RULE] * 5, EMAIL, *[RULE] * 5) is Verdict.EVERYONES


def test_ten_unavailable_from_the_start_are_everyones() -> None:
    assert _verdict(*[UNAVAILABLE] * 10) is Verdict.EVERYONES


@pytest.mark.parametrize("before", [None, RULE, EMAIL])
def test_ten_unavailable_in_a_row_are_everyones_anywhere(before: Event) -> None:
    assert _verdict(before, *[UNAVAILABLE] * 10) is Verdict.EVERYONES


def test_nine_unavailable_after_an_acceptance_are_withheld() -> None:
    assert _verdict(None, *[UNAVAILABLE] * 9) is Verdict.OPEN


def test_acceptance_makes_nine_unavailable_the_contacts_own() -> None:
    assert _verdict(None, *[UNAVAILABLE] * 9, None) is Verdict.CONTACTS


def test_acceptance_begins_the_count_of_unavailable_anew() -> None:
    assert _verdict(*[UNAVAILABLE] * 9, None, *[UNAVAILABLE] * 9) is Verdict.OPEN


@pytest.mark.parametrize("between", [RULE, EMAIL])
def test_other_refusals_between_do_not_interrupt_a_row_of_unavailable(between: Signature) -> None:
    events = [*[UNAVAILABLE] * 5, between, *[UNAVAILABLE] * 5]
    assert _verdict(None, *events) is Verdict.EVERYONES


@pytest.mark.parametrize("between", [RULE, EMAIL])
def test_refusals_among_unavailable_ones_do_not_make_ten(between: Signature) -> None:
    assert _verdict(None, *[UNAVAILABLE] * 9, between) is Verdict.OPEN


def test_counting_leaves_the_earlier_tally_as_it_was() -> None:
    before = _tally(*[RULE] * 9)
    before.refused(RULE)
    assert before.verdict is Verdict.OPEN


@given(st.lists(st.sampled_from([RULE, OTHER_PROPERTY, EMAIL, UNAVAILABLE, None]), max_size=30))
@example([UNAVAILABLE] * 9 + [EMAIL, RULE, UNAVAILABLE])
@settings(derandomize=True, deadline=None, database=None)
def test_run_stops_for_ten_all_alike_or_ten_unavailable_without_an_acceptance(
    events: list[Event],
) -> None:
    all_alike = len(events) >= 10 and set(events) in ({RULE}, {OTHER_PROPERTY}, {UNAVAILABLE})
    since = events[::-1].index(None) if None in events else len(events)
    unavailable = events[len(events) - since :].count(UNAVAILABLE)
    stops = _verdict(*events) is Verdict.EVERYONES
    assert stops == (all_alike or unavailable >= 10)


@given(st.lists(st.sampled_from([RULE, OTHER_PROPERTY, EMAIL, UNAVAILABLE, None]), max_size=30))
@settings(derandomize=True, deadline=None, database=None)
def test_acceptance_withholds_nothing_any_longer(events: list[Event]) -> None:
    assert _verdict(*events, None) is Verdict.CONTACTS
