"""Is everything in place? Looks at settings, database, HubSpot and queue, and writes nowhere."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hubspot_sync.environment import is_exposed, read_env_file
from hubspot_sync.errors import HubSpotSyncError
from hubspot_sync.report import Check, CheckState
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
        Check("settings", CheckState.MEND, f"every user can read {path}", f"chmod 600 {path}")
        for path in (env_file or Path(".env"), token_file)
        if is_exposed(path)
    ]
    settings, faults = read_values(variables)
    if faults:
        checks += [Check("settings", CheckState.MEND, fault, "Correct it.") for fault in faults]
        return None, checks
    if settings.api_key.endswith(_PLACEHOLDER) and settings.base_url.startswith("https"):
        words, mend = "HUBSPOT_API_KEY is the example's", "Set it to a token of your portal."
        checks.append(Check("settings", CheckState.MEND, words, mend))
    source = env_file or ".env"
    if not are_there(variables):
        words = "there are none, neither in a file nor in the environment"
        checks.append(Check("settings", CheckState.MEND, words, "Name their file with --env-file."))
    if not checks:
        found_in = source if are_there(in_file) else "the environment alone"
        checks.append(Check("settings", CheckState.OK, f"all can be used, from {found_in}"))
    return settings, checks + _look_at_monitors(settings)


def _look_at_names(environment: Mapping[str, str], in_file: Mapping[str, str]) -> list[Check]:
    """Check for misspelt settings; the rest can be looked at with what is spelt right."""
    checks = []
    for each in unknown_names(environment, in_file):
        effect = ": no other command runs with it" if each.is_fault else ""
        words = f"{each.name} in the {each.place} is not a setting{effect}"
        mend = f"Did you mean {each.meant}?" if each.meant else "Remove it, or see the README."
        checks.append(Check("settings", CheckState.MEND, words, mend))
    return checks


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
        words = f"the folder of HUBSPOT_SYNC_METRICS_FILE, {path.parent}, cannot be written"
        mend = "Let this user write to it, or make it."
        checks.append(Check("monitors", CheckState.MEND, words, mend))
    return checks or [Check("monitors", CheckState.UNKNOWN, "none; nobody hears if cron stops")]


def look_at_queue_health(settings: Settings, engine: "Engine") -> list[Check]:
    """Check whether contacts wait for longer than they should, or were left behind."""
    from hubspot_sync.store.overview import alarms_of, look_at_queue
    from hubspot_sync.store.run_places import count_taken
    from hubspot_sync.store.source_table import SourceTable

    try:
        found = look_at_queue(engine, SourceTable(settings.source), settings.lease)
        runs = count_taken(engine, settings.database_url, settings.max_instances)
    except HubSpotSyncError as trouble:
        return [Check("queue", CheckState.UNKNOWN, str(trouble))]
    # An empty token is told of by the check of the token.
    told = alarms_of(found, runs=runs, is_enabled=True, interval=settings.interval)
    last = f"{found.last_delivery:%Y-%m-%d %H:%M} UTC" if found.last_delivery else "never"
    words = f"{found.due:,} due, last delivery {last}"
    return [Check("queue", CheckState.MEND, alarm) for alarm in told] or [
        Check("queue", CheckState.OK, words)
    ]


def look_at_portal_health(settings: Settings, client: "HubSpotClient", pace: "Pace") -> list[Check]:
    """Check token, scopes, properties and quota."""
    from hubspot_sync.hubspot.check_up import look_at_hubspot

    if not settings.api_key:
        words = "HUBSPOT_API_KEY is empty: the sync is disabled, and HubSpot could not be checked"
        mend = "Set it to a private app token or service key."
        unknown = ("scopes", "properties", "quota")
        return [
            Check("token", CheckState.MEND, words, mend),
            *(Check(about, CheckState.UNKNOWN, "not without a token") for about in unknown),
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
    """Return 3 where something could not be reached, 1 where something is to be mended, else 0."""
    states = {check.state for check in checks}
    if CheckState.UNREACHABLE in states:
        return 3
    return int(CheckState.MEND in states)
