"""What a run says on standard error, by what became of its contacts and by HUBSPOT_SYNC_MAIL."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from hubspot_sync.codes import ErrorCode
from hubspot_sync.report import MOST_REASONS, OTHER_REASONS, ContactReport, Tally
from hubspot_sync.rules.advice import COMES_BACK, Reason
from hubspot_sync.rules.mail import MOST_LINES, Group, Mail, Summary, mail_lines
from hubspot_sync.rules.settlement import OutcomeName
from hubspot_sync.sentences import Message
from tests.for_each import for_each

KEY = str(UUID(int=7))
NO_EMAIL = Reason("no email address", "Correct it.")
AWAY = Reason("HubSpot was away", COMES_BACK)

EXHAUSTED = Group(OutcomeName.EXHAUSTED, NO_EMAIL, 3, KEY)
REJECTED = Group(OutcomeName.REJECTED, NO_EMAIL, 1, KEY)
FAILED = Group(OutcomeName.FAILED, AWAY, 1200, KEY)
WAITING = Group(OutcomeName.STOPPED, AWAY, 2, KEY)

TOLD = {
    EXHAUSTED: f"3 stay in Error until marked again: no email address (such as contact {KEY}). "
    "Correct it.",
    REJECTED: f"1 rejected, which no retry can change: no email address (contact {KEY}). "
    "Correct it.",
    FAILED: f"1,200 failed and will be tried again: HubSpot was away (such as contact {KEY}).",
    WAITING: "2 could not be sent now, and will be tried again: HubSpot was away (such as contact "
    f"{KEY}).",
}


@for_each(
    ("summary", "stops", "failures"),
    [
        (Summary(), [], []),
        (Summary(settled=5), [], []),
        (Summary(disabled="It is off."), ["It is off."], ["It is off."]),
        (Summary(stopped="HubSpot is down."), *[["The run stopped: HubSpot is down."]] * 2),
        (Summary(notices=("A row was refused.",)), *[["A row was refused."]] * 2),
        (Summary(groups=(EXHAUSTED,), settled=9), *[[TOLD[EXHAUSTED]]] * 2),
        (Summary(groups=(REJECTED,), settled=9), [], [TOLD[REJECTED]]),
        (Summary(groups=(REJECTED,), settled=1), *[[TOLD[REJECTED]]] * 2),
        (Summary(groups=(REJECTED, FAILED), settled=1201), [], [TOLD[REJECTED], TOLD[FAILED]]),
        (Summary(groups=(FAILED,), settled=1200), [], [TOLD[FAILED]]),
        (Summary(groups=(WAITING,), settled=9), [], [TOLD[WAITING]]),
        (Summary(stopped="No.", groups=(WAITING,), settled=2), *[["The run stopped: No."]] * 2),
        (
            Summary(stopped="No.", groups=(FAILED, EXHAUSTED), settled=9),
            ["The run stopped: No.", TOLD[EXHAUSTED]],
            ["The run stopped: No.", TOLD[EXHAUSTED], TOLD[FAILED]],
        ),
    ],
)
def test_setting_decides_what_is_mailed(
    summary: Summary, stops: list[str], failures: list[str]
) -> None:
    assert mail_lines(summary, Mail.STOPS) == stops
    assert mail_lines(summary, Mail.FAILURES) == failures


@for_each(
    ("count", "told"), [(1, "1 contact was taken over"), (1388, "1,388 contacts were taken over")]
)
@for_each("mail", Mail)
def test_takeovers_are_one_line(count: int, told: str, mail: Mail) -> None:
    (line,) = mail_lines(Summary(taken_over=count, settled=count), mail)
    assert line.startswith(f"{told} from a run that died")


def test_every_contact_may_be_rejected_for_reasons_of_its_own() -> None:
    other = Group(OutcomeName.REJECTED, Reason("not an email address", "Correct it."), 4, KEY)
    lines = mail_lines(Summary(groups=(REJECTED, other), settled=5), Mail.STOPS)
    assert [line[0] for line in lines] == ["4", "1"]


def test_contacts_are_counted_by_reason_and_reasons_without_end_are_not_kept() -> None:
    tally = Tally()
    for number in range(MOST_REASONS + 50):
        code = "".join(chr(ord("A") + int(digit)) for digit in str(number))
        tally.note(contact(OutcomeName.FAILED, refused(code), is_takeover=number < 3))
    tally.note(contact(OutcomeName.FAILED, refused("A")))
    tally.note(contact(OutcomeName.CREATED))
    tally.note(contact(OutcomeName.RELEASED, refused("B")))
    others, twice, *rest = tally.groups
    assert tally.taken_over == 3
    assert (others.reason, others.count) == (OTHER_REASONS, 50)
    assert (twice.reason.words, twice.count) == ("HubSpot refuses it: A on phone", 2)
    assert len(rest) == MOST_REASONS - 1


def refused(hubspot_code: str) -> Message:
    return Message(
        ErrorCode.HUBSPOT_REFUSED, words="is odd", hubspot_code=hubspot_code, property_name="phone"
    )


def contact(
    outcome: OutcomeName, error: Message | None = None, *, is_takeover: bool = False
) -> ContactReport:
    return ContactReport(KEY, None, outcome, 1, 4, error=error, is_takeover=is_takeover)


groups = st.lists(
    st.builds(
        Group,
        st.sampled_from(OutcomeName),
        st.integers(0, 30).map(lambda number: Reason(f"reason {number}", "Do.")),
        st.integers(1, 500),
        st.just(KEY),
    ),
    max_size=40,
).map(tuple)


@given(
    st.builds(
        Summary,
        stopped=st.none() | st.just("No."),
        notices=st.lists(st.just("A notice."), max_size=12).map(tuple),
        taken_over=st.integers(0, 500),
        groups=groups,
        settled=st.integers(0, 2_000),
    ),
    st.sampled_from(Mail),
)
def test_mail_is_short_whatever_happened_and_says_what_it_leaves_out(
    summary: Summary, mail: Mail
) -> None:
    lines = mail_lines(summary, mail)
    assert len(lines) <= MOST_LINES
    assert (f"The run stopped: {summary.stopped}" in lines) == bool(summary.stopped)
    if summary.taken_over and len(summary.notices) < 5:
        assert any("taken over from a run that died" in line for line in lines)
    if lines and "left out" in lines[-1]:
        assert len(lines) == MOST_LINES
        assert int(lines[-1].split()[0]) >= 2


def test_failures_mail_all_that_stops_do() -> None:
    summary = Summary("No.", None, ("A notice.",), 2, (EXHAUSTED, REJECTED, FAILED, WAITING), 9)
    assert set(mail_lines(summary, Mail.STOPS)) <= set(mail_lines(summary, Mail.FAILURES))
