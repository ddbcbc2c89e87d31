"""From the settings to the parts that a command works with."""

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from hubspot_sync.cli.frame import close_with_command
from hubspot_sync.codes import ErrorCode
from hubspot_sync.environment import exposed, read_env_file
from hubspot_sync.errors import SettingsError, WrongUsage
from hubspot_sync.sentences import Message
from hubspot_sync.settings import (
    Settings,
    are_there,
    load_settings,
    read_values,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from hubspot_sync.clock import Pulse
    from hubspot_sync.hubspot.client import HubSpotClient
    from hubspot_sync.hubspot.pace import Pace
    from hubspot_sync.rules.source import Key
    from hubspot_sync.run import Plan
    from hubspot_sync.store.contact_queue import ContactQueue
    from hubspot_sync.store.selection import Selection
    from hubspot_sync.store.source_table import SourceTable

MOST_NAMESAKES = 10
"""Contacts with one email whose ids a message lists."""


def read_settings(env_file: Path | None) -> Settings:
    """Return the settings of the environment and the file.

    It warns where there are none at all, and where every user can read the file.

    Raises:
        SettingsError: some are wrong.
    """
    in_file = read_env_file(env_file)
    from hubspot_sync import console

    try:
        settings = load_settings(os.environ, in_file)
    except SettingsError:
        # Of several syncs on one machine, the mail says whose settings are wrong.
        console.name_sync(read_values({**in_file, **os.environ})[0].sync_name)
        raise
    console.name_sync(settings.sync_name)
    if not are_there({*in_file, *os.environ}):
        console.warn(Message(ErrorCode.NO_SETTINGS, env_file=env_file))
    open_to_all = exposed(env_file)
    if open_to_all:
        console.warn(Message(ErrorCode.FILE_EXPOSED, path=open_to_all))
    return settings


def open_engine(settings: Settings) -> "Engine":
    """Return the connections to the database; none is open yet, and all close with the command."""
    from hubspot_sync.store.database import make_engine

    # One connection a worker, one for the run's place, one to spare.
    engine = make_engine(
        settings.database_url, table=settings.source.table, pool_size=settings.workers + 2
    )
    close_with_command(engine.dispose)
    return engine


def open_queue(settings: Settings, engine: "Engine") -> "ContactQueue":
    """Return the queue in the contacts table."""
    from hubspot_sync.store.contact_queue import ContactQueue

    return ContactQueue(
        engine, source_table(settings), policy=settings.retry_policy, lease=settings.lease
    )


def source_table(settings: Settings) -> "SourceTable":
    """Return the table that contacts come from, for statements."""
    from hubspot_sync.store.source_table import SourceTable

    return SourceTable(settings.source)


def find_one(engine: "Engine", contacts: "SourceTable", named: "Selection") -> "Key":
    """Return the key of the one contact that a person named by its id or its email.

    That there is a contact with an id is for the caller to see.

    Raises:
        WrongUsage: no contact has the email, or several have.
    """
    from hubspot_sync.store.selection import find_keys

    if named.contact_ids:
        return named.contact_ids[0]
    shown = repr((named.email or "")[:80])
    keys = find_keys(engine, contacts, named)
    if not keys:
        raise WrongUsage(ErrorCode.EMAIL_NOT_THERE, email=shown)
    if len(keys) > 1:
        named_here = keys[:MOST_NAMESAKES]
        raise WrongUsage(
            ErrorCode.EMAIL_AMBIGUOUS, count=len(keys), email=shown, contacts=named_here
        )
    return keys[0]


def new_pulse() -> "Pulse":
    """Return the real clocks, and waits that a signal ends."""
    from hubspot_sync.clock import Ending, Pulse

    ending = Ending()
    return Pulse(ending=ending, sleep=ending.sleep)


def open_client(settings: Settings, pulse: "Pulse", pace: "Pace | None" = None) -> "HubSpotClient":
    """Return a connection to HubSpot."""
    from hubspot_sync.hubspot.client import HubSpotClient
    from hubspot_sync.hubspot.transport import Transport
    from hubspot_sync.rules.mapping import CONTACTS

    mapped = settings.mapping.checked_properties
    transport = Transport(
        settings.base_url,
        settings.api_key,
        timeout_seconds=settings.request_timeout.total_seconds(),
        custom_properties=mapped,
        pulse=pulse,
        pace=pace,
    )
    return HubSpotClient(
        transport,
        object_type=CONTACTS,
        api_version=settings.api_version,
        custom_properties=mapped,
    )


def make_plan(settings: Settings, *, limit: int | None, longest: timedelta | None = None) -> "Plan":
    """Return what a run is to go by."""
    from hubspot_sync.run import Plan

    return Plan(
        mapping=settings.mapping,
        lease=settings.lease,
        attempts=settings.retry_policy.max_retries + 1,
        portal_id=settings.portal_id,
        limit=limit,
        longest=longest,
        workers=settings.workers,
    )
