"""How many requests a contact costs, new or known."""

from tests.benchmarks.stage import show, stage

CONTACTS = 10_000
TARGET = 0.0201


def main() -> None:
    """Drain new contacts, then the same ones again as known."""
    rows = []
    with stage() as stand:
        stand.fill(CONTACTS)
        for kind in ("new", "known"):
            ended, _ = stand.run("sync-queue", "--drain")
            delivered = ended["counts"]["created" if kind == "new" else "updated"]
            # One request looks at the portal, once a run.
            each = (ended["requests"] - 1) / delivered
            rows.append((kind, delivered, ended["requests"], f"{each:.4f}", f"<= {TARGET}"))
            stand.execute("UPDATE contacts SET hubspot_processing_status = 'Queued'")
    show("Requests per contact", ("contacts", "delivered", "requests", "each", "target"), rows)


if __name__ == "__main__":
    main()
