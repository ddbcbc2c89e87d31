"""Errors are values: who catches one does not alter it."""

import pytest

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import (
    Conflict,
    ContactRejected,
    HubSpotSyncError,
    Interrupted,
    QuotaSpent,
    Signature,
    Unavailable,
)

ERRORS = [
    Unavailable(ErrorCode.ANSWER_ENDLESS, wait_seconds=2.0, rate_limited=True),
    ContactRejected(
        ErrorCode.HUBSPOT_REFUSED, words="no", signature=Signature("NO", "phone"), permanent=True
    ),
    Conflict(ErrorCode.HOLDS_IT_ALREADY, words="there", existing_id="12"),
    QuotaSpent(ErrorCode.DAILY_LIMIT, is_daily=True),
    Interrupted(ErrorCode.RUN_ENDING),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_copy_differs_in_what_it_was_given_alone(error: HubSpotSyncError) -> None:
    before, data = dict(vars(error)), dict(error.message.data)
    other = error.but(correlation_id="c0ffee")
    assert type(other) is type(error)
    assert (str(other), other.args) == (str(error), error.args)
    assert vars(other) == before | {"correlation_id": "c0ffee"}
    assert vars(error) == before
    assert other.message.data == data | {"correlation_id": "c0ffee"}
    assert error.message.data == data


def test_copy_takes_no_data_that_the_error_does_not_have() -> None:
    with pytest.raises(AttributeError, match="outcome_unkown"):
        Unavailable(ErrorCode.ANSWER_ENDLESS).but(outcome_unkown=True)
