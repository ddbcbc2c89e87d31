"""The environment, read once and checked as a whole."""

import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubspot_sync.environment import read_env_file
from hubspot_sync.errors import SettingsError, WrongUsage
from hubspot_sync.rules.mail import Mail
from hubspot_sync.rules.mapping import PropertyNames, built_in_mapping
from hubspot_sync.rules.retry import RetryPolicy
from hubspot_sync.rules.source import BUILT_IN_SOURCE
from hubspot_sync.settings import (
    Settings,
    UnknownName,
    are_there,
    is_within_edits,
    known_names,
    load_settings,
    unknown_names,
)
from tests.for_each import for_each

# Some of them write a settings file where they are.
pytestmark = pytest.mark.usefixtures("tmp_path")

TOKEN = "pat-na1-xxxxxxxx"
PASSWORD = "not-for-show"
DATABASE_URL = f"postgresql://app:{PASSWORD}@db.example.com:5432/contacts"


def _faults(**variables: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(variables)
    return list(caught.value.faults)


def _fault(**variables: str) -> str:
    (fault,) = _faults(**variables)
    return fault


# Defaults


def test_settings_without_variables_are_the_defaults() -> None:
    assert load_settings({}) == Settings(
        api_key="",
        portal_id=None,
        base_url="https://api.hubapi.com",
        api_version="v3",
        request_timeout=timedelta(seconds=30),
        database_url="sqlite:///contacts.db",
        interval=timedelta(minutes=5),
        batch_size=10,
        max_instances=1,
        retry_policy=RetryPolicy(max_retries=3, base_delay=timedelta(minutes=5), exponential=True),
        lease=timedelta(minutes=10),
        workers=4,
        property_names=PropertyNames(
            domain_id="scrapersky_domain_id",
            page_id="scrapersky_page_id",
            sync_date="scrapersky_sync_date",
        ),
    )


def test_settings_made_by_hand_have_the_same_defaults() -> None:
    assert Settings() == load_settings({})


@pytest.mark.parametrize("nothing", ["", "   ", "\n"])
def test_variables_that_hold_nothing_count_as_not_set(nothing: str) -> None:
    names = [
        "HUBSPOT_API_KEY",
        "HUBSPOT_API_KEY_FILE",
        "HUBSPOT_PORTAL_ID",
        "HUBSPOT_API_BASE_URL",
        "HUBSPOT_API_VERSION",
        "HUBSPOT_TIMEOUT_SECONDS",
        "HUBSPOT_SYNC_SCHEDULER_INTERVAL_MINUTES",
        "HUBSPOT_SYNC_SCHEDULER_BATCH_SIZE",
        "HUBSPOT_SYNC_SCHEDULER_MAX_INSTANCES",
        "HUBSPOT_SYNC_MAX_RETRIES",
        "HUBSPOT_SYNC_RETRY_DELAY_MINUTES",
        "HUBSPOT_SYNC_RETRY_EXPONENTIAL",
        "HUBSPOT_SYNC_LEASE_MINUTES",
        "HUBSPOT_SYNC_MAIL",
        "HUBSPOT_SYNC_MAPPING",
        "HUBSPOT_SYNC_HEARTBEAT_URL",
        "HUBSPOT_SYNC_METRICS_FILE",
        "HUBSPOT_SYNC_NAME",
        "HUBSPOT_SYNC_WORKERS",
        "HUBSPOT_SYNC_QUOTA_RESERVE_PERCENT",
        "HUBSPOT_CUSTOM_PROPERTY_DOMAIN_ID",
        "HUBSPOT_CUSTOM_PROPERTY_PAGE_ID",
        "HUBSPOT_CUSTOM_PROPERTY_SYNC_DATE",
        "DATABASE_URL",
    ]
    assert set(names) == known_names()
    assert load_settings(dict.fromkeys(names, nothing)) == Settings()


def test_variables_of_others_are_passed_over() -> None:
    assert load_settings({"PATH": "/bin", "HUBSPOT_OTHER": "x", "BREVO_API_KEY": "y"}) == Settings()


# The token


@pytest.mark.parametrize("raw", [TOKEN, f"  {TOKEN}\n", f"{TOKEN}\r\n"])
def test_token_is_taken_without_the_blanks_around_it(raw: str) -> None:
    assert load_settings({"HUBSPOT_API_KEY": raw}).api_key == TOKEN


each_mistyped_token = for_each(
    "raw",
    [
        pytest.param("pat na1 xxxxxxxx", id="blank"),
        pytest.param("pat-na1-\nxxxxxxxx", id="newline"),
        pytest.param("pat-na1-\x00xxxxxxxx", id="nul"),
        pytest.param("pat-na1-xxxxxxxx…", id="ellipsis"),
        pytest.param("pat\u2011na1\u2011xxxxxxxx", id="hyphen-of-another-kind"),
    ],
)


@each_mistyped_token
def test_token_that_cannot_be_one_is_a_fault(raw: str) -> None:
    assert "HUBSPOT_API_KEY" in _fault(HUBSPOT_API_KEY=raw)


@each_mistyped_token
def test_token_that_cannot_be_one_is_not_shown(raw: str) -> None:
    assert "xxxxxxxx" not in _fault(HUBSPOT_API_KEY=raw)


def test_token_is_not_shown_in_settings() -> None:
    assert TOKEN not in repr(load_settings({"HUBSPOT_API_KEY": TOKEN}))


def test_token_is_not_shown_among_other_faults() -> None:
    faults = _faults(HUBSPOT_API_KEY=TOKEN, HUBSPOT_PORTAL_ID="x", DATABASE_URL="x")
    assert TOKEN not in "\n".join(faults)


def test_commands_that_need_a_token_may_go_on_with_one() -> None:
    Settings(api_key=TOKEN).require_api_key()


def test_commands_that_need_a_token_are_refused_without_one() -> None:
    with pytest.raises(WrongUsage, match="HUBSPOT_API_KEY is empty"):
        Settings().require_api_key()


# The token in a file


def _key_file(content: bytes) -> str:
    path = Path("hubspot-token")
    path.write_bytes(content)
    return str(path.absolute())


@for_each("content", ["{}", "{}\n", "{}\r\n", " \t{}  \n\n"])
def test_token_may_stand_in_a_file(content: str) -> None:
    path = _key_file(content.format(TOKEN).encode())
    for variables in (
        {"HUBSPOT_API_KEY_FILE": path},
        {"HUBSPOT_API_KEY_FILE": f" {path}\n", "HUBSPOT_API_KEY": " "},
        {"HUBSPOT_API_KEY_FILE": "hubspot-token"},
    ):
        assert load_settings(variables) == Settings(api_key=TOKEN)


def test_token_may_stand_in_a_file_that_the_env_file_names(tmp_path: Path) -> None:
    _write(tmp_path / ".env", f"HUBSPOT_API_KEY_FILE={_key_file(TOKEN.encode())}\n")
    assert load_settings({}, read_env_file(None)).api_key == TOKEN


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\t"])
def test_token_file_that_is_empty_means_disabled(content: bytes) -> None:
    loaded = load_settings({"HUBSPOT_API_KEY_FILE": _key_file(content)})
    assert loaded == Settings()
    with pytest.raises(WrongUsage):
        loaded.require_api_key()


def test_token_file_that_is_empty_is_named_to_those_who_need_a_token() -> None:
    loaded = load_settings({"HUBSPOT_API_KEY_FILE": _key_file(b"")})
    with pytest.raises(WrongUsage, match="HUBSPOT_API_KEY_FILE"):
        loaded.require_api_key()


def test_token_in_both_places_is_a_fault() -> None:
    fault = _fault(HUBSPOT_API_KEY=TOKEN, HUBSPOT_API_KEY_FILE=_key_file(b"other-token"))
    assert fault == "HUBSPOT_API_KEY and HUBSPOT_API_KEY_FILE are both set: keep one of them."


def test_token_in_both_places_is_a_fault_though_the_file_is_missing() -> None:
    assert "both set" in _fault(HUBSPOT_API_KEY=TOKEN, HUBSPOT_API_KEY_FILE="missing")


@for_each(
    ("path", "why"),
    [
        pytest.param("missing", "No such file", id="missing"),
        pytest.param(".", "Is a directory", id="folder"),
        pytest.param("none/token", "No such file", id="no-folder"),
        pytest.param("x" * 5000, "too long", id="too-long"),
    ],
)
def test_token_file_that_cannot_be_read_is_a_fault(path: str, why: str) -> None:
    fault = _fault(HUBSPOT_API_KEY_FILE=path)
    assert fault.startswith(f"HUBSPOT_API_KEY_FILE is {path!r}, which cannot be read (")
    assert why in fault


def test_token_file_whose_name_can_be_none_is_a_fault() -> None:
    assert "HUBSPOT_API_KEY_FILE" in _fault(HUBSPOT_API_KEY_FILE="a\x00b")


def test_token_file_that_is_not_ours_to_read_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    # The tests may run as root, who may read all.
    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    fault = _fault(HUBSPOT_API_KEY_FILE="/run/secrets/hubspot")
    assert "'/run/secrets/hubspot', which cannot be read (Permission denied)" in fault


each_odd_file = for_each(
    "content",
    [
        pytest.param(b"pat na1 xxxxxxxx", id="blank"),
        pytest.param(b"pat-na1-\nxxxxxxxx", id="two-lines"),
        pytest.param(b"HUBSPOT_API_KEY = xxxxxxxx\n", id="settings"),
        pytest.param(b"pat-na1-\x00xxxxxxxx", id="nul"),
        pytest.param(b"\xef\xbb\xbfpat-na1-xxxxxxxx", id="byte-order-mark"),
        pytest.param("pat\u2011na1\u2011xxxxxxxx".encode(), id="hyphen-of-another-kind"),
        pytest.param(b"pat-na1-\xff\xfexxxxxxxx", id="not-utf-8"),
        pytest.param("pat-na1-xxxxxxxx".encode("utf-16"), id="utf-16"),
    ],
)


@each_odd_file
def test_token_file_that_holds_no_token_is_a_fault_that_does_not_show_it(content: bytes) -> None:
    assert "xxxx" not in _fault(HUBSPOT_API_KEY_FILE=_key_file(content))


@each_odd_file
def test_token_file_that_holds_no_token_is_named(content: bytes) -> None:
    assert "HUBSPOT_API_KEY_FILE" in _fault(HUBSPOT_API_KEY_FILE=_key_file(content))


def test_token_from_a_file_is_not_shown_in_settings() -> None:
    assert TOKEN not in repr(load_settings({"HUBSPOT_API_KEY_FILE": _key_file(TOKEN.encode())}))


@pytest.mark.parametrize("raw", [TOKEN, f"Bearer {TOKEN}"])
def test_token_in_place_of_its_file_is_not_shown(raw: str) -> None:
    assert TOKEN not in _fault(HUBSPOT_API_KEY_FILE=raw)


@pytest.mark.parametrize("variable", ["HUBSPOT_PORTAL_ID", "HUBSPOT_API_VERSION"])
def test_token_of_a_file_is_not_shown_where_it_stands_in_another_setting(variable: str) -> None:
    service_key = "na1-5e7f1ce0-xxxxxxxx"
    path = _key_file(service_key.encode())
    fault = _fault(HUBSPOT_API_KEY_FILE=path, **{variable: f"Bearer {service_key}"})
    assert fault.startswith(variable)
    assert service_key not in fault


@pytest.mark.parametrize(
    "name", ["HUBSPOT_API_KEYFILE", "HUBSPOT_API_KEY_FILES", "HUBSPOT_KEY_FILE"]
)
def test_name_of_the_file_that_is_misspelt_is_found(name: str) -> None:
    (unknown,) = unknown_names({name: "x"})
    assert (unknown.name, unknown.meant) == (name, "HUBSPOT_API_KEY_FILE")


# Misspelt names


@for_each(
    ("name", "meant"),
    [
        ("HUBSPOT_PORTALID", "HUBSPOT_PORTAL_ID"),
        ("HUBSPOTPORTALID", "HUBSPOT_PORTAL_ID"),
        ("hubspot_portal_id", "HUBSPOT_PORTAL_ID"),
        ("DATABASEURL", "DATABASE_URL"),
        ("HUBSPOT_SYNC_WORKER", "HUBSPOT_SYNC_WORKERS"),
        ("HUBSPOT_SYNC_BATCH_SIZE", "HUBSPOT_SYNC_SCHEDULER_BATCH_SIZE"),
        ("HUBSPOT_SYNC_COLOUR", None),
        ("HUBSPOT_CUSTOM_PROPERTY_DOMAIN", "HUBSPOT_CUSTOM_PROPERTY_DOMAIN_ID"),
    ],
)
def test_misspelt_name_in_the_environment_is_a_fault(name: str, meant: str | None) -> None:
    fault = _fault(**{name: "1"})
    assert fault.startswith(f"{name} in the environment is not a setting")
    assert ("Did you mean" in fault) is (meant is not None)
    assert meant is None or f"Did you mean {meant}?" in fault


@for_each(
    "name",
    ["HUBSPOT_API_KYE", "HUBSPOT_PORTAL", "HUBSPOT_PORTALS", "HUBSPOT_TOKEN", "DATABASE_URI"],
)
def test_name_that_may_be_another_programs_is_no_fault_in_the_environment(name: str) -> None:
    assert load_settings({name: "1"}) == Settings()


def test_name_without_underscores_is_no_fault_beside_the_setting() -> None:
    ours = {"HUBSPOT_PORTAL_ID": "2", "HUBSPOT_PORTALID": "1"}
    assert load_settings(ours).portal_id == "2"
    assert load_settings({"HUBSPOT_PORTALID": "1"}, {"HUBSPOT_PORTAL_ID": "2"}).portal_id == "2"
    assert "HUBSPOT_PORTALID" in _fault(**(ours | {"HUBSPOT_PORTAL_ID": ""}))


@for_each(
    ("name", "meant"),
    [
        ("HUBSPOT_PORTALID", "HUBSPOT_PORTAL_ID"),
        ("HUBSPOTPORTALID", "HUBSPOT_PORTAL_ID"),
        ("HUBSPOT_API_KYE", "HUBSPOT_API_KEY"),
        ("HUBSPOT_TIMEOUT_SECONDES", "HUBSPOT_TIMEOUT_SECONDS"),
        ("database_url", "DATABASE_URL"),
        ("DATABSE_URI", "DATABASE_URL"),
        ("HUBSPOTSYNCSCHEDULERBATCHSIZE", "HUBSPOT_SYNC_SCHEDULER_BATCH_SIZE"),
        ("HUBSPOT_SYNC_COLOUR", None),
    ],
)
def test_misspelt_name_in_the_file_is_a_fault(name: str, meant: str | None) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"HUBSPOT_PORTAL_ID": "1"}, {name: "1"})
    (fault,) = caught.value.faults
    assert fault.startswith(f"{name} in the settings file is not a setting")
    assert meant is None or f"Did you mean {meant}?" in fault


