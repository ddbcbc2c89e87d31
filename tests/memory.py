"""A place for what tests write that no disk has to wait for."""

import os
import shutil
from pathlib import Path

_ENOUGH = 2**31
"""Three workers have a server each, of a quarter of a gibibyte with its programs."""


def memory_folder() -> Path | None:
    """Return the folder that Linux keeps in memory, where it is large enough."""
    folder = Path("/dev/shm")  # noqa: S108 - what is made below it has a name that nobody foresees
    is_large = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > _ENOUGH
    return folder if is_large else None
