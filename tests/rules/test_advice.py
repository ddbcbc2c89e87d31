"""Failures by reason: every text that the program writes has one, and an advice that fits it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hubspot_sync
from hubspot_sync.errors import HubSpotSyncError
from hubspot_sync.rules.advice import Reason, reason_of
from hubspot_sync.rules.mapping import email_fault
from hubspot_sync.rules.reaction import refusal_of_item
from hubspot_sync.rules.settlement import error_text
from tests.for_each import for_each

CUSTOM = ("scrapersky_page_id",)
SEE = "See https://status.hubspot.com."
DOWN = "HubSpot is down or cannot be reached"

TROUBLES = (
    "HubSpot answered HTTP 429",
    "HubSpot answered HTTP 503",
    "HubSpot answered with a redirect (HTTP 302); not followed",
    "an answer that is not HubSpot's came back (HTTP 407, not JSON)",
    "HubSpot could not be reached at api.hubapi.com:443 in time",
    "HubSpot could not be reached at api.hubapi.com:443 (ConnectionError)",
    "HubSpot at api.hubapi.com:443 did not answer within 30 seconds",
    "the connection to HubSpot at api.hubapi.com:443 broke (ChunkedEncodingError)",
    "HubSpot's answer does not end",
    "HubSpot's answer lacks what was asked for (a batch create)",
    "HubSpot contradicted itself at each step",
    "HubSpot holds the email already, but shows no contact that has it",
)
"""What an Unavailable says; other texts quote it."""

REFUSED = "HubSpot refused the contact: phone: must be valid (INVALID_PHONE)"
ALIKE = (
    "HubSpot refuses every contact alike (INVALID_PHONE on phone), so the fault is not theirs: "
    "look for a used-up contact quota, a new rule or a required property in HubSpot, or a wrong "
    f"property setting. The last refusal: {REFUSED}"
)
NO_WRITES = (
    "HubSpot answers, but takes no writes: contact after contact was refused. The "
    "last refusal: HubSpot answered HTTP 503, though it answers other "
    "requests"
)
REQUESTS_REFUSED = (
    "HubSpot answers, but takes no writes: request after request was refused. The last refusal: "
)

# What the operator must learn from each text, as words of the reason or the advice.
WRITTEN: tuple[tuple[str, str], ...] = (
    *((email_fault(email) or "", "no email") for email in (None, "", " ")),
    *(
        (email_fault(email) or "", "not an email")
        for email in ("ada", "a b@x.org", "a@x", "a" * 250 + "@x.org")
    ),
    (
        (
            "Its worker died at each of 4 attempts. Look into the logs of those runs, then mark "
            "the contact again."
        ),
        "worker died",
    ),
    (
        (
            "hubspot-sync could not handle this contact (KeyError). That is a fault of the "
            "program: run sync-one on it with --verbose, and report what it says."
        ),
        "fault of hubspot-sync",
    ),
    (
        (
            "HubSpot does not accept the token (401). Set HUBSPOT_API_KEY to a valid private app "
            "token or service key."
        ),
        "token",
    ),
    (
        (
            "HubSpot does not let the token do this (403). Give the private app or service key "
            "these scopes: crm.objects.contacts.write."
        ),
        "scopes",
    ),
    (
        (
            "HubSpot does not let the token do this (403). Check the scopes and the portal of the "
            "private app or service key (no reason given)."
        ),
        "scopes",
    ),
    (
        (
            "HubSpot has no contact property scrapersky_page_id. Run 'hubspot-sync "
            "create-properties' (or correct the HUBSPOT_CUSTOM_PROPERTY_… settings)."
        ),
        "create-properties",
    ),
    (
        (
            "HubSpot holds as many contacts as the account's subscription allows: delete contacts "
            f"there, or raise the limit; the contact keeps its attempts. {REFUSED}"
        ),
        "full",
    ),
    (
        (
            "HubSpot refused the contact: hs_must: is required (MISSING_REQUIRED_PROPERTY). An "
            "administrator requires what the sync does not send: make the property optional in "
            "HubSpot; the contact keeps its attempts"
        ),
        "optional",
    ),
    (
        (
            "HubSpot's daily limit is used up; it starts afresh at midnight in the portal's time "
            "zone. It can go on at 2026-11-25 05:00 UTC, midnight in the portal's time "
            "zone."
        ),
        "limits",
    ),
    (
        (
            "500 of the portal's 10000 requests a day are left: the reserve of 5 % that "
            "HUBSPOT_SYNC_QUOTA_RESERVE_PERCENT keeps for its other apps."
        ),
        "limits",
    ),
    (
        ("HubSpot asks to come back after 2026-11-24 12:00 UTC (HTTP 429: no more requests now)."),
        "by itself",
    ),
    (
        "HubSpot asks to come back later (HTTP 477: the account is moving).",
        "by itself",
    ),
    (
        (
            "The portal's rate limit is used up by other programs (HubSpot answered HTTP 429). "
            "Find them in HubSpot under Development."
        ),
        "limits",
    ),
    ("the run was asked to end before HubSpot confirmed it", "by itself"),
    ("the lease is nearly over before HubSpot confirmed it", "by itself"),
    ("the run was asked to end before HubSpot confirmed the contact", "by itself"),
    (ALIKE, "like all others"),
    (REFUSED, "INVALID_PHONE on phone"),
    (
        "HubSpot refused the contact: email: Email address ada@x is invalid (INVALID_EMAIL)",
        "does not take the email",
    ),
    (
        "HubSpot refused the contact: email: is on the list (GDPR_BLOCKLISTED)",
        "GDPR",
    ),
    *(
        (f"{DOWN}: {trouble}; to a small read: {trouble}. {SEE}", "by itself")
        for trouble in TROUBLES
    ),
    *((f"{trouble}, though it answers other requests", "stumbles") for trouble in TROUBLES),
)

WRITTEN_TOO: tuple[tuple[str, str], ...] = (
    (NO_WRITES, "by itself"),
    *((f"{REQUESTS_REFUSED}{trouble}.", "by itself") for trouble in TROUBLES),
    *(
        (
            (f"HubSpot gives no usable answer: {trouble}; to a small read: resource not found."),
            "by itself",
        )
        for trouble in TROUBLES
    ),
    ("HubSpot refused the contact: no reason given", "refuse"),
    ("HubSpot refused the contact: resource not found", "refuse"),
    ("HubSpot refused the contact: HubSpot holds it already: Contact already exists", "refuse"),
    ("Its worker died; it is tried again.", "by itself"),
    (
        (
            "The database cannot be used now: server closed the connection unexpectedly. Check "
            "DATABASE_URL, the server, and the network between; what was not settled is taken over "
            "when its lease ends."
        ),
        "by itself",
    ),
)


def everything(text: str) -> str:
    reason = reason_of(error_text(text))
    return f"{reason.words} {reason.advice}"


def is_catch_all(text: str) -> bool:
    """Tell whether the reason is no more than the text's own beginning."""
    return reason_of(text).words[:24] == text[:24]


