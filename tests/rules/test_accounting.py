"""Every input of a batch request is accounted for, whatever HubSpot answers."""

from hypothesis import given
from hypothesis import strategies as st

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import Conflict, ContactRejected, HubSpotSyncError, NotFound, Signature
from hubspot_sync.rules.accounting import BatchReply, Input, Refusal, Success, account
from hubspot_sync.rules.identity import HubSpotRecord

CREATES = [Input("t1", email="a@x.com"), Input("t2", email="b@x.com"), Input("t3", email="c@x.com")]
UPDATES = [Input("t1", record_id="1"), Input("t2", record_id="2")]
REFUSED = ContactRejected(
    ErrorCode.HUBSPOT_REFUSED, words="no", signature=Signature("INVALID_EMAIL", "email")
)


def record(record_id: str, email: str = "") -> HubSpotRecord:
    return HubSpotRecord(record_id, {"email": email} if email else {})


def test_account_recognises_results_by_trace_id_in_any_order() -> None:
    reply = BatchReply((Success(record("9"), "t3"), Success(record("8"), "t1")))
    told = account(CREATES, reply)
    assert told.confirmed == {"t3": record("9"), "t1": record("8")}
    assert told.unnamed == ["t2"]


def test_account_recognises_results_by_email_in_any_case() -> None:
    told = account(CREATES, BatchReply((Success(record("9", "B@x.com")),)))
    assert told.confirmed == {"t2": record("9", "B@x.com")}


def test_account_recognises_results_by_record_id() -> None:
    told = account(UPDATES, BatchReply((Success(record("2")),)))
    assert told.confirmed == {"t2": record("2")}
    assert told.unnamed == ["t1"]


def test_account_ignores_results_of_nobody() -> None:
    reply = BatchReply((Success(record("9", "z@x.com"), "t9"),), (Refusal(REFUSED, ("t8",)),))
    assert account(CREATES, reply).unnamed == ["t1", "t2", "t3"]


def test_account_recognises_refusals_by_trace_id_and_record_id() -> None:
    gone = NotFound(ErrorCode.HUBSPOTS_WORDS, words="gone")
    by_trace = account(CREATES, BatchReply(refusals=(Refusal(REFUSED, ("t1", "t2")),)))
    assert by_trace.refused == {"t1": REFUSED, "t2": REFUSED}
    by_record = account(UPDATES, BatchReply(refusals=(Refusal(gone, (), ("2",)),)))
    assert by_record.refused == {"t2": gone}


def test_account_believes_neither_where_the_answer_contradicts_itself() -> None:
    reply = BatchReply((Success(record("9"), "t1"),), (Refusal(REFUSED, ("t1",)),))
    told = account(CREATES, reply)
    assert told.unnamed == ["t1", "t2", "t3"]


def test_account_of_an_empty_answer_confirms_nothing() -> None:
    assert account(CREATES, BatchReply()).unnamed == ["t1", "t2", "t3"]


names = st.sampled_from(["t1", "t2", "t3", "t4", "nobody", ""])
emails = st.sampled_from(["a@x.com", "B@X.com", "c@x.com", "z@x.com", ""])
ids = st.sampled_from(["1", "2", "3", "99"])
errors: st.SearchStrategy[HubSpotSyncError] = st.sampled_from(
    [
        REFUSED,
        NotFound(ErrorCode.HUBSPOTS_WORDS, words="gone"),
        Conflict(ErrorCode.HOLDS_IT_ALREADY, words="there", existing_id="7"),
    ]
)
successes = st.builds(Success, st.builds(record, ids, emails), st.none() | names)
refusals = st.builds(
    Refusal,
    errors,
    st.lists(names, max_size=3).map(tuple),
    st.lists(ids, max_size=3).map(tuple),
)
replies = st.builds(
    BatchReply,
    st.lists(successes, max_size=6).map(tuple),
    st.lists(refusals, max_size=4).map(tuple),
)
inputs = st.lists(
    st.builds(
        Input,
        st.sampled_from(["t1", "t2", "t3", "t4"]),
        st.sampled_from(["a@x.com", "b@x.com", "c@x.com", None]),
        st.sampled_from(["1", "2", "3", None]),
    ),
    max_size=4,
    unique_by=lambda each: each.trace_id,
)


@given(inputs, replies)
def test_account_puts_every_input_in_exactly_one_place(
    sent: list[Input], reply: BatchReply
) -> None:
    told = account(sent, reply)
    placed = [*told.confirmed, *told.refused, *told.unnamed]
    assert sorted(placed) == sorted(each.trace_id for each in sent)


@given(inputs, replies)
def test_account_confirms_only_what_the_answer_names(sent: list[Input], reply: BatchReply) -> None:
    told = account(sent, reply)
    by_trace = {each.trace_id: each for each in sent}
    for trace_id, confirmed in told.confirmed.items():
        source = by_trace[trace_id]
        assert any(
            success.record == confirmed
            and (
                success.trace_id == trace_id
                or (source.email and source.email == success.record.primary_email)
                or (source.record_id and source.record_id == success.record.id)
            )
            for success in reply.successes
        )
