"""The careful lane against the batch lane, at 200 ms a request and 4 ms an input."""

import time

from hubspot_sync.clock import Pulse
from hubspot_sync.hubspot.careful_lane import CarefulLane
from hubspot_sync.hubspot.transport import Transport
from tests.benchmarks.stage import TOKEN, Stage, show, stage
from tests.contacts import MAPPING, contacts_client, scraped

CAREFUL_CONTACTS = 20
TARGET = 100


def main() -> None:
    """Measure contacts a second, and print them as multiples of the careful lane's."""
    with stage(latency=0.2, latency_per_input=0.004) as stand:
        careful = careful_rate(stand)
        rows: list[tuple[object, ...]] = [
            ("careful", 1, CAREFUL_CONTACTS, f"{careful:.1f}", "1", "")
        ]
        for workers, contacts in ((1, 1_000), (2, 2_000), (4, 8_000), (8, 8_000)):
            stand.execute("DELETE FROM contacts")
            stand.fill(contacts)
            began = time.perf_counter()
            stand.run("sync-queue", "--drain", "--workers", str(workers))
            rate = contacts / (time.perf_counter() - began)
            target = f">= {TARGET}" if workers == 4 else ""
            rows.append(
                ("batch", workers, contacts, f"{rate:.0f}", f"{rate / careful:.0f}", target)
            )
    headings = ("lane", "workers", "contacts", "a second", "times careful", "target")
    show("Lanes at 200 ms a request + 4 ms an input (batch: the whole process)", headings, rows)


def careful_rate(stand: Stage) -> float:
    """Return the careful lane's contacts a second, one worker, start-up left out."""
    from uuid import uuid4

    from hubspot_sync.hubspot.careful_lane import Lanes
    from hubspot_sync.rules.grouping import group_by_email

    transport = Transport(stand.hubspot_url, TOKEN, timeout_seconds=30, pulse=Pulse())
    client = contacts_client(transport)
    lanes = Lanes(client, MAPPING, client.object_type, lambda _: frozenset())
    lane = CarefulLane(lanes)
    began = time.perf_counter()
    for number in range(CAREFUL_CONTACTS):
        email = f"careful{number}@example.com"
        told = {"email": email, "firstname": "Ada"}
        (group,) = group_by_email([(scraped(str(uuid4()), email), told)])
        lane.deliver(group)
    seconds = time.perf_counter() - began
    transport.close()
    return CAREFUL_CONTACTS / seconds


if __name__ == "__main__":
    main()
