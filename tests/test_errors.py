"""Errors are values: who catches one does not alter it."""

import pytest

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
    Unavailable("no answer", wait_seconds=2.0, rate_limited=True),
    ContactRejected("no", signature=Signature("NO", "phone"), permanent=True),
    Conflict("it is there", existing_id="12"),
    QuotaSpent("no more today", is_daily=True),
    Interrupted("the run was asked to end"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_copy_differs_in_what_it_was_given_alone(error: HubSpotSyncError) -> None:
    before = dict(vars(error))
    other = error.but(correlation_id="c0ffee")
    assert type(other) is type(error)
    assert (str(other), other.args) == (str(error), error.args)
    assert vars(other) == before | {"correlation_id": "c0ffee"}
    assert vars(error) == before


def test_copy_takes_no_data_that_the_error_does_not_have() -> None:
    with pytest.raises(AttributeError, match="outcome_unkown"):
        Unavailable("no answer").but(outcome_unkown=True)