@for_each("name", ["DATABASE_USER", "PG_DATABASE_URL", "HUBSPOT_TOKEN", "PORTAL_ID"])
def test_other_programs_name_in_the_file_is_no_fault(name: str) -> None:
    assert load_settings({}, {name: "1"}) == Settings()


def test_misspelt_names_are_told_together_with_all_other_faults() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(
            {"HUBSPOT_SYNC_WORKERS": "many", "HUBSPOT_SYNC_LABEL": "x"},
            {"HUBSPOT_PORTALID": "1", "HUBSPOT_TIMEOUT_SECONDS": "soon"},
        )
    assert [fault.split()[0] for fault in caught.value.faults] == [
        "HUBSPOT_PORTALID",
        "HUBSPOT_SYNC_LABEL",
        "HUBSPOT_TIMEOUT_SECONDS",
        "HUBSPOT_SYNC_WORKERS",
    ]


def test_token_that_is_glued_to_a_name_is_not_shown() -> None:
    fault = _fault(**{f"HUBSPOT_SYNC_WORKERS{TOKEN}": "1"})
    assert fault.startswith("HUBSPOT_SYNC_WORKERSpat… in the environment")
    assert unknown_names({f"HUBSPOT_{'X' * 100}": "1"}) == [
        UnknownName(f"HUBSPOT_{'X' * 52}…", "environment", None, is_fault=False)
    ]


