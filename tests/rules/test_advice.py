"""Failures by reason: by the code at the beginning of an error, never by its words."""

import copy

from hypothesis import given, settings
from hypothesis import strategies as st

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import ContactRejected
from hubspot_sync.rules.advice import Reason, reason_for, reason_of
from hubspot_sync.rules.mapping import email_fault
from hubspot_sync.rules.reaction import refusal_of_item
from hubspot_sync.rules.settlement import error_text
from hubspot_sync.sentences import Message
from tests.for_each import for_each
from tests.messages import sample

CUSTOM = ("scrapersky_page_id",)


def refusal(message: str, code: str, name: str = "phone") -> Message:
    """Read a refusal as HubSpot words it."""
    body = {
        "category": "VALIDATION_ERROR",
        "message": "Property values were not valid",
        "errors": [{"message": message, "code": code, "context": {"propertyName": [name]}}],
    }
    return refusal_of_item(body, CUSTOM).message


def reason(message: Message) -> Reason:
    """Return the reason that a run gives and that the row gives later, which must be one."""
    from_row = reason_of(error_text(message))
    assert reason_for(message) == from_row
    return from_row


# What the operator must learn, as words of the reason or the advice.
@for_each(
    ("message", "told"),
    [
        *((email_fault(email), "no email address") for email in (None, " ")),
        *((email_fault(email), "not an email") for email in ("ada", "a b@x.org", "a@x")),
        (sample(ErrorCode.WORKER_DIED_EACH_TIME), "worker died each time"),
        (sample(ErrorCode.WORKER_DIED), "by itself"),
        (sample(ErrorCode.OUR_FAULT), "fault of hubspot-sync"),
        (sample(ErrorCode.TOKEN_REFUSED), "valid token"),
        (sample(ErrorCode.SCOPES_MISSING), "scopes"),
        (sample(ErrorCode.PROPERTY_MISSING), "create-properties"),
        (sample(ErrorCode.ACCOUNT_FULL), "account is full"),
        (sample(ErrorCode.DAILY_LIMIT), "limits"),
        (sample(ErrorCode.RESERVE_REACHED), "limits"),
        (sample(ErrorCode.RATE_LIMIT), "limits"),
        (sample(ErrorCode.COME_BACK_LATER), "by itself"),
        (sample(ErrorCode.NOT_CONFIRMED), "by itself"),
        (sample(ErrorCode.HUBSPOT_DOWN), "by itself"),
        (sample(ErrorCode.HUBSPOT_TAKES_NO_WRITES), "took no writes"),
        (sample(ErrorCode.EVERYONE_REFUSED), "like all others"),
        (sample(ErrorCode.CONTACT_STUMBLED), "odd characters"),
        (sample(ErrorCode.DATABASE_REFUSED), "constraints"),
        (sample(ErrorCode.DATABASE_UNAVAILABLE), "database was away"),
        (refusal("must be valid", "INVALID_PHONE"), "INVALID_PHONE on phone"),
        (refusal("is invalid", "INVALID_EMAIL", "email"), "does not take the email"),
        (refusal("is on the GDPR blocklist", "ANY", "email"), "(GDPR)"),
        (refusal("is required", "MISSING_REQUIRED_PROPERTY", "hs_must"), "optional"),
    ],
)
def test_each_code_has_the_reason_that_fits(message: Message, told: str) -> None:
    found = reason(message)
    assert told in f"{found.words} {found.advice}"


def test_refusals_share_a_reason_by_code_and_property_alone() -> None:
    first = reason(refusal('"+44 1" is no number', "INVALID_PHONE"))
    assert first == reason(refusal("no " * 400, "INVALID_PHONE"))
    assert first != reason(refusal("no", "INVALID_PHONE", "fax"))
    assert first != reason(refusal("no", "TOO_LONG"))


@for_each("value", ["GDPR", "[NO_EMAIL] ", "INVALID_EMAIL", "daily limit", "]"])
def test_what_the_contact_holds_does_not_decide_the_reason(value: str) -> None:
    assert "INVALID_PHONE on phone" in reason(refusal(f"{value} is odd", "INVALID_PHONE")).words


@settings(derandomize=True, deadline=None, database=None)
@given(st.text(), st.text(), st.text())
def test_row_gives_the_reason_of_the_run_whatever_hubspot_says(
    message: str, code: str, name: str
) -> None:
    assert reason(refusal(message, code, name)).words.startswith(
        ("HubSpot refuses it", "blocked in HubSpot")
    )


def test_every_code_has_a_reason_that_fits_beside_its_number_at_eighty_columns() -> None:
    for code in ErrorCode:
        found = reason_of(error_text(sample(code)))
        assert found.words
        assert found.advice
        assert len(found.words) <= 60, code


def test_texts_of_others_are_grouped_by_their_first_words_without_what_varies() -> None:
    first = reason_of("Could not sync ada@x.org after 3 tries: 'no'")
    assert first == reason_of("Could not sync bob@y.org after 14 tries: 'never'")
    assert reason_of("[WARN] something of the app's").words == "[WARN] something of the app's"


def test_row_without_a_text_has_a_reason() -> None:
    assert reason_of("").words == "no reason given"


def test_refusal_carries_its_code_and_its_data() -> None:
    body = {"category": "VALIDATION_ERROR", "message": "no", "correlationId": "c-1"}
    refused = refusal_of_item(body, CUSTOM)
    assert isinstance(refused, ContactRejected)
    assert refused.code is ErrorCode.HUBSPOT_REFUSED
    assert refused.message.data == {
        "hubspot_code": "VALIDATION_ERROR",
        "property_name": None,
        "correlation_id": "c-1",
        "words": "no",
    }


def test_copy_of_a_message_has_its_text_code_and_data() -> None:
    message = refusal("must be valid", "INVALID_PHONE").as_text("cut…")
    copied = copy.deepcopy(message)
    assert copied == "cut…"
    assert (copied.code, copied.data) == (message.code, message.data)
