"""What a monitor is told, and that its troubles are never the run's."""

import logging
import re
import threading
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from hubspot_sync.monitors import heartbeat as module
from hubspot_sync.monitors.heartbeat import Heartbeat, body_of, kind_of
from hubspot_sync.monitors.watch import RunEnd
from tests.for_each import for_each
from tests.monitors.conftest import CREATED, Monitor

LONG = timedelta(minutes=5)
DONE = RunEnd("done", 0, {"created": 2}, requests=3, seconds=0.25, due_remaining=0)


@for_each(
    ("state", "code", "kind"),
    [
        ("done", 0, ""),
        ("partial", 1, ""),
        ("refused", 2, "/2"),
        ("stopped", 3, "/3"),
        ("stopped", 143, "/143"),
        ("busy", 0, "/log"),
        ("disabled", 0, "/log"),
    ],
)
def test_kind_of_ping(state: str, code: int, kind: str) -> None:
    assert kind_of(RunEnd(state, code)) == kind


def test_body_holds_the_numbers_of_the_run() -> None:
    assert body_of(DONE) == (
        "state: done\nexit_code: 0\nclaimed: 2\ncreated: 2\nrequests: 3\nseconds: 0.2\n"
        "due_remaining: 0\n"
    )


def test_beginning_and_end_are_told_in_order_with_one_id_that_is_a_uuid(monitor: Monitor) -> None:
    heart = Heartbeat(monitor.url, "5d38ecde", every=LONG)
    heart.begin()
    heart.note(CREATED)
    heart.end(DONE)
    assert monitor.kinds == ["/start", ""]
    rids = {ping.rid for ping in monitor.pings}
    assert len(rids) == 1
    (rid,) = rids
    assert rid is not None
    assert str(UUID(rid)) == rid
    assert rid.startswith("5d38ecde-")
    assert monitor.pings[1].body == body_of(DONE)
    assert monitor.pings[1].headers["User-Agent"].startswith("hubspot-sync/")


def test_password_of_netrc_is_not_sent(monitor: Monitor, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    Heartbeat(monitor.url, "5d38ecde", every=LONG).end(DONE)
    assert "Authorization" not in monitor.pings[0].headers


def test_run_that_lasts_shows_that_it_lives_while_contacts_come_to_their_end(
    monitor: Monitor,
) -> None:
    heart = Heartbeat(monitor.url, "5d38ecde", every=timedelta(milliseconds=20))
    heart.note(CREATED)
    assert monitor.heard.wait(10)
    heart.end(DONE)
    assert monitor.kinds == ["", ""]
    assert monitor.pings[0].rid is None
    assert monitor.pings[0].numbers == {"state": "at work", "claimed": "1", "delivered": "1"}


def test_run_that_hangs_shows_no_life(monkeypatch: pytest.MonkeyPatch, monitor: Monitor) -> None:
    looked = threading.Semaphore(0)
    show_life = Heartbeat._show_life

    def look(self: Heartbeat) -> None:
        show_life(self)
        looked.release()

    monkeypatch.setattr(Heartbeat, "_show_life", look)
    heart = Heartbeat(monitor.url, "5d38ecde", every=timedelta(milliseconds=5))
    heart.note(CREATED)
    for _ in range(5):
        assert looked.acquire(timeout=10)
    heart.end(DONE)
    assert monitor.kinds == ["", ""], "one sign of life for one contact, then the end"


def test_monitor_that_does_not_answer_delays_the_end_a_little_only(
    monkeypatch: pytest.MonkeyPatch, monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PING_SECONDS", 0.05)
    monitor.may_answer.clear()
    caplog.set_level(logging.INFO)
    heart = Heartbeat(monitor.url, "5d38ecde", every=LONG)
    heart.begin()
    heart.end(DONE)
    assert not heart._thread.is_alive()
    assert monitor.kinds == ["/start", ""]
    assert "the heartbeat could not be sent (ReadTimeout)" in caplog.text


def test_end_does_not_wait_for_a_monitor_for_ever(
    monkeypatch: pytest.MonkeyPatch, monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LONGEST_GOODBYE_SECONDS", 0.05)
    monitor.may_answer.clear()
    caplog.set_level(logging.INFO)
    heart = Heartbeat(monitor.url, "5d38ecde", every=LONG)
    heart.end(DONE)
    assert "the heartbeat's monitor is too slow; it missed the end of this run" in caplog.text
    monitor.may_answer.set()
    heart._thread.join(10)


def test_host_that_can_be_none_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Heartbeat("http://a..b/check", "5d38ecde", every=LONG).end(DONE)
    assert "the heartbeat could not be sent (LocationParseError)" in caplog.text


def test_monitor_that_is_not_there_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    heart = Heartbeat("http://127.0.0.1:1/check", "5d38ecde", every=LONG)
    heart.begin()
    heart.end(DONE)
    assert re.findall(r"could not be sent \((\w+)\)", caplog.text) == ["ConnectionError"] * 2
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize(
    ("status", "answer", "is_wrong"),
    [
        (200, b"OK", False),
        (201, b"Created", False),
        (200, b"OK (not found)", True),
        (404, b"<html>not here</html>", True),
        (400, b"invalid url format", True),
        (302, b"", True),
        (429, b"", False),
        (408, b"", False),
        (500, b"not found", False),
        (503, b"", False),
    ],
)
def test_url_that_the_monitor_does_not_know_is_warned_of_once(
    monitor: Monitor,
    caplog: pytest.LogCaptureFixture,
    status: int,
    answer: bytes,
    is_wrong: bool,
) -> None:
    monitor.status, monitor.answer = status, answer
    heart = Heartbeat(monitor.url, "5d38ecde", every=LONG)
    heart.begin()
    heart.end(DONE)
    assert len(monitor.pings) == 2, "a redirect is not followed"
    warned = [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]
    told = (
        f"The heartbeat's monitor does not know HUBSPOT_SYNC_HEARTBEAT_URL (HTTP {status}). Copy "
        "the ping URL from the monitor again, or take the setting out."
    )
    assert warned == [told] * is_wrong