def _edits(one: str, other: str) -> int:
    """Count the edits between two words by the textbook's table."""
    table = {(-1, -1): 0}
    for row in range(len(one)):
        table[row, -1] = row + 1
    for column in range(len(other)):
        table[-1, column] = column + 1
    for row, a in enumerate(one):
        for column, b in enumerate(other):
            steps = [
                table[row - 1, column] + 1,
                table[row, column - 1] + 1,
                table[row - 1, column - 1] + (a != b),
            ]
            if row and column and (a, one[row - 1]) == (other[column - 1], b):
                steps.append(table[row - 2, column - 2] + 1)
            table[row, column] = min(steps)
    return table[len(one) - 1, len(other) - 1]


@given(st.text("abc", max_size=7), st.text("abc", max_size=7), st.integers(0, 3))
@settings(deadline=None, max_examples=500)
def test_edits_are_counted_as_in_the_textbook(one: str, other: str, most: int) -> None:
    assert is_within_edits(one, other, most) is (_edits(one, other) <= most)


# Numbers

each_number = for_each(
    ("variable", "least", "most"),
    [
        ("HUBSPOT_TIMEOUT_SECONDS", 1, 300),
        ("HUBSPOT_SYNC_SCHEDULER_INTERVAL_MINUTES", 1, 1440),
        ("HUBSPOT_SYNC_SCHEDULER_BATCH_SIZE", 1, 10_000),
        ("HUBSPOT_SYNC_SCHEDULER_MAX_INSTANCES", 1, 100),
        ("HUBSPOT_SYNC_MAX_RETRIES", 0, 20),
        ("HUBSPOT_SYNC_RETRY_DELAY_MINUTES", 1, 1440),
        ("HUBSPOT_SYNC_LEASE_MINUTES", 1, 1440),
        ("HUBSPOT_SYNC_WORKERS", 1, 32),
        ("HUBSPOT_SYNC_QUOTA_RESERVE_PERCENT", 0, 90),
    ],
)


