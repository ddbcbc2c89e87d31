"""Lets `python -m hubspot_sync` do what `hubspot-sync` does."""

from hubspot_sync.cli import main

if __name__ == "__main__":
    main()
