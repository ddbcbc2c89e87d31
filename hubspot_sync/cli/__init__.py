"""The commands: parse, build, call, exit code.

To add a command, write a function with `@app.command()` and `@reported` in the module that it
belongs to. Whatever is slow to import is imported where it is used: cron starts this program every
few minutes.
"""

# Imported for the commands in them; their order is the order of the help.
from hubspot_sync.cli import deliver, desk, set_up, trial
from hubspot_sync.cli.frame import app

__all__ = ["app", "deliver", "desk", "main", "set_up", "trial"]


def main() -> None:
    """Run the program."""
    app()