def _number(settings: Settings, variable: str) -> float:
    minute = timedelta(minutes=1)
    return {
        "HUBSPOT_TIMEOUT_SECONDS": settings.request_timeout.total_seconds(),
        "HUBSPOT_SYNC_SCHEDULER_INTERVAL_MINUTES": settings.interval / minute,
        "HUBSPOT_SYNC_SCHEDULER_BATCH_SIZE": settings.batch_size,
        "HUBSPOT_SYNC_SCHEDULER_MAX_INSTANCES": settings.max_instances,
        "HUBSPOT_SYNC_MAX_RETRIES": settings.retry_policy.max_retries,
        "HUBSPOT_SYNC_RETRY_DELAY_MINUTES": settings.retry_policy.base_delay / minute,
        "HUBSPOT_SYNC_LEASE_MINUTES": settings.lease / minute,
        "HUBSPOT_SYNC_WORKERS": settings.workers,
        "HUBSPOT_SYNC_QUOTA_RESERVE_PERCENT": settings.quota_reserve,
    }[variable]


@each_number
def test_number_may_be_the_least_and_the_most(variable: str, least: int, most: int) -> None:
    # The lease and the time-out of a request must fit each other.
    wide = {"HUBSPOT_TIMEOUT_SECONDS": "1", "HUBSPOT_SYNC_LEASE_MINUTES": "1440"}
    if variable == "HUBSPOT_SYNC_LEASE_MINUTES":
        least = 3
    read = [
        _number(load_settings(wide | {variable: str(number)}), variable)
        for number in (least, least + 1, most)
    ]
    assert read == [least, least + 1, most]


@each_number
def test_number_is_read_with_blanks_around_it(variable: str, least: int, most: int) -> None:
    number = min(least + 9, most)
    assert _number(load_settings({variable: f" {number}\n"}), variable) == number


@each_number
def test_number_that_is_none_is_a_fault(variable: str, least: int, most: int) -> None:
    told = f"{variable} is 'x'; it must be a whole number from {least} to {most}."
    assert _fault(**{variable: "x"}) == told


@for_each(
    "raw",
    [
        *("-1", "+5", "5.0", "5.", "1e2", "5 6", "5m", "0x5", "5_0", "\u0665", "\u00b2"),
        pytest.param("9" * 5000, id="endless"),
    ],
)
def test_number_that_is_not_whole_and_plain_is_a_fault(raw: str) -> None:
    told = f"HUBSPOT_SYNC_SCHEDULER_BATCH_SIZE is {raw!r}; it must be a whole number"
    assert _fault(HUBSPOT_SYNC_SCHEDULER_BATCH_SIZE=raw).startswith(told)


@each_number
def test_number_below_the_least_is_a_fault(variable: str, least: int, most: int) -> None:
    told = f"{variable} is '{least - 1}'; it must be a whole number from {least} to {most}."
    assert _fault(**{variable: str(least - 1)}) == told


@each_number
def test_number_above_the_most_is_a_fault(variable: str, least: int, most: int) -> None:
    told = f"{variable} is '{most + 1}'; it must be a whole number from {least} to {most}."
    assert _fault(**{variable: str(most + 1)}) == told


# The lease and the time-out


@for_each(("timeout", "lease"), [(1, 3), (30, 8), (40, 10), (41, 11), (300, 62)])
def test_lease_may_last_twelve_timeouts_and_two_minutes(timeout: int, lease: int) -> None:
    variables = {
        "HUBSPOT_TIMEOUT_SECONDS": str(timeout),
        "HUBSPOT_SYNC_LEASE_MINUTES": str(lease),
    }
    assert load_settings(variables).lease == timedelta(minutes=lease)


@for_each(("timeout", "lease"), [(1, 3), (30, 8), (40, 10), (41, 11), (300, 62)])
def test_lease_that_is_shorter_is_a_fault(timeout: int, lease: int) -> None:
    fault = _fault(HUBSPOT_TIMEOUT_SECONDS=str(timeout), HUBSPOT_SYNC_LEASE_MINUTES=str(lease - 1))
    assert fault.startswith(
        f"HUBSPOT_SYNC_LEASE_MINUTES is {lease - 1}: with HUBSPOT_TIMEOUT_SECONDS {timeout} it "
        f"must be at least {lease},"
    )


def test_timeout_that_is_too_long_for_the_default_lease_is_a_fault() -> None:
    assert "at least 11" in _fault(HUBSPOT_TIMEOUT_SECONDS="41")


# Switches


@for_each("raw", ["true", "True", "TRUE", "1", "yes", "Yes", "on", " true "])
def test_exponential_delays_can_be_switched_on(raw: str) -> None:
    assert load_settings({"HUBSPOT_SYNC_RETRY_EXPONENTIAL": raw}).retry_policy.exponential


@for_each("raw", ["false", "False", "FALSE", "0", "no", "NO", "off", " false "])
def test_exponential_delays_can_be_switched_off(raw: str) -> None:
    assert not load_settings({"HUBSPOT_SYNC_RETRY_EXPONENTIAL": raw}).retry_policy.exponential


@for_each("raw", ["maybe", "2", "truefalse", "y", "none"])
def test_switch_that_is_neither_on_nor_off_is_a_fault(raw: str) -> None:
    told = f"HUBSPOT_SYNC_RETRY_EXPONENTIAL is {raw!r}; it must be true or false."
    assert _fault(HUBSPOT_SYNC_RETRY_EXPONENTIAL=raw) == told


# The portal


@pytest.mark.parametrize("raw", ["123456", " 123456 ", "0123456789012345"])
def test_portal_id_may_be_a_number(raw: str) -> None:
    assert load_settings({"HUBSPOT_PORTAL_ID": raw}).portal_id == raw.strip()


@for_each("raw", ["my-portal", "12 34", "-5", "12.5", "\u0661\u0662", "\uff11\uff12"])
def test_portal_id_that_is_no_number_is_a_fault(raw: str) -> None:
    told = f"HUBSPOT_PORTAL_ID is {raw!r}; it must be a number, or nothing."
    assert _fault(HUBSPOT_PORTAL_ID=raw) == told


