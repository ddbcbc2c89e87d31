"""The engine on a real table and the emulator: what HubSpot holds, and what the table says."""

import signal
from datetime import timedelta

import pytest

from hubspot_sync import worker as engine
from hubspot_sync.clock import Pulse
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import DatabaseUnavailable, Refused
from hubspot_sync.hubspot.emulator import Emulator
from hubspot_sync.report import ContactReport, RunReport, RunState
from hubspot_sync.rules.settlement import OutcomeName
from hubspot_sync.rules.shaping import to_properties
from hubspot_sync.store.contact_queue import ContactQueue
from tests.conftest import LEASE, Runs, Waits
from tests.tables import Contacts

WRITES = r"/contacts(/batch/create|/batch/update)?$"


def outcomes(report: RunReport) -> dict[str, int]:
    return {str(name): count for name, count in report.counts.items() if count}


def add_ten(table: Contacts) -> list[str]:
    emails = [f"c{number}@example.com" for number in range(10)]
    for number, email in enumerate(emails):
        table.add(email, age=timedelta(minutes=20 - number))
    return emails


def add_five_known_and_five_new(table: Contacts, hubspot: Emulator) -> None:
    """Creates are sent before updates, so a fault between the two splits the ten in halves."""
    for email in add_ten(table)[:5]:
        hubspot.add_contact({"email": email})


def emails_held(hubspot: Emulator) -> list[str]:
    return sorted(contact["properties"]["email"] for contact in hubspot.contacts())


def nothing_is_processing(table: Contacts) -> bool:
    return all(
        "Processing" not in (row["hubspot_sync_status"], row["hubspot_processing_status"])
        for row in table.rows()
    )


def retry_counts(table: Contacts) -> set[int]:
    return {row["retry_count"] for row in table.rows()}


def test_run_delivers_what_is_due(table: Contacts, runs: Runs, hubspot: Emulator) -> None:
    key = table.add(" Ada@Example.com ", name="Ada  King Lovelace", phone_number="+44 1")
    report = runs.queue(10)
    assert (report.state, outcomes(report), report.exit_code) == ("done", {"created": 1}, 0)
    (held,) = hubspot.contacts()
    row = table.row(key)
    assert row["hubspot_contact_id"] == held["id"]
    properties = held["properties"]
    assert properties["email"] == "ada@example.com"
    assert (properties["firstname"], properties["lastname"]) == ("Ada", "King Lovelace")
    assert properties["phone"] == "+44 1"
    assert properties["scrapersky_domain_id"] == str(row["domain_id"])
    assert properties["scrapersky_page_id"] == str(row["page_id"])
    assert properties["scrapersky_sync_date"] == "2026-11-24"


