"""What `doctor` finds out about HubSpot, each fault with its fix."""

from typing import Any

import pytest

from hubspot_sync.clock import Pulse
from hubspot_sync.codes import ErrorCode
from hubspot_sync.hubspot.check_up import NEEDED_SCOPES, look_at_hubspot
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.hubspot.pace import Pace
from hubspot_sync.hubspot.transport import Transport
from hubspot_sync.report import Check, CheckState
from hubspot_sync.rules.mapping import Field, PropertyMapping
from tests.conftest import TOKEN
from tests.contacts import MAPPING, contacts_client

OK, FIX = CheckState.OK, CheckState.FIX
UNREACHABLE, UNKNOWN = CheckState.UNREACHABLE, CheckState.UNKNOWN
ACCOUNT, PROPERTIES, SCOPES = "/account-info/", "/properties/", "token-info"
NAMES = [custom.name for custom in MAPPING.custom_properties]


@pytest.fixture
def pace(pulse: Pulse) -> Pace:
    """What learns the quota."""
    return Pace(pulse)


@pytest.fixture
def look(hubspot: Emulator, pulse: Pulse, pace: Pace) -> Any:
    """Look at that HubSpot; return the checks."""

    def check_up(
        token: str = TOKEN,
        portal_id: str | None = None,
        reserve: int = 5,
        mapping: PropertyMapping = MAPPING,
    ) -> list[Check]:
        transport = Transport(
            hubspot.url,
            token,
            timeout_seconds=5,
            custom_properties=NAMES,
            pulse=pulse,
            pace=pace,
        )
        try:
            return look_at_hubspot(
                contacts_client(transport),
                token,
                pace,
                mapping,
                portal_id=portal_id,
                reserve_percent=reserve,
            )
        finally:
            transport.close()

    return check_up


def about(checks: list[Check], name: str) -> Check:
    (check,) = (check for check in checks if check.about == name)
    return check


def test_everything_in_place_is_ok(look: Any, hubspot: Emulator) -> None:
    hubspot.daily_limit = 1_000
    checks = look(portal_id=str(hubspot.portal_id))
    assert {check.state for check in checks} == {OK}
    assert about(checks, "token").words == f"opens portal {hubspot.portal_id} (DEVELOPER_TEST)"
    assert about(checks, "scopes").words == ", ".join(NEEDED_SCOPES)
    properties = [check.words for check in checks if check.about == "properties"]
    assert [words.split(",")[0] for words in properties] == NAMES
    assert "of 1,000 requests left today" in about(checks, "quota").words


def test_look_writes_nothing_and_repeats_no_token(look: Any, hubspot: Emulator) -> None:
    before = hubspot.contacts(), [hubspot.property(name) for name in NAMES]
    hubspot.archive_property("scrapersky_page_id")
    checks = look()
    assert hubspot.contacts() == before[0]
    assert hubspot.property("scrapersky_page_id") is None
    writes = [
        path
        for method, path in hubspot.requests
        if method != "GET" and not path.endswith("/batch/read") and "token" not in path
    ]
    assert writes == []
    assert TOKEN not in str(checks)


def test_wrong_token_is_told_once_and_not_shown(look: Any) -> None:
    check, *others = look(token="pat-na1-wrong")
    assert {each.state for each in others} == {CheckState.UNKNOWN}
    assert (check.about, check.state) == ("token", FIX)
    assert "does not accept the token" in check.words
    assert "HUBSPOT_API_KEY" in check.fix
    assert "pat-na1-wrong" not in str(check)


def test_wrong_portal_names_both(look: Any, hubspot: Emulator) -> None:
    checks = look(portal_id="99")
    check = about(checks, "portal")
    assert check.state is FIX
    assert "99" in check.words
    assert str(hubspot.portal_id) in check.words
    assert about(checks, "token").state is OK


@pytest.mark.parametrize("missing", NEEDED_SCOPES)
def test_missing_scope_is_named_with_the_way_to_it(
    look: Any, hubspot: Emulator, missing: str
) -> None:
    hubspot.scopes = set(NEEDED_SCOPES) - {missing}
    check = about(look(), "scopes")
    assert (check.state, check.words) == (FIX, f"missing: {missing}")
    assert "Settings, Integrations" in check.fix


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_scopes_that_are_not_told_are_not_checked(
    look: Any, hubspot: Emulator, status: int
) -> None:
    hubspot.fault(path=SCOPES, status=status, times=None)
    checks = look()
    assert about(checks, "scopes").state is UNKNOWN
    assert about(checks, "token").state is OK


def test_missing_property_is_told_with_the_command(look: Any, hubspot: Emulator) -> None:
    hubspot.archive_property("scrapersky_page_id")
    checks = [check for check in look() if check.about == "properties"]
    (check,) = (check for check in checks if check.state is FIX)
    assert check.code is ErrorCode.PROPERTY_MISSING
    assert "scrapersky_page_id" in check.words
    assert "create-properties" in check.fix
    assert len(checks) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": "datetime"}, "type is datetime, not date"),
        ({"type": "string", "fieldType": "text"}, "type is string, not date"),
        ({"modificationMetadata": {"readOnlyValue": True}}, "read-only"),
    ],
)
def test_property_that_differs_is_told(
    look: Any, hubspot: Emulator, changes: dict[str, Any], words: str
) -> None:
    known = hubspot.property("scrapersky_sync_date")
    assert known is not None
    hubspot.add_property({**known, **changes})
    (check,) = (check for check in look() if check.state is FIX)
    assert check.about == "properties"
    assert check.words.startswith("scrapersky_sync_date: ")
    assert words in check.words


