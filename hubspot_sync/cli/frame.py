"""What every command has: the program it belongs to, its common options, how it ends."""

import functools
import inspect
import sys
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hubspot_sync import __version__
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import HubSpotSyncError, WrongUsage
from hubspot_sync.report import LogFormat
from hubspot_sync.sentences import Message

if TYPE_CHECKING:
    from hubspot_sync.store.selection import Selection

app = typer.Typer(
    name="hubspot-sync",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

EnvFile = Annotated[
    Path | None,
    # What cannot be read is told in our words, not in the library's.
    typer.Option(
        "--env-file", readable=False, help="Settings file; without it, .env in the current folder."
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output instead of tables.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only read and tell what would be done; write nowhere.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log each step to standard error.")]
LogAs = Annotated[
    LogFormat,
    typer.Option("--log-format", help="The log's lines: for people, or JSON, with refusals too."),
]


_scope: ContextVar[ExitStack] = ContextVar("scope")
"""What the command that runs now has opened."""


def reported(command: Callable[..., int | None]) -> Callable[..., None]:
    """Turn what a command returns or raises into what is printed and the exit code."""

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        from hubspot_sync import console

        console.start_logging(
            verbose=bool(arguments.get("verbose")),
            log_format=arguments.get("log_format", LogFormat.TEXT),
        )
        name = command.__name__.rstrip("_").replace("_", "-")
        try:
            with ExitStack() as scope:
                _scope.set(scope)
                code = command(**arguments)
        except HubSpotSyncError as error:
            console.log_denied(error)
            console.show_error(name, error, as_json=bool(arguments.get("as_json")))
            code = error.exit_code
        except (typer.Exit, typer.Abort):
            raise
        except Exception as fault:  # noqa: BLE001 - no traceback reaches a user
            console.log_fault(fault)
            own = _own_fault(fault)
            console.show_error(name, own, as_json=bool(arguments.get("as_json")))
            code = own.exit_code
        trouble = console.output_trouble()
        if trouble:
            console.warn(Message(ErrorCode.OUTPUT_CUT, why=trouble))
        raise typer.Exit(code or int(trouble is not None))

    # Typer reads the options off the signature.
    run.__signature__ = inspect.signature(command, eval_str=True)  # type: ignore[attr-defined]
    return run


def close_with_command(close: Callable[[], object]) -> None:
    """Have something closed when the command that runs now has ended, however it ends."""
    _scope.get().callback(close)


def _own_fault(fault: Exception) -> HubSpotSyncError:
    return HubSpotSyncError(ErrorCode.INTERNAL_ERROR, fault=type(fault).__name__)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"hubspot-sync {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Deliver contacts from a database table into HubSpot, without losing one.

    \b
    See it work, without an account, a database or settings:
      hubspot-sync demo
    What cron runs:
      hubspot-sync sync-queue --env-file /etc/hubspot-sync.env
    """  # noqa: D301 - click's own mark for lines to leave alone
    del version


def contact_named(text: str) -> "Selection":
    """Return what a person names a contact by: its email where there is an @, else its key."""
    from hubspot_sync.store.selection import Selection

    return Selection(email=text) if "@" in text else Selection(contact_ids=[text])


def confirm(question: str) -> None:
    """Ask, and end the command unless the answer is yes.

    Raises:
        WrongUsage: there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise WrongUsage(ErrorCode.NO_TERMINAL)
    typer.confirm(question, abort=True, err=True)
