"""What HubSpot's answers mean: its own bodies, and those that others send in its place."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubspot_sync.errors import (
    Conflict,
    ContactRejected,
    HubSpotDenied,
    HubSpotSyncError,
    NotFound,
    PropertyMissing,
    QuotaSpent,
    RunStopped,
    Signature,
    Unavailable,
)
from hubspot_sync.rules.reaction import (
    LONGEST_MESSAGE,
    Answer,
    Problem,
    problems_of,
    property_missing,
    read_answer,
    refusal_of_item,
)
from hubspot_sync.rules.settlement import MAX_ERROR_LENGTH
from hubspot_sync.rules.words import shortened
from tests.for_each import for_each

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
OURS = frozenset({"scrapersky_domain_id", "scrapersky_page_id", "scrapersky_sync_date"})
CORRELATION_ID = "00000000-0000-0000-0000-000000000001"
TEMPORARY = (500, 502, 503, 504, 521, 522, 523, 524, 525, 526, 599)
OTHER_REFUSALS = (402, 405, 406, 410, 413, 414, 415, 418, 422, 431, 451)

# None stands for HTML, or for nothing at all; HubSpot's answers are JSON objects.
NOT_HUBSPOTS = [None, [], ["x"], "Forbidden", 7, True]

E = TypeVar("E", bound=HubSpotSyncError)
Body = Mapping[str, object]


def _read(status: int, body: object, headers: Mapping[str, str] | None = None) -> Body:
    return read_answer(Answer(status, headers or {}, body), custom_properties=OURS, now=NOW)


def _raised(
    kind: type[E], status: int, body: object, headers: Mapping[str, str] | None = None
) -> E:
    with pytest.raises(kind) as caught:
        _read(status, body, headers)
    return caught.value


def _problem(name: str, error: str, message: str) -> dict[str, object]:
    return {
        "isValid": False,
        "message": message,
        "error": error,
        "name": name,
        "localizedErrorMessage": message,
        "portalId": 123456,
    }


def _in_message(*problems: dict[str, object]) -> dict[str, object]:
    """The shape of single writes, and of the entries of a 207: JSON within the message."""
    return {
        "status": "error",
        "message": f"Property values were not valid: {json.dumps(problems)}",
        "correlationId": CORRELATION_ID,
        "category": "VALIDATION_ERROR",
    }


def _in_errors(*problems: tuple[str, str, str]) -> dict[str, object]:
    """The shape that lists the problems as JSON of its own."""
    return {
        "status": "error",
        "message": "Property values were not valid",
        "correlationId": CORRELATION_ID,
        "errors": [
            {"message": message, "code": code, "context": {"propertyName": [name]}}
            for name, code, message in problems
        ],
        "category": "VALIDATION_ERROR",
    }


def _rate_limit(policy: str, words: str) -> dict[str, object]:
    return {
        "status": "error",
        "message": f"You have reached your {words} limit.",
        "errorType": "RATE_LIMIT",
        "correlationId": CORRELATION_ID,
        "policyName": policy,
        "groupName": "publicapi:private-apps-api-calls:6748263",
    }


INVALID_EMAIL = _problem("email", "INVALID_EMAIL", "Email address dsfsafas@ is invalid")
NO_SUCH_PROPERTY = 'Property "{}" does not exist'

UNAUTHORISED = {
    "status": "error",
    "message": (
        "Authentication credentials not found. This API supports OAuth 2.0 authentication and you "
        "can find more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview"
    ),
    "correlationId": CORRELATION_ID,
    "category": "INVALID_AUTHENTICATION",
}
MISSING_SCOPES = {
    "status": "error",
    "message": "This app hasn't been granted all required scopes to make this call.",
    "correlationId": CORRELATION_ID,
    "errors": [
        {
            "message": "One or more of the following scopes are required.",
            "context": {
                "requiredGranularScopes": [
                    "crm.objects.contacts.write",
                    "crm.objects.contacts.read",
                ]
            },
        }
    ],
    "category": "MISSING_SCOPES",
}
BANNED = {
    "status": "error",
    "message": "The app is not allowed to access this portal",
    "correlationId": CORRELATION_ID,
    "category": "BANNED",
}
NOT_FOUND = {
    "status": "error",
    "message": (
        "Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are "
        "valid."
    ),
    "correlationId": CORRELATION_ID,
    "context": {"ids": ["501"]},
    "category": "OBJECT_NOT_FOUND",
}
CONFLICT = {
    "status": "error",
    "message": "Contact already exists. Existing ID: 37765128953",
    "correlationId": CORRELATION_ID,
    "category": "CONFLICT",
}
DAILY = _rate_limit("DAILY", "daily")
ROLLING = _rate_limit("TEN_SECONDLY_ROLLING", "ten_secondly_rolling")
SECONDLY = _rate_limit("SECONDLY", "secondly")


@for_each("status", [200, 201, 202, 207])
def test_success_returns_the_body(status: int) -> None:
    body = {"id": "501", "properties": {"email": "ada@example.com"}}
    assert _read(status, body) == body


def test_success_in_part_is_a_success() -> None:
    body = {"status": "COMPLETE", "results": [{"id": "501"}], "numErrors": 1, "errors": [CONFLICT]}
    assert _read(207, body) == body


def test_success_without_any_field_returns_the_empty_body() -> None:
    assert _read(200, {}) == {}


each_validation = pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("email", "INVALID_EMAIL", "Email address dsfsafas@ is invalid"),
        ("email", "INVALID_EMAIL", "Email address ada@test.con is invalid"),
        ("discount", "INVALID_INTEGER", "discount was not a valid number"),
        ("phone", "INVALID_PHONE", "The number needs a country code"),
        ("scrapersky_sync_date", "INVALID_LONG", "1/1/1 was not a valid long."),
        (
            "scrapersky_sync_date",
            "INVALID_DATE",
            "1606768561954 is at 20:36:1.954 UTC, not midnight!",
        ),
        (
            "lifecyclestage",
            "INVALID_OPTION",
            f"X was not one of the allowed options: [{', '.join(map(str, range(2000)))}]",
        ),
    ],
    ids=["email", "top-level-domain", "number", "phone", "long", "date", "option"],
)
PERMANENT = (
    "INVALID_EMAIL", "INVALID_OPTION", "INVALID_DATE", "INVALID_INTEGER", "INVALID_LONG",
)  # fmt: skip
each_shape = pytest.mark.parametrize("shape", ["message", "errors"])


def _rejected(shape: str, name: str, error: str, message: str) -> ContactRejected:
    in_message = _in_message(_problem(name, error, message))
    body = in_message if shape == "message" else _in_errors((name, error, message))
    return _raised(ContactRejected, 400, body)


@each_shape
@each_validation
def test_validation_names_property_and_reason(
    shape: str, name: str, error: str, message: str
) -> None:
    told = f"{name}: {shortened(message, LONGEST_MESSAGE)} ({error})"
    assert told in str(_rejected(shape, name, error, message))


@each_shape
@each_validation
def test_validation_is_signed_with_code_and_property(
    shape: str, name: str, error: str, message: str
) -> None:
    assert _rejected(shape, name, error, message).signature == Signature(error, name)


@each_shape
@each_validation
def test_fault_of_the_value_itself_is_permanent(
    shape: str, name: str, error: str, message: str
) -> None:
    rejected = _rejected(shape, name, error, message)
    assert rejected.permanent is (error in PERMANENT)


@each_shape
def test_validation_has_hubspots_correlation_id(shape: str) -> None:
    rejected = _rejected(shape, "email", "INVALID_EMAIL", "Email address x is invalid")
    assert rejected.correlation_id == CORRELATION_ID


@each_shape
def test_code_stands_behind_the_longest_words(shape: str) -> None:
    """An error in the table is cut at 500 characters; the code is what a search finds."""
    told = str(_rejected(shape, "lead_source", "INVALID_OPTION", "x" * 2_000))
    assert told.startswith("HubSpot refused the contact: lead_source: xxx")
    assert told[:MAX_ERROR_LENGTH].endswith("xxx… (INVALID_OPTION)")


def test_validation_names_every_property_that_is_refused() -> None:
    body = _in_message(
        INVALID_EMAIL, _problem("phone", "VALIDATION_ERROR", "The number needs a country code")
    )
    message = str(_raised(ContactRejected, 400, body))
    assert "email: Email address" in message
    assert "; phone: The number needs a country code (VALIDATION_ERROR)" in message


def test_validation_of_several_properties_is_signed_with_the_first() -> None:
    body = _in_message(_problem("phone", "INVALID_PHONE", "No"), INVALID_EMAIL)
    rejected = _raised(ContactRejected, 400, body)
    assert rejected.signature == Signature("INVALID_PHONE", "phone")


def test_problems_are_read_from_the_message_where_errors_hold_fewer() -> None:
    body = _in_message(INVALID_EMAIL, _problem("phone", "INVALID_PHONE", "No"))
    body["errors"] = [
        {"message": "No", "code": "INVALID_PHONE", "context": {"propertyName": ["phone"]}}
    ]
    assert problems_of(body) == [
        Problem("INVALID_EMAIL", "email", "Email address dsfsafas@ is invalid"),
        Problem("INVALID_PHONE", "phone", "No"),
    ]


@for_each(
    "message",
    [
        pytest.param('[{"isValid":false,"message":"Property \\"first', id="cut-off"),
        pytest.param("[]", id="empty"),
        pytest.param("", id="nothing"),
        pytest.param("{}", id="no-list"),
        pytest.param('["email"]', id="no-objects"),
    ],
)
def test_problems_are_read_from_errors_where_the_message_cannot_be_read(message: str) -> None:
    body = _in_errors(("email", "INVALID_EMAIL", "Email address x is invalid"))
    body["message"] = f"Property values were not valid: {message}"
    assert problems_of(body) == [Problem("INVALID_EMAIL", "email", "Email address x is invalid")]


def test_problems_are_read_where_words_follow_them_in_the_message() -> None:
    body = {"message": f"Property values were not valid: {json.dumps([INVALID_EMAIL])} (details)"}
    assert [problem.code for problem in problems_of(body)] == ["INVALID_EMAIL"]


@for_each(
    "body",
    [
        pytest.param({"message": "Property values were not valid: [{}]"}, id="message"),
        pytest.param({"errors": [{}]}, id="errors"),
        pytest.param({"errors": [{"context": {}}]}, id="context"),
        pytest.param({"errors": [{"context": {"propertyName": []}}]}, id="no-name"),
        pytest.param({"errors": [{"code": 7, "message": None, "context": "email"}]}, id="types"),
    ],
)
def test_problems_without_fields_are_validation_errors(body: Body) -> None:
    assert problems_of(body) == [Problem("VALIDATION_ERROR", None, "")]


@for_each(
    "body",
    [{}, {"errors": []}, {"errors": {}}, {"errors": ["x", None]}, {"message": 7}, CONFLICT],
)
def test_problems_of_a_body_that_names_none_are_none(body: Body) -> None:
    assert problems_of(body) == []


@for_each(
    "message",
    [
        "Invalid input JSON on line 3, column 9: Cannot deserialize value of type String",
        "The maximum number of inputs supported in a batch is 100. Please reduce the number",
        "Duplicate IDs found in batch input: [12877907025]. IDs must be unique",
        "Unable to perform update/upsert by non-unique 0-1 property email in portal ID 123456",
    ],
)
def test_refusal_without_properties_is_told_in_hubspots_words(message: str) -> None:
    rejected = _raised(ContactRejected, 400, {"status": "error", "message": message})
    assert message in str(rejected)


def test_refusal_without_properties_is_signed_with_its_category() -> None:
    body = {
        "status": "error",
        "message": "Duplicate IDs found in batch input: [12877907025]. IDs must be unique",
        "context": {"ids": ["12877907025"]},
        "category": "VALIDATION_ERROR",
    }
    rejected = _raised(ContactRejected, 400, body)
    assert rejected.signature == Signature("VALIDATION_ERROR")


@for_each("status", [400, *OTHER_REFUSALS])
def test_refusal_without_a_category_is_signed_with_its_status(status: int) -> None:
    rejected = _raised(ContactRejected, status, {"message": "No."})
    assert rejected.signature == Signature(f"HTTP_{status}")


def test_refusal_without_a_correlation_id_has_none() -> None:
    assert _raised(ContactRejected, 400, {"message": "No."}).correlation_id is None


@for_each("status", OTHER_REFUSALS)
def test_any_other_refusal_is_the_contacts_in_hubspots_words(status: int) -> None:
    rejected = _raised(ContactRejected, status, {"message": "The contact limit is reached."})
    assert "The contact limit is reached." in str(rejected)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            _in_message(_problem("email", "INVALID_EMAIL", "email has been GDPR blacklisted")),
            id="message",
        ),
        pytest.param(
            _in_errors(("email", "INVALID_EMAIL", "email has been GDPR blacklisted")), id="errors"
        ),
        pytest.param({"message": "email has been GDPR blacklisted"}, id="words-alone"),
    ],
)
def test_email_blocked_by_gdpr_is_refused_for_good(body: Body) -> None:
    rejected = _raised(ContactRejected, 400, body)
    assert (rejected.permanent, rejected.signature.code) == (True, "GDPR_BLOCKED")


def _missing(shape: str, *names: str) -> dict[str, object]:
    if shape == "errors":
        code = "PROPERTY_DOESNT_EXIST"
        return _in_errors(*((name, code, NO_SUCH_PROPERTY.format(name)) for name in names))
    return _in_message(
        *(_problem(name, "PROPERTY_DOESNT_EXIST", NO_SUCH_PROPERTY.format(name)) for name in names)
    )


@each_shape
@pytest.mark.parametrize("name", sorted(OURS))
def test_missing_property_of_ours_stops_the_run(name: str, shape: str) -> None:
    missing = _raised(PropertyMissing, 400, _missing(shape, name))
    assert name in str(missing)


def test_missing_property_of_ours_tells_the_mend() -> None:
    missing = _raised(PropertyMissing, 400, _missing("message", "scrapersky_page_id"))
    assert "hubspot-sync create-properties" in str(missing)


def test_missing_properties_of_ours_are_all_named() -> None:
    body = _missing("message", "scrapersky_sync_date", "scrapersky_domain_id")
    assert "scrapersky_domain_id, scrapersky_sync_date" in str(_raised(PropertyMissing, 400, body))


@each_shape
def test_missing_property_of_ours_stops_the_run_beside_other_faults(shape: str) -> None:
    body = _missing(shape, "first000name", "scrapersky_page_id")
    missing = _raised(PropertyMissing, 400, body)
    assert "first000name" not in str(missing)


@each_shape
def test_missing_property_of_hubspots_own_is_the_contacts_refusal(shape: str) -> None:
    rejected = _raised(ContactRejected, 400, _missing(shape, "phone"))
    assert rejected.signature == Signature("PROPERTY_DOESNT_EXIST", "phone")


def test_another_fault_of_a_property_of_ours_is_the_contacts_refusal() -> None:
    body = _in_message(_problem("scrapersky_page_id", "INVALID_OPTION", "No"))
    rejected = _raised(ContactRejected, 400, body)
    assert rejected.signature == Signature("INVALID_OPTION", "scrapersky_page_id")


def test_property_missing_names_the_properties() -> None:
    assert "site, page" in str(property_missing(["site", "page"]))


@pytest.mark.parametrize("body", [UNAUTHORISED, {}, {"category": "EXPIRED_AUTHENTICATION"}])
def test_token_that_is_not_accepted_is_denied(body: Body) -> None:
    denied = _raised(HubSpotDenied, 401, body)
    assert "401" in str(denied)


def test_token_that_is_not_accepted_tells_the_mend() -> None:
    denied = _raised(HubSpotDenied, 401, UNAUTHORISED)
    assert "Set HUBSPOT_API_KEY to a valid private app token or service key" in str(denied)


def test_missing_scopes_are_named() -> None:
    denied = _raised(HubSpotDenied, 403, MISSING_SCOPES)
    assert "crm.objects.contacts.read, crm.objects.contacts.write" in str(denied)


@for_each(
    "errors",
    [None, [], {}, ["x"], [{}], [{"context": None}], [{"context": {"requiredGranularScopes": ""}}]],
)
def test_missing_scopes_without_names_are_told_in_hubspots_words(errors: object) -> None:
    body = MISSING_SCOPES | {"errors": errors}
    assert "hasn't been granted all required scopes" in str(_raised(HubSpotDenied, 403, body))


def test_portal_that_bans_the_app_is_told_in_hubspots_words() -> None:
    denied = _raised(HubSpotDenied, 403, BANNED)
    assert "not allowed to access this portal" in str(denied)


@pytest.mark.parametrize("body", [NOT_FOUND, {"message": "resource not found"}, {}])
def test_record_that_is_gone_is_not_found(body: Body) -> None:
    _raised(NotFound, 404, body)


def test_record_that_is_gone_is_told_in_hubspots_words() -> None:
    assert "they may be deleted or not exist" in str(_raised(NotFound, 404, NOT_FOUND))


@for_each(
    ("body", "existing_id"),
    [
        pytest.param(CONFLICT, "37765128953", id="text"),
        pytest.param({"message": "Existing ID:501"}, "501", id="text-without-a-blank"),
        pytest.param(
            {"context": {"existingId": ["171591000198"]}, "category": "CONFLICT"},
            "171591000198",
            id="context",
        ),
        pytest.param({"context": {"existingId": [501]}}, "501", id="context-with-a-number"),
        pytest.param(
            CONFLICT | {"context": {"existingId": ["501"]}}, "501", id="context-before-text"
        ),
        pytest.param(CONFLICT | {"context": {"existingId": []}}, "37765128953", id="no-id"),
        pytest.param(CONFLICT | {"context": {}}, "37765128953", id="context-without-id"),
        pytest.param(CONFLICT | {"context": "501"}, "37765128953", id="context-of-text"),
        pytest.param({"message": "Contact already exists."}, None, id="not-told"),
        pytest.param(
            {
                "status": "error",
                "message": "A property named 'scrapersky_page_id' already exists.",
                "category": "OBJECT_ALREADY_EXISTS",
                "subCategory": "Properties.PROPERTY_WITH_NAME_EXISTS",
            },
            None,
            id="property",
        ),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_conflict_names_the_existing_id(body: Body, existing_id: str | None) -> None:
    assert _raised(Conflict, 409, body).existing_id == existing_id


def test_conflict_is_told_in_hubspots_words() -> None:
    assert "Contact already exists." in str(_raised(Conflict, 409, CONFLICT))


@for_each(
    ("status", "body", "seconds"),
    [
        pytest.param(423, {"message": "Locked"}, 2.0, id="locked"),
        pytest.param(429, SECONDLY, 1.0, id="secondly"),
        pytest.param(
            429, {"message": "You have reached your secondly limit."}, 1.0, id="secondly-in-words"
        ),
        pytest.param(429, {"policyName": "SECONDLY"}, 1.0, id="secondly-without-words"),
        pytest.param(429, ROLLING, 10.0, id="rolling"),
        pytest.param(
            429,
            {"message": "You have reached your ten_secondly_rolling limit."},
            10.0,
            id="rolling-in-words",
        ),
        pytest.param(429, {"category": "RATE_LIMITS"}, 10.0, id="unnamed"),
        pytest.param(429, {}, 10.0, id="empty"),
        pytest.param(429, None, 10.0, id="html"),
    ],
)
def test_busy_hubspot_is_given_its_usual_time(status: int, body: object, seconds: float) -> None:
    assert _raised(Unavailable, status, body).wait_seconds == seconds


@for_each("status", TEMPORARY)
def test_broken_hubspot_is_left_to_backoff(status: int) -> None:
    assert _raised(Unavailable, status, {"message": "internal error"}).wait_seconds is None


@for_each("body", [{}, *NOT_HUBSPOTS])
def test_broken_hubspot_may_answer_anything(body: object) -> None:
    assert _raised(Unavailable, 502, body).wait_seconds is None


@for_each("status", TEMPORARY)
def test_broken_hubspot_may_have_carried_the_request_out(status: int) -> None:
    assert _raised(Unavailable, status, {}).outcome_unknown


@pytest.mark.parametrize("status", [423, 429])
def test_busy_hubspot_has_not_carried_the_request_out(status: int) -> None:
    assert not _raised(Unavailable, status, {}).outcome_unknown


@pytest.mark.parametrize("body", [SECONDLY, ROLLING, {}])
def test_rate_limit_is_never_the_contacts_fault(body: Body) -> None:
    assert _raised(Unavailable, 429, body).rate_limited


@for_each("status", [423, *TEMPORARY])
def test_other_trouble_is_no_rate_limit(status: int) -> None:
    assert not _raised(Unavailable, status, {}).rate_limited


@for_each("status", [423, 429, 500, 502, 503, 504])
def test_trouble_names_its_status(status: int) -> None:
    assert f"HTTP {status}" in str(_raised(Unavailable, status, {}))


@for_each("status", [423, 429, 503])
@for_each(
    ("retry_after", "seconds"),
    [
        pytest.param("0", 0.0, id="at-once"),
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("60", 60.0, id="the-longest-wait"),
        pytest.param("Tue, 24 Nov 2026 09:30:30 GMT", 30.0, id="date"),
        pytest.param("Tue, 24 Nov 2026 09:00:00 GMT", 0.0, id="past-date"),
    ],
)
def test_retry_after_is_kept_to(status: int, retry_after: str, seconds: float) -> None:
    trouble = _raised(Unavailable, status, ROLLING, {"retry-after": retry_after})
    assert trouble.wait_seconds == seconds


@for_each("retry_after", ["soon", "", "-1", "1.5"])
@for_each(("status", "seconds"), [(423, 2.0), (429, 10.0), (503, None)])
def test_retry_after_that_makes_no_sense_is_passed_over(
    status: int, seconds: float | None, retry_after: str
) -> None:
    trouble = _raised(Unavailable, status, {}, {"retry-after": retry_after})
    assert trouble.wait_seconds == seconds


@for_each("status", [423, 429, 500, 503])
@for_each(
    ("retry_after", "resume_at"),
    [
        pytest.param("61", NOW + timedelta(seconds=61), id="just-too-long"),
        pytest.param("3600", NOW + timedelta(hours=1), id="hour"),
        pytest.param("Tue, 24 Nov 2026 10:30:00 GMT", NOW + timedelta(hours=1), id="date"),
    ],
)
def test_retry_after_of_an_hour_stops_the_run(
    status: int, retry_after: str, resume_at: datetime
) -> None:
    spent = _raised(QuotaSpent, status, {}, {"retry-after": retry_after})
    assert spent.resume_at == resume_at


def test_retry_after_of_an_hour_tells_when_to_come_back() -> None:
    spent = _raised(QuotaSpent, 429, ROLLING, {"retry-after": "3600"})
    assert "after 2026-11-24 10:30 UTC" in str(spent)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(DAILY, id="whole"),
        pytest.param({"policyName": "DAILY"}, id="policy"),
        pytest.param({"message": "You have reached your daily limit."}, id="words"),
    ],
)
def test_daily_limit_stops_the_run_until_midnight(body: Body) -> None:
    assert "midnight in the portal's time zone" in str(_raised(QuotaSpent, 429, body))


@pytest.mark.parametrize("status", [423, 503])
def test_daily_limit_is_a_rate_limit_alone(status: int) -> None:
    _raised(Unavailable, status, DAILY)


def test_daily_limit_does_not_know_when_it_ends() -> None:
    assert _raised(QuotaSpent, 429, DAILY).resume_at is None


@pytest.mark.parametrize("retry_after", ["30", "3600"])
def test_daily_limit_ends_when_hubspot_says(retry_after: str) -> None:
    spent = _raised(QuotaSpent, 429, DAILY, {"retry-after": retry_after})
    assert spent.resume_at == NOW + timedelta(seconds=int(retry_after))


@pytest.mark.parametrize("seconds", [5, 86400])
def test_moving_account_stops_the_run_until_it_has_moved(seconds: int) -> None:
    spent = _raised(QuotaSpent, 477, {}, {"retry-after": str(seconds)})
    assert spent.resume_at == NOW + timedelta(seconds=seconds)


def test_moving_account_tells_what_happens() -> None:
    spent = _raised(QuotaSpent, 477, {}, {"retry-after": "86400"})
    assert "after 2026-11-25 09:30 UTC (HTTP 477: the account is moving)" in str(spent)


def test_moving_account_does_not_always_say_how_long() -> None:
    spent = _raised(QuotaSpent, 477, {})
    assert (spent.resume_at, "come back later (HTTP 477" in str(spent)) == (None, True)


@for_each("body", [{}, {"message": "Moved"}, None])
@for_each("status", [300, 301, 302, 303, 304, 307, 308])
def test_redirect_is_not_believed(status: int, body: object) -> None:
    assert str(status) in str(_raised(Unavailable, status, body))


def test_redirect_is_told_to_be_one() -> None:
    assert "redirect" in str(_raised(Unavailable, 302, {}))


@for_each("status", [400, 401, 403, 404, 407, 409, *OTHER_REFUSALS])
def test_refusal_in_html_is_not_believed(status: int) -> None:
    trouble = _raised(HubSpotSyncError, status, None)
    assert type(trouble) is Unavailable


@for_each("body", NOT_HUBSPOTS)
@for_each("status", [400, 403, 404])
def test_refusal_that_hubspot_did_not_write_is_not_believed(status: int, body: object) -> None:
    trouble = _raised(HubSpotSyncError, status, body)
    assert type(trouble) is Unavailable


@for_each("status", [400, 401, 403, 404, 409, 418])
def test_refusal_that_hubspot_did_not_write_left_nothing_behind(status: int) -> None:
    assert not _raised(Unavailable, status, None).outcome_unknown


@for_each("body", NOT_HUBSPOTS)
@for_each("status", [200, 201, 204, 207])
def test_success_that_hubspot_did_not_write_leaves_the_outcome_unknown(
    status: int, body: object
) -> None:
    assert _raised(Unavailable, status, body).outcome_unknown


@pytest.mark.parametrize("status", [200, 403, 404])
def test_answer_that_hubspot_did_not_write_names_its_status(status: int) -> None:
    assert f"HTTP {status}, not JSON" in str(_raised(Unavailable, status, None))


@for_each(
    ("status", "kind"),
    [
        (302, Unavailable),
        (400, ContactRejected),
        (401, HubSpotDenied),
        (403, HubSpotDenied),
        (404, NotFound),
        (409, Conflict),
        (418, ContactRejected),
        (423, Unavailable),
        (429, Unavailable),
        (477, QuotaSpent),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
@for_each(
    "body",
    [
        pytest.param({}, id="empty"),
        pytest.param(
            {"message": None, "errors": None, "context": None, "category": None}, id="null"
        ),
        pytest.param({"message": 7, "errors": {}, "context": [], "policyName": []}, id="types"),
    ],
)
def test_body_without_fields_is_judged_by_its_status(
    status: int, kind: type[HubSpotSyncError], body: Body
) -> None:
    error = _raised(HubSpotSyncError, status, body)
    assert type(error) is kind


def test_body_without_fields_says_that_no_reason_was_given() -> None:
    assert "no reason given" in str(_raised(ContactRejected, 400, {}))


@for_each(
    ("status", "body"),
    [
        (400, _missing("message", "scrapersky_page_id")),
        (401, UNAUTHORISED),
        (403, MISSING_SCOPES),
        (429, DAILY),
        (477, {}),
    ],
)
def test_refusal_of_everyone_stops_the_run(status: int, body: Body) -> None:
    _raised(RunStopped, status, body)


@for_each(
    ("status", "body"),
    [
        (400, _in_message(INVALID_EMAIL)),
        (404, NOT_FOUND),
        (409, CONFLICT),
        (418, {}),
        (423, {}),
        (429, ROLLING),
        (503, {}),
        (403, None),
    ],
)
def test_refusal_of_one_contact_does_not_stop_the_run(status: int, body: object) -> None:
    assert not isinstance(_raised(HubSpotSyncError, status, body), RunStopped)


def test_item_in_conflict_names_the_existing_id() -> None:
    item = {
        "status": "error",
        "category": "CONFLICT",
        "message": "Contact already exists",
        "context": {"existingId": ["171591000198"], "objectWriteTraceId": ["7"]},
    }
    refusal = refusal_of_item(item, OURS)
    assert isinstance(refusal, Conflict)
    assert refusal.existing_id == "171591000198"


def test_item_that_is_gone_is_not_found() -> None:
    assert isinstance(refusal_of_item(NOT_FOUND, OURS), NotFound)


def test_item_that_is_not_valid_is_the_contacts_refusal() -> None:
    refusal = refusal_of_item(_in_message(INVALID_EMAIL), OURS)
    assert isinstance(refusal, ContactRejected)
    assert refusal.signature == Signature("INVALID_EMAIL", "email")


def test_item_whose_email_is_blocked_by_gdpr_is_refused_for_good() -> None:
    item = _in_message(_problem("email", "INVALID_EMAIL", "email has been GDPR blacklisted"))
    refusal = refusal_of_item(item, OURS)
    assert isinstance(refusal, ContactRejected)
    assert refusal.permanent


@each_shape
def test_item_that_lacks_a_property_of_ours_stops_the_run(shape: str) -> None:
    item = _missing(shape, "scrapersky_page_id")
    assert isinstance(refusal_of_item(item, OURS), PropertyMissing)


@pytest.mark.parametrize("item", [{}, {"category": None}, {"category": ["CONFLICT"]}])
def test_item_without_fields_is_the_contacts_refusal(item: Body) -> None:
    assert isinstance(refusal_of_item(item, OURS), ContactRejected)


_leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
_fields = [
    "message",
    "category",
    "errors",
    "context",
    "code",
    "existingId",
    "propertyName",
    "requiredGranularScopes",
    "policyName",
    "correlationId",
]
_keys = st.sampled_from(_fields) | st.text(max_size=3)
_json = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=5),
    max_leaves=12,
)
_messages = _json.map(lambda value: f"Property values were not valid: {json.dumps(value)}")
_bodies = _json | st.fixed_dictionaries(
    {}, optional={"message": _messages | _json, "errors": st.lists(_json), "context": _json}
)
_retry_afters = st.sampled_from(["0", "5", "3600", "soon", "", "Tue, 24 Nov 2026 10:30:00 GMT"])


@given(
    st.sampled_from([200, 302, 400, 401, 403, 404, 409, 423, 429, 477, 503])
    | st.integers(200, 599),
    st.dictionaries(st.just("retry-after"), _retry_afters),
    _bodies,
)
@settings(derandomize=True, deadline=None, database=None, max_examples=150)
def test_any_answer_is_its_body_or_an_error_of_ours(
    status: int, headers: dict[str, str], body: Any
) -> None:
    try:
        read: object = _read(status, body, headers)
    except HubSpotSyncError as error:
        read = str(error)
    is_success = 200 <= status < 300 and isinstance(body, dict)
    assert read is body if is_success else read and isinstance(read, str)


@given(st.dictionaries(_keys, _json) | _bodies.filter(lambda body: isinstance(body, dict)))
@settings(derandomize=True, deadline=None, database=None, max_examples=50)
def test_any_item_amounts_to_an_error_of_ours(item: Any) -> None:
    assert str(refusal_of_item(item, OURS))
