"""The time that `status` takes with a thousand contacts and with a million."""

import statistics
import time

from tests.benchmarks.stage import Stage, show, stage

LOOKS = 5
SCALES = (1_000, 1_000_000)
QUEUES: dict[str, list[tuple[float, dict[str, str]]]] = {
    "all due": [(1.0, {})],
    "a mix": [
        (0.6, {"decision": "'Complete'", "state": "'Complete'"}),
        (0.2, {"decision": "'New'", "state": "NULL"}),
        (0.1, {}),
        (
            0.1,
            {
                "decision": "'Queued'",
                "state": "'Error'",
                "next_retry_at": "now() + interval '1 hour'",
                "crm": "'hubspot'",
            },
        ),
    ],
}
ERRORS = (
    "UPDATE contacts SET hubspot_processing_error = 'HubSpot refused the contact: phone: ''' || "
    "email || ''' is no number (INVALID_PHONE)' WHERE hubspot_processing_status = 'Error'"
)
"""Each failure's text is its own, as where HubSpot repeats what the contact holds."""


def main() -> None:
    """Print medians of the whole process, and as multiples of a thousand contacts."""
    rows: list[tuple[object, ...]] = []
    with stage() as stand:
        for title, parts in QUEUES.items():
            few = 0.0
            for count in SCALES:
                # Made anew, for a delete would leave dead rows behind.
                stand.execute("TRUNCATE contacts")
                stand.execute(
                    "ALTER TABLE contacts DROP CONSTRAINT IF EXISTS uq_contact_domain_email"
                )
                for share, columns in parts:
                    stand.fill(round(count * share), **columns)
                stand.execute(ERRORS)
                stand.execute("ANALYZE contacts")
                seconds = status_seconds(stand, count)
                few = few or seconds
                rows.append((title, f"{count:,}", f"{seconds:.2f}", f"{seconds / few:.1f}"))
    show("status on PostgreSQL", ("queue", "contacts", "seconds", "times a thousand"), rows)


def status_seconds(stand: Stage, count: int) -> float:
    """Return the median time of a whole run of `status`."""
    seconds = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        document, _ = stand.run("status")
        seconds.append(time.perf_counter() - began)
        assert sum(state["contacts"] for state in document["states"]) == count
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
