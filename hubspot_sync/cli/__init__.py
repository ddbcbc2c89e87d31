"""The commands: parse, build, call, exit code.

To add a command, write a function with `@app.command()` and `@reported` in the module that it
belongs to. Whatever is slow to import is imported where it is used: cron starts this program every
few minutes.
"""

import sys

# Imported for the commands in them; their order is the order of the help.
from hubspot_sync.cli import deliver, desk, mapping, set_up, trial
from hubspot_sync.cli.frame import app

__all__ = ["app", "deliver", "desk", "main", "mapping", "set_up", "trial"]


def main() -> None:
    """Run the program."""
    try:
        app()
    except OSError as trouble:
        # Help and version are printed by the library, and a disk may be full.
        from hubspot_sync.console.streams import throw_away

        throw_away(sys.stdout)
        sys.exit(f"Standard output could not be written ({trouble.strerror}).")