@for_each(
    ("raw", "base_url"),
    [
        ("https://api.hubapi.com", "https://api.hubapi.com"),
        ("https://api.hubapi.com/", "https://api.hubapi.com"),
        (" https://api.hubapi.com ", "https://api.hubapi.com"),
        ("https://api-eu1.hubapi.com", "https://api-eu1.hubapi.com"),
        ("https://proxy.example.com:8443", "https://proxy.example.com:8443"),
        ("http://localhost", "http://localhost"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://localhost:8443", "https://localhost:8443"),
    ],
)
def test_base_url_may_be_https_or_loopback(raw: str, base_url: str) -> None:
    assert load_settings({"HUBSPOT_API_BASE_URL": raw}).base_url == base_url


@for_each(
    "raw",
    [
        pytest.param("http://api.hubapi.com", id="not-encrypted"),
        pytest.param("http://10.0.0.1", id="not-this-machine"),
        pytest.param("http://localhost.example.com", id="name-that-begins-like-loopback"),
        pytest.param("http://127.0.0.1.example.com", id="name-that-begins-like-an-address"),
        pytest.param("ftp://api.hubapi.com", id="other-scheme"),
        pytest.param("ftp://localhost", id="other-scheme-on-this-machine"),
        pytest.param("file:///etc/hosts", id="file"),
        pytest.param("api.hubapi.com", id="no-scheme"),
        pytest.param("//api.hubapi.com", id="no-scheme-but-slashes"),
        pytest.param("https://", id="no-host"),
        pytest.param("https:///crm", id="path-without-host"),
        pytest.param("https://api.hubapi.com/crm/v3", id="path"),
        pytest.param("https://api.hubapi.com?x=1", id="query"),
        pytest.param("https://api.hubapi.com#x", id="fragment"),
        pytest.param("https://user@api.hubapi.com", id="user"),
        pytest.param("https://user:word@api.hubapi.com", id="credentials"),
        pytest.param("https://api.hubapi.com:port", id="port-that-is-no-number"),
        pytest.param("https://api.hubapi.com:99999", id="port-out-of-range"),
        pytest.param("https://[::1", id="broken-address"),
    ],
)
def test_base_url_that_is_unsafe_or_no_base_is_a_fault(raw: str) -> None:
    fault = _fault(HUBSPOT_API_BASE_URL=raw)
    assert fault.startswith("HUBSPOT_API_BASE_URL ")
    assert fault.endswith("an https:// address (http:// on this machine only), without a path.")


@for_each("raw", ["v3", "2026-03", "2026-09", "2027-12", " v3 "])
def test_api_version_may_be_v3_or_a_date(raw: str) -> None:
    assert load_settings({"HUBSPOT_API_VERSION": raw}).api_version == raw.strip()


@for_each("raw", ["v1", "v4", "V3", "3", "2026", "2026-9", "2026-13", "2026-00"])
def test_api_version_that_is_none_is_a_fault(raw: str) -> None:
    told = f"HUBSPOT_API_VERSION is {raw!r}; it must be v3, or a dated version such as 2026-09."
    assert _fault(HUBSPOT_API_VERSION=raw) == told


# The database


@for_each(
    ("raw", "database_url"),
    [
        ("postgres://u@h:5432/d", "postgresql+psycopg2://u@h:5432/d"),
        ("postgresql://u@h:5432/d", "postgresql+psycopg2://u@h:5432/d"),
        ("postgresql+psycopg2://u@h/d", "postgresql+psycopg2://u@h/d"),
        ("POSTGRES://u@h/d", "postgresql+psycopg2://u@h/d"),
        ("  postgres://u@h/d\n", "postgresql+psycopg2://u@h/d"),
        ("postgresql:///d?host=/var/run", "postgresql+psycopg2:///d?host=/var/run"),
        ("postgresql://u@h/d?sslmode=require", "postgresql+psycopg2://u@h/d?sslmode=require"),
        ("postgresql://u:a%40b://c@h/d", "postgresql+psycopg2://u:a%40b://c@h/d"),
        ("sqlite:///contacts.db", "sqlite:///contacts.db"),
        ("sqlite:////var/lib/contacts.db", "sqlite:////var/lib/contacts.db"),
    ],
)
def test_database_url_is_rewritten_with_its_driver(raw: str, database_url: str) -> None:
    assert load_settings({"DATABASE_URL": raw}).database_url == database_url


@for_each(
    ("raw", "held"),
    [
        (f"mysql://app:{PASSWORD}@db/contacts", "begins with 'mysql'"),
        (f"postgresql+asyncpg://app:{PASSWORD}@db/contacts", "begins with 'postgresql+asyncpg'"),
        (f"app:{PASSWORD}@db.example.com/contacts", "is not an address"),
        (f"postgresql:app:{PASSWORD}@db/contacts", "is not an address"),
        (PASSWORD, "is not an address"),
        ("contacts.db", "is not an address"),
        ("postgresql://", "begins with 'postgresql'"),
        ("sqlite://", "begins with 'sqlite'"),
        ("sqlite:///", "begins with 'sqlite'"),
        ("sqlite:///:memory:", "begins with 'sqlite'"),
        ("sqlite:///file::memory:?uri=true", "begins with 'sqlite'"),
    ],
)
def test_database_url_of_no_use_is_a_fault(raw: str, held: str) -> None:
    fault = _fault(DATABASE_URL=raw)
    assert fault.startswith(f"DATABASE_URL {held}; it must be a PostgreSQL address (postgresql://")


@for_each(
    "raw",
    [
        f"mysql://app:{PASSWORD}@db/contacts",
        f"postgresql+asyncpg://app:{PASSWORD}@db/contacts",
        f"app:{PASSWORD}@db.example.com/contacts",
        f"postgresql:app:{PASSWORD}@db/contacts",
        PASSWORD,
    ],
)
def test_database_password_is_not_shown_in_a_fault(raw: str) -> None:
    assert PASSWORD not in _fault(DATABASE_URL=raw)


def test_database_password_is_not_shown_in_settings() -> None:
    assert PASSWORD not in repr(load_settings({"DATABASE_URL": DATABASE_URL}))


def test_database_password_is_not_shown_among_other_faults() -> None:
    faults = _faults(DATABASE_URL=DATABASE_URL, HUBSPOT_PORTAL_ID="x", HUBSPOT_API_KEY="a b")
    assert PASSWORD not in "\n".join(faults)


# The custom properties

each_role = for_each("role", ["DOMAIN_ID", "PAGE_ID", "SYNC_DATE"])


@each_role
@for_each("raw", ["site", "s", "site_2", "s" * 100, " site "])
def test_property_name_may_be_one_of_our_own(role: str, raw: str) -> None:
    names = load_settings({f"HUBSPOT_CUSTOM_PROPERTY_{role}": raw}).property_names
    read = {"DOMAIN_ID": names.domain_id, "PAGE_ID": names.page_id, "SYNC_DATE": names.sync_date}
    assert read[role] == raw.strip()


@each_role
@for_each("raw", ["Site", "2site", "_site", "my site", "my-site", "sité", "s" * 101])
def test_property_name_that_hubspot_would_not_take_is_a_fault(role: str, raw: str) -> None:
    fault = _fault(**{f"HUBSPOT_CUSTOM_PROPERTY_{role}": raw})
    assert fault.startswith(f"HUBSPOT_CUSTOM_PROPERTY_{role} is {raw!r}; it must be")


@each_role
@for_each("raw", ["email", "firstname", "lastname", "phone"])
def test_property_name_of_another_value_is_a_fault(role: str, raw: str) -> None:
    fault = _fault(**{f"HUBSPOT_CUSTOM_PROPERTY_{role}": raw})
    assert fault.startswith(f"HUBSPOT_CUSTOM_PROPERTY_{role} is {raw!r}; it must be")


@pytest.mark.parametrize(
    ("role", "raw"),
    [
        ("DOMAIN_ID", "scrapersky_page_id"),
        ("PAGE_ID", "scrapersky_sync_date"),
        ("SYNC_DATE", "scrapersky_domain_id"),
    ],
)
def test_property_names_that_are_the_same_are_a_fault(role: str, raw: str) -> None:
    fault = _fault(**{f"HUBSPOT_CUSTOM_PROPERTY_{role}": raw})
    assert "must be three different names" in fault


# The mapping file

MAPPED = """version = 1
[source]
table = "people"
[fields]
firstname = { column = "first" }
"""


def test_without_a_mapping_file_the_built_in_mapping_holds() -> None:
    settings = load_settings({"HUBSPOT_CUSTOM_PROPERTY_PAGE_ID": "page"})
    assert settings.mapping == built_in_mapping(PropertyNames(page_id="page"))
    assert settings.source == BUILT_IN_SOURCE


def test_mapping_file_gives_the_table_and_the_fields(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(MAPPED)
    settings = load_settings({"HUBSPOT_SYNC_MAPPING": " own.toml "})
    assert settings.source.table == "people"
    assert settings.source.columns == ("first",)
    assert settings.mapping.checked_properties == ("firstname",)
    assert settings.mapping.file == "own.toml"


def test_mapping_file_lies_beside_the_settings_file_that_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "own.toml").write_text(MAPPED)
    named = folder / "sync.env"
    named.write_text("HUBSPOT_SYNC_MAPPING=own.toml\n")
    settings = load_settings({}, read_env_file(named))
    assert settings.mapping.file == str(folder / "own.toml")


def test_mapping_of_the_environment_is_taken_from_the_current_folder(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (tmp_path / "own.toml").write_text(MAPPED)
    named = folder / "sync.env"
    named.write_text("HUBSPOT_SYNC_MAPPING=other.toml\n")
    settings = load_settings({"HUBSPOT_SYNC_MAPPING": "own.toml"}, read_env_file(named))
    assert settings.mapping.file == "own.toml"


def test_mapping_with_an_absolute_path_may_lie_anywhere(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(MAPPED)
    (tmp_path / "etc").mkdir()
    named = tmp_path / "etc" / "sync.env"
    named.write_text(f"HUBSPOT_SYNC_MAPPING={tmp_path / 'own.toml'}\n")
    assert load_settings({}, read_env_file(named)).source.table == "people"


def test_mapping_that_is_not_there_is_a_fault() -> None:
    fault = _fault(HUBSPOT_SYNC_MAPPING="none.toml")
    assert fault.startswith("The mapping none.toml cannot be read (No such file or directory)")


def test_faults_of_the_mapping_come_with_those_of_the_other_settings(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(MAPPED + "phone = { colum = 'a' }\nx = { column = 'a' }\n")
    faults = _faults(
        HUBSPOT_SYNC_MAPPING="own.toml",
        HUBSPOT_PORTAL_ID="x",
        HUBSPOT_CUSTOM_PROPERTY_PAGE_ID="page",
    )
    assert "HUBSPOT_PORTAL_ID is 'x'" in faults[0]
    assert any(each.startswith("own.toml, line 6: fields.phone") for each in faults)
    assert any(each.startswith("HUBSPOT_CUSTOM_PROPERTY_PAGE_ID is set") for each in faults)


def test_mapping_that_is_misspelt_is_a_fault() -> None:
    assert "Did you mean HUBSPOT_SYNC_MAPPING?" in _fault(HUBSPOT_SYNC_MAPING="own.toml")


# All faults together


def test_faults_are_all_told_together() -> None:
    variables = {
        "HUBSPOT_API_KEY": "pat na1",
        "HUBSPOT_PORTAL_ID": "x",
        "HUBSPOT_API_BASE_URL": "http://api.hubapi.com",
        "HUBSPOT_API_VERSION": "x",
        "HUBSPOT_TIMEOUT_SECONDS": "x",
        "HUBSPOT_SYNC_SCHEDULER_INTERVAL_MINUTES": "x",
        "HUBSPOT_SYNC_SCHEDULER_BATCH_SIZE": "x",
        "HUBSPOT_SYNC_SCHEDULER_MAX_INSTANCES": "x",
        "HUBSPOT_SYNC_MAX_RETRIES": "x",
        "HUBSPOT_SYNC_RETRY_DELAY_MINUTES": "x",
        "HUBSPOT_SYNC_RETRY_EXPONENTIAL": "x",
        "HUBSPOT_SYNC_LEASE_MINUTES": "x",
        "HUBSPOT_SYNC_WORKERS": "x",
        "HUBSPOT_SYNC_QUOTA_RESERVE_PERCENT": "x",
        "HUBSPOT_SYNC_MAIL": "x",
        "HUBSPOT_SYNC_HEARTBEAT_URL": "x",
        "HUBSPOT_SYNC_METRICS_FILE": "x",
        "HUBSPOT_SYNC_NAME": "[x]",
        "HUBSPOT_CUSTOM_PROPERTY_DOMAIN_ID": "X",
        "HUBSPOT_CUSTOM_PROPERTY_PAGE_ID": "X",
        "HUBSPOT_CUSTOM_PROPERTY_SYNC_DATE": "X",
        "DATABASE_URL": "x",
    }
    told = {fault.split()[0] for fault in _faults(**variables)}
    # The two places of the token exclude each other.
    by_file = _faults(HUBSPOT_API_KEY_FILE="x", HUBSPOT_PORTAL_ID="x")
    assert told == set(variables)
    told |= {fault.split()[0] for fault in by_file}
    # What is wrong with a mapping file is told by its place in it.
    assert told | {"HUBSPOT_SYNC_MAPPING"} == known_names()


@for_each(
    ("given", "mail"),
    [
        ("", Mail.STOPS),
        ("stops", Mail.STOPS),
        ("failures", Mail.FAILURES),
        ("Failures ", Mail.FAILURES),
    ],
)
def test_mail(given: str, mail: Mail) -> None:
    assert load_settings({"HUBSPOT_SYNC_MAIL": given}).mail is mail


def test_mail_that_is_neither_says_what_it_may_be() -> None:
    fault = _fault(HUBSPOT_SYNC_MAIL="all")
    assert fault == "HUBSPOT_SYNC_MAIL is 'all'; it must be stops or failures."


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://hc-ping.com/5d38ecde-0000", "https://hc-ping.com/5d38ecde-0000"),
        ("https://hc-ping.com/5d38ecde-0000/", "https://hc-ping.com/5d38ecde-0000"),
        ("http://checks.internal:8000/ping/a_b-c", "http://checks.internal:8000/ping/a_b-c"),
    ],
)
def test_heartbeat_url(given: str, url: str) -> None:
    assert load_settings({"HUBSPOT_SYNC_HEARTBEAT_URL": given}).heartbeat_url == url


@for_each(
    "wrong",
    [
        "https://a..b/check",
        f"https://{'a' * 64}.example/check",
        "hc-ping.com/secret-check",
        "ftp://hc-ping.com/secret-check",
        "https://user:word@hc-ping.com/secret-check",
        "https://hc-ping.com/secret-check?rid=1",
        "https://hc-ping.com/secret-check#x",
        "https://hc-ping.com/secret check",
    ],
)
def test_heartbeat_url_that_cannot_be_one_is_not_shown(wrong: str) -> None:
    (fault,) = _faults(HUBSPOT_SYNC_HEARTBEAT_URL=wrong)
    assert fault.startswith("HUBSPOT_SYNC_HEARTBEAT_URL is not a ping URL; it must be")
    assert "secret" not in fault
    assert "word@" not in fault


@for_each("kind", ["/start", "/fail", "/log", "/start/", "/0", "/143"])
def test_heartbeat_url_is_taken_without_what_the_runs_add(kind: str) -> None:
    fault = _fault(HUBSPOT_SYNC_HEARTBEAT_URL=f"https://hc-ping.com/5d38{kind}")
    assert fault == (
        f"HUBSPOT_SYNC_HEARTBEAT_URL ends in {kind.rstrip('/')}; it must be the ping URL alone; "
        "runs add that themselves."
    )


def test_heartbeat_url_is_not_in_the_settings_repr() -> None:
    told = repr(load_settings({"HUBSPOT_SYNC_HEARTBEAT_URL": "https://hc-ping.com/secret"}))
    assert "secret" not in told


@pytest.mark.parametrize("wrong", ["metrics.prom", "/var/lib/metrics.txt", "/var/lib/metrics"])
def test_metrics_file_is_absolute_and_one_that_a_collector_reads(wrong: str) -> None:
    (fault,) = _faults(HUBSPOT_SYNC_METRICS_FILE=wrong)
    assert f"is '{wrong}'; it must be an absolute path that ends in .prom" in fault


def test_metrics_file() -> None:
    settings = load_settings({"HUBSPOT_SYNC_METRICS_FILE": "/var/lib/m/hubspot_sync.prom"})
    assert settings.metrics_file == Path("/var/lib/m/hubspot_sync.prom")


def test_faults_between_settings_are_all_told_together() -> None:
    faults = _faults(
        HUBSPOT_SYNC_LEASE_MINUTES="1", HUBSPOT_CUSTOM_PROPERTY_PAGE_ID="scrapersky_domain_id"
    )
    assert len(faults) == 2


def test_faults_are_lines_of_one_error() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"HUBSPOT_PORTAL_ID": "x", "HUBSPOT_API_VERSION": "x"})
    assert str(caught.value).splitlines() == caught.value.faults


