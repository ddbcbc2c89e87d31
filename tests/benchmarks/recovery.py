"""What contacts cost that a killed run left behind, against fresh ones."""

from tests.benchmarks.stage import show, stage

CONTACTS = 400
TARGET = 3.0

LEFT = """
UPDATE contacts SET hubspot_sync_status = 'Processing', hubspot_processing_status = 'Processing',
                    updated_at = now() - interval '1 hour'
"""


def main() -> None:
    """Drain fresh contacts; then as many others, which a dead run holds since an hour ago."""
    rows = []
    figures: dict[str, tuple[int, float]] = {}
    for kind in ("fresh", "left behind"):
        with stage(latency=0.05) as stand:
            stand.fill(CONTACTS)
            if kind == "left behind":
                stand.execute(LEFT)
            ended, _ = stand.run("sync-queue", "--drain")
        assert ended["counts"]["created"] == CONTACTS
        figures[kind] = ended["requests"], ended["seconds"]
        ratios = [mine / fresh for mine, fresh in zip(figures[kind], figures["fresh"], strict=True)]
        rows.append((kind, CONTACTS, *figures[kind], *(f"{ratio:.2f}" for ratio in ratios)))
    heads = ("contacts", "delivered", "requests", "seconds", "requests, times", "seconds, times")
    show(f"Recovery; at most {TARGET:g} times", heads, rows)


if __name__ == "__main__":
    main()
