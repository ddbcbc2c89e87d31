"""Is everything in place? Looks at settings, database, HubSpot and queue, and writes nowhere."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hubspot_sync.codes import ErrorCode
from hubspot_sync.environment import is_exposed, read_env_file
from hubspot_sync.errors import HubSpotSyncError
from hubspot_sync.report import Check, CheckState
from hubspot_sync.sentences import Message
from hubspot_sync.settings import (
    Settings,
    are_there,
    read_values,
    unknown_names,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from hubspot_sync.hubspot.client import HubSpotClient
    from hubspot_sync.hubspot.pace import Pace


_PLACEHOLDER = "xxxxxxxx"


def look_at_settings(
    environment: Mapping[str, str], env_file: Path | None
) -> tuple[Settings | None, list[Check]]:
    """Check the settings; return them where they are good.

    Raises:
        WrongUsage: the settings file cannot be read.
    """
    in_file = read_env_file(env_file)
    variables = {**in_file, **environment}
    checks = _look_at_names(environment, in_file)
    token_file = Path(variables.get("HUBSPOT_API_KEY_FILE", "").strip() or ".")
    checks += [
        Check.of("settings", CheckState.FIX, Message(ErrorCode.FILE_EXPOSED, path=path))
        for path in (env_file or Path(".env"), token_file)
        if is_exposed(path)
    ]
    settings, faults = read_values(variables)
    if faults:
        checks += [Check.of("settings", CheckState.FIX, fault) for fault in faults]
        return None, checks
    if settings.api_key.endswith(_PLACEHOLDER) and settings.base_url.startswith("https"):
        found = Message(ErrorCode.API_KEY_PLACEHOLDER)
        checks.append(Check.of("settings", CheckState.FIX, found))
    source = env_file or ".env"
    if not are_there(variables):
        found = Message(ErrorCode.NO_SETTINGS, env_file=env_file)
        checks.append(Check.of("settings", CheckState.FIX, found))
    if not checks:
        found_in = source if are_there(in_file) else "the environment alone"
        checks.append(Check("settings", CheckState.OK, f"all can be used, from {found_in}"))
    return settings, checks + _look_at_mapping(settings) + _look_at_monitors(settings)


def _look_at_names(environment: Mapping[str, str], in_file: Mapping[str, str]) -> list[Check]:
    """Check for misspelt settings; the rest can be looked at with what is spelt right."""
    unknown = unknown_names(environment, in_file)
    return [Check.of("settings", CheckState.FIX, each.message) for each in unknown]


def _look_at_mapping(settings: Settings) -> list[Check]:
    mapping = settings.mapping
    if mapping.file is None:
        return []
    count = len(mapping.fields)
    filled = "1 property" if count == 1 else f"{count} properties"
    words = f"{mapping.file}: {filled} from {settings.source.table}"
    return [Check("mapping", CheckState.OK, words)]


def _look_at_monitors(settings: Settings) -> list[Check]:
    path, url = settings.metrics_file, settings.heartbeat_url
    checks = []
    if url:
        # Its host alone may be shown; whether the rest is right, a run's ping will tell.
        host = urlsplit(url).hostname
        checks.append(Check("monitors", CheckState.OK, f"a heartbeat to {host} at each run"))
    if path and os.access(path.parent, os.W_OK | os.X_OK):
        checks.append(Check("monitors", CheckState.OK, f"metrics in {path}"))
    elif path:
        found = Message(ErrorCode.METRICS_FOLDER_CLOSED, path=path.parent)
        checks.append(Check.of("monitors", CheckState.FIX, found))
    return checks or [Check.of("monitors", CheckState.UNKNOWN, Message(ErrorCode.NO_MONITORS))]


def look_at_queue_health(settings: Settings, engine: "Engine") -> list[Check]:
    """Check whether contacts wait for longer than they should, or were left behind."""
    from hubspot_sync.store.overview import alarms_of, look_at_queue
    from hubspot_sync.store.run_places import count_taken
    from hubspot_sync.store.source_table import SourceTable

    try:
        found = look_at_queue(engine, SourceTable(settings.source), settings.lease)
        runs = count_taken(engine, settings.database_url, settings.source, settings.max_instances)
    except HubSpotSyncError as trouble:
        return [Check.of("queue", CheckState.UNKNOWN, trouble.message)]
    # An empty token is told of by the check of the token.
    told = alarms_of(found, runs=runs, is_enabled=True, interval=settings.interval)
    last = (
        f"{found.last_delivery:%Y-%m-%d %H:%M} UTC"
        if found.last_delivery
        else "none that the table shows"
    )
    words = f"{found.due:,} due, last delivery {last}"
    return [Check.of("queue", CheckState.FIX, alarm) for alarm in told] or [
        Check("queue", CheckState.OK, words)
    ]


def look_at_portal_health(settings: Settings, client: "HubSpotClient", pace: "Pace") -> list[Check]:
    """Check token, scopes, properties and quota."""
    from hubspot_sync.hubspot.check_up import look_at_hubspot

    if not settings.api_key:
        unknown = Message(ErrorCode.NOT_CHECKED, what="a token")
        return [
            Check.of("token", CheckState.FIX, Message(ErrorCode.SYNC_DISABLED)),
            *(
                Check.of(about, CheckState.UNKNOWN, unknown)
                for about in ("scopes", "properties", "quota")
            ),
        ]
    return look_at_hubspot(
        client,
        settings.api_key,
        pace,
        settings.mapping,
        portal_id=settings.portal_id,
        reserve_percent=settings.quota_reserve,
    )


def exit_code(checks: list[Check]) -> int:
    """Return 3 where something could not be reached, 1 where something is to be fixed, else 0."""
    states = {check.state for check in checks}
    if CheckState.UNREACHABLE in states:
        return 3
    return int(CheckState.FIX in states)