OWN_REQUESTS = 3
"""What the check-up sends; here their answers tell nothing of the day, so they count as spent."""


def tell_quota(pace: Pace, most: int, left: int) -> None:
    told = {"daily": most, "daily-remaining": left}
    headers = {f"x-hubspot-ratelimit-{name}": str(number) for name, number in told.items()}
    pace.learn(pace.book(), headers)


@pytest.mark.parametrize(
    ("most", "left", "reserve", "state"),
    [(1_000, 51, 5, OK), (1_000, 50, 5, FIX), (1_000, 0, 5, FIX), (1_000, 50, 0, OK)],
)
def test_quota_is_held_against_the_reserve(
    look: Any,
    hubspot: Emulator,
    pace: Pace,
    most: int,
    left: int,
    reserve: int,
    state: CheckState,
) -> None:
    tell_quota(pace, most, left + OWN_REQUESTS)
    check = about(look(reserve=reserve), "quota")
    assert check.state is state
    assert check.words == f"{left:,} of 1,000 requests left today"
    assert ("midnight" in check.fix) is (state is FIX)


def test_nothing_left_of_the_day_is_told_without_a_reserve_too(look: Any, pace: Pace) -> None:
    tell_quota(pace, 1_000, 0)
    assert about(look(reserve=0), "quota").state is FIX


def test_quota_that_is_not_told_is_not_checked(look: Any) -> None:
    assert about(look(), "quota").state is UNKNOWN


@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": True}, {"body": "<html>no</html>"}])
def test_hubspot_that_does_not_answer_is_unreachable(
    look: Any, hubspot: Emulator, fault: dict[str, Any]
) -> None:
    hubspot.fault(times=None, **fault)
    checks = look()
    assert checks[0].state is UNREACHABLE
    assert "HUBSPOT_API_BASE_URL" in checks[0].fix


def test_rate_limit_is_not_called_an_outage(look: Any, hubspot: Emulator) -> None:
    hubspot.fault(times=None, status=429)
    check = look()[0]
    assert check.state is UNREACHABLE
    assert check.words == (
        "The portal's rate limit is used up by other programs (HubSpot answered HTTP 429)"
    )
    assert check.fix == "Find them in HubSpot under Development."


# told
@pytest.mark.parametrize("token", [TOKEN, "pat-na1-wrong"])
def test_what_could_not_be_asked_is_told(look: Any, hubspot: Emulator, token: str) -> None:
    if token == TOKEN:
        hubspot.fault(times=None, status=503)
    checks = look(token=token)
    assert {check.about for check in checks if check.state is UNKNOWN} == {
        "scopes",
        "properties",
        "quota",
    }


@pytest.mark.parametrize(
    ("fault", "fix"),
    [
        ({"status": 429, "policy": "DAILY"}, "midnight"),
        ({"status": 403}, "Scopes"),
        ({"status": 404, "body": {"message": "nothing here"}}, "HUBSPOT_API_BASE_URL"),
        ({"status": 477, "body": {"message": "moving"}}, "later"),
    ],
)
def test_refusal_that_is_not_the_tokens_has_a_fix_of_its_own(
    look: Any, hubspot: Emulator, fault: dict[str, Any], fix: str
) -> None:
    hubspot.fault(path=ACCOUNT, times=None, **fault)
    check = look()[0]
    assert "Set HUBSPOT_API_KEY" not in check.fix
    assert fix in check.fix


@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": True}])
def test_properties_without_an_answer_are_unreachable(
    look: Any, hubspot: Emulator, fault: dict[str, Any]
) -> None:
    hubspot.fault(path=PROPERTIES, times=None, **fault)
    check = about(look(), "properties")
    assert check.state is UNREACHABLE
    assert "Scopes" not in check.fix


def test_properties_that_may_not_be_read_are_told_with_the_scopes(
    look: Any, hubspot: Emulator
) -> None:
    hubspot.fault(path=PROPERTIES, status=403, times=None)
    check = about(look(), "properties")
    assert check.state is FIX
    assert "Scopes" in check.fix


def test_account_without_its_details_is_unreachable(look: Any, hubspot: Emulator) -> None:
    hubspot.fault(path=ACCOUNT, body={"portalId": None}, times=None)
    assert look()[0].state is UNREACHABLE


def test_mapping_file_is_checked_line_by_line(look: Any) -> None:
    good, bad = Field("firstname", "a", line=3), Field("no_such_property", "b", line=4)
    fine = look(mapping=PropertyMapping((good,), file="m.toml"))
    assert about(fine, "properties").state is CheckState.OK
    check = about(look(mapping=PropertyMapping((good, bad), file="m.toml")), "properties")
    assert check.state is CheckState.FIX
    assert check.words.startswith("m.toml, line 4, no_such_property: ")