@for_each(("text", "told"), WRITTEN)
def test_each_text_has_the_reason_that_fits(text: str, told: str) -> None:
    assert told in everything(text)
    assert not is_catch_all(text)


@for_each(("text", "told"), WRITTEN_TOO)
def test_each_of_the_rarer_texts_has_the_reason_that_fits(text: str, told: str) -> None:
    assert told in everything(text)
    assert not is_catch_all(text)


# Errors about one contact, and stops; not what is said before any contact was sent.
_CLASSES = {
    *("Failed", "Stopped", "Interrupted", "Unavailable", "ContactRejected", "Conflict"),
    *("HubSpotDenied", "PropertyMissing", "HubSpotDown", "QuotaSpent", "EveryoneRefused"),
}
_NEVER_WRITTEN = ("HubSpot refuses a request about the portal", "it has the email already")


def _pattern(text: ast.expr) -> str:
    """Return a text of the source as a pattern, what is filled in standing for anything."""
    if isinstance(text, ast.Constant):
        return re.escape(str(text.value))
    if isinstance(text, ast.JoinedStr):
        return "".join(
            re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".*"
            for part in text.values
        )
    return ""


def _texts_of_the_program() -> Iterator[str]:
    root = Path(hubspot_sync.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if "emulator" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                pattern = _pattern(node.args[0]) if node.func.id in _CLASSES else ""
                if pattern.replace(".*", "").strip():
                    yield pattern


def test_every_text_of_the_sources_is_among_those_above() -> None:
    patterns = list(_texts_of_the_program())
    assert len(patterns) > 20
    texts = [text for text, _ in WRITTEN + WRITTEN_TOO]
    unknown = [
        pattern
        for pattern in patterns
        if not any(re.search(pattern, text) for text in texts)
        and not any(re.search(pattern.removesuffix(".*"), never) for never in _NEVER_WRITTEN)
        and not pattern.startswith(tuple(map(re.escape, _NEVER_WRITTEN)))
    ]
    assert unknown == []


def refusal(message: str, code: str, name: str = "phone") -> HubSpotSyncError:
    """Read a refusal as HubSpot words it."""
    body = {
        "category": "VALIDATION_ERROR",
        "message": "Property values were not valid",
        "errors": [{"message": message, "code": code, "context": {"propertyName": [name]}}],
    }
    return refusal_of_item(body, CUSTOM)


def test_refusals_with_other_values_share_a_reason() -> None:
    first = reason_of(str(refusal('"+44 1" is no number', "INVALID_PHONE")))
    second = reason_of(str(refusal('"call me" is no number', "INVALID_PHONE")))
    assert first == second
    assert "INVALID_PHONE on phone" in first.words


def test_refusals_of_other_properties_have_reasons_of_their_own() -> None:
    assert reason_of(str(refusal("x", "TOO_LONG", "phone"))) != reason_of(
        str(refusal("x", "TOO_LONG", "firstname"))
    )


def test_refusal_of_a_required_property_is_the_administrators() -> None:
    required = reason_of(str(refusal("x", "MISSING_REQUIRED_PROPERTY", "hs_must")))
    assert "HubSpot requires another property" in required.words


@pytest.mark.parametrize("address", ["gdpr@example", "info@gdpr-office.example"])
def test_address_with_gdpr_in_it_is_not_blocked(address: str) -> None:
    reason = reason_of(str(refusal(f"Email address {address} is invalid", "INVALID_EMAIL")))
    assert "GDPR" not in reason.words
    assert "does not take the email" in reason.words


@for_each("value", ["HTTP 5", "rate limit", "daily limit", "asked to end", "GDPR"])
def test_what_the_contact_holds_does_not_decide_the_reason(value: str) -> None:
    reason = reason_of(str(refusal(f'"{value}" is no number', "INVALID_PHONE")))
    assert "INVALID_PHONE on phone" in reason.words


def test_code_and_property_are_of_one_problem() -> None:
    reason = reason_of(
        "HubSpot refused the contact: phone: is bad (INVALID_PHONE); city: is long (TOO_LONG)"
    )
    assert "TOO_LONG on phone" not in reason.words


@pytest.mark.parametrize(
    "last",
    [
        "HubSpot refused the contact: email: is on the list (GDPR_BLOCKLISTED)",
        "HubSpot refused the contact: phone: over the daily limit (NO_MORE)",
    ],
)
def test_everyones_refusal_is_everyones_whatever_the_last_one_was(last: str) -> None:
    text = ALIKE.replace(REFUSED, last)
    assert "like all others" in reason_of(text).words


def test_refusal_longer_than_the_column_has_a_reason_still() -> None:
    text = error_text(str(refusal("much too long, " * 60, "INVALID_PHONE")))
    assert not is_catch_all(text)


@pytest.mark.parametrize("text", ["", "something that the app wrote about 17 things"])
def test_texts_of_others_have_a_reason_too(text: str) -> None:
    reason = reason_of(text)
    assert isinstance(reason, Reason)
    assert reason.words
    assert reason.advice


def test_texts_of_others_are_grouped_without_what_varies() -> None:
    first = reason_of("Could not sync ada@x.org after 3 tries: 'no'")
    assert first == reason_of("Could not sync bob@y.org after 14 tries: 'never'")


def test_reason_fits_beside_its_number_at_eighty_columns() -> None:
    for text, _ in WRITTEN:
        assert len(reason_of(text).words) <= 60, text
