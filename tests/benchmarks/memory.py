"""Memory of a drain, short and long."""

from tests.benchmarks.stage import show, stage

TARGET_MB = 120


def main() -> None:
    """Print the peak memory of drains, and that of the long one as a multiple of the short."""
    rows = []
    peaks: list[float] = []
    with stage() as stand:
        for contacts in (10_000, 100_000):
            stand.execute("DELETE FROM contacts")
            stand.fill(contacts)
            ended, kib = stand.run("sync-queue", "--drain")
            peaks.append(kib / 1024)
            delivered = ended["counts"]["created"] + ended["counts"]["updated"]
            ratio = f"{peaks[-1] / peaks[0]:.2f}"
            rows.append((contacts, delivered, f"{peaks[-1]:.0f}", ratio, f"< {TARGET_MB} MB, flat"))
    show("Memory", ("contacts", "delivered", "peak MB", "times the first", "target"), rows)


if __name__ == "__main__":
    main()
