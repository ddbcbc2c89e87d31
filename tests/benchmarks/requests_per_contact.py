"""How many requests a contact costs: new, changed, or held by HubSpot already."""

from tests.benchmarks.stage import show, stage

CONTACTS = 10_000
TARGET = 0.0201
TARGET_UNCHANGED = 0.0101

MARK = "UPDATE contacts SET hubspot_processing_status = 'Queued'"


def main() -> None:
    """Drain new contacts, the same ones again with another name, and once more as they are."""
    rows = []
    with stage() as stand:
        stand.fill(CONTACTS)
        for kind, change, target in (
            ("created", "", TARGET),
            ("updated", ", name = 'Ada King'", TARGET),
            ("unchanged", "", TARGET_UNCHANGED),
        ):
            stand.execute(f"{MARK}{change}")
            ended, _ = stand.run("sync-queue", "--drain")
            delivered = ended["counts"][kind]
            # One request looks at the portal, once a run.
            each = (ended["requests"] - 1) / delivered
            rows.append((kind, delivered, ended["requests"], f"{each:.4f}", f"<= {target}"))
    show("Requests per contact", ("contacts", "delivered", "requests", "each", "target"), rows)


if __name__ == "__main__":
    main()
