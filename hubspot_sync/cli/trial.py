"""The commands that need neither account nor server: demo and emulator."""

from pathlib import Path
from typing import Annotated

import typer

from hubspot_sync.cli.frame import AsJson, LogAs, Verbose, app, reported
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import WrongUsage
from hubspot_sync.report import LogFormat


@app.command()
@reported
def demo(
    keep: Annotated[
        Path | None,
        typer.Option(help="Keep the demo's database in this folder, which must not exist yet."),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    log_format: LogAs = LogFormat.TEXT,
) -> int:
    """Show the whole job on sample contacts: no account, no server, nothing to set.

    An embedded database and a local HubSpot (the emulator) are made, used and removed.

    \b
    Example:
      hubspot-sync demo
    """  # noqa: D301
    del log_format
    from hubspot_sync.demo import run_demo

    return run_demo(keep, as_json=as_json, verbose=verbose)


@app.command()
@reported
def emulator(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes any free port.")] = 8765,
    search_lag: Annotated[
        float, typer.Option(min=0, help="Seconds until search shows a new contact.")
    ] = 1.0,
    burst_limit: Annotated[int, typer.Option(min=1, help="Requests in ten seconds.")] = 100,
    daily_limit: Annotated[int, typer.Option(min=1, help="Requests a day.")] = 250_000,
    latency: Annotated[float, typer.Option(min=0, help="Seconds a request takes.")] = 0.0,
    as_json: AsJson = False,
    verbose: Verbose = False,
    log_format: LogAs = LogFormat.TEXT,
) -> int:
    """Run the local HubSpot, for your own tests. It keeps its contacts in memory.

    \b
    Example:
      hubspot-sync emulator --port 8765
    """  # noqa: D301
    del verbose, log_format
    from hubspot_sync import console
    from hubspot_sync.clock import Ending
    from hubspot_sync.hubspot.emulator import Emulator

    ending = Ending()
    local = Emulator(
        port=port,
        search_lag=search_lag,
        burst_limit=burst_limit,
        daily_limit=daily_limit,
        search_limit=5,
        latency=latency,
    )
    with ending.listen():
        try:
            local.start()
        except OSError as error:
            raise WrongUsage(ErrorCode.PORT_UNUSABLE, port=port, why=error.strerror) from error
        console.show_emulator(local.url, local.token, as_json=as_json)
        ending.sleep(None)
        local.stop()
    return 128 + (ending.signal or 0)
