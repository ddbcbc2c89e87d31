"""Where settings come from besides the environment: a settings file."""

import stat
from pathlib import Path

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import WrongUsage

_ENV_FILE = Path(".env")
_MAPPING = "HUBSPOT_SYNC_MAPPING"
"""The setting that names a file which lies beside the settings file, and moves with it."""


def read_env_file(env_file: Path | None) -> dict[str, str]:
    """Return what a settings file holds; nothing where none was named and there is no `.env`.

    A relative path of the mapping is taken from the settings file's folder: cron and systemd start
    programs in folders of their own.

    Args:
        env_file: None reads `.env` in the current folder, if there is one.

    Raises:
        WrongUsage: the file cannot be read, or one that was named is not there.
    """
    from dotenv import dotenv_values

    path = env_file or _ENV_FILE
    if env_file is None and not _is_env_file_there():
        return {}
    try:
        # Opened by us, for it may be a pipe, such as a shell's <(...).
        with path.open(encoding="utf-8") as stream:
            values = dotenv_values(stream=stream, interpolate=False)
    except FileNotFoundError:
        raise WrongUsage(ErrorCode.ENV_FILE_MISSING, path=path) from None
    except OSError as error:
        raise WrongUsage(ErrorCode.ENV_FILE_UNREADABLE, path=path, why=error.strerror) from error
    except UnicodeDecodeError:
        raise WrongUsage(ErrorCode.ENV_FILE_NO_TEXT, path=path) from None
    found = {name: value for name, value in values.items() if value is not None}
    mapping = found.get(_MAPPING, "").strip()
    # A pipe lies in no folder that anybody means.
    if mapping and "://" not in mapping and path.is_file():
        found[_MAPPING] = str(path.parent / mapping)
    return found


def _is_env_file_there() -> bool:
    try:
        return stat.S_ISREG(_ENV_FILE.stat().st_mode)
    except PermissionError as error:
        raise WrongUsage(ErrorCode.FOLDER_CLOSED, why=error.strerror) from error
    except OSError:
        return False


def exposed(env_file: Path | None) -> Path | None:
    """Return the settings file where every user of the machine may read it."""
    path = env_file or _ENV_FILE
    return path if is_exposed(path) else None


def is_exposed(path: Path) -> bool:
    """Tell whether every user of the machine may read a file."""
    try:
        return path.is_file() and bool(path.stat().st_mode & stat.S_IROTH)
    except (OSError, ValueError):
        return False