def test_faults_are_wrong_usage() -> None:
    with pytest.raises(WrongUsage):
        load_settings({"HUBSPOT_PORTAL_ID": "x"})


# The .env file


def _write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def test_without_a_file_there_is_nothing_to_read() -> None:
    assert read_env_file(None) == {}


def test_environment_is_filled_up_from_the_env_file_in_the_current_folder(tmp_path: Path) -> None:
    _write(tmp_path / ".env", "HUBSPOT_PORTAL_ID=123456\n")
    loaded = load_settings({"HUBSPOT_SYNC_WORKERS": "7"}, read_env_file(None))
    assert (loaded.portal_id, loaded.workers) == ("123456", 7)


def test_environment_is_filled_up_from_the_file_that_is_named(tmp_path: Path) -> None:
    named = _write(tmp_path / "production.env", "HUBSPOT_PORTAL_ID=123456\n")
    assert read_env_file(named) == {"HUBSPOT_PORTAL_ID": "123456"}


def test_environment_passes_over_the_env_file_where_another_is_named(tmp_path: Path) -> None:
    _write(tmp_path / ".env", "HUBSPOT_PORTAL_ID=1\nHUBSPOT_API_VERSION=v3\n")
    named = _write(tmp_path / "production.env", "HUBSPOT_PORTAL_ID=2\n")
    assert read_env_file(named) == {"HUBSPOT_PORTAL_ID": "2"}


