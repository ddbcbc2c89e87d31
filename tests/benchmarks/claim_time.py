"""The time to claim a hundred, alone and behind a million, before and after ANALYZE."""

import statistics
import time
from datetime import timedelta

from sqlalchemy import text

from hubspot_sync.rules.retry import RetryPolicy
from hubspot_sync.store.contact_queue import ContactQueue
from tests.benchmarks.stage import Stage, show, stage
from tests.tables import CONTACTS

CLAIMS = 9
TARGET = 2
WAITING = {
    "decision": "'Queued'", "state": "'Error'", "next_retry_at": "now() + interval '1 hour'",
    "crm": "'hubspot'",
}  # fmt: skip


def main() -> None:
    """Print medians as multiples of a claim from a queue of a thousand."""
    rows: list[tuple[object, ...]] = []
    with stage() as stand:
        alone = 0.0
        for title, due, waiting in (
            ("1,000 due", 1_000, 0),
            ("100,000 due", 100_000, 0),
            ("1,000,000 due", 1_000_000, 0),
            ("1,000 due behind 1,000,000 waiting", 1_000, 1_000_000),
        ):
            # Made anew, for a delete would leave dead rows behind and statistics of other rows.
            stand.execute("TRUNCATE contacts")
            stand.execute("DELETE FROM pg_statistic WHERE starelid = 'contacts'::regclass")
            stand.execute("ALTER TABLE contacts DROP CONSTRAINT IF EXISTS uq_contact_domain_email")
            if waiting:
                stand.fill(waiting, **WAITING)
            stand.fill(due)
            for when in ("before ANALYZE", "after"):
                if when == "after":
                    stand.execute("ANALYZE contacts")
                seconds = claim_seconds(stand)
                alone = alone or seconds
                ratio = f"{seconds / alone:.2f}"
                rows.append((title, when, f"{seconds * 1000:.1f}", ratio, f"<= {TARGET}"))
    show("Claiming 100", ("queue", "", "ms", "times alone", "target"), rows)


def claim_seconds(stand: Stage) -> float:
    """Return the median time of a claim; each is rolled back by putting the rows back."""
    queue = ContactQueue(stand.engine, CONTACTS, policy=RetryPolicy(), lease=timedelta(minutes=10))
    seconds = []
    for _ in range(CLAIMS):
        began = time.perf_counter()
        claims = queue.claim(100)
        seconds.append(time.perf_counter() - began)
        assert len(claims) == 100
        with stand.engine.begin() as connection:
            connection.execute(
                text(
                    "UPDATE contacts SET hubspot_sync_status = 'Selected', "
                    "hubspot_processing_status = 'Queued' WHERE id = ANY(:ids)"
                ),
                {"ids": [claim.contact.id for claim in claims]},
            )
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