def test_run_with_nothing_due_asks_hubspot_nothing(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    report = runs.queue(10)
    assert (report.state, report.claimed, report.requests) == ("done", 0, 0)
    assert report.due_remaining == 0
    assert hubspot.request_count == 0


def test_run_takes_no_more_than_its_limit(table: Contacts, runs: Runs) -> None:
    add_ten(table)
    report = runs.queue(4)
    assert (report.claimed, report.due_remaining) == (4, 6)


def test_run_again_delivers_nothing_again(table: Contacts, runs: Runs, hubspot: Emulator) -> None:
    add_ten(table)
    runs.queue(100)
    hubspot.reset_requests()
    assert runs.queue(100).claimed == 0
    assert hubspot.request_count == 0


def test_retries_fire_and_end_in_error(table: Contacts, runs: Runs, hubspot: Emulator) -> None:
    key = table.add(name="x" * 70_000)
    seen = []
    for _ in range(6):
        seen.append(outcomes(runs.queue(10)))
        table.age_all(timedelta(minutes=21))
    assert seen == [{"failed": 1}, {"failed": 1}, {"failed": 1}, {"exhausted": 1}, {}, {}]
    assert table.state(key) == ("Error", "Error")
    assert "VALUE_TOO_LONG" in table.row(key)["hubspot_processing_error"]


def test_address_that_hubspot_refuses_is_rejected_at_once(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    key = table.add("blocked@example.con")
    seen = []
    for _ in range(2):
        seen.append(outcomes(runs.queue(10)))
        table.age_all(timedelta(minutes=21))
    assert seen == [{"rejected": 1}, {}]
    assert (table.state(key), table.row(key)["retry_count"]) == (("Error", "Error"), 0)
    assert "INVALID_EMAIL" in table.row(key)["hubspot_processing_error"]


def test_contact_that_failed_is_delivered_by_its_retry(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    key, other = table.add("slow@example.com"), table.add("fine@example.com")
    hubspot.fault(method="POST", path=WRITES, contains="slow@", status=500, times=None)
    assert outcomes(runs.queue(10)) == {"failed": 1, "created": 1}
    hubspot.clear_faults()
    assert runs.queue(10).claimed == 0
    table.age_all(timedelta(minutes=5))
    assert outcomes(runs.queue(10)) == {"created": 1}
    assert table.state(key) == table.state(other) == ("Complete", "Complete")
    assert emails_held(hubspot) == ["fine@example.com", "slow@example.com"]


def test_contact_that_search_does_not_show_yet_is_updated(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    hubspot.search_lag = 3600
    first, second = table.add("Twice@example.com"), table.add("twice@example.com")
    assert outcomes(runs.one(first)) == {"created": 1}
    assert outcomes(runs.one(second)) == {"updated": 1}
    (held,) = hubspot.contacts()
    assert {row["hubspot_contact_id"] for row in table.rows()} == {held["id"]}


def test_contact_of_a_dead_worker_is_taken_over(
    table: Contacts, queue: ContactQueue, runs: Runs, hubspot: Emulator
) -> None:
    key = table.add()
    queue.claim(1)
    table.move(key, "updated_at", LEASE + timedelta(seconds=1))
    assert outcomes(runs.queue(10)) == {"created": 1}
    assert table.state(key) == ("Complete", "Complete")
    assert table.row(key)["retry_count"] == 0


def test_contact_that_killed_every_worker_ends_in_error(
    table: Contacts, queue: ContactQueue, runs: Runs, hubspot: Emulator
) -> None:
    key = table.add(
        hubspot_sync_status="Processing",
        hubspot_processing_status="Processing",
        retry_count=3,
        last_failed_crm="hubspot",
        age=LEASE + timedelta(seconds=1),
    )
    other = table.add("fine@example.com")
    assert outcomes(runs.queue(10)) == {"exhausted": 1, "created": 1}
    assert table.state(key) == ("Error", "Error")
    assert "worker died" in table.row(key)["hubspot_processing_error"]
    assert table.state(other) == ("Complete", "Complete")
    assert emails_held(hubspot) == ["fine@example.com"]


@pytest.mark.parametrize("email", ["", "no-at-sign", "two words@example.com"])
def test_email_that_cannot_be_one_is_rejected_before_any_request(
    table: Contacts, runs: Runs, hubspot: Emulator, email: str
) -> None:
    key = table.add(email)
    report = runs.queue(10)
    assert (outcomes(report), report.exit_code) == ({"rejected": 1}, 1)
    assert table.state(key) == ("Error", "Error")
    assert table.row(key)["retry_count"] == 0
    assert not [path for _, path in hubspot.requests if "/objects/" in path]


def test_stop_by_401_in_the_middle_costs_no_attempt(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    add_five_known_and_five_new(table, hubspot)
    hubspot.fault(method="POST", path="/batch/update", status=401)
    report = runs.queue(10)
    assert (report.state, report.exit_code) == ("stopped", 3)
    assert "HUBSPOT_API_KEY" in str(report.reason)
    assert outcomes(report) == {"created": 5, "stopped": 5}
    assert nothing_is_processing(table)
    assert retry_counts(table) == {0}
    states = [row["hubspot_processing_status"] for row in table.rows()]
    assert sorted(states) == ["Complete"] * 5 + ["Error"] * 5


def test_stop_by_401_in_the_careful_lane_costs_no_attempt(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    emails = add_ten(table)
    # Refused in every batch, these two are left to the careful lane.
    hubspot.fault(path="/batch/create", contains=emails[4], status=400, times=None)
    hubspot.fault(path="/batch/create", contains=emails[7], status=400, times=None)
    hubspot.fault(path=emails[4].replace("@", "%40"), status=401)
    report = runs.queue(10)
    assert outcomes(report) == {"created": 8, "stopped": 1, "released": 1}
    assert nothing_is_processing(table)
    assert retry_counts(table) == {0}


def test_stop_by_403_names_the_scopes(table: Contacts, runs: Runs, hubspot: Emulator) -> None:
    add_five_known_and_five_new(table, hubspot)
    hubspot.fault(method="POST", path="/batch/create", status=403)
    report = runs.queue(10)
    assert (report.state, report.exit_code) == ("stopped", 3)
    assert "crm.objects.contacts.write" in str(report.reason)
    assert outcomes(report) == {"stopped": 5, "released": 5}
    assert retry_counts(table) == {0}


def test_stop_by_a_missing_property_before_anything_is_sent(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    add_ten(table)
    hubspot.archive_property("scrapersky_page_id")
    report = runs.queue(10)
    assert (report.state, report.exit_code) == ("stopped", 3)
    assert "create-properties" in str(report.reason)
    assert "scrapersky_page_id" in str(report.reason)
    assert outcomes(report) == {"released": 10}
    assert {row["hubspot_processing_status"] for row in table.rows()} == {"Queued"}


def test_stop_by_a_property_that_goes_missing_on_the_way(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    add_ten(table)
    runs.queue(3)
    hubspot.archive_property("scrapersky_page_id")
    report = runs.queue(10)
    assert report.state is RunState.STOPPED
    assert "create-properties" in str(report.reason)
    assert retry_counts(table) == {0}
    assert nothing_is_processing(table)


def test_stop_by_hubspot_down_costs_no_attempt(
    table: Contacts, runs: Runs, hubspot: Emulator, waits: Waits
) -> None:
    add_five_known_and_five_new(table, hubspot)
    hubspot.fault(method="POST", path="/batch/update", status=502, times=None)
    hubspot.fault(method="GET", path="limit=1", status=502, times=None)
    report = runs.queue(10)
    assert (report.state, report.exit_code) == ("stopped", 3)
    assert outcomes(report) == {"created": 5, "stopped": 5}
    assert retry_counts(table) == {0}
    assert waits.asked == [0.75, 1.5]


def test_stop_by_hubspot_unreachable(table: Contacts, runs: Runs, hubspot: Emulator) -> None:
    add_ten(table)
    hubspot.stop()
    report = runs.queue(10)
    assert report.state is RunState.STOPPED
    assert "could not be reached" in str(report.reason)
    assert str(report.reason).endswith(". The contacts are safe in the queue.")
    assert outcomes(report) == {"released": 10}


def test_stop_by_the_daily_limit(table: Contacts, runs: Runs, hubspot: Emulator) -> None:
    add_five_known_and_five_new(table, hubspot)
    hubspot.fault(path="/batch/update", status=429, policy="DAILY", times=None)
    report = runs.queue(10)
    assert report.state is RunState.STOPPED
    assert "midnight" in str(report.reason)
    assert outcomes(report) == {"created": 5, "stopped": 5}
    assert retry_counts(table) == {0}


def test_stop_by_the_wrong_portal_sends_nothing(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    add_ten(table)
    report = runs.queue(10, portal_id="1")
    assert (report.state, report.exit_code) == ("stopped", 3)
    assert f"portal {hubspot.portal_id}" in str(report.reason)
    assert outcomes(report) == {"released": 10}
    assert hubspot.contacts() == []
    right = runs.queue(10, portal_id=str(hubspot.portal_id))
    assert outcomes(right) == {"created": 10}


def test_rate_limit_is_waited_out_and_costs_nothing(
    table: Contacts, runs: Runs, hubspot: Emulator, waits: Waits
) -> None:
    add_ten(table)
    hubspot.fault(method="POST", path="/batch/create", status=429, times=2)
    assert outcomes(runs.queue(10)) == {"created": 10}
    assert waits.asked == [10.0, 10.0]


def test_rate_limit_taken_up_by_others_costs_no_attempt(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    emails = add_ten(table)
    hubspot.fault(method="POST", path=WRITES, contains=emails[0], status=429, times=None)
    report = runs.queue(10)
    assert outcomes(report) == {"stopped": 1, "created": 9}
    assert report.state is RunState.DONE
    assert retry_counts(table) == {0}


def test_everyone_refused_alike_stops_and_costs_no_attempt(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    add_ten(table)
    hubspot.contact_quota = 0
    report = runs.queue(100)
    assert (report.state, report.exit_code) == ("stopped", 3)
    assert "every contact alike" in str(report.reason)
    assert outcomes(report) == {"stopped": 10}
    assert retry_counts(table) == {0}


def test_nine_refused_alike_pay_each_for_itself(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    emails = add_ten(table)
    hubspot.add_contact({"email": emails[9]})
    hubspot.contact_quota = 1
    hubspot.fault(path="/limits/", status=404, times=None)
    report = runs.queue(100)
    assert outcomes(report) == {"failed": 9, "updated": 1}
    assert sorted(retry_counts(table)) == [0, 1]


def test_full_account_costs_no_attempt_and_keeps_no_update_back(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    known, new = table.add("known@example.com"), table.add("new@example.com")
    hubspot.add_contact({"email": "known@example.com"})
    hubspot.contact_quota = 1
    report = runs.queue()
    assert (report.state, report.exit_code) == ("stopped", 3)
    assert "subscription allows" in str(report.reason)
    assert outcomes(report) == {"stopped": 1, "updated": 1}
    assert table.state(known) == ("Complete", "Complete")
    assert table.state(new) == ("Queued", "Error")
    assert retry_counts(table) == {0}


def test_ten_bad_addresses_do_not_stop_the_run(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    for number in range(12):
        table.add(f"c{number}@example.con")
    report = runs.queue(100)
    assert (report.state, outcomes(report)) == ("partial", {"rejected": 12})


@pytest.mark.parametrize("count", [1, 3, 12])
@pytest.mark.parametrize("shape", ["sqlite"])
def test_rate_limit_that_lets_nothing_through_stops_the_run(
    table: Contacts, runs: Runs, hubspot: Emulator, count: int
) -> None:
    """Fewer than ten contacts prove nothing about HubSpot, but nothing was delivered."""
    keys = table.add_all([f"c{number}@example.com" for number in range(count)])
    hubspot.fault(method="POST", path=WRITES, status=429, policy="SECONDLY", times=None)
    report = runs.queue(10)
    assert (report.state, report.exit_code) == (RunState.STOPPED, 3)
    assert str(report.reason) == (
        "The portal's rate limit is used up by other programs (HubSpot answered HTTP 429). Find "
        "them in HubSpot under Development. The contacts are safe in the queue."
    )
    assert retry_counts(table) == {0}
    if count == 1:
        (waiting,) = keys
        hubspot.clear_faults()
        assert runs.one(waiting).state is RunState.DONE


@pytest.mark.parametrize("shape", ["sqlite"])
def test_sync_one_that_meets_a_used_up_rate_limit_is_stopped(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    key = table.add()
    hubspot.fault(method="POST", path=r"/objects/contacts$", status=429, times=None)
    report = runs.one(key)
    assert (report.state, report.exit_code) == (RunState.STOPPED, 3)
    assert "rate limit is used up" in str(report.reason)


@pytest.mark.parametrize("shape", ["sqlite"])
def test_rate_limit_met_before_any_contact_is_not_called_an_outage(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    table.add()
    hubspot.fault(status=429, policy="TEN_SECONDLY_ROLLING", times=None)
    report = runs.queue(10)
    assert report.state is RunState.STOPPED
    assert str(report.reason).startswith("The portal's rate limit is used up by other programs")


def test_hubspot_that_takes_no_writes_stops_after_ten_refusals(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    for number in range(40):
        table.add(f"c{number}@example.com", age=timedelta(minutes=60 - number))
    hubspot.fault(method="POST", path=WRITES, status=500, times=None)
    report = runs.queue(100)
    assert report.state is RunState.STOPPED
    assert "takes no writes" in str(report.reason)
    assert outcomes(report) == {"stopped": 40}
    assert retry_counts(table) == {0}
    assert hubspot.request_count < 60


def test_one_contact_that_hubspot_cannot_take_pays_alone(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    emails = add_ten(table)
    hubspot.fault(method="POST", path=WRITES, contains=emails[5], status=500, times=None)
    report = runs.queue(100)
    assert outcomes(report) == {"failed": 1, "created": 9}
    assert sorted(retry_counts(table)) == [0, 1]


def test_signal_releases_what_was_not_sent(
    table: Contacts, runs: Runs, hubspot: Emulator, pulse: Pulse
) -> None:
    add_five_known_and_five_new(table, hubspot)

    def signal_once(_: ContactReport) -> None:
        if not pulse.ending.is_asked():
            pulse.ending.take(signal.SIGTERM)

    runs.on_settled = signal_once
    report = runs.queue(10)
    assert (report.state, report.exit_code) == ("stopped", 143)
    assert outcomes(report) == {"created": 5, "released": 5}
    assert nothing_is_processing(table)
    assert report.due_remaining == 5


def test_lease_that_nearly_ends_gives_the_rest_back(
    table: Contacts, runs: Runs, hubspot: Emulator, waits: Waits
) -> None:
    add_five_known_and_five_new(table, hubspot)

    def take_long(contact: ContactReport) -> None:
        if contact.outcome is OutcomeName.CREATED:
            waits.clock += 114

    runs.on_settled = take_long
    report = runs.queue(10)
    assert (report.state, outcomes(report)) == ("done", {"created": 5, "released": 5})
    assert nothing_is_processing(table)


def test_outcome_is_written_when_the_database_comes_back(
    table: Contacts, runs: Runs, queue: ContactQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = table.add()
    settle, failures = queue.settle, 3

    def fail_at_first(deliveries: object) -> object:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise DatabaseUnavailable(ErrorCode.DATABASE_UNAVAILABLE, words="it went away")
        return settle(deliveries)  # type: ignore[arg-type]

    monkeypatch.setattr(queue, "settle", fail_at_first)
    report = runs.queue(10)
    assert table.state(key) == ("Complete", "Complete")
    assert outcomes(report) == {"created": 1}


def test_outcome_of_a_database_that_stays_away_is_left_to_the_lease(
    table: Contacts, runs: Runs, queue: ContactQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_ten(table)

    def fail(_: object) -> object:
        raise DatabaseUnavailable(ErrorCode.DATABASE_UNAVAILABLE, words="it went away")

    monkeypatch.setattr(queue, "settle", fail)
    report = runs.queue(10)
    assert (report.state, report.exit_code) == ("stopped", 3)
    assert outcomes(report) == {"superseded": 10}
    assert "it went away" in str(report.reason)


def test_contact_that_we_cannot_handle_does_not_bar_the_others(
    table: Contacts, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    emails = add_ten(table)

    def stumble(contact: object, *others: object) -> object:
        if getattr(contact, "email", None) == emails[2]:
            raise ZeroDivisionError
        return to_properties(contact, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "to_properties", stumble)
    report = runs.queue(10)
    assert outcomes(report) == {"failed": 1, "created": 9}


def test_report_lists_a_hundred_then_only_the_undelivered(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    table.add_all([*(f"c{number}@example.com" for number in range(101)), "bad"])
    report = runs.queue(1000)
    assert report.claimed == 102
    assert [contact.email for contact in report.contacts] == ["bad"]


def test_sync_one_takes_any_contact(table: Contacts, runs: Runs, hubspot: Emulator) -> None:
    key = table.add(hubspot_sync_status=table.never_synced, hubspot_processing_status=None)
    report = runs.one(key)
    assert (report.command, outcomes(report)) == ("sync-one", {"created": 1})
    assert table.state(key) == ("Complete", "Complete")


def test_sync_one_refuses_the_skipped(table: Contacts, runs: Runs, hubspot: Emulator) -> None:
    key = table.add(hubspot_sync_status="Skipped", hubspot_processing_status=None)
    with pytest.raises(Refused, match=str(key)):
        runs.one(key)
    assert hubspot.contacts() == []
    assert outcomes(runs.one(key, force=True)) == {"created": 1}


def test_sync_one_refuses_what_a_live_run_holds(
    table: Contacts, queue: ContactQueue, runs: Runs
) -> None:
    key = table.add()
    queue.claim(1)
    with pytest.raises(Refused, match="a run holds it"):
        runs.one(key)


def test_refusals_stay_open_while_nothing_else_is_certain(
    table: Contacts, runs: Runs, hubspot: Emulator
) -> None:
    """An answer that settles nobody must not make those pay whose refusal is still open."""
    for number, email in enumerate(add_ten(table)):
        if number < 2:
            hubspot.add_contact({"email": email})
    hubspot.contact_quota = 2
    empty = {"status": "COMPLETE", "results": []}
    hubspot.fault(path="/batch/update", status=200, body=empty, times=None)
    hubspot.fault(method="PATCH", path="/contacts/", status=401, times=None)
    report = runs.queue(10)
    assert report.state is RunState.STOPPED
    assert outcomes(report) == {"stopped": 9, "released": 1}
    assert retry_counts(table) == {0}