@pytest.mark.parametrize("is_named", [False, True])
def test_environment_wins_over_the_file(tmp_path: Path, *, is_named: bool) -> None:
    path = _write(tmp_path / ".env", "HUBSPOT_PORTAL_ID=1\n")
    in_file = read_env_file(path if is_named else None)
    assert load_settings({"HUBSPOT_PORTAL_ID": "2"}, in_file).portal_id == "2"


def test_environment_that_is_set_to_nothing_wins_over_the_file(tmp_path: Path) -> None:
    _write(tmp_path / ".env", f"HUBSPOT_API_KEY={TOKEN}\n")
    assert load_settings({"HUBSPOT_API_KEY": ""}, read_env_file(None)).api_key == ""


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("DATABASE_URL=sqlite:///a.db", "sqlite:///a.db"),
        ("export DATABASE_URL=sqlite:///a.db", "sqlite:///a.db"),
        ('DATABASE_URL="sqlite:///a.db"', "sqlite:///a.db"),
        ("DATABASE_URL='sqlite:///a.db'", "sqlite:///a.db"),
        ("DATABASE_URL=sqlite:///a.db # where it is", "sqlite:///a.db"),
        ("# A comment\n\nDATABASE_URL=sqlite:///a.db\r\n", "sqlite:///a.db"),
        ("DATABASE_URL=postgres://u:a${PATH}b$c@h/d", "postgres://u:a${PATH}b$c@h/d"),
        ("\ufeffDATABASE_URL=sqlite:///a.db", "sqlite:///a.db"),
        ("DATABASE_URL=", ""),
    ],
    ids=[
        "plain",
        "export",
        "double-quotes",
        "single-quotes",
        "comment-behind",
        "comment-above",
        "dollars-stay",
        "byte-order-mark",
        "nothing",
    ],
)
def test_env_file_is_read_as_people_write_it(tmp_path: Path, line: str, value: str) -> None:
    _write(tmp_path / ".env", line)
    assert read_env_file(None) == {"DATABASE_URL": value}


