"""The command that shows the mapping, and checks a mapping file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hubspot_sync.cli.frame import (
    AsJson,
    EnvFile,
    LogAs,
    Verbose,
    app,
    close_with_command,
    reported,
)
from hubspot_sync.cli.parts import new_pulse, open_client, read_settings
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import HubSpotSyncError, WrongUsage
from hubspot_sync.report import LogFormat
from hubspot_sync.rules.mapping_lines import mapping_lines
from hubspot_sync.sentences import Message
from hubspot_sync.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hubspot_sync.rules.mapping import PropertyDefinition


@app.command()
@reported
def mapping(
    print_default: Annotated[
        bool,
        typer.Option(
            "--print-default", help="Print the built-in mapping, as a file to begin with."
        ),
    ] = False,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check", readable=False, help="Read this file alone, and tell every fault of it."
        ),
    ] = None,
    as_json: AsJson = False,
    env_file: EnvFile = None,
    verbose: Verbose = False,
    log_format: LogAs = LogFormat.TEXT,
) -> int:
    """Show which property is filled from what, and when; or check a mapping file.

    Where a token is set, HubSpot is asked for the properties' types; nothing is written. --check
    asks neither HubSpot nor the database, and its exit code is 2 where the file has a fault.

    \b
    Examples:
      hubspot-sync mapping
      hubspot-sync mapping --print-default > mapping.toml
      hubspot-sync mapping --check mapping.toml
    """  # noqa: D301
    del verbose, log_format
    from hubspot_sync import console

    if print_default and check is not None:
        raise WrongUsage(ErrorCode.CHECK_WITH_DEFAULT)
    if print_default:
        from hubspot_sync.config.mapping_file import default_text

        console.show_default_mapping(default_text(), as_json=as_json)
        return 0
    if check is not None:
        from hubspot_sync.config.mapping_file import load_mapping

        read = load_mapping(check)
        console.show_checked_mapping(check, read.source, read.mapping, as_json=as_json)
        return 0
    settings = read_settings(env_file)
    found, not_asked = _ask_hubspot(settings)
    lines = mapping_lines(settings.mapping, found)
    console.show_mapping(settings.source, settings.mapping, lines, not_asked, as_json=as_json)
    return 0


def _ask_hubspot(
    settings: Settings,
) -> "tuple[Mapping[str, PropertyDefinition] | None, Message | None]":
    """Ask for the properties that are filled; return why not, where HubSpot cannot be asked."""
    if not settings.api_key:
        return None, Message(ErrorCode.API_KEY_EMPTY)
    client = open_client(settings, new_pulse())
    close_with_command(client.transport.close)
    try:
        return client.read_properties(settings.mapping.property_names), None
    except HubSpotSyncError as trouble:
        return None, trouble.message
