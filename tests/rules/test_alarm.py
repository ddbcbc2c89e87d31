"""When the queue as a whole calls for a person, and when it does not."""

from datetime import UTC, datetime, timedelta

import pytest

from hubspot_sync.codes import ErrorCode
from hubspot_sync.rules.alarm import alarms
from hubspot_sync.sentences import Message

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
INTERVAL = timedelta(minutes=5)
PATIENCE = 3 * INTERVAL
SECOND = timedelta(seconds=1)


def told(
    *,
    waited: timedelta | None = None,
    worked: timedelta | None = None,
    is_working: bool = False,
    is_enabled: bool = True,
    left_behind: int = 0,
    interval: timedelta = INTERVAL,
) -> list[Message]:
    return alarms(
        now=NOW,
        oldest_due_since=None if waited is None else NOW - waited,
        oldest_due="7",
        last_work=None if worked is None else NOW - worked,
        is_working=is_working,
        is_enabled=is_enabled,
        left_behind=left_behind,
        interval=interval,
    )


def test_empty_queue_is_quiet() -> None:
    assert told() == []


@pytest.mark.parametrize("worked", [None, SECOND, timedelta(days=9)])
def test_contacts_that_wait_for_three_intervals_are_no_alarm(worked: timedelta | None) -> None:
    assert told(waited=PATIENCE, worked=worked) == []


def test_contact_that_is_due_in_a_moment_to_come_is_no_alarm() -> None:
    assert told(waited=-timedelta(hours=1)) == []


@pytest.mark.parametrize("worked", [None, PATIENCE + SECOND, timedelta(days=9)])
def test_cron_that_does_nothing_seems_to_have_stopped(worked: timedelta | None) -> None:
    (alarm,) = told(waited=PATIENCE + SECOND, worked=worked)
    assert "Cron seems to have stopped" in alarm
    assert "15 minutes" in alarm
    assert "crontab" in alarm


@pytest.mark.parametrize("worked", [timedelta(0), SECOND, PATIENCE])
def test_cron_that_works_and_is_behind_is_told_to_drain(worked: timedelta) -> None:
    (alarm,) = told(waited=PATIENCE + SECOND, worked=worked)
    assert "Cron seems" not in alarm
    assert "sync-queue --drain" in alarm
    assert "HUBSPOT_SYNC_SCHEDULER_BATCH_SIZE" in alarm


def test_run_at_work_means_that_cron_has_not_stopped() -> None:
    (alarm,) = told(waited=timedelta(days=1), is_working=True)
    assert "Cron seems" not in alarm


@pytest.mark.parametrize("minutes", [1, 60, 1440])
def test_patience_follows_the_interval(minutes: int) -> None:
    interval = timedelta(minutes=minutes)
    assert told(waited=3 * interval, interval=interval) == []
    assert len(told(waited=3 * interval + SECOND, interval=interval)) == 1


def test_contacts_left_behind_are_told_with_what_becomes_of_them() -> None:
    (alarm,) = told(left_behind=2)
    assert "2 contacts were left by a run that died" in alarm
    assert "takes them over" in alarm


def test_alarms_are_told_by_their_codes() -> None:
    alarms_told = told(waited=timedelta(days=1), left_behind=1)
    codes = [ErrorCode.CRON_STOPPED, ErrorCode.CONTACTS_LEFT_BEHIND]
    assert [alarm.code for alarm in alarms_told] == codes
    (behind,) = told(waited=timedelta(days=1), worked=SECOND)
    assert behind.code is ErrorCode.QUEUE_TOO_LONG
    (disabled,) = told(is_enabled=False)
    assert disabled.code is ErrorCode.SYNC_DISABLED


def test_one_contact_left_behind_is_told_in_the_singular() -> None:
    (alarm,) = told(left_behind=1)
    assert "1 contact was left" in alarm


@pytest.mark.parametrize("is_working", [True, False])
def test_days_of_waiting_are_not_told_in_minutes(is_working: bool) -> None:
    (alarm,) = told(waited=timedelta(days=3), is_working=is_working)
    assert "4320" not in alarm
    assert "3 days" in alarm


def test_large_numbers_are_written_as_on_the_rest_of_the_screen() -> None:
    (alarm,) = told(left_behind=12_000)
    assert "12,000 contacts" in alarm