def test_env_file_names_without_a_value_are_passed_over(tmp_path: Path) -> None:
    _write(tmp_path / ".env", "HUBSPOT_API_KEY\nHUBSPOT_PORTAL_ID=1\n")
    assert read_env_file(None) == {"HUBSPOT_PORTAL_ID": "1"}


def test_env_file_that_is_named_and_missing_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match=r"--env-file .*missing\.env: there is no such file"):
        read_env_file(tmp_path / "missing.env")


def test_env_file_that_is_a_folder_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match=r"cannot be read \(Is a directory\)"):
        read_env_file(tmp_path)


def test_env_file_that_is_no_text_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"HUBSPOT_PORTAL_ID=\xff\xfe\n")
    with pytest.raises(WrongUsage, match=r"\.env is not text in UTF-8: write it again"):
        read_env_file(None)


def _closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setattr(Path, "open", refuse)


def test_env_file_behind_a_closed_folder_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    _closed(monkeypatch)
    told = r"closed/x\.env cannot be read \(Permission denied\): let the program's user read it"
    with pytest.raises(WrongUsage, match=told):
        read_env_file(Path("/closed/x.env"))


def test_current_folder_that_is_closed_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    _closed(monkeypatch)
    told = "The current folder cannot be entered .*: change to another folder, or name the settings"
    with pytest.raises(WrongUsage, match=told):
        read_env_file(None)


@pytest.mark.parametrize("held", ["", "HUBSPOT_SYNC_WORKERS=7\n"])
def test_env_file_may_be_a_pipe(tmp_path: Path, held: str) -> None:
    """Such as a shell's <(…), which a password manager fills."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(held,))
    writer.start()
    assert read_env_file(pipe) == ({"HUBSPOT_SYNC_WORKERS": "7"} if held else {})
    writer.join()


def test_env_file_may_be_none_at_all(tmp_path: Path) -> None:
    _write(tmp_path / ".env", "HUBSPOT_SYNC_WORKERS=7\n")
    assert read_env_file(Path("/dev/null")) == {}


def test_settings_that_are_nowhere_are_told_apart_from_empty_ones() -> None:
    assert not are_there({"PATH": "/bin", "HUBSPOT_SYNC_RETIRES": "1"})
    assert are_there({"HUBSPOT_API_KEY": ""})
    assert are_there({"DATABASE_URL": "sqlite:///contacts.db"})


def test_empty_token_file_is_told_by_its_setting(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    settings = load_settings({"HUBSPOT_API_KEY_FILE": str(tmp_path / "token")})
    with pytest.raises(WrongUsage, match="The file that HUBSPOT_API_KEY_FILE names is empty: put"):
        settings.require_api_key()


def test_env_file_leads_to_settings(tmp_path: Path) -> None:
    _write(tmp_path / ".env", f"HUBSPOT_API_KEY={TOKEN}\nHUBSPOT_SYNC_MAX_RETRIES=7\n")
    loaded = load_settings({}, read_env_file(None))
    assert loaded == Settings(api_key=TOKEN, retry_policy=RetryPolicy(max_retries=7))


# The sync's name


@pytest.mark.parametrize("name", ["eu", "EU portal", "acme.de-2_x", "München", "x" * 40])
def test_name_of_the_sync_is_taken(name: str) -> None:
    assert load_settings({"HUBSPOT_SYNC_NAME": f" {name} "}).sync_name == name


@pytest.mark.parametrize("wrong", ["x" * 41, "a\nb", "a]", 'a"b', "-x", "a\x1b[0m"])
def test_name_that_could_be_taken_for_something_else_is_refused(wrong: str) -> None:
    (fault,) = _faults(HUBSPOT_SYNC_NAME=wrong)
    assert "at most 40 of them" in fault
